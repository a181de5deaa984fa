use super::*;
use config::DomainDocument;
use config::document::{RelayCredential, SharedRanges, TenantDocument};

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn domain(text: &str, state: DomainState, edit: impl FnOnce(&mut DomainDocument)) -> Arc<LiveDomain> {
    let mut settings = DomainDocument {
        outbound_enabled: true,
        ..DomainDocument::default()
    };
    edit(&mut settings);
    Arc::new(LiveDomain {
        name: name(text),
        state,
        settings,
    })
}

fn tenant(id: TenantId, state: TenantState, settings: TenantDocument, domains: Vec<Arc<LiveDomain>>) -> Arc<LiveTenant> {
    let domains = domains.into_iter().map(|d| (d.name.clone(), d)).collect();
    Arc::new(LiveTenant {
        id,
        name: format!("t{}", id.0),
        state,
        trial_outbound: false,
        revision: 1,
        settings,
        domains,
    })
}

fn live(tenants: Vec<Arc<LiveTenant>>) -> Arc<Live> {
    let mut live = Live::default();
    let shared = SharedRanges {
        microsoft365: vec!["203.0.113.0/24".parse().unwrap()],
        google_workspace: vec!["2001:db8:99::/48".parse().unwrap()],
        ..SharedRanges::default()
    };
    live.system = Arc::new(SystemDocument {
        shared_ranges: shared,
        ..SystemDocument::default()
    });
    for tenant in tenants {
        for domain in tenant.domains.values() {
            live.domains.insert(domain.name.clone(), (Arc::clone(&tenant), Arc::clone(domain)));
        }
        for provider in &tenant.settings.provider_domains {
            live.provider_domains.entry(provider.clone()).or_default().push(Arc::clone(&tenant));
        }
        live.tenants.insert(tenant.id, tenant);
    }
    Arc::new(live)
}

fn world() -> Arc<Live> {
    let credential = RelayCredential {
        name: "printer".into(),
        hash: String::new(),
        scram: None,
        domains: vec![name("a.example")],
        networks: Vec::new(),
        messages_per_10_min: None,
        expires_at: None,
    };
    let free = RelayCredential {
        name: "server".into(),
        domains: Vec::new(),
        ..credential.clone()
    };
    let settings = TenantDocument {
        provider_domains: vec![name("name.onmicrosoft.com")],
        relay_credentials: vec![credential, free],
        ..TenantDocument::default()
    };
    live(vec![
        tenant(
            A,
            TenantState::Active,
            settings,
            vec![
                domain("a.example", DomainState::Active, |d| {
                    d.outbound_networks = vec!["192.0.2.0/24".parse().unwrap(), "203.0.113.7/32".parse().unwrap()];
                    d.outbound_certificates = vec!["MX.a.example".into(), "AB".repeat(32)];
                    d.outbound_microsoft365 = true;
                    d.outbound_submission = true;
                }),
                domain("a2.example", DomainState::Verified, |_| {}),
                domain("off.example", DomainState::Active, |d| d.outbound_enabled = false),
                domain("claimed.example", DomainState::Unverified, |d| {
                    d.outbound_networks = vec!["198.51.100.0/24".parse().unwrap()]
                }),
            ],
        ),
        tenant(
            B,
            TenantState::Active,
            TenantDocument::default(),
            vec![domain("b.example", DomainState::Active, |d| {
                d.outbound_networks = vec!["192.0.2.9/32".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
            })],
        ),
    ])
}

#[test]
fn states_that_send() {
    use DomainState as D;
    use TenantState as T;
    let check = |tenant_state, domain_state, expect: Option<Sending>| {
        let d = domain("a.example", domain_state, |_| {});
        assert_eq!(
            sending(&tenant(A, tenant_state, TenantDocument::default(), Vec::new()), &d),
            expect,
            "{tenant_state:?} {domain_state:?}"
        );
    };
    // Domains-and-routing 1.1: a trial sends when the operator opened it.
    check(T::Trial, D::Active, None);
    check(T::Active, D::Active, Some(Sending::Open));
    check(T::OutboundSuspended, D::Active, Some(Sending::Suspended));
    check(T::Suspended, D::Active, Some(Sending::Suspended));
    check(T::Closing, D::Active, None);
    check(T::Deleted, D::Active, None);
    // 2.4.
    check(T::Active, D::Unverified, None);
    check(T::Active, D::Verified, Some(Sending::Open));
    check(T::Active, D::Disabled, Some(Sending::Suspended));
    check(T::Active, D::Deleting, None);
    let opened = LiveTenant {
        trial_outbound: true,
        ..(*tenant(A, T::Trial, TenantDocument::default(), Vec::new())).clone()
    };
    assert_eq!(sending(&opened, &domain("a.example", D::Active, |_| {})), Some(Sending::Open));
}

#[test]
fn addresses_lead_to_tenants() {
    let sources = Sources::default();
    let live = world();
    let index = sources.of(&live);
    let check = |ip: &str, expect: &[(TenantId, OwnSource)], provider: Option<Provider>| {
        let client = index.client(ip.parse().unwrap(), None, None);
        assert_eq!((client.own.as_slice(), client.provider), (expect, provider), "{ip}");
    };
    check("192.0.2.1", &[(A, OwnSource::Network)], None);
    check("192.0.2.9", &[(B, OwnSource::Network), (A, OwnSource::Network)], None);
    check("2001:db8::1", &[(B, OwnSource::Network)], None);
    check("198.51.100.1", &[], None);
    // Within a shared range an own network means nothing, whenever it was written.
    check("203.0.113.7", &[], Some(Provider::Microsoft365));
    check("2001:db8:99::1", &[], Some(Provider::GoogleWorkspace));
    assert!(Arc::ptr_eq(&index, &sources.of(&live)));
    assert!(!Arc::ptr_eq(&index, &sources.of(&world())));
}

#[test]
fn connection_figures_of_sources() {
    let index = Sources::default().of(&world());
    let check = |ip: &str, expect: bool| assert_eq!(index.is_source(ip.parse().unwrap()), expect, "{ip}");
    check("192.0.2.1", true);
    check("203.0.113.200", true);
    check("2001:db8:99::1", false);
    check("198.51.100.1", false);
}

#[test]
fn certificates_by_name_need_a_ca_and_by_key_do_not() {
    let index = Sources::default().of(&world());
    let stranger = "198.51.100.77";
    let check = |ip: &str, names: &[&str], fingerprint: String, is_verified: bool, expect: bool| {
        let certificate = Certificate {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            fingerprint,
            is_verified,
        };
        let client = index.client(ip.parse().unwrap(), Some(&certificate), None);
        assert_eq!(client.own == [(A, OwnSource::Certificate)], expect, "{ip} {certificate:?}");
    };
    check(stranger, &["mx.a.example"], String::new(), true, true);
    check(stranger, &["mx.a.example"], String::new(), false, false);
    check(stranger, &["other.example"], String::new(), true, false);
    check(stranger, &[], "ab".repeat(32), false, true);
    check(stranger, &[], "cd".repeat(32), false, false);
    check("203.0.113.200", &["mx.a.example"], "ab".repeat(32), true, false);
}

#[test]
fn what_admission_asks() {
    let live = world();
    let index = Sources::default().of(&live);
    let proofs = Proofs::default();
    let judge = |login: Option<&Login>| -> Vec<bool> {
        let judge = Judge {
            live: &live,
            index: &index,
            login,
            proofs: &proofs,
            now: Timestamp(0),
        };
        ["a.example", "a2.example", "b.example", "name.onmicrosoft.com"]
            .map(|d| judge.login_may_send(&name(d)))
            .to_vec()
    };
    let login = |credential: &str| Login {
        tenant: A,
        credential: credential.into(),
        name: String::new(),
    };
    assert_eq!(judge(None), [false, false, false, false]);
    assert_eq!(judge(Some(&login("printer"))), [true, false, false, false]);
    // a2.example has submission off; provider domains go with any domain that has it on.
    assert_eq!(judge(Some(&login("server"))), [true, false, false, true]);
    assert_eq!(judge(Some(&login("gone"))), [false, false, false, false]);
    let judge = Judge {
        live: &live,
        index: &index,
        login: None,
        proofs: &proofs,
        now: Timestamp(0),
    };
    let senders = |d: &str| judge.senders(&name(d)).iter().map(|s| s.tenant).collect::<Vec<_>>();
    assert_eq!(senders("a.example"), [A]);
    assert_eq!(senders("name.onmicrosoft.com"), [A]);
    assert_eq!(senders("off.example"), []);
    assert_eq!(senders("claimed.example"), []);
    assert_eq!(senders("unknown.example"), []);
    assert!(judge.enables(A, Provider::Microsoft365) && !judge.enables(B, Provider::Microsoft365));
    assert!(judge.anyone_enables(Provider::Microsoft365) && !judge.anyone_enables(Provider::GoogleWorkspace));
}

#[test]
fn foreign_header_from_by_domain() {
    let listed = |d: &mut DomainDocument| {
        d.foreign_from = ForeignFrom::Listed;
        d.foreign_from_listed = vec![name("friend.example")];
    };
    let live = live(vec![tenant(
        A,
        TenantState::Active,
        TenantDocument::default(),
        vec![
            domain("a.example", DomainState::Active, listed),
            domain("a2.example", DomainState::Active, |_| {}),
        ],
    )]);
    let index = Sources::default().of(&live);
    let proofs = Proofs::default();
    let judge = Judge {
        live: &live,
        index: &index,
        login: None,
        proofs: &proofs,
        now: Timestamp(0),
    };
    let (a, a2) = (name("a.example"), name("a2.example"));
    assert!(judge.lists_foreign(A, Some(&a)) && !judge.lists_foreign(A, Some(&a2)) && judge.lists_foreign(A, None));
    assert!(judge.foreign_listed(A, Some(&a), &name("friend.example")));
    assert!(!judge.foreign_listed(A, Some(&a), &name("other.example")));
    assert!(!judge.foreign_listed(A, Some(&a2), &name("friend.example")));
    // A provider domain has no setting of its own.
    assert!(judge.foreign_listed(A, Some(&name("name.onmicrosoft.com")), &name("friend.example")));
}

#[test]
fn a_login_gets_the_lists_of_domains_it_may_send_for() {
    let live = world();
    let edit = |d: &Arc<LiveDomain>| {
        Arc::new(LiveDomain {
            settings: DomainDocument {
                foreign_from: ForeignFrom::Listed,
                foreign_from_listed: vec![name(&format!("friend.{}", d.name.as_str()))],
                outbound_submission: true,
                ..d.settings.clone()
            },
            ..LiveDomain::clone(d)
        })
    };
    let a = &live.tenants[&A];
    let mut rows: Vec<_> = a.domains.values().map(edit).collect();
    rows.sort_by_key(|d| d.name.as_str().to_owned());
    let live = super::tests::live(vec![tenant(A, TenantState::Active, a.settings.clone(), rows)]);
    let index = Sources::default().of(&live);
    let proofs = Proofs::default();
    let listed = |credential: Option<&str>| -> Vec<bool> {
        let login = credential.map(|c| Login {
            tenant: A,
            credential: c.into(),
            name: String::new(),
        });
        let judge = Judge {
            live: &live,
            index: &index,
            login: login.as_ref(),
            proofs: &proofs,
            now: Timestamp(0),
        };
        ["friend.a.example", "friend.a2.example"]
            .map(|d| judge.foreign_listed(A, None, &name(d)))
            .to_vec()
    };
    assert_eq!(listed(None), [true, true]);
    assert_eq!(listed(Some("server")), [true, true]);
    assert_eq!(listed(Some("printer")), [true, false]);
}
