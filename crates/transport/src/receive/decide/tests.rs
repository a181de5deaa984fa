use super::*;
use crate::inbound::transaction::Traces;
use config::document::TenantDocument;
use config::{DomainDocument, DomainState, Live, TenantState};
use mail::mime::{Limits, Scanner};
use mail::{Address, Disposition, Domain, MailParams, Notify, ReversePath};
use policy::admission::{Client, Course, OwnSource};
use std::collections::HashMap;

fn tenant(id: i64, domain: &str, bytes_max: Option<u64>) -> (Arc<LiveTenant>, Arc<LiveDomain>) {
    let name = Domain::parse(domain).unwrap();
    let mut settings = DomainDocument::default();
    settings.limits.message_bytes_max = bytes_max;
    let domain = Arc::new(LiveDomain {
        name: name.clone(),
        state: DomainState::Active,
        settings,
    });
    let tenant = LiveTenant {
        id: TenantId(id),
        name: format!("t{id}"),
        state: TenantState::Active,
        trial_outbound: false,
        revision: 7,
        settings: TenantDocument::default(),
        domains: HashMap::from([(name, Arc::clone(&domain))]),
    };
    (Arc::new(tenant), domain)
}

fn recipient(address: &str) -> Recipient {
    Recipient {
        address: Address::parse(address).unwrap(),
        notify: Notify::Default,
        orcpt: None,
    }
}

fn taken(address: &str, owner: Option<(Arc<LiveTenant>, Arc<LiveDomain>)>) -> Taken {
    let is_accepted = owner.is_some();
    Taken {
        recipient: recipient(address),
        contacts: Vec::new(),
        owner,
        is_accepted,
        check: "none".into(),
    }
}

fn transaction(recipients: Vec<Taken>) -> Transaction {
    Transaction {
        live: Arc::new(Live::default()),
        index: Arc::default(),
        client: Client::default(),
        reverse_path: ReversePath::parse("u@a.example").unwrap(),
        params: MailParams::default(),
        course: Course::Inbound {
            otherwise: Reason::NoDomain,
        },
        sender_missing: false,
        recipients,
        traces: Traces::default(),
    }
}

fn facts(message: &[u8], limits: Limits) -> Facts {
    let mut scanner = Scanner::new(limits, &[PROOF_HEADER, PROVIDER_TENANT_HEADER]);
    scanner.push(message);
    scanner.finish()
}

fn plain() -> Facts {
    facts(b"From: u@a.example\r\n\r\nhi\r\n", Limits::default())
}

fn over_limit() -> Facts {
    facts(
        b"From: u@a.example\r\nA: 1\r\nB: 2\r\n\r\nhi\r\n",
        Limits {
            fields_max: 2,
            ..Limits::default()
        },
    )
}

fn inbound() -> Admitted {
    Admitted {
        way: Way::Inbound,
        edits: Vec::new(),
    }
}

fn outbound(tenant: &Arc<LiveTenant>) -> Admitted {
    Admitted {
        way: Way::Outbound {
            tenant: Arc::clone(tenant),
            source: Source::Own(OwnSource::Network),
            proof: Proof::Address,
        },
        edits: Vec::new(),
    }
}

/// Parcels as `tenant direction: recipient disposition reason, …`, or the refusal.
fn told(outcome: Result<Vec<Parcel>, Refused>) -> Vec<String> {
    match outcome {
        Err(refused) => vec![format!("refused {}", refused.refusal.reason)],
        Ok(parcels) => parcels
            .iter()
            .map(|p| {
                let copies: Vec<String> = p
                    .copies
                    .iter()
                    .map(|c| match (c.fate.disposition, c.fate.reason) {
                        (Disposition::Relay, None) => c.recipient.address.to_string(),
                        (disposition, reason) => format!("{} {disposition:?} {}", c.recipient.address, reason.map_or("-", Reason::as_str)),
                    })
                    .collect();
                format!("{} {:?}: {}", p.tenant.id.0, p.direction, copies.join(", "))
            })
            .collect(),
    }
}

#[test]
fn a_message_for_two_tenants_becomes_two() {
    let (a, b) = (tenant(1, "a.example", None), tenant(2, "b.example", None));
    let t = transaction(vec![
        taken("x@a.example", Some(a.clone())),
        taken("y@b.example", Some(b)),
        taken("z@a.example", Some(a)),
    ]);
    assert_eq!(
        told(run(&t, &inbound(), &plain(), 10)),
        ["1 Inbound: x@a.example, z@a.example", "2 Inbound: y@b.example"]
    );
}

#[test]
fn outbound_mail_is_the_senders_whoever_receives() {
    let (a, b) = (tenant(1, "a.example", None), tenant(2, "b.example", None));
    let t = transaction(vec![taken("y@b.example", Some(b)), taken("z@far.example", None)]);
    assert_eq!(
        told(run(&t, &outbound(&a.0), &plain(), 10)),
        ["1 Outbound: y@b.example, z@far.example"]
    );
}

#[test]
fn contacts_stand_in_inbound_and_stay_unseen_by_senders() {
    let (a, b) = (tenant(1, "a.example", None), tenant(2, "b.example", None));
    let mut postmaster = taken("postmaster@b.example", Some(b));
    postmaster.contacts = vec![recipient("it@b.example"), recipient("noc@far.example")];
    let t = transaction(vec![postmaster]);
    assert_eq!(
        told(run(&t, &inbound(), &plain(), 10)),
        ["2 Inbound: it@b.example", "2 Internal: noc@far.example"]
    );
    assert_eq!(told(run(&t, &outbound(&a.0), &plain(), 10)), ["1 Outbound: postmaster@b.example"]);
}

#[test]
fn refused_only_when_every_recipient_agrees() {
    let (small, large) = (tenant(1, "a.example", Some(100)), tenant(2, "b.example", Some(1_000)));
    let both = transaction(vec![taken("x@a.example", Some(small)), taken("y@b.example", Some(large))]);
    assert_eq!(
        told(run(&both, &inbound(), &plain(), 100)),
        ["1 Inbound: x@a.example", "2 Inbound: y@b.example"]
    );
    assert_eq!(
        told(run(&both, &inbound(), &plain(), 101)),
        ["1 Inbound: x@a.example Hold REJECT-NOT-POSSIBLE", "2 Inbound: y@b.example"]
    );
    assert_eq!(told(run(&both, &inbound(), &plain(), 1_001)), ["refused SIZE"]);
}

#[test]
fn over_a_limit_of_the_header_section() {
    let a = tenant(1, "a.example", None);
    let t = transaction(vec![taken("x@a.example", Some(a.clone()))]);
    assert_eq!(told(run(&t, &inbound(), &over_limit(), 10)), ["refused MALFORMED"]);
    assert_eq!(
        told(run(&t, &outbound(&a.0), &over_limit(), 10)),
        ["1 Outbound: x@a.example Hold MALFORMED"]
    );
    let deep = facts(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\n",
        Limits {
            parts_max: 1,
            ..Limits::default()
        },
    );
    assert_eq!(
        told(run(&t, &outbound(&a.0), &deep, 10)),
        ["1 Outbound: x@a.example Hold TOO-MANY-MIME"]
    );
}

#[test]
fn a_proof_header_twice_proves_nothing_and_leaves_in_any_case() {
    let once = facts(b"X-Mitsuke-Proof: s\r\nFrom: u@a.example\r\n\r\nhi\r\n", Limits::default());
    assert_eq!(only(&once, PROOF_HEADER).map(|w| w.value.as_str()), Some("s"));
    assert_eq!(
        removed(&once),
        [Edit {
            from: 0,
            to: 20,
            insert: String::new()
        }]
    );
    let twice = facts(
        b"X-Mitsuke-Proof: s\r\nFrom: u@a.example\r\nx-mitsuke-proof: s\r\n\r\nhi\r\n",
        Limits::default(),
    );
    assert_eq!(only(&twice, PROOF_HEADER), None);
    assert_eq!(removed(&twice).len(), 2);
    assert_eq!(only(&plain(), PROOF_HEADER), None);
}
