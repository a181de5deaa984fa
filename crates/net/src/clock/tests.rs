use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

const START: Timestamp = Timestamp(1_800_000_000_000);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lets every ready task of this single-threaded runtime run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_manual_clock_moves_only_by_hand() {
    let (clock, hand) = Clock::manual(START);
    assert_eq!((clock.now(), clock.monotonic()), (START, Duration::ZERO));
    hand.advance(seconds(90));
    assert_eq!(
        (clock.now(), clock.monotonic(), hand.now()),
        (START.after(seconds(90)), seconds(90), START.after(seconds(90)))
    );
}

#[tokio::test]
async fn sleepers_wake_when_due() {
    let (clock, hand) = Clock::manual(START);
    let woken = Arc::new(AtomicU32::new(0));
    for wait in [0, 5, 10, 60] {
        let (clock, woken) = (clock.clone(), woken.clone());
        tokio::spawn(async move {
            clock.sleep(seconds(wait)).await;
            woken.fetch_add(1, Ordering::SeqCst);
        });
    }
    let check = async |advance: u64, expect: u32, next: Option<u64>| {
        hand.advance(seconds(advance));
        settle().await;
        assert_eq!(
            (woken.load(Ordering::SeqCst), hand.next_wake()),
            (expect, next.map(seconds)),
            "after {advance} s more"
        );
    };
    settle().await;
    check(0, 1, Some(5)).await;
    check(4, 1, Some(1)).await;
    check(1, 2, Some(5)).await;
    check(30, 3, Some(25)).await;
    check(25, 4, None).await;
}

#[tokio::test]
async fn a_loop_that_sleeps_again_wakes_at_each_advance() {
    let (clock, hand) = Clock::manual(START);
    let rounds = Arc::new(AtomicU32::new(0));
    let (looping, counter) = (clock.clone(), rounds.clone());
    tokio::spawn(async move {
        loop {
            looping.sleep(seconds(10)).await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    settle().await;
    for round in 1..=3 {
        hand.advance(seconds(10));
        settle().await;
        assert_eq!(rounds.load(Ordering::SeqCst), round);
    }
}

#[tokio::test]
async fn a_moment_is_waited_for_by_the_wall_clock() {
    let (clock, hand) = Clock::manual(START);
    let reached = Arc::new(AtomicU32::new(0));
    let (waiting, counter) = (clock.clone(), reached.clone());
    tokio::spawn(async move {
        waiting.sleep_until(START.after(seconds(3600))).await;
        counter.fetch_add(1, Ordering::SeqCst);
    });
    settle().await;
    hand.step_wall(START.after(seconds(3600)));
    settle().await;
    assert_eq!(reached.load(Ordering::SeqCst), 0, "nobody looks before the next check");
    hand.advance(WALL_CHECK_INTERVAL);
    settle().await;
    assert_eq!(reached.load(Ordering::SeqCst), 1, "seen within the check interval");
    clock.sleep_until(START).await;
}

#[tokio::test]
async fn manual_deadlines() {
    let (clock, hand) = Clock::manual(START);
    assert_eq!(clock.timeout(seconds(1), async { 7 }).await, Ok(7));
    let waiting = clock.clone();
    let stuck = tokio::spawn(async move { waiting.timeout(seconds(5), std::future::pending::<()>()).await });
    settle().await;
    hand.advance(seconds(5));
    assert_eq!(stuck.await.unwrap(), Err(Elapsed));
    assert_eq!(hand.next_wake(), None, "a finished deadline leaves no sleeper behind");
}

#[tokio::test]
async fn system_deadlines() {
    let clock = Clock::system();
    assert_eq!(clock.timeout(seconds(60), async { 7 }).await, Ok(7));
    let short = Duration::from_millis(5);
    assert_eq!(clock.timeout(short, std::future::pending::<()>()).await, Err(Elapsed));
    let before = clock.monotonic();
    clock.sleep(short).await;
    assert!(clock.monotonic() - before >= short);
    assert!(clock.now() > START.before(seconds(86_400 * 3650)));
}
