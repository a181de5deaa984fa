use super::*;
use std::collections::BTreeSet;

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// Tenant A owns a.example and lists name.onmicrosoft.com among its provider domains; tenant B owns b.example.
struct World {
    suspended: BTreeSet<i64>,
    presets: Vec<(TenantId, Provider)>,
    login_domains: Vec<&'static str>,
    listed: Vec<(TenantId, &'static str)>,
    secret: Vec<String>,
    ids: Vec<String>,
    window: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            suspended: BTreeSet::new(),
            presets: vec![(A, Provider::Microsoft365)],
            login_domains: vec!["a.example"],
            listed: Vec::new(),
            secret: vec!["07".repeat(32)],
            ids: vec!["00000000-aaaa".into()],
            window: 0,
        }
    }
}

impl Registry for World {
    fn senders(&self, domain: &Domain) -> Vec<Sender> {
        let tenant = match domain.as_str() {
            "a.example" | "name.onmicrosoft.com" => A,
            "b.example" => B,
            _ => return Vec::new(),
        };
        vec![Sender {
            tenant,
            sending: if self.suspended.contains(&tenant.0) {
                Sending::Suspended
            } else {
                Sending::Open
            },
        }]
    }
    fn login_may_send(&self, domain: &Domain) -> bool {
        self.login_domains.contains(&domain.as_str())
    }
    fn enables(&self, tenant: TenantId, provider: Provider) -> bool {
        self.presets.contains(&(tenant, provider))
    }
    fn anyone_enables(&self, provider: Provider) -> bool {
        self.presets.iter().any(|(_, p)| *p == provider)
    }
    fn lists_foreign(&self, tenant: TenantId, _: Option<&Domain>) -> bool {
        self.listed.iter().any(|(t, _)| *t == tenant)
    }
    fn foreign_listed(&self, tenant: TenantId, _: Option<&Domain>, from: &Domain) -> bool {
        self.listed.contains(&(
            tenant,
            match from.as_str() {
                "listed.example" => "listed.example",
                _ => "",
            },
        ))
    }
    fn proof(&self, _: TenantId) -> ProofSettings<'_> {
        ProofSettings {
            secret_sha256: &self.secret,
            microsoft_tenant_ids: &self.ids,
            setup_messages_left: self.window,
        }
    }
}

fn stranger() -> Client {
    Client::default()
}
fn network(tenant: TenantId) -> Client {
    Client {
        own: vec![(tenant, OwnSource::Network)],
        ..Client::default()
    }
}
fn certificate(tenant: TenantId) -> Client {
    Client {
        own: vec![(tenant, OwnSource::Certificate)],
        ..Client::default()
    }
}
fn provider(provider: Provider) -> Client {
    Client {
        provider: Some(provider),
        ..Client::default()
    }
}
fn login(tenant: TenantId) -> Client {
    Client {
        login: Some(tenant),
        ..Client::default()
    }
}

/// One transaction: where its recipients are and what its header section shows.
struct Case<'a> {
    client: Client,
    reverse: &'a str,
    places: &'a [Place],
    from: &'a str,
    evidence: Evidence<'a>,
}

/// The outcome in words: a reason and its stage, `inbound`, or tenant, source and proof.
fn run(world: &World, case: &Case<'_>) -> String {
    let domain_of = |text: &str| (!text.is_empty()).then(|| domain(text));
    let reverse_domain = domain_of(case.reverse);
    let reverse = reverse_domain.as_ref().map_or(Reverse::Null, Reverse::Domain);
    let course = course(&case.client, reverse, world);
    for place in case.places {
        if let Gate::Refuse(reason) = gate(&course, &case.client, *place) {
            return format!("{reason} at rcpt");
        }
    }
    let from: Vec<Domain> = case.from.split(',').filter_map(domain_of).collect();
    let all = case.places.iter().all(|p| *p == Place::Accepted);
    let evidence = Evidence {
        header_from: &from,
        all_recipients_accepted: all,
        recipients: case.places.len(),
        ..case.evidence
    };
    match settle(&course, &case.client, reverse, &evidence, world) {
        Verdict::Inbound => "inbound".into(),
        Verdict::Outbound { tenant, source, proof } => format!("tenant {} {} {}", tenant.0, source.as_str(), proof.as_str()),
        Verdict::Refuse { reason, .. } => format!("{reason} at dot"),
    }
}

fn check(name: &str, world: &World, case: &Case<'_>, expect: &str) {
    assert_eq!(run(world, case), expect, "{name}");
}

const OUT: &[Place] = &[Place::Elsewhere];
const IN: &[Place] = &[Place::Accepted];
const MIXED: &[Place] = &[Place::Accepted, Place::Elsewhere];

fn secret() -> Evidence<'static> {
    Evidence {
        secret_sha256: Some([7; 32]),
        ..Evidence::default()
    }
}

fn microsoft(id: &str) -> Evidence<'_> {
    Evidence {
        provider_tenant_id: Some(id),
        certificate_of: Some(Provider::Microsoft365),
        ..Evidence::default()
    }
}

#[test]
fn result_table_of_6_3() {
    use Provider::{GoogleWorkspace as Google, Microsoft365 as Ms};
    let world = World::default();
    let none = Evidence::default;
    let row = |name: &str, client: Client, reverse: &str, from: &str, places: &[Place], evidence: Evidence<'_>, expect: &str| {
        check(
            name,
            &world,
            &Case {
                client,
                reverse,
                places,
                from,
                evidence,
            },
            expect,
        );
    };
    row(
        "row 1: listed network",
        network(A),
        "a.example",
        "a.example",
        OUT,
        none(),
        "tenant 1 network address",
    );
    // DKIM as proof comes with its check: until then this mail is unproven.
    row(
        "row 2: Microsoft 365, DKIM only",
        provider(Ms),
        "a.example",
        "a.example",
        OUT,
        none(),
        "TENANT-UNPROVEN at dot",
    );
    row(
        "row 3: Microsoft 365, DKIM of another",
        provider(Ms),
        "a.example",
        "a.example",
        OUT,
        none(),
        "TENANT-UNPROVEN at dot",
    );
    row(
        "row 4: Google, preset off",
        provider(Google),
        "a.example",
        "a.example",
        OUT,
        secret(),
        "CLIENT-NOT-ALLOWED at rcpt",
    );
    row(
        "row 5: null, secret header",
        provider(Ms),
        "",
        "a.example",
        OUT,
        secret(),
        "tenant 1 microsoft365 secret-header",
    );
    // Forwarding by DKIM comes with SRS and ARC; foreign_from is `reject` until then.
    row(
        "row 6a: listed network, foreign, DKIM",
        network(A),
        "other.example",
        "other.example",
        OUT,
        none(),
        "NO-DOMAIN at rcpt",
    );
    row(
        "row 6b: listed network, foreign, none",
        network(A),
        "other.example",
        "other.example",
        OUT,
        none(),
        "NO-DOMAIN at rcpt",
    );
    row(
        "row 7a: registered certificate",
        certificate(A),
        "a.example",
        "a.example",
        OUT,
        none(),
        "tenant 1 certificate certificate",
    );
    row(
        "row 7b: unknown address",
        stranger(),
        "a.example",
        "a.example",
        OUT,
        none(),
        "CLIENT-NOT-ALLOWED at rcpt",
    );
    row(
        "row 8: unknown address, foreign",
        stranger(),
        "other.example",
        "a.example",
        OUT,
        none(),
        "NO-DOMAIN at rcpt",
    );
    row(
        "row 9: unproven, all recipients here",
        provider(Ms),
        "a.example",
        "a.example",
        IN,
        none(),
        "inbound",
    );
    row(
        "row 10a: listed network, foreign, here",
        network(A),
        "other.example",
        "other.example",
        IN,
        none(),
        "inbound",
    );
    row(
        "row 10b: listed network, null, here",
        network(A),
        "",
        "other.example",
        IN,
        none(),
        "inbound",
    );
    row(
        "row 11: unknown address, here",
        stranger(),
        "a.example",
        "a.example",
        IN,
        none(),
        "inbound",
    );
    let open = World {
        window: 20,
        ..World::default()
    };
    let case = Case {
        client: provider(Ms),
        reverse: "name.onmicrosoft.com",
        places: OUT,
        from: "name.onmicrosoft.com",
        evidence: none(),
    };
    check("row 12: set-up window", &open, &case, "tenant 1 microsoft365 setup-window");
}

#[test]
fn steps_of_6_2() {
    use Provider::Microsoft365 as Ms;
    let world = World::default();
    let none = Evidence::default;
    let row = |name: &str, client: Client, reverse: &str, from: &str, places: &[Place], evidence: Evidence<'_>, expect: &str| {
        check(
            name,
            &world,
            &Case {
                client,
                reverse,
                places,
                from,
                evidence,
            },
            expect,
        );
    };
    row(
        "null of a stranger, outside",
        stranger(),
        "",
        "a.example",
        OUT,
        none(),
        "NO-DOMAIN at rcpt",
    );
    row("null of a stranger, here", stranger(), "", "a.example", IN, none(), "inbound");
    row(
        "null, own network",
        network(A),
        "",
        "a.example",
        OUT,
        none(),
        "tenant 1 network address",
    );
    row(
        "null, own network, foreign From",
        network(A),
        "",
        "other.example",
        OUT,
        none(),
        "NO-DOMAIN at dot",
    );
    row(
        "null, own network, From of another tenant",
        network(A),
        "",
        "b.example",
        OUT,
        none(),
        "CLIENT-NOT-ALLOWED at dot",
    );
    row("null, no From", network(A), "", "", OUT, none(), "NO-DOMAIN at dot");
    row(
        "step 3: network of another tenant, outside",
        network(B),
        "a.example",
        "a.example",
        OUT,
        none(),
        "CLIENT-NOT-ALLOWED at rcpt",
    );
    row(
        "step 3: network of another tenant, here",
        network(B),
        "a.example",
        "a.example",
        IN,
        none(),
        "inbound",
    );
    row(
        "step 4: foreign From",
        network(A),
        "a.example",
        "other.example",
        OUT,
        none(),
        "NO-DOMAIN at dot",
    );
    row(
        "step 4: From of another tenant",
        network(A),
        "a.example",
        "b.example",
        OUT,
        none(),
        "NO-DOMAIN at dot",
    );
    row(
        "step 4: one of two From foreign",
        network(A),
        "a.example",
        "a.example,other.example",
        OUT,
        none(),
        "NO-DOMAIN at dot",
    );
    row(
        "step 4: provider domain counts",
        network(A),
        "a.example",
        "name.onmicrosoft.com",
        OUT,
        none(),
        "tenant 1 network address",
    );
    row(
        "step 4: own mail to a domain here stays outbound",
        network(A),
        "a.example",
        "a.example",
        IN,
        none(),
        "tenant 1 network address",
    );
    row(
        "step 6: foreign From but proven",
        provider(Ms),
        "a.example",
        "other.example",
        OUT,
        secret(),
        "NO-DOMAIN at dot",
    );
    row(
        "step 6: unproven, some recipients elsewhere",
        provider(Ms),
        "a.example",
        "a.example",
        MIXED,
        none(),
        "TENANT-UNPROVEN at dot",
    );
    row(
        "step 6: provider tenant id",
        provider(Ms),
        "a.example",
        "a.example",
        OUT,
        microsoft("00000000-AAAA"),
        "tenant 1 microsoft365 provider-tenant-id",
    );
    row(
        "step 6: another's tenant id",
        provider(Ms),
        "a.example",
        "a.example",
        OUT,
        microsoft("00000000-bbbb"),
        "TENANT-UNPROVEN at dot",
    );
    let unverified = Evidence {
        certificate_of: None,
        ..microsoft("00000000-aaaa")
    };
    row(
        "step 6: tenant id without certificate",
        provider(Ms),
        "a.example",
        "a.example",
        OUT,
        unverified,
        "TENANT-UNPROVEN at dot",
    );
    let wrong = Evidence {
        secret_sha256: Some([8; 32]),
        ..Evidence::default()
    };
    row(
        "step 6: wrong secret",
        provider(Ms),
        "a.example",
        "a.example",
        OUT,
        wrong,
        "TENANT-UNPROVEN at dot",
    );
    row("login", login(A), "a.example", "a.example", OUT, none(), "tenant 1 login login");
    row(
        "login, domain not its own",
        login(B),
        "a.example",
        "a.example",
        OUT,
        none(),
        "CLIENT-NOT-ALLOWED at rcpt",
    );
    row(
        "login, domain it may not send for",
        login(A),
        "name.onmicrosoft.com",
        "a.example",
        OUT,
        none(),
        "CLIENT-NOT-ALLOWED at rcpt",
    );
    row(
        "login, foreign, here: never inbound",
        login(A),
        "other.example",
        "other.example",
        IN,
        none(),
        "NO-DOMAIN at rcpt",
    );
    row("login, null", login(A), "", "a.example", OUT, none(), "tenant 1 login login");
    row(
        "login, null, From of another tenant",
        login(A),
        "",
        "b.example",
        IN,
        none(),
        "CLIENT-NOT-ALLOWED at dot",
    );
    let both = Client {
        own: vec![(A, OwnSource::Network), (B, OwnSource::Network)],
        ..Client::default()
    };
    row(
        "shared own address: the sender domain decides",
        both.clone(),
        "b.example",
        "b.example",
        OUT,
        none(),
        "tenant 2 network address",
    );
    row(
        "shared own address, foreign",
        both,
        "other.example",
        "other.example",
        OUT,
        none(),
        "NO-DOMAIN at rcpt",
    );
}

#[test]
fn listed_foreign_from() {
    let world = World {
        listed: vec![(A, "listed.example")],
        ..World::default()
    };
    let row = |name: &str, client: Client, reverse: &str, from: &str, places: &[Place], expect: &str| {
        check(
            name,
            &world,
            &Case {
                client,
                reverse,
                places,
                from,
                evidence: Evidence::default(),
            },
            expect,
        );
    };
    row(
        "own reverse path, listed From",
        network(A),
        "a.example",
        "listed.example",
        OUT,
        "tenant 1 network address",
    );
    row(
        "own reverse path, other From",
        network(A),
        "a.example",
        "other.example",
        OUT,
        "NO-DOMAIN at dot",
    );
    row(
        "foreign reverse path, listed From",
        network(A),
        "other.example",
        "listed.example",
        OUT,
        "tenant 1 network address",
    );
    row(
        "foreign reverse path, other From",
        network(A),
        "other.example",
        "other.example",
        OUT,
        "NO-DOMAIN at dot",
    );
    row(
        "foreign reverse path, listed From, all here",
        network(A),
        "other.example",
        "listed.example",
        IN,
        "inbound",
    );
    row(
        "login, foreign reverse path, listed From",
        login(A),
        "other.example",
        "listed.example",
        OUT,
        "tenant 1 login login",
    );
    row(
        "login, foreign reverse path, a domain it may send for",
        login(A),
        "other.example",
        "a.example",
        OUT,
        "tenant 1 login login",
    );
    row(
        "login, foreign reverse path, a domain of its tenant it may not send for",
        login(A),
        "other.example",
        "name.onmicrosoft.com",
        OUT,
        "CLIENT-NOT-ALLOWED at dot",
    );
    row(
        "login, foreign reverse path, such a domain beside a listed one",
        login(A),
        "other.example",
        "listed.example,name.onmicrosoft.com",
        OUT,
        "CLIENT-NOT-ALLOWED at dot",
    );
    row(
        "network, foreign reverse path, any domain of its tenant",
        network(A),
        "other.example",
        "name.onmicrosoft.com",
        OUT,
        "tenant 1 network address",
    );
    row(
        "a network of two tenants lists for neither",
        Client {
            own: vec![(A, OwnSource::Network), (B, OwnSource::Network)],
            ..Client::default()
        },
        "other.example",
        "listed.example",
        OUT,
        "NO-DOMAIN at rcpt",
    );
}

#[test]
fn suspended_senders() {
    use Provider::Microsoft365 as Ms;
    let world = World {
        suspended: BTreeSet::from([1]),
        ..World::default()
    };
    let row = |name: &str, client: Client, places: &[Place], evidence: Evidence<'_>, expect: &str| {
        check(
            name,
            &world,
            &Case {
                client,
                reverse: "a.example",
                places,
                from: "a.example",
                evidence,
            },
            expect,
        );
    };
    row("own network", network(A), OUT, Evidence::default(), "SENDER-SUSPENDED at rcpt");
    row("own network, here", network(A), IN, Evidence::default(), "SENDER-SUSPENDED at rcpt");
    row("login", login(A), OUT, Evidence::default(), "SENDER-SUSPENDED at rcpt");
    row(
        "provider, outside",
        provider(Ms),
        OUT,
        Evidence::default(),
        "SENDER-SUSPENDED at rcpt",
    );
    row(
        "provider, here, unproven: perhaps a neighbour",
        provider(Ms),
        IN,
        Evidence::default(),
        "inbound",
    );
    row("provider, here, proven", provider(Ms), IN, secret(), "SENDER-SUSPENDED at dot");
}

#[test]
fn set_up_window_is_narrow() {
    let open = World {
        window: 1,
        ..World::default()
    };
    let run = |places: &'static [Place], size: u64, world: &World| {
        run(
            world,
            &Case {
                client: provider(Provider::Microsoft365),
                reverse: "a.example",
                places,
                from: "a.example",
                evidence: Evidence {
                    size,
                    ..Evidence::default()
                },
            },
        )
    };
    assert_eq!(run(OUT, SETUP_BYTES_MAX, &open), "tenant 1 microsoft365 setup-window");
    assert_eq!(run(OUT, SETUP_BYTES_MAX + 1, &open), "TENANT-UNPROVEN at dot");
    assert_eq!(run(&[Place::Elsewhere, Place::Elsewhere], 10, &open), "TENANT-UNPROVEN at dot");
    assert_eq!(run(OUT, 10, &World::default()), "TENANT-UNPROVEN at dot");
}

#[test]
fn gates_by_place() {
    let world = World::default();
    let check = |reverse: &str, client: Client, place: Place, expect: Gate| {
        let reverse_domain = (!reverse.is_empty()).then(|| domain(reverse));
        let course = course(&client, reverse_domain.as_ref().map_or(Reverse::Null, Reverse::Domain), &world);
        assert_eq!(gate(&course, &client, place), expect, "{reverse} {client:?} {place:?}");
    };
    check("other.example", stranger(), Place::Registered, Gate::Inbound);
    check("a.example", network(A), Place::Registered, Gate::Outbound);
    check("a.example", network(A), Place::Accepted, Gate::Outbound);
    check("a.example", provider(Provider::Microsoft365), Place::Accepted, Gate::Inbound);
    check("a.example", provider(Provider::Microsoft365), Place::Registered, Gate::Outbound);
    check("", login(A), Place::Accepted, Gate::Outbound);
}
