use super::*;
use config::document::{OutboundLevel, OutboundRoute, PeerOutbound, RouteTarget, ServerTls};
use config::{DomainState, LiveDomain, LiveTenant, TenantDocument, TenantState};
use mail::{Domain, LaneId, Notify, QueueId, Timestamp};
use std::collections::HashMap;
use store::spool::EntryState;
use turn::{Moves, Turned};

fn row(recipient: &str, host: &str, preference: u32) -> InboundServer {
    serde_json::from_value(serde_json::json!({ "recipient": recipient, "host": host, "preference": preference })).unwrap()
}

fn live(domain: DomainDocument, tenant: TenantDocument) -> Live {
    let name = Domain::parse("example.com").unwrap();
    let domain = Arc::new(LiveDomain {
        name: name.clone(),
        state: DomainState::Active,
        settings: domain,
    });
    let tenant = Arc::new(LiveTenant {
        id: TenantId(1),
        name: "t".into(),
        state: TenantState::Active,
        trial_outbound: false,
        revision: 1,
        settings: tenant,
        domains: HashMap::from([(name.clone(), domain.clone())]),
    });
    Live {
        tenants: HashMap::from([(TenantId(1), tenant.clone())]),
        domains: HashMap::from([(name, (tenant, domain))]),
        ..Live::default()
    }
}

fn entry(recipient: &str) -> Entry {
    Entry {
        queue_id: QueueId::from_i64(1),
        number: 0,
        tenant: TenantId(1),
        lane: LaneId(1),
        recipient: Address::parse(recipient).unwrap(),
        orcpt: None,
        notify: Notify::Default,
        variant: 0,
        state: EntryState::Queued,
        due: Timestamp(0),
        expires_at: Timestamp(1),
        delay_notice_at: None,
        attempts: 0,
        reason: None,
        last_reply: None,
        forced_next_hop: None,
    }
}

fn rows(list: &[(&str, &str, u32)]) -> DomainDocument {
    DomainDocument {
        inbound_servers: list.iter().map(|(r, h, p)| row(r, h, *p)).collect(),
        ..DomainDocument::default()
    }
}

/// Hosts in the order of trying, for one message after the other.
fn orders(live: &Live, turns: &Turns, recipient: &str, messages: usize) -> Vec<String> {
    (0..messages)
        .map(|_| match plan(live, Direction::Inbound, None, &entry(recipient)) {
            Plan::Rows(rows) => {
                let hosts: Vec<String> = candidates(live, &rows, turns, &mut Turned::new(Moves::Once))
                    .iter()
                    .map(|c| c.host.clone())
                    .collect();
                hosts.join(" ")
            }
            other => format!("{other:?}"),
        })
        .collect()
}

fn reference_rows() -> DomainDocument {
    rows(&[
        ("*", "192.0.2.1", 20),
        ("john", "203.0.113.1", 10),
        ("sophie", "203.0.113.2", 20),
        ("taro", "198.51.100.1", 50),
    ])
}

#[test]
fn reference_cases_of_4_3() {
    let live = live(reference_rows(), TenantDocument::default());
    let turns = Turns::default();
    let check = |recipient: &str, expect: &[&str]| assert_eq!(orders(&live, &turns, recipient, expect.len()), expect, "{recipient}");
    check("john@example.com", &["203.0.113.1 192.0.2.1"]);
    // A, C, A, C; the other of the two follows at once when one is down.
    check(
        "sophie@example.com",
        &[
            "192.0.2.1 203.0.113.2",
            "203.0.113.2 192.0.2.1",
            "192.0.2.1 203.0.113.2",
            "203.0.113.2 192.0.2.1",
        ],
    );
    check("taro@example.com", &["192.0.2.1 198.51.100.1"]);
    check("hanako@example.com", &["192.0.2.1"]);
}

#[test]
fn preferences_and_turns_of_star_rows() {
    let turns = Turns::default();
    let three = live(
        rows(&[("*", "m1", 10), ("*", "m2", 20), ("*", "m3", 30)]),
        TenantDocument::default(),
    );
    assert_eq!(orders(&three, &turns, "any@example.com", 2), ["m1 m2 m3", "m1 m2 m3"]);
    let two = live(rows(&[("*", "m1", 10), ("*", "m2", 10)]), TenantDocument::default());
    assert_eq!(
        orders(&two, &Turns::default(), "any@example.com", 4),
        ["m1 m2", "m2 m1", "m1 m2", "m2 m1"]
    );
}

#[test]
fn the_counter_moves_once_per_message_and_not_at_retries() {
    let live = live(reference_rows(), TenantDocument::default());
    let turns = Turns::default();
    let order = |turned: &mut Turned| match plan(&live, Direction::Inbound, None, &entry("sophie@example.com")) {
        Plan::Rows(rows) => candidates(&live, &rows, &turns, turned).first().map(|c| c.host.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    let mut message = Turned::new(Moves::Once);
    assert_eq!((order(&mut message), order(&mut message)), ("192.0.2.1".into(), "192.0.2.1".into()));
    assert_eq!(order(&mut Turned::new(Moves::Not)), "203.0.113.2");
    assert_eq!(order(&mut Turned::new(Moves::Not)), "203.0.113.2");
    assert_eq!(order(&mut Turned::new(Moves::Once)), "203.0.113.2");
    assert_eq!(order(&mut Turned::new(Moves::Once)), "192.0.2.1");
}

#[test]
fn matching() {
    let mut domain = reference_rows();
    domain.subaddress = Some(SubaddressSeparator::Plus);
    let turns = Turns::default();
    assert_eq!(
        orders(&live(domain.clone(), TenantDocument::default()), &turns, "John+news@example.com", 1),
        ["203.0.113.1 192.0.2.1"]
    );
    domain.subaddress = None;
    assert_eq!(
        orders(&live(domain.clone(), TenantDocument::default()), &turns, "john+news@example.com", 1),
        ["192.0.2.1"]
    );
    // Nothing in a local part is a route.
    assert_eq!(
        orders(
            &live(domain.clone(), TenantDocument::default()),
            &turns,
            "john%other.example@example.com",
            1
        ),
        ["192.0.2.1"]
    );
    domain.route_match = RouteMatch::MostSpecific;
    assert_eq!(
        orders(&live(domain.clone(), TenantDocument::default()), &turns, "taro@example.com", 2),
        ["198.51.100.1 192.0.2.1"; 2]
    );
    domain.inbound_servers[0].enabled = false;
    assert_eq!(
        orders(&live(domain, TenantDocument::default()), &turns, "hanako@example.com", 1),
        ["NoRoute"]
    );
}

#[test]
fn recipients_with_the_same_candidates_have_equal_plans() {
    let live = live(reference_rows(), TenantDocument::default());
    let of = |r: &str| plan(&live, Direction::Inbound, None, &entry(r));
    assert_eq!(of("a@example.com"), of("b@example.com"));
    assert_ne!(of("a@example.com"), of("john@example.com"));
    assert_eq!(of("a@elsewhere.example"), Plan::NoRoute);
}

#[test]
fn forced_next_hops() {
    let check =
        |text: &str, expect: Option<(&str, u16)>| assert_eq!(parse_next_hop(text), expect.map(|(h, p)| (h.to_owned(), p)), "{text}");
    check("mx.example:2525", Some(("mx.example", 2525)));
    check("mx.example", Some(("mx.example", 25)));
    check("[2001:db8::1]:25", Some(("2001:db8::1", 25)));
    check("192.0.2.1:25", Some(("192.0.2.1", 25)));
    for bad in ["", ":25", "mx.example:0", "mx.example:x", "[zz]:25", "a b:25", "2001:db8::1"] {
        check(bad, None);
    }
}

#[test]
fn a_forced_next_hop_keeps_the_protection() {
    let of = |tls: ServerTls| {
        let mut domain = reference_rows();
        for row in &mut domain.inbound_servers {
            row.tls = tls;
        }
        let live = live(domain, TenantDocument::default());
        let forced = Entry {
            forced_next_hop: Some("other.example:25".into()),
            ..entry("a@example.com")
        };
        match plan(&live, Direction::Inbound, None, &forced) {
            Plan::Forced(candidate) => candidate.tls.level.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of(ServerTls::None), TlsLevel::Opportunistic);
    assert_eq!(of(ServerTls::Encrypted), TlsLevel::Encrypted);
    assert_eq!(of(ServerTls::Verified), TlsLevel::Verified);
    assert_eq!(of(ServerTls::Pinned), TlsLevel::Verified);
}

#[test]
fn outbound_rows_by_specificity() {
    let smarthost = |host: &str| RouteTarget::Smarthost {
        host: host.into(),
        port: 587,
        tls: OutboundLevel::Mandatory,
        pins: Vec::new(),
        auth: None,
    };
    let route = |domain: &str, target| OutboundRoute {
        domain: domain.into(),
        target,
        source_addresses: Vec::new(),
    };
    let peer = |domain: &str, level, enabled| PeerOutbound {
        domain: domain.into(),
        level,
        pins: Vec::new(),
        enabled,
    };
    let tenant = TenantDocument {
        outbound_routes: vec![route("*", smarthost("relay.t")), route("direct.example", RouteTarget::Mx)],
        peer_outbound: vec![
            peer("*", OutboundLevel::Mandatory, false),
            peer("direct.example", OutboundLevel::Verified, true),
        ],
        ..TenantDocument::default()
    };
    let domain = DomainDocument {
        outbound_routes: vec![route("*", smarthost("relay.d"))],
        ..DomainDocument::default()
    };
    let live = live(domain, tenant);
    let of = |sender: Option<&str>, recipient: &str| match plan(&live, Direction::Outbound, sender, &entry(recipient)) {
        Plan::Outbound(OutboundPlan::Smarthost(c)) => format!("{} {}", c.host, c.tls.source),
        Plan::Outbound(OutboundPlan::Mx { domain, tls, .. }) => format!("mx {domain} {}", tls.source),
        other => format!("{other:?}"),
    };
    assert_eq!(of(Some("example.com"), "a@x.example"), "relay.d encrypted by route *");
    assert_eq!(of(None, "a@x.example"), "relay.t encrypted by route *");
    assert_eq!(
        of(Some("example.com"), "a@direct.example"),
        "mx direct.example verified by peer direct.example"
    );
}

#[test]
fn ranks() {
    let check =
        |pattern: &str, domain: &str, expect: bool| assert_eq!(super::outbound::matches(pattern, domain), expect, "{pattern} {domain}");
    check("*", "a.example", true);
    check("a.example", "a.example", true);
    check(".example", "a.example", true);
    check(".example", "example", false);
    check("b.example", "a.example", false);
    check("", "a.example", false);
}
