//! Keeper: who keeps the lease alive and takes over from the dead?
//!
//! In:  time. Out: heartbeats, take-over, wakes; on a thread and a connection of its own, so that no commit stands in their way.
//! Invariants: after a reconnect it believes in nobody's death before the others had time for a heartbeat of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

use super::Door;
use super::lease::Lease;
use super::session::{Fault, Purpose, Session};

/// No heartbeat or look may take longer.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Runs until `stop` is set or its sender is gone.
pub(super) async fn keep(
    door: Arc<Door>,
    lease: Arc<Lease>,
    is_reachable: Arc<AtomicBool>,
    first: Session,
    mut stop: watch::Receiver<bool>,
) {
    let mut session = Some(first);
    let mut believes_from = Instant::now();
    let mut pause = lease.timing.look();
    while !*stop.borrow() {
        let connected = match session.take() {
            Some(session) => Ok(session),
            None => Session::open(&door.config, &door.tls, Purpose::Mail).await,
        };
        match connected {
            Ok(session) => {
                pause = lease.timing.look();
                let fault = watch_over(&session, &lease, &is_reachable, believes_from, &mut stop).await;
                if let Some(fault) = fault {
                    tracing::warn!(cause = String::from(fault), "the lease could not be looked after");
                }
                believes_from = Instant::now() + lease.timing.heartbeat() * 2;
            }
            Err(error) => {
                tracing::debug!(%error, "no connection to PostgreSQL for the lease");
                pause = (pause * 2).min(lease.timing.heartbeat() / 2);
            }
        }
        let _ = tokio::time::timeout(pause, stop.changed()).await;
        if stop.has_changed().is_err() {
            return;
        }
    }
}

/// As long as the connection lasts. `None`: asked to stop.
async fn watch_over(
    session: &Session,
    lease: &Lease,
    is_reachable: &AtomicBool,
    believes_from: Instant,
    stop: &mut watch::Receiver<bool>,
) -> Option<Fault> {
    let mut beat_at = Instant::now();
    loop {
        if Instant::now() >= beat_at {
            beat_at = Instant::now() + lease.timing.heartbeat();
            if let Err(fault) = timed(lease.beat(session)).await {
                return Some(fault);
            }
            is_reachable.store(true, Ordering::Release);
        }
        if let Err(fault) = timed(lease.look_for_touches(session)).await {
            return Some(fault);
        }
        let mut moved = 0;
        if Instant::now() >= believes_from {
            match timed(lease.take_over(session)).await {
                Ok(n) => moved = n,
                Err(fault) => return Some(fault),
            }
        }
        // More of the dead's entries wait: only heartbeats go first.
        if moved > 0 {
            continue;
        }
        match tokio::time::timeout(lease.timing.look(), stop.changed()).await {
            Ok(Ok(())) if *stop.borrow() => return None,
            Ok(Err(_)) => return None,
            Ok(Ok(())) | Err(_) => {}
        }
    }
}

async fn timed<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(SILENCE_MAX, work)
        .await
        .unwrap_or_else(|_| Err(Fault::Lost("no answer from PostgreSQL".into())))
}
