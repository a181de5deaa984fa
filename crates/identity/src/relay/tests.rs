use super::*;
use config::document::TenantDocument;
use config::live::TenantState;

const T0: Timestamp = Timestamp(1_800_000_000_000);

async fn house(change: impl FnOnce(&mut RelayCredential)) -> (RelayDoor, Live) {
    let door = RelayDoor::new(&Keys::from_secret(&[3; 32])).unwrap();
    let mut credential = RelayCredential {
        name: "printer".into(),
        hash: door.passwords().hash(Zeroizing::new("right".into())).await.unwrap(),
        scram: Some(StoredScram::of("right").unwrap().to_string()),
        domains: Vec::new(),
        networks: Vec::new(),
        messages_per_10_min: None,
        expires_at: None,
    };
    change(&mut credential);
    let tenant = LiveTenant {
        id: TenantId(1),
        name: "acme".into(),
        state: TenantState::Active,
        trial_outbound: false,
        revision: 1,
        settings: TenantDocument {
            relay_credentials: vec![credential],
            ..TenantDocument::default()
        },
        domains: std::collections::HashMap::new(),
    };
    let mut live = Live::default();
    live.tenants.insert(TenantId(1), Arc::new(tenant));
    (door, live)
}

#[tokio::test]
async fn log_in_with_a_secret() {
    let (door, live) = house(|_| {}).await;
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    let logged_in = door.with_secret(&live, "Printer@ACME", "right", client, T0).await.unwrap();
    assert_eq!((logged_in.login.as_str(), logged_in.tenant.id), ("printer@acme", TenantId(1)));
    let long = format!("{}@acme", "x".repeat(200));
    for (login, secret) in [
        ("printer@acme", "wrong"),
        ("printer@other", "right"),
        ("scanner@acme", "right"),
        ("printer", "right"),
        ("", ""),
        (&long, "right"),
    ] {
        let got = door.with_secret(&live, login, secret, client, T0).await.map(|l| l.login);
        assert_eq!(got, Err(LoginRefusal::Wrong), "{login} {secret}");
    }
}

#[tokio::test]
async fn expiry_and_networks_bound_a_credential() {
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    let check = async |change: fn(&mut RelayCredential), expect: bool| {
        let (door, live) = house(change).await;
        assert_eq!(door.with_secret(&live, "printer@acme", "right", client, T0).await.is_ok(), expect);
        let question = door.begin_scram(&live, "printer@acme", client, T0).unwrap();
        assert_eq!(door.finish_scram(question, ScramProof::Right, client, T0).is_ok(), expect);
    };
    check(|c| c.expires_at = Some(Timestamp(T0.0 + 1)), true).await;
    check(|c| c.expires_at = Some(T0), false).await;
    check(|c| c.networks = vec!["192.0.2.0/24".parse().unwrap()], true).await;
    check(|c| c.networks = vec!["198.51.100.0/24".parse().unwrap()], false).await;
}

#[tokio::test]
async fn scram_tells_nothing_of_unknown_logins() {
    let (door, live) = house(|_| {}).await;
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    let unknown = || door.begin_scram(&live, "nobody@acme", client, T0).unwrap();
    assert_eq!(unknown().keys, unknown().keys);
    assert_eq!(
        unknown().keys.iterations,
        door.begin_scram(&live, "printer@acme", client, T0).unwrap().keys.iterations
    );
    assert!(matches!(
        door.finish_scram(unknown(), ScramProof::Right, client, T0),
        Err(LoginRefusal::Wrong)
    ));
}

#[tokio::test]
async fn failures_lock() {
    let (door, live) = house(|_| {}).await;
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    for i in 0..10_u8 {
        let question = door.begin_scram(&live, "printer@acme", client, T0).unwrap();
        assert!(matches!(
            door.finish_scram(question, ScramProof::Wrong(&[i]), client, T0),
            Err(LoginRefusal::Wrong)
        ));
    }
    assert!(matches!(
        door.with_secret(&live, "printer@acme", "right", client, T0).await,
        Err(LoginRefusal::Locked(_))
    ));
    let other: IpAddr = "198.51.100.1".parse().unwrap();
    assert!(door.with_secret(&live, "printer@acme", "right", other, T0).await.is_ok());
}
