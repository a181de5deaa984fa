use super::*;
use net::clock::Clock;
use net::resolver::{ResolverSettings, StaticEntry, StaticZone};
use store::control::revision;
use store::control::tenant::{Ceilings, NewTenant};
use store::embedded::OpenOptions;

const T0: Timestamp = Timestamp(1_800_000_000_000);
const LAPSE: Duration = Duration::from_secs(30 * 86_400);

struct House {
    store: Store,
    base: Domain,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_embedded(&OpenOptions::below(folder.path(), Arc::new(|| T0))).unwrap();
        for name in ["acme", "bolt"] {
            let new = NewTenant {
                name: name.into(),
                title: String::new(),
                state: TenantState::Active,
                ceilings: Ceilings::default(),
            };
            store.write(move |tx| tenant::create(tx, &new, "test", T0).map(drop)).await.unwrap();
        }
        Self {
            store,
            base: "mitsuke.example".parse().unwrap(),
            _folder: folder,
        }
    }

    async fn claim(&self, tenant: i64, name: &str) -> DomainClaim {
        let name: Domain = name.parse().unwrap();
        self.store
            .write(move |tx| domain::claim(tx, TenantId(tenant), &name, T0, LAPSE))
            .await
            .unwrap()
    }

    async fn get(&self, tenant: i64, name: &str) -> Option<DomainClaim> {
        let name: Domain = name.parse().unwrap();
        self.store.read(move |tx| domain::get(tx, TenantId(tenant), &name)).await.unwrap()
    }

    /// Looks at a claim with these records in DNS: `(name, type, value)`. Everything below `example` that is not listed does not exist.
    async fn look(&self, tenant: i64, name: &str, records: &[(&str, &str, &str)], now: Timestamp) {
        let row = |(name, kind, value): &(&str, &str, &str)| StaticEntry {
            name: (*name).into(),
            kind: (*kind).into(),
            value: (*value).into(),
            ttl: None,
        };
        let zone: Vec<StaticEntry> = records.iter().chain(&[("example", "ZONE", "")]).map(row).collect();
        let settings = ResolverSettings {
            servers: vec!["127.0.0.1:9".parse().unwrap()],
            static_zone: StaticZone::parse(&zone).unwrap(),
            ..ResolverSettings::default()
        };
        let (clock, _) = Clock::manual(now);
        let resolver = Resolver::new(settings, clock).unwrap();
        let eyes = Eyes {
            store: &self.store,
            resolver: &resolver,
            base: &self.base,
            now,
        };
        look_at(&eyes, self.get(tenant, name).await.unwrap()).await.unwrap();
    }

    async fn actions(&self, tenant: i64) -> Vec<String> {
        let entries = self
            .store
            .read(move |tx| audit::page(tx, TenantId(tenant), &audit::AuditFilter::default(), None, 100))
            .await
            .unwrap();
        entries.into_iter().rev().map(|e| e.action).collect()
    }
}

#[tokio::test]
async fn the_token_in_txt_proves() {
    let house = House::new().await;
    let token = house.claim(1, "a.example").await.token;
    let loser = house.claim(2, "a.example").await.token;
    let lower = token.to_lowercase();
    for wrong in [
        "v=spf1 -all".to_owned(),
        format!("mitsuke={lower}"),
        format!("mitsuke={token}x"),
        format!("x mitsuke={token}"),
        token.clone(),
    ] {
        if wrong == format!("mitsuke={token}") {
            continue;
        }
        house
            .look(1, "a.example", &[("a.example", "TXT", &wrong), ("a.example", "A", "192.0.2.1")], T0)
            .await;
        assert_eq!(house.get(1, "a.example").await.unwrap().state, DomainState::Unverified, "{wrong}");
    }
    // In a sub-domain, or another tenant's: not found.
    house
        .look(
            1,
            "a.example",
            &[
                ("_m.a.example", "TXT", &format!("mitsuke={token}")),
                ("a.example", "TXT", &format!("mitsuke={loser}")),
            ],
            T0,
        )
        .await;
    let claim = house.get(1, "a.example").await.unwrap();
    assert_eq!(
        (claim.state, claim.due_at),
        (DomainState::Unverified, T0.after(Duration::from_secs(60)))
    );
    let report = Report::parse(&claim.report).unwrap();
    assert!(
        report
            .servers
            .iter()
            .any(|s| s.record == "txt" && s.found == [format!("mitsuke={loser}")]),
        "{report:?}"
    );
    house
        .look(
            1,
            "a.example",
            &[
                ("a.example", "TXT", "v=spf1 -all"),
                ("a.example", "TXT", &format!("mitsuke={token}")),
                ("a.example", "MX", "10 old.example"),
            ],
            T0,
        )
        .await;
    let claim = house.get(1, "a.example").await.unwrap();
    assert_eq!((claim.state, claim.verified_by), (DomainState::Active, Some(VerifiedBy::Txt)));
    assert_eq!(house.get(2, "a.example").await, None);
    assert_eq!(house.actions(1).await, ["domain.verified", "domain.active"]);
    assert_eq!(house.actions(2).await, ["domain.claim-ended"]);
}

use store::control::domain::VerifiedBy;

#[tokio::test]
async fn the_best_mx_of_the_tenants_own_name_proves() {
    let check = async |records: &[(&str, &str, &str)], expect: DomainState| {
        let house = House::new().await;
        house.claim(1, "a.example").await;
        house.look(1, "a.example", records, T0).await;
        assert_eq!(house.get(1, "a.example").await.unwrap().state, expect, "{records:?}");
    };
    check(
        &[
            ("a.example", "MX", "10 acme.in.mitsuke.example"),
            ("a.example", "MX", "20 old.example"),
        ],
        DomainState::Active,
    )
    .await;
    check(
        &[
            ("a.example", "MX", "20 acme.in.mitsuke.example"),
            ("a.example", "MX", "10 old.example"),
        ],
        DomainState::Unverified,
    )
    .await;
    check(&[("a.example", "MX", "10 bolt.in.mitsuke.example")], DomainState::Unverified).await;
    check(&[("a.example", "MX", "10 in.mitsuke.example")], DomainState::Unverified).await;
    check(&[], DomainState::Unverified).await;
}

#[tokio::test]
async fn a_proven_name_follows_its_address() {
    let house = House::new().await;
    house.claim(1, "a.example").await;
    let prove = |tx: &mut dyn store::sql::Tx| {
        domain::verify(
            tx,
            TenantId(1),
            &"a.example".parse().unwrap(),
            VerifiedBy::Operator,
            Some("known"),
            T0,
        )
        .map(drop)
    };
    house.store.write(prove).await.unwrap();
    let state = async |records: &[(&str, &str, &str)], hours: u64, expect: DomainState| {
        house
            .look(1, "a.example", records, T0.after(Duration::from_secs(3_600 * hours)))
            .await;
        assert_eq!(house.get(1, "a.example").await.unwrap().state, expect, "{records:?}");
    };
    state(&[], 0, DomainState::Verified).await;
    state(&[("a.example", "AAAA", "2001:db8::1")], 1, DomainState::Active).await;
    state(&[("a.example", "MX", "0 .")], 2, DomainState::Verified).await;
    state(&[("a.example", "MX", "10 mx.example")], 3, DomainState::Active).await;
    assert_eq!(house.actions(1).await, ["domain.active", "domain.no-address", "domain.active"]);
}

#[tokio::test]
async fn a_claim_lapses_and_takes_its_settings_with_it() {
    let house = House::new().await;
    house.claim(1, "a.example").await;
    let save = |tx: &mut dyn store::sql::Tx| {
        let document = r#"{"domains":{"a.example":{},"b.example":{}}}"#;
        revision::save(
            tx,
            &revision::Save {
                tenant: TenantId(1),
                base: 1,
                document,
                actor: "ann",
                reason: "",
                at: T0,
            },
        )
    };
    house.store.write(save).await.unwrap();
    let soon = T0.after(LAPSE).before(judge::LAPSE_NOTICE);
    house.look(1, "a.example", &[], soon).await;
    house.look(1, "a.example", &[], soon.after(Duration::from_secs(3_600))).await;
    house.look(1, "a.example", &[], T0.after(LAPSE)).await;
    assert_eq!(house.get(1, "a.example").await, None);
    assert_eq!(house.actions(1).await, ["domain.claim-lapses-soon", "domain.claim-lapsed"]);
    let settings = house.store.read(|tx| revision::newest(tx, TenantId(1))).await.unwrap().document;
    assert_eq!(settings, r#"{"domains":{"b.example":{}}}"#);
}

#[tokio::test]
async fn a_lost_proof_alerts_once() {
    let house = House::new().await;
    let token = format!("mitsuke={}", house.claim(1, "a.example").await.token);
    let (address, proof) = (("a.example", "A", "192.0.2.1"), ("a.example", "TXT", token.as_str()));
    house.look(1, "a.example", &[address, proof], T0).await;
    for days in 1..4 {
        house
            .look(1, "a.example", &[address], T0.after(Duration::from_secs(86_400 * days)))
            .await;
    }
    assert_eq!(house.get(1, "a.example").await.unwrap().state, DomainState::Active);
    assert_eq!(house.actions(1).await, ["domain.verified", "domain.active", "domain.proof-lost"]);
}

#[tokio::test]
async fn a_taken_claim_is_left_alone() {
    let house = House::new().await;
    let claim = house.claim(1, "a.example").await;
    let taken = claim.clone();
    assert!(
        house
            .store
            .write(move |tx| domain::take(tx, &taken, T0.after(TAKEN_FOR)))
            .await
            .unwrap()
    );
    let (clock, _) = Clock::manual(T0);
    let settings = ResolverSettings {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        ..ResolverSettings::default()
    };
    let resolver = Resolver::new(settings, clock).unwrap();
    let eyes = Eyes {
        store: &house.store,
        resolver: &resolver,
        base: &house.base,
        now: T0,
    };
    // It was read before another node took it: nothing is asked and nothing is written.
    look_at(&eyes, claim).await.unwrap();
    assert_eq!(house.get(1, "a.example").await.unwrap().checked_at, None);
}

#[tokio::test]
async fn a_recipient_makes_an_unproven_claim_due_once_a_minute() {
    let house = House::new().await;
    house.claim(1, "a.example").await;
    house.look(1, "a.example", &[], T0).await;
    let due = async |seconds: u64| {
        let now = T0.after(Duration::from_secs(seconds));
        nudge(&house.store, &"a.example".parse().unwrap(), now).await.unwrap();
        house.get(1, "a.example").await.unwrap().due_at
    };
    let old = house.get(1, "a.example").await.unwrap();
    house
        .store
        .write(move |tx| domain::checked(tx, &old, "{}", T0, T0.after(Duration::from_secs(3_600))))
        .await
        .unwrap();
    assert_eq!(due(59).await, T0.after(Duration::from_secs(3_600)));
    assert_eq!(due(60).await, T0.after(Duration::from_secs(60)));
}
