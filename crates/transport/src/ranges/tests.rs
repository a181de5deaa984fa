use super::*;
use config::SystemDocument;
use net::clock::Clock;
use net::resolver::{ResolverSettings, StaticEntry, StaticZone};
use store::embedded::OpenOptions;

const T0: Timestamp = Timestamp(1_800_000_000_000);

fn resolver(records: &[(&str, &str)]) -> Resolver {
    let row = |(name, value): &(&str, &str)| StaticEntry {
        name: (*name).into(),
        kind: "TXT".into(),
        value: (*value).into(),
        ttl: None,
    };
    let mut zone: Vec<StaticEntry> = records.iter().map(row).collect();
    zone.push(StaticEntry {
        name: "example".into(),
        kind: "ZONE".into(),
        value: String::new(),
        ttl: None,
    });
    let settings = ResolverSettings {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        static_zone: StaticZone::parse(&zone).unwrap(),
        ..ResolverSettings::default()
    };
    Resolver::new(settings, Clock::manual(T0).0).unwrap()
}

#[tokio::test]
async fn ranges_are_read_through_includes() {
    let check = async |records: &[(&str, &str)], expect: Option<&[&str]>| {
        let got = read(&resolver(records), "spf.example")
            .await
            .map(|set| set.iter().map(IpNet::to_string).collect::<Vec<_>>());
        assert_eq!(
            got.as_deref().ok(),
            expect
                .map(|list| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .as_deref(),
            "{records:?}: {got:?}"
        );
    };
    let whole = [
        (
            "spf.example",
            "v=spf1 include:a.example ip4:192.0.2.7 ip6:2001:db8::/32 a mx exists:%{i}.example -all",
        ),
        ("spf.example", "something else"),
        ("a.example", "V=SPF1 +IP4:198.51.100.0/24 include:spf.example redirect=b.example"),
        ("b.example", "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.9/24 ~all"),
    ];
    check(
        &whole,
        Some(&["192.0.2.7/32", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]),
    )
    .await;
    check(&[], None).await;
    check(&[("spf.example", "v=spf1 -all")], None).await;
    check(&[("spf.example", "v=spf1 ip4:192.0.2.0/24 include:gone.example")], None).await;
    check(&[("spf.example", "v=spf1 ip4:0.0.0.0/0")], None).await;
    check(&[("spf.example", "v=spf1 ip4:nonsense")], None).await;
    check(
        &[
            ("spf.example", "v=spf1 ip4:192.0.2.0/24"),
            ("spf.example", "v=spf1 ip4:192.0.2.0/24"),
        ],
        None,
    )
    .await;
    check(&[("spf.example", "v=spf10 ip4:192.0.2.0/24")], None).await;
    let chain: Vec<(String, String)> = (0..40)
        .map(|i| {
            (
                format!("s{i}.example"),
                format!("v=spf1 ip4:192.0.2.{i} include:s{}.example", i + 1),
            )
        })
        .collect();
    let mut chain: Vec<(&str, &str)> = chain.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    chain.push(("spf.example", "v=spf1 include:s0.example"));
    check(&chain, None).await;
}

/// covers: domains/6.1/outbound-shared-ranges
#[tokio::test]
async fn a_shrink_by_half_waits_for_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&OpenOptions::below(folder.path(), Arc::new(|| T0))).unwrap();
    let document = r#"{"helo_check":true,"shared_ranges":{"microsoft365_spf":"m.example","google_workspace_spf":"g.example"}}"#;
    let first = move |tx: &mut dyn store::sql::Tx| {
        revision::save(
            tx,
            &Save {
                tenant: TenantId::OPERATOR,
                base: 0,
                document,
                actor: "op",
                reason: "",
                at: T0,
            },
        )
    };
    store.write(first).await.unwrap();
    let newest = async || {
        let newest = store.read(|tx| revision::newest(tx, TenantId::OPERATOR)).await.unwrap();
        (newest.number, serde_json::from_str::<SystemDocument>(&newest.document).unwrap())
    };
    let turn = async |microsoft: &str| {
        let last = newest().await.1.shared_ranges;
        let resolver = resolver(&[("m.example", microsoft), ("g.example", "v=spf1 ip4:209.85.128.0/17")]);
        refresh(&store, &resolver, &last, T0).await
    };
    turn("v=spf1 ip4:40.92.0.0/15 ip4:40.107.0.0/16").await.unwrap();
    let (number, system) = newest().await;
    assert_eq!(
        (
            number,
            system.helo_check,
            system.shared_ranges.microsoft365.len(),
            system.shared_ranges.google_workspace.len()
        ),
        (3, Some(true), 2, 1)
    );
    // The same again, in another order: nothing is saved.
    turn("v=spf1 ip4:40.107.0.0/16 ip4:40.92.0.0/15").await.unwrap();
    assert_eq!(newest().await.0, 3);
    // A third of the addresses goes: taken over. Two thirds: not.
    turn("v=spf1 ip4:40.92.0.0/15").await.unwrap();
    assert_eq!(newest().await.0, 4);
    turn("v=spf1 ip4:40.92.0.0/16").await.unwrap();
    let (number, system) = newest().await;
    assert_eq!(
        (number, system.shared_ranges.microsoft365),
        (4, vec!["40.92.0.0/15".parse().unwrap()])
    );
    // A record that cannot be read leaves everything as it was.
    assert!(turn("v=spf1 include:gone.example").await.is_err());
    assert_eq!(newest().await.0, 4);
    let told = store
        .read(|tx| audit::page(tx, TenantId::OPERATOR, &audit::AuditFilter::default(), None, 10))
        .await
        .unwrap();
    assert_eq!(told.first().map(|e| e.action.as_str()), Some("system.shared-ranges-shrank"));
}
