//! The control plane's part of the contract.

use mail::{Domain, TenantId, Timestamp};
use std::time::Duration;
use store::control::domain::{self, DomainState, VerifiedBy};
use store::control::recipient::{self, Found, Guard, Import, ImportMode, RecipientRow};
use store::control::revision::{self, Save};
use store::control::tenant::{self, Ceilings, NewTenant, TenantState};
use store::control::{ControlError, api_key, audit, installation, job, live, pause, proof};
use store::sql::Tx;
use store::{Store, StoreError};

const T0: Timestamp = Timestamp(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn at(seconds: u64) -> Timestamp {
    T0.after(Duration::from_secs(seconds))
}

fn name(text: &str) -> Domain {
    text.parse().unwrap()
}

async fn write<T: Send + 'static>(store: &Store, job: impl FnOnce(&mut dyn Tx) -> Result<T, ControlError> + Send + 'static) -> T {
    store.write(job).await.unwrap()
}

async fn refused<T: Send + 'static>(
    store: &Store,
    job: impl FnOnce(&mut dyn Tx) -> Result<T, ControlError> + Send + 'static,
) -> ControlError {
    store.write(job).await.err().expect("this should be refused")
}

async fn tenants(store: &Store) -> (TenantId, TenantId) {
    let make = |name: &str| NewTenant {
        name: name.into(),
        title: name.into(),
        state: TenantState::Active,
        ceilings: Ceilings::default(),
    };
    let (a, b) = (make("acme"), make("bolt"));
    write(store, move |tx| {
        Ok((tenant::create(tx, &a, "test", T0)?.id, tenant::create(tx, &b, "test", T0)?.id))
    })
    .await
}

/// Runs every statement of the control plane once, with parameters that match nothing: it prepares on this engine.
pub(crate) async fn every_control_statement_prepares(store: Store) {
    for (what, text) in store::control::statements() {
        let outcome: Result<(), StoreError> = store
            .write(move |tx| {
                // Wrong numbers of parameters are told only after the statement was prepared.
                let prepared = tx.query(text, &[]);
                match prepared {
                    Ok(_) => Err(StoreError::Unknown),
                    Err(error) => Err(error),
                }
            })
            .await;
        let error = outcome.unwrap_err().to_string().to_lowercase();
        let says_syntax = ["syntax", "no such", "does not exist", "could not determine", "ambiguous"]
            .iter()
            .any(|w| error.contains(w));
        assert!(!says_syntax, "{what}: {error}");
    }
}

pub(crate) async fn tenants_are_kept(store: Store) {
    let (a, b) = tenants(&store).await;
    assert!(a.0 > 0 && b.0 > a.0);
    for bad in ["", "a", "1abc", "Acme", "a_b", "-a", &"a".repeat(33)] {
        let new = NewTenant {
            name: bad.into(),
            title: String::new(),
            state: TenantState::Trial,
            ceilings: Ceilings::default(),
        };
        assert!(
            matches!(
                refused(&store, move |tx| tenant::create(tx, &new, "test", T0)).await,
                ControlError::Malformed(_)
            ),
            "{bad}"
        );
    }
    let again = NewTenant {
        name: "acme".into(),
        title: String::new(),
        state: TenantState::Trial,
        ceilings: Ceilings::default(),
    };
    assert!(matches!(
        refused(&store, move |tx| tenant::create(tx, &again, "test", T0)).await,
        ControlError::Exists(_)
    ));
    write(&store, move |tx| {
        tenant::set_state(tx, b, TenantState::Closing, "left", Some(at(60)))
    })
    .await;
    let closed = write(&store, |tx| tenant::closed_by(tx, at(59), 10)).await;
    assert_eq!(closed, []);
    assert_eq!(write(&store, |tx| tenant::closed_by(tx, at(60), 10)).await, [b]);
    let change = tenant::TenantChange {
        title: "ACME 株式会社".into(),
        trial_outbound: true,
        ceilings: Ceilings {
            domains_max: Some(1),
            ..Ceilings::default()
        },
    };
    let kept = write(&store, move |tx| tenant::update(tx, a, &change).and_then(|()| tenant::get(tx, a))).await;
    assert_eq!(
        (kept.title.as_str(), kept.trial_outbound, kept.ceilings.domains_max),
        ("ACME 株式会社", true, Some(1))
    );
    let page = write(&store, move |tx| tenant::page(tx, Some(a), 10)).await;
    assert_eq!(page.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["bolt"]);
    assert!(matches!(
        refused(&store, |tx| tenant::get(tx, TenantId(99))).await,
        ControlError::NotFound(_)
    ));
    write(&store, move |tx| tenant::set_state(tx, b, TenantState::Deleted, "", None)).await;
    assert!(matches!(
        refused(&store, move |tx| tenant::set_state(tx, b, TenantState::Active, "", None)).await,
        ControlError::WrongState(_)
    ));
    assert!(store.read(move |tx| live::load(tx, b)).await.unwrap().is_none());
}

pub(crate) async fn revisions_refuse_the_later_editor(store: Store) {
    let (a, _) = tenants(&store).await;
    let save = |base: i64, document: &'static str, when: Timestamp| {
        move |tx: &mut dyn Tx| {
            revision::save(
                tx,
                &Save {
                    tenant: a,
                    base,
                    document,
                    actor: "ann",
                    reason: "why",
                    at: when,
                },
            )
            .map_err(ControlError::from)
        }
    };
    assert_eq!(write(&store, save(1, r#"{"language":"en"}"#, at(1))).await, 2);
    let error = refused(&store, save(1, "{}", at(2))).await;
    assert!(
        matches!(error, ControlError::Store(StoreError::Conflict { current: 2 })),
        "{error:?}"
    );
    assert_eq!(write(&store, save(2, r#"{"language":"ja"}"#, at(3))).await, 3);
    let newest = store.read(move |tx| revision::newest(tx, a)).await.unwrap();
    assert_eq!(
        (newest.number, newest.document.as_str(), newest.actor.as_str()),
        (3, r#"{"language":"ja"}"#, "ann")
    );
    assert_eq!(
        write(&store, move |tx| revision::get(tx, a, 2)).await.document,
        r#"{"language":"en"}"#
    );
    let numbers: Vec<i64> = store
        .read(move |tx| revision::page(tx, a, Some(3), 10))
        .await
        .unwrap()
        .iter()
        .map(|r| r.number)
        .collect();
    assert_eq!(numbers, [2, 1]);
    let system = store.read(|tx| revision::newest(tx, TenantId::OPERATOR)).await.unwrap();
    assert_eq!((system.number, system.document.as_str()), (0, "{}"));
    store.write(|tx| revision::expire(tx, at(2).after(revision::KEPT))).await.unwrap();
    let left: Vec<i64> = store
        .read(move |tx| revision::page(tx, a, None, 10))
        .await
        .unwrap()
        .iter()
        .map(|r| r.number)
        .collect();
    assert_eq!(left, [3]);
    store.write(|tx| revision::expire(tx, at(100).after(revision::KEPT))).await.unwrap();
    assert_eq!(store.read(move |tx| revision::newest(tx, a)).await.unwrap().number, 3);
}

pub(crate) async fn changes_are_seen_once_and_in_order(store: Store) {
    let (a, b) = tenants(&store).await;
    let start = store.read(live::generation).await.unwrap();
    let none = store.read(move |tx| live::changes_since(tx, start)).await.unwrap();
    assert_eq!((none.generation, none.tenants), (start, vec![]));
    write(&store, move |tx| domain::claim(tx, b, &name("b.example"), T0, DAY)).await;
    write(&store, move |tx| tenant::set_state(tx, a, TenantState::Suspended, "", None)).await;
    write(&store, |tx| {
        Ok(revision::save(
            tx,
            &Save {
                tenant: TenantId::OPERATOR,
                base: 0,
                document: "{}",
                actor: "op",
                reason: "",
                at: T0,
            },
        )?)
    })
    .await;
    let changes = store.read(move |tx| live::changes_since(tx, start)).await.unwrap();
    assert_eq!(changes.tenants, [b, a, TenantId::OPERATOR]);
    let again = store.read(move |tx| live::changes_since(tx, changes.generation)).await.unwrap();
    assert_eq!(again.tenants, []);
    let snapshot = store.read(move |tx| live::load(tx, b)).await.unwrap().unwrap();
    assert_eq!((snapshot.settings.number, snapshot.domains.len()), (1, 1));
}

pub(crate) async fn the_first_to_prove_gets_the_name(store: Store) {
    let (a, b) = tenants(&store).await;
    let d = || name("a.example");
    let first = write(&store, move |tx| domain::claim(tx, a, &d(), T0, 30 * DAY)).await;
    let second = write(&store, move |tx| domain::claim(tx, b, &d(), at(1), 30 * DAY)).await;
    assert_eq!((first.state, first.lapses_at), (DomainState::Unverified, Some(T0.after(30 * DAY))));
    assert!(first.token.len() == 32 && first.token.bytes().all(|c| c.is_ascii_alphanumeric()) && first.token != second.token);
    assert!(matches!(
        refused(&store, move |tx| domain::claim(tx, a, &d(), T0, DAY)).await,
        ControlError::Exists(_)
    ));
    let document = r#"{"language":"en","domains":{"a.example":{"disabled":false},"b.example":{}}}"#;
    write(&store, move |tx| {
        Ok(revision::save(
            tx,
            &Save {
                tenant: a,
                base: 1,
                document,
                actor: "x",
                reason: "",
                at: T0,
            },
        )?)
    })
    .await;
    let losers = write(&store, move |tx| domain::verify(tx, b, &d(), VerifiedBy::Txt, None, at(2))).await;
    assert_eq!(losers, [a]);
    assert_eq!(store.read(move |tx| domain::get(tx, a, &d())).await.unwrap(), None);
    let rest: serde_json::Value = serde_json::from_str(&store.read(move |tx| revision::newest(tx, a)).await.unwrap().document).unwrap();
    assert_eq!(rest, serde_json::json!({"language": "en", "domains": {"b.example": {}}}));
    assert!(matches!(
        refused(&store, move |tx| domain::claim(tx, a, &d(), at(3), DAY)).await,
        ControlError::AlreadyManaged
    ));
    assert!(matches!(
        refused(&store, move |tx| domain::verify(tx, b, &d(), VerifiedBy::Mx, None, at(3))).await,
        ControlError::WrongState(_)
    ));
    assert!(matches!(
        refused(&store, move |tx| domain::verify(tx, a, &d(), VerifiedBy::Mx, None, at(3))).await,
        ControlError::NotFound(_)
    ));
    write(&store, move |tx| domain::set_state(tx, b, &d(), DomainState::Active)).await;
    let held = store.read(move |tx| domain::get(tx, b, &d())).await.unwrap().unwrap();
    assert_eq!(
        (held.state, held.verified_by, held.verified_at, held.lapses_at),
        (DomainState::Active, Some(VerifiedBy::Txt), Some(at(2)), None)
    );
}

/// Whatever the callers look at first, the index lets one tenant have a name.
pub(crate) async fn two_tenants_that_prove_at_once(store: Store) {
    let (a, b) = tenants(&store).await;
    let d = || name("a.example");
    write(&store, move |tx| domain::claim(tx, a, &d(), T0, DAY)).await;
    write(&store, move |tx| domain::claim(tx, b, &d(), T0, DAY)).await;
    let prove = |who: TenantId| store.write(move |tx| domain::verify(tx, who, &d(), VerifiedBy::Txt, None, T0));
    let (one, two) = tokio::join!(prove(a), prove(b));
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "{one:?} {two:?}");
    let left = store.read(move |tx| domain::claims_on(tx, &d())).await.unwrap();
    assert_eq!((left.len(), left[0].state), (1, DomainState::Verified));
}

pub(crate) async fn claims_lapse_and_domains_end_with_grace(store: Store) {
    let (a, b) = tenants(&store).await;
    let d = || name("a.example");
    write(&store, move |tx| domain::claim(tx, a, &d(), T0, DAY)).await;
    assert!(!store.write(move |tx| domain::lapse(tx, a, &d(), at(86_399))).await.unwrap());
    assert!(store.write(move |tx| domain::lapse(tx, a, &d(), at(86_400))).await.unwrap());
    write(&store, move |tx| domain::claim(tx, a, &d(), T0, DAY)).await;
    write(&store, move |tx| {
        domain::verify(tx, a, &d(), VerifiedBy::Operator, Some("seen the contract"), T0)
    })
    .await;
    assert!(!store.write(move |tx| domain::lapse(tx, a, &d(), at(999_999))).await.unwrap());
    let row = RecipientRow::new("ann");
    write(&store, move |tx| {
        recipient::import(tx, &import(a, vec![row], ImportMode::Replace, T0))
    })
    .await;
    let state = write(&store, move |tx| domain::begin_deletion(tx, a, &d(), at(60), T0)).await;
    assert_eq!(state, Some(DomainState::Deleting));
    // Held until the end of the grace.
    assert!(matches!(
        refused(&store, move |tx| domain::claim(tx, b, &d(), T0, DAY)).await,
        ControlError::AlreadyManaged
    ));
    assert!(matches!(
        refused(&store, move |tx| domain::begin_deletion(tx, a, &d(), at(60), T0)).await,
        ControlError::WrongState(_)
    ));
    write(&store, move |tx| domain::restore(tx, a, &d(), at(1))).await;
    let restored = store.read(move |tx| domain::get(tx, a, &d())).await.unwrap().unwrap();
    assert_eq!(
        (restored.state, restored.purge_at, restored.verified_reason.as_deref()),
        (DomainState::Verified, None, Some("seen the contract"))
    );
    assert!(matches!(
        refused(&store, move |tx| domain::restore(tx, a, &d(), at(1))).await,
        ControlError::WrongState(_)
    ));
    write(&store, move |tx| domain::begin_deletion(tx, a, &d(), at(60), at(2))).await;
    store.write(move |tx| domain::purge(tx, a, &d(), at(60))).await.unwrap();
    assert_eq!(store.read(move |tx| recipient::newest_list(tx, a, &d())).await.unwrap(), None);
    assert_eq!(store.read(move |tx| recipient::page(tx, a, &d(), None, 10)).await.unwrap(), []);
    write(&store, move |tx| domain::claim(tx, b, &d(), at(61), DAY)).await;
    // An unproven claim needs no grace.
    assert_eq!(
        write(&store, move |tx| domain::begin_deletion(tx, b, &d(), at(99), at(61))).await,
        None
    );
}

pub(crate) async fn looks_at_claims_are_bounded(store: Store) {
    let (a, b) = tenants(&store).await;
    let d = || name("a.example");
    let claim = write(&store, move |tx| domain::claim(tx, a, &d(), T0, DAY)).await;
    assert_eq!(store.read(|tx| domain::due(tx, T0, 10)).await.unwrap().len(), 1);
    let taken = claim.clone();
    assert!(store.write(move |tx| domain::take(tx, &taken, at(120))).await.unwrap());
    let taken = claim.clone();
    assert!(
        !store.write(move |tx| domain::take(tx, &taken, at(121))).await.unwrap(),
        "taken twice"
    );
    assert_eq!(store.read(domain::next_due).await.unwrap(), Some(at(120)));
    let looked = claim.clone();
    store
        .write(move |tx| domain::checked(tx, &looked, r#"{"n":1}"#, at(1), at(61)))
        .await
        .unwrap();
    let kept = store.read(move |tx| domain::get(tx, a, &d())).await.unwrap().unwrap();
    assert_eq!(
        (kept.checked_at, kept.due_at, kept.report.as_str()),
        (Some(at(1)), at(61), r#"{"n":1}"#)
    );
    for (second, expect) in [(10, true), (15, false), (19, false), (20, true)] {
        assert_eq!(
            write(&store, move |tx| domain::check_now(tx, a, &d(), at(second))).await,
            expect,
            "asked at {second}"
        );
    }
    assert!(matches!(
        refused(&store, move |tx| domain::check_now(tx, b, &d(), at(99))).await,
        ControlError::NotFound(_)
    ));
    let looked = claim;
    store
        .write(move |tx| domain::checked(tx, &looked, "{}", at(100), at(700)))
        .await
        .unwrap();
    assert!(!store.write(move |tx| domain::nudge(tx, &d(), at(159))).await.unwrap());
    assert!(store.write(move |tx| domain::nudge(tx, &d(), at(160))).await.unwrap());
    let old = store.read(move |tx| domain::get(tx, a, &d())).await.unwrap().unwrap().token;
    assert_ne!(write(&store, move |tx| domain::new_token(tx, a, &d(), at(170))).await, old);
}

pub(crate) async fn ceilings_hold(store: Store) {
    let (a, _) = tenants(&store).await;
    let ceilings = Ceilings {
        domains_max: Some(1),
        addresses_max: Some(2),
        storage_max: None,
    };
    let change = tenant::TenantChange {
        title: "a".into(),
        trial_outbound: false,
        ceilings,
    };
    write(&store, move |tx| tenant::update(tx, a, &change)).await;
    write(&store, move |tx| domain::claim(tx, a, &name("a.example"), T0, DAY)).await;
    let error = refused(&store, move |tx| domain::claim(tx, a, &name("b.example"), T0, DAY)).await;
    assert!(matches!(error, ControlError::LimitReached { limit: 1, .. }), "{error:?}");
    let rows = |n: u32| (0..n).map(|i| RecipientRow::new(format!("u{i}"))).collect::<Vec<_>>();
    write(&store, move |tx| {
        recipient::import(tx, &import(a, rows(2), ImportMode::Replace, T0))
    })
    .await;
    let error = refused(&store, move |tx| {
        recipient::import(tx, &import(a, rows(3), ImportMode::Replace, T0))
    })
    .await;
    assert!(matches!(error, ControlError::LimitReached { limit: 2, .. }), "{error:?}");
}

fn import(tenant: TenantId, rows: Vec<RecipientRow>, mode: ImportMode, at: Timestamp) -> Import {
    Import {
        tenant,
        domain: name("a.example"),
        rows,
        lines: Vec::new(),
        mode,
        guard: Guard::Percent(10),
        actor: "ann".into(),
        origin: "staff.csv".into(),
        at,
    }
}

fn rows(locals: &[&str]) -> Vec<RecipientRow> {
    locals.iter().map(|l| RecipientRow::new(*l)).collect()
}

async fn found(store: &Store, tenant: TenantId, local: &'static str, grace_days: u32, now: Timestamp) -> Found {
    let grace = grace_days * DAY;
    store
        .read(move |tx| recipient::exists(tx, tenant, &name("a.example"), local, grace, now))
        .await
        .unwrap()
        .found
}

pub(crate) async fn recipient_lists_are_versions(store: Store) {
    let (a, b) = tenants(&store).await;
    assert_eq!(found(&store, a, "ann", 0, T0).await, Found::NoList);
    let ann = RecipientRow {
        aliases: vec!["a.smith".into()],
        groups: vec!["sales".into()],
        display_name: "Ann".into(),
        ..RecipientRow::new("ann")
    };
    let first = vec![
        ann.clone(),
        RecipientRow {
            enabled: false,
            ..RecipientRow::new("off")
        },
        RecipientRow::new("taro"),
    ];
    let made = write(&store, move |tx| recipient::import(tx, &import(a, first, ImportMode::Replace, T0))).await;
    assert_eq!((made.version, made.difference.added), (1, 3));
    for (local, expect) in [
        ("ann", Found::Listed),
        ("a.smith", Found::Listed),
        ("off", Found::Missing),
        ("nobody", Found::Missing),
    ] {
        assert_eq!(found(&store, a, local, 0, at(10)).await, expect, "{local}");
    }
    // Another tenant's list says nothing.
    assert_eq!(found(&store, b, "ann", 0, T0).await, Found::NoList);
    let answer = store
        .read(move |tx| recipient::exists(tx, a, &name("a.example"), "ann", DAY, at(10)))
        .await
        .unwrap();
    assert_eq!(answer.list_age, Some(Duration::from_secs(10)));
    // Merge: taro stays, ann loses her alias, hanako comes.
    let merged = vec![
        RecipientRow {
            aliases: Vec::new(),
            ..ann.clone()
        },
        RecipientRow::new("hanako"),
    ];
    let made = write(&store, move |tx| {
        recipient::import(tx, &import(a, merged, ImportMode::Merge, at(100)))
    })
    .await;
    assert_eq!(
        (made.version, made.difference),
        (
            2,
            recipient::Difference {
                added: 1,
                removed: 0,
                changed: 1,
                renamed: 0
            }
        )
    );
    assert_eq!(found(&store, a, "a.smith", 0, at(101)).await, Found::Missing);
    assert_eq!(found(&store, a, "a.smith", 1, at(101)).await, Found::InGrace);
    assert_eq!(found(&store, a, "a.smith", 1, at(100 + 86_400)).await, Found::Missing);
    assert_eq!(found(&store, a, "taro", 0, at(101)).await, Found::Listed);
    let page = store
        .read(move |tx| recipient::page(tx, a, &name("a.example"), Some("ann"), 2))
        .await
        .unwrap();
    assert_eq!(page.iter().map(|r| r.local.as_str()).collect::<Vec<_>>(), ["hanako", "off"]);
    // Back to the first version, as a third.
    let made = write(&store, move |tx| recipient::restore(tx, a, &name("a.example"), 1, "ann", at(200))).await;
    assert_eq!(made.version, 3);
    assert_eq!(found(&store, a, "a.smith", 0, at(201)).await, Found::Listed);
    assert_eq!(found(&store, a, "hanako", 0, at(201)).await, Found::Missing);
    let kept = store
        .read(move |tx| recipient::page(tx, a, &name("a.example"), None, 1))
        .await
        .unwrap();
    assert_eq!(kept, [ann]);
    assert!(matches!(
        refused(&store, move |tx| recipient::restore(tx, a, &name("a.example"), 9, "ann", at(201))).await,
        ControlError::NotFound(_)
    ));
    for n in 0..12 {
        write(&store, move |tx| {
            recipient::import(tx, &import(a, rows(&["ann"]), ImportMode::Merge, at(300 + n)))
        })
        .await;
    }
    let versions: Vec<i64> = store
        .read(move |tx| recipient::lists(tx, a, &name("a.example")))
        .await
        .unwrap()
        .iter()
        .map(|l| l.version)
        .collect();
    assert_eq!(versions, (6..=15).rev().collect::<Vec<_>>());
}

pub(crate) async fn imports_are_guarded_and_whole(store: Store) {
    let (a, _) = tenants(&store).await;
    let many = |n: u32| (0..n).map(|i| RecipientRow::new(format!("u{i:04}"))).collect::<Vec<_>>();
    write(&store, move |tx| {
        recipient::import(tx, &import(a, many(300), ImportMode::Replace, T0))
    })
    .await;
    let error = refused(&store, move |tx| {
        recipient::import(tx, &import(a, many(269), ImportMode::Replace, at(1)))
    })
    .await;
    assert!(
        matches!(
            error,
            ControlError::Guarded {
                removed: 31,
                entries: 300,
                percent: 10
            }
        ),
        "{error:?}"
    );
    let seen = write(&store, move |tx| {
        recipient::preview(tx, &import(a, many(269), ImportMode::Replace, at(1)))
    })
    .await;
    assert_eq!(seen.removed, 31);
    assert_eq!(found(&store, a, "u0299", 0, at(1)).await, Found::Listed);
    write(&store, move |tx| {
        recipient::import(tx, &import(a, many(270), ImportMode::Replace, at(2)))
    })
    .await;
    let over = Import {
        guard: Guard::Overridden,
        ..import(a, many(1), ImportMode::Replace, at(3))
    };
    write(&store, move |tx| recipient::import(tx, &over)).await;
    assert_eq!(found(&store, a, "u0001", 0, at(3)).await, Found::Missing);
    // Twenty may always go.
    write(&store, move |tx| {
        recipient::import(tx, &import(a, many(21), ImportMode::Replace, at(4)))
    })
    .await;
    write(&store, move |tx| {
        recipient::import(tx, &import(a, many(1), ImportMode::Replace, at(5)))
    })
    .await;
    assert!(matches!(
        refused(&store, move |tx| recipient::import(
            tx,
            &import(a, vec![], ImportMode::Replace, at(6))
        ))
        .await,
        ControlError::Malformed(_)
    ));
    let wrong = |row: RecipientRow| vec![RecipientRow::new("fine"), row];
    let alias = |aliases: &[&str]| RecipientRow {
        aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
        ..RecipientRow::new("x")
    };
    for row in [
        RecipientRow::new("fine"),
        RecipientRow::new(""),
        RecipientRow::new("Upper"),
        RecipientRow::new("a\0b"),
        alias(&["fine"]),
        alias(&["y", "y"]),
        RecipientRow {
            manager: Some("nobody".into()),
            ..RecipientRow::new("x")
        },
        RecipientRow {
            language: Some("fr".into()),
            ..RecipientRow::new("x")
        },
        RecipientRow {
            display_name: "a\0b".into(),
            ..RecipientRow::new("x")
        },
        RecipientRow {
            display_name: "a".repeat(257),
            ..RecipientRow::new("x")
        },
    ] {
        let list = wrong(row.clone());
        let error = refused(&store, move |tx| {
            recipient::import(tx, &import(a, list, ImportMode::Replace, at(7)))
        })
        .await;
        assert!(
            matches!(&error, ControlError::Rows(p) if p.iter().all(|p| p.row == 2)),
            "{row:?}: {error:?}"
        );
    }
    assert_eq!(found(&store, a, "fine", 0, at(7)).await, Found::Missing);
    // An alias must not take the address of someone whom a merge leaves alone.
    let list = vec![alias(&["u0000"])];
    assert!(matches!(
        refused(&store, move |tx| recipient::import(tx, &import(a, list, ImportMode::Merge, at(8)))).await,
        ControlError::Rows(_)
    ));
    let renamed = vec![RecipientRow {
        aliases: vec!["u0000".into()],
        ..RecipientRow::new("u-new")
    }];
    let made = write(&store, move |tx| {
        recipient::import(tx, &import(a, renamed, ImportMode::Replace, at(9)))
    })
    .await;
    assert_eq!(
        made.difference,
        recipient::Difference {
            added: 0,
            removed: 0,
            changed: 0,
            renamed: 1
        }
    );
    assert_eq!(found(&store, a, "u0000", 0, at(9)).await, Found::Listed);
}

pub(crate) async fn a_plan_holds_for_the_list_it_was_made_for(store: Store) {
    let (a, _) = tenants(&store).await;
    let order = import(a, rows(&["ann", "taro"]), ImportMode::Replace, T0);
    let plan = store.read(move |tx| recipient::plan(tx, &order)).await.unwrap();
    assert_eq!(plan.difference().added, 2);
    assert_eq!(found(&store, a, "ann", 0, T0).await, Found::NoList);
    write(&store, move |tx| {
        recipient::import(tx, &import(a, rows(&["hanako"]), ImportMode::Replace, at(1)))
    })
    .await;
    let error = refused(&store, move |tx| recipient::apply(tx, &plan)).await;
    assert!(
        matches!(error, ControlError::Store(StoreError::Conflict { current: 1 })),
        "{error:?}"
    );
    assert_eq!(found(&store, a, "ann", 0, at(2)).await, Found::Missing);
}

pub(crate) async fn api_keys_are_found_by_hash_alone(store: Store) {
    let (a, b) = tenants(&store).await;
    let new = |hash: u8| api_key::NewApiKey {
        tenant: a,
        name: "script".into(),
        hash: [hash; 32],
        role: "domain-admin".into(),
        domains: Some(vec![name("a.example")]),
        created_by: "ann".into(),
        expires_at: Some(at(60)),
    };
    let (one, two) = (new(1), new(2));
    let key = write(&store, move |tx| api_key::create(tx, one, T0)).await;
    write(&store, move |tx| api_key::create(tx, two, at(1))).await;
    assert_eq!(key.domains, Some(vec![name("a.example")]));
    assert_eq!(
        store.read(|tx| api_key::by_hash(tx, &[1; 32])).await.unwrap().map(|k| k.id),
        Some(key.id.clone())
    );
    assert_eq!(store.read(|tx| api_key::by_hash(tx, &[3; 32])).await.unwrap(), None);
    assert_eq!(
        store
            .read(move |tx| api_key::count_role(tx, a, "domain-admin", at(59)))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        store
            .read(move |tx| api_key::count_role(tx, a, "domain-admin", at(60)))
            .await
            .unwrap(),
        0
    );
    let id = key.id.clone();
    store.write(move |tx| api_key::used(tx, &id, at(5))).await.unwrap();
    let id = key.id.clone();
    assert_eq!(write(&store, move |tx| api_key::get(tx, a, &id)).await.last_used_at, Some(at(5)));
    let after = key.id.clone();
    assert_eq!(store.read(move |tx| api_key::page(tx, a, Some(&after), 10)).await.unwrap().len(), 1);
    let id = key.id.clone();
    assert!(matches!(
        refused(&store, move |tx| api_key::delete(tx, b, &id)).await,
        ControlError::NotFound(_)
    ));
    let id = key.id;
    write(&store, move |tx| api_key::delete(tx, a, &id)).await;
    assert_eq!(store.read(|tx| api_key::by_hash(tx, &[1; 32])).await.unwrap(), None);
}

pub(crate) async fn audit_is_filtered_and_bound_to_its_tenant(store: Store) {
    let (a, b) = tenants(&store).await;
    let entry = |tenant: TenantId, n: u64, action: &str, domain: Option<&str>| audit::AuditEntry {
        actor: "ann".into(),
        client_address: Some("192.0.2.1".into()),
        channel: audit::Channel::Api,
        domain: domain.map(name),
        changes: vec![audit::Change::new("auth.secret", Some("old".into()), Some("new".into())).masked()],
        revision: Some(7),
        reason: "because".into(),
        ..audit::AuditEntry::system(tenant, at(n), action, "domain", "a.example")
    };
    let entries = vec![
        entry(a, 1, "domain.add", Some("a.example")),
        entry(a, 2, "domain.verified", Some("a.example")),
        entry(a, 3, "settings.save", None),
        entry(b, 4, "domain.add", None),
    ];
    let expect = entries[1].clone();
    store
        .write(move |tx| {
            for e in &entries {
                audit::append(tx, e)?;
            }
            // Of one moment: in the order of writing.
            for _ in 0..20 {
                audit::append(tx, &entry(TenantId::OPERATOR, 5, "many", None))?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    let list = |filter: audit::AuditFilter, before: Option<String>| {
        let store = store.clone();
        async move {
            store
                .read(move |tx| audit::page(tx, a, &filter, before.as_deref(), 10))
                .await
                .unwrap()
        }
    };
    let everything = list(audit::AuditFilter::default(), None).await;
    let actions = |list: &[audit::AuditEntry]| list.iter().map(|e| e.action.clone()).collect::<Vec<_>>();
    assert_eq!(actions(&everything), ["settings.save", "domain.verified", "domain.add"]);
    assert_eq!(
        audit::AuditEntry {
            id: String::new(),
            ..everything[1].clone()
        },
        expect
    );
    assert_eq!(everything[1].changes[0].old.as_deref(), Some(audit::MASK));
    let filter = |f: fn(&mut audit::AuditFilter)| {
        let mut filter = audit::AuditFilter::default();
        f(&mut filter);
        filter
    };
    assert_eq!(
        actions(&list(audit::AuditFilter::default(), Some(everything[1].id.clone())).await),
        ["domain.add"]
    );
    assert_eq!(
        actions(&list(filter(|f| f.from = Some(at(2))), None).await),
        ["settings.save", "domain.verified"]
    );
    assert_eq!(actions(&list(filter(|f| f.until = Some(at(2))), None).await), ["domain.add"]);
    assert_eq!(
        actions(&list(filter(|f| f.action = Some("domain.add".into())), None).await),
        ["domain.add"]
    );
    assert_eq!(list(filter(|f| f.domain = Some(name("a.example"))), None).await.len(), 2);
    assert_eq!(list(filter(|f| f.actor = Some("bob".into())), None).await, []);
    assert_eq!(list(filter(|f| f.object_kind = Some("tenant".into())), None).await, []);
    assert_eq!(list(filter(|f| f.object = Some("a.example".into())), None).await.len(), 3);
    let id = everything[0].id.clone();
    assert!(matches!(
        refused(&store, move |tx| audit::get(tx, b, &id)).await,
        ControlError::NotFound(_)
    ));
    assert_eq!(store.write(move |tx| audit::expire(tx, a, at(2))).await.unwrap(), 1);
}

pub(crate) async fn jobs_pauses_and_proofs(store: Store) {
    let (a, b) = tenants(&store).await;
    let id = store
        .write(move |tx| job::create(tx, a, "queue-action", "ann", r#"{"x":1}"#, Some(10), T0))
        .await
        .unwrap();
    let key = id.clone();
    assert!(store.write(move |tx| job::progress(tx, a, &key, 5, Some(10), at(1))).await.unwrap());
    assert_eq!(store.read(|tx| job::unfinished(tx, 10)).await.unwrap().len(), 1);
    let key = id.clone();
    assert!(
        store
            .write(move |tx| job::finish(tx, a, &key, job::JobState::Cancelled, "{}", at(2)))
            .await
            .unwrap()
    );
    let key = id.clone();
    assert!(
        !store.write(move |tx| job::progress(tx, a, &key, 6, Some(10), at(3))).await.unwrap(),
        "cancelled work goes on"
    );
    let key = id.clone();
    let kept = write(&store, move |tx| job::get(tx, a, &key)).await;
    assert_eq!(
        (kept.state, kept.done, kept.total, kept.params.as_str()),
        (job::JobState::Cancelled, 5, Some(10), r#"{"x":1}"#)
    );
    assert!(matches!(
        refused(&store, move |tx| job::get(tx, b, &id)).await,
        ControlError::NotFound(_)
    ));
    assert_eq!(store.read(move |tx| job::page(tx, a, None, 10)).await.unwrap().len(), 1);
    assert_eq!(store.write(|tx| job::expire(tx, at(100))).await.unwrap(), 1);

    let stop = pause::Pause {
        tenant: a,
        kind: pause::PauseKind::Domain,
        subject: "a.example".into(),
        since: T0,
        actor: "ann".into(),
        reason: "move".into(),
    };
    let (one, two) = (stop.clone(), stop.clone());
    assert!(store.write(move |tx| pause::set(tx, &one)).await.unwrap());
    assert!(!store.write(move |tx| pause::set(tx, &two)).await.unwrap());
    assert_eq!(store.read(move |tx| pause::list(tx, a)).await.unwrap(), std::slice::from_ref(&stop));
    assert_eq!(store.read(pause::all).await.unwrap(), [stop]);
    assert!(matches!(
        refused(&store, move |tx| pause::end(tx, b, pause::PauseKind::Domain, "a.example")).await,
        ControlError::NotFound(_)
    ));
    write(&store, move |tx| pause::end(tx, a, pause::PauseKind::Domain, "a.example")).await;

    store
        .write(move |tx| proof::credential_used(tx, a, "printer", "192.0.2.1", at(1)))
        .await
        .unwrap();
    store
        .write(move |tx| proof::credential_used(tx, a, "printer", "192.0.2.2", at(2)))
        .await
        .unwrap();
    let uses = store.read(move |tx| proof::credential_uses(tx, a)).await.unwrap();
    assert_eq!(
        uses,
        [proof::CredentialUse {
            name: "printer".into(),
            used_at: at(2),
            client: "192.0.2.2".into()
        }]
    );
    let seen = proof::ProofSeen {
        domain: name("a.example"),
        kind: "header".into(),
        seen_at: at(3),
        detail: String::new(),
    };
    let put = seen.clone();
    store.write(move |tx| proof::proof_seen(tx, a, &put)).await.unwrap();
    assert_eq!(store.read(move |tx| proof::proofs(tx, a)).await.unwrap(), [seen]);
    let mut passed = 0;
    for _ in 0..25 {
        passed += u32::from(store.write(move |tx| proof::take_from_window(tx, a, at(3_600))).await.unwrap());
    }
    assert_eq!(passed, 20);
    assert_eq!(store.read(move |tx| proof::window_used(tx, a, at(3_600))).await.unwrap(), 20);
    assert!(
        store.write(move |tx| proof::take_from_window(tx, a, at(7_200))).await.unwrap(),
        "a new window counts anew"
    );
    assert_eq!(store.write(|tx| installation::keep(tx, "key", "one")).await.unwrap(), "one");
    assert_eq!(store.write(|tx| installation::keep(tx, "key", "two")).await.unwrap(), "one");
}
