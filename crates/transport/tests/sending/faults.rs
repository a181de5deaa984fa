//! What must hold when something fails in the middle: a panic, damaged data, a store that is away, two nodes on one entry.

use super::fault::{Faults, Faulty};
use super::house::{EVERYONE, House, Plan, embedded, row};
use super::{BODY, is_deferred, is_delivered, reply, script};
use config::document::InboundServer;
use mail::{Direction, QueueId, Reason};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::spool::EntryState;
use store::tracking::Event;
use store::{Store, StoreError};
use testkit::peer::{Act, Peer, Script, Stage};
use testkit::postgres::Postgres;
use transport::actions::{self, Action, ActionCounts, ActionError, Selection};

/// A house whose store fails as told.
fn faulty(rows: Vec<InboundServer>) -> (House, Arc<Faults>) {
    let faults: Arc<Faults> = Arc::default();
    let own = Arc::clone(&faults);
    let plan = Plan::new().tenant(1, "example.com", rows);
    let house = House::build(plan.store(move |dir, clock| Faulty::before(embedded(dir, clock), &own)));
    (house, faults)
}

/// Does `work` while the house's clock goes on by itself.
async fn ticking<T>(house: &House, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(Duration::from_millis(10)) => house.clock.advance(Duration::from_millis(20)),
        }
    }
}

async fn act(house: &House, id: QueueId, action: Action) -> Result<ActionCounts, ActionError> {
    ticking(
        house,
        actions::act(&house.desk, Selection::Message(id), &EVERYONE, action, "tester"),
    )
    .await
}

async fn send(house: &House) -> QueueId {
    house
        .accept(1, Direction::Inbound, "boss@example.com", &["b@example.com"], BODY)
        .await
}

#[tokio::test]
async fn an_attempt_that_panics_gives_its_place_back() {
    let peer = Peer::start(Script::default()).await;
    let only = InboundServer {
        connections_max: 1,
        ..row(peer.address, 10)
    };
    let (house, faults) = faulty(vec![only]);
    faults.lease_panics.store(true, Ordering::Release);
    let first = send(&house).await;
    while faults.lease_panics.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = send(&house).await;
    house.event(second, "delivery", is_delivered).await;
    // The one whose attempt panicked is tried again, later.
    ticking(&house, async { tokio::time::sleep(Duration::from_millis(50)).await }).await;
    house.clock.advance(Duration::from_secs(301));
    house.event(first, "delivery", is_delivered).await;
}

#[tokio::test]
async fn a_missing_variant_keeps_nothing_from_its_end() {
    let peer = Peer::start(Script::default()).await;
    let house = House::build(Plan::new().tenant(1, "example.com", vec![row(peer.address, 10)]));
    let to = ["damaged@example.com", "over@example.com"];
    let id = house
        .accept_with(1, Direction::Inbound, "boss@example.com", &to, BODY, |a| {
            a.entries[0].variant = 7;
            a.entries[1].attempts = 1;
            a.entries[1].expires_at = house.desk.now().before(Duration::from_secs(86_400));
        })
        .await;
    let is_over = |e: &Event| matches!(e, Event::Expired { recipient, .. } if recipient == "over@example.com");
    house.event(id, "expiry", is_over).await;
    // What has no variant is still in nobody's hands: a person can act on it.
    assert_eq!(act(&house, id, Action::BounceNow).await.unwrap().done, 1);
    house
        .event(id, "bounce", |e| matches!(e, Event::Failed { reason: Reason::Admin, .. }))
        .await;
}

#[tokio::test]
async fn an_entry_in_the_hands_of_another_action_is_not_said_to_be_acted_on_later() {
    let peer = Peer::start(reply(Stage::Mail, "451 4.3.0 later")).await;
    let (house, faults) = faulty(vec![row(peer.address, 10)]);
    let id = send(&house).await;
    house.event(id, "deferral", is_deferred).await;
    faults.is_shut.store(true, Ordering::Release);
    faults.together.store(0, Ordering::Release);
    let desk = Arc::clone(&house.desk);
    let first = tokio::spawn(async move {
        let hold = Action::Hold { text: None };
        actions::act(&desk, Selection::Message(id), &EVERYONE, hold, "first").await
    });
    // Until the first has it, the second might be the first.
    while faults.together.load(Ordering::Acquire) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts = act(&house, id, Action::BounceNow).await.unwrap();
    let expected = ActionCounts {
        matched: 1,
        busy: 1,
        ..ActionCounts::default()
    };
    assert_eq!(counts, expected);
    faults.is_shut.store(false, Ordering::Release);
    assert_eq!(first.await.unwrap().unwrap().done, 1);
    assert_eq!(
        house.entry(id, 0).await.map(|e| e.state),
        Some(EntryState::Held),
        "nothing came afterwards"
    );
}

#[tokio::test]
async fn outcomes_written_one_by_one_wait_for_the_store() {
    let peer = Peer::start(Script::default()).await;
    let (house, faults) = faulty(vec![row(peer.address, 10)]);
    faults.is_shut.store(true, Ordering::Release);
    let mut ids = vec![send(&house).await];
    while faults.together.load(Ordering::Acquire) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..3 {
        ids.push(send(&house).await);
    }
    peer.wait(4).await;
    // Their replies have been read, so that the next call has all three.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let away = || Some(StoreError::Unavailable("on purpose".into()));
    // The first alone; the three together are refused; the first of them finds the store away twice.
    faults
        .settle
        .lock()
        .unwrap()
        .extend([None, Some(StoreError::Data("on purpose".into())), away(), away()]);
    faults.is_shut.store(false, Ordering::Release);
    ticking(&house, house.until_empty()).await;
    assert_eq!(faults.together.load(Ordering::Acquire), 3);
    assert!(faults.settle.lock().unwrap().is_empty());
    for id in ids {
        house.event(id, "delivery", is_delivered).await;
    }
    house.clock.advance(Duration::from_secs(600));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(peer.taken().len(), 4, "each once");
}

/// Two nodes on one PostgreSQL.
struct Pair {
    a: House,
    b: House,
    _folder: tempfile::TempDir,
    _cluster: Postgres,
}

impl Pair {
    fn build(peer: &Peer) -> Self {
        let cluster = Postgres::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let house = |name: &'static str| {
            let (url, blobs_dir): (String, PathBuf) = (cluster.url(), folder.path().into());
            let plan = Plan::new().tenant(1, "example.com", vec![row(peer.address, 10)]);
            House::build(plan.store(move |_, clock| {
                Store::open_postgres(&store::pg::PgOptions {
                    url,
                    blobs_dir,
                    now: Arc::new(move || clock.now()),
                    node_name: name.into(),
                    lease: store::pg::LEASE,
                })
                .unwrap()
            }))
        };
        Self {
            a: house("a"),
            b: house("b"),
            _folder: folder,
            _cluster: cluster,
        }
    }
}

fn is_failed(event: &Event) -> bool {
    matches!(event, Event::Failed { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_asked_of_one_node_does_not_cross_the_attempt_of_another() {
    let peer = Peer::start(script(Stage::AfterDot, Act::Stall(Duration::from_secs(4)))).await;
    let Pair { a, b, _folder, _cluster } = Pair::build(&peer);
    for action in [Action::BounceNow, Action::Discard { text: "unwanted".into() }] {
        let before = peer.taken().len();
        let id = send(&a).await;
        peer.wait(before + 1).await;
        // The next hop has it, its reply is on its way.
        let counts = act(&b, id, action.clone()).await.unwrap();
        assert_eq!((counts.matched, counts.after_attempt, counts.done), (1, 1, 0), "{action:?}");
        a.event(id, "delivery", is_delivered).await;
        a.until_empty().await;
        let events = b.events(id).await;
        let is_undone = |e: &Event| is_failed(e) || matches!(e, Event::Dsn { .. } | Event::Deleted { .. });
        assert!(!events.iter().any(is_undone), "{action:?}: delivered, and yet {events:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_asked_of_one_node_is_done_by_another() {
    let peer = Peer::start(reply(Stage::Mail, "451 4.3.0 later")).await;
    let other = Peer::start(Script::default()).await;
    let Pair { a, b, _folder, _cluster } = Pair::build(&peer);
    let deferred = async || {
        let id = send(&a).await;
        a.event(id, "deferral", is_deferred).await;
        id
    };
    let id = deferred().await;
    assert_eq!(act(&b, id, Action::Release).await.unwrap().not_applicable, 1);
    assert_eq!(act(&b, id, Action::Hold { text: None }).await.unwrap().done, 1);
    assert_eq!(b.entry(id, 0).await.map(|e| e.state), Some(EntryState::Held));
    assert_eq!(act(&b, id, Action::BounceNow).await.unwrap().done, 1);
    a.event(id, "bounce", is_failed).await;
    assert!(matches!(act(&b, id, Action::BounceNow).await, Err(ActionError::NotFound)));
    let id = deferred().await;
    let next_hop = other.address.to_string();
    assert_eq!(act(&b, id, Action::Reroute { next_hop }).await.unwrap().done, 1);
    other.wait(1).await;
    a.event(id, "delivery", is_delivered).await;
}

/// Whoever asked hangs up in the middle: the action goes on, and nothing stays in its hands.
#[tokio::test]
async fn an_action_goes_on_without_its_caller() {
    let peer = Peer::start(reply(Stage::Mail, "451 4.3.0 later")).await;
    let house = House::build(Plan::new().tenant(1, "example.com", vec![row(peer.address, 10)]));
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(
            house
                .accept(1, Direction::Inbound, "boss@example.com", &["b@example.com"], BODY)
                .await,
        );
    }
    for id in &ids {
        house.event(*id, "deferral", is_deferred).await;
    }
    peer.script(|s| *s = Script::default());
    let mut asked = Box::pin(actions::act(
        &house.desk,
        Selection::Filter(Box::default()),
        &EVERYONE,
        Action::RetryNow,
        "tester",
    ));
    // Polled until it has begun, then dropped.
    std::future::poll_fn(|context| {
        assert!(asked.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(asked);
    peer.wait(ids.len()).await;
}

/// One job whose recipients go two ways: the panic of the one leaves the other in the hands of its attempt.
#[tokio::test]
async fn a_panic_does_not_let_go_of_what_goes_its_own_way() {
    let slow = Peer::start(script(Stage::Mail, Act::Stall(Duration::from_millis(1_500)))).await;
    let other = Peer::start(script(Stage::AfterDot, Act::Stall(Duration::from_secs(6)))).await;
    let faults: Arc<Faults> = Arc::default();
    let own = Arc::clone(&faults);
    let plan = Plan::new().tenant(1, "example.com", vec![row(slow.address, 10)]);
    let house = House::build(plan.store(move |dir, clock| Faulty::before(embedded(dir, clock), &own)));
    let next = other.address.to_string();
    house
        .accept_with(
            1,
            Direction::Inbound,
            "boss@example.com",
            &["a@example.com", "b@example.com"],
            BODY,
            |a| {
                a.entries[1].forced_next_hop = Some(next.clone());
            },
        )
        .await;
    other.wait(1).await;
    faults.lease_panics.store(true, Ordering::Release);
    while faults.lease_panics.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.script(|s| *s = Script::default());
    for _ in 0..11 {
        house.clock.advance(Duration::from_secs(31));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    slow.wait(1).await;
    assert_eq!(other.taken().len(), 1, "the first copy still waits for its reply");
}
