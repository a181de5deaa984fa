//! Keeps house: pauses, probes of failing next hops, idle connections, entries that cannot be tried.
//!
//! In: the clock, pauses of the store. Out: what is due for what does not move by itself.
//! Standards: domains-and-routing 4.2 (probe every 60 s), 11.1 (lifetimes go on), 11.3 (pause).
//! Invariants: a paused or blocked entry expires and warns like any other; every round is bounded.

use super::expire::{self, Due, Way};
use super::settler::{Ended, Outcome};
use super::state::{Job, LANE_ATTEMPTS_MAX};
use crate::Desk;
use crate::delivery::hop::HopKey;
use crate::outcome::{self, Fate};
use mail::{LaneId, TenantId, Timestamp};
use net::guard::ConnectError;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::control::pause::{self, PauseKind};
use store::spool::Entry;
use tokio::task::JoinSet;

/// How often the house is kept.
const ROUND: Duration = Duration::from_secs(1);
/// How often pauses are read even if nobody told of a change.
const PAUSES_EVERY: Duration = Duration::from_secs(3);
/// How often entries that cannot be tried are looked at.
pub(crate) const BLOCKED_LOOK: Duration = Duration::from_secs(5);
/// Entries of blocked lanes looked at in one round, and in one page.
const BLOCKED_ENTRIES_MAX: usize = 5_000;
const PAGE_ENTRIES: usize = 250;
/// Probes at a time.
const PROBES_MAX: usize = 64;
/// Deadline of a probe's connect.
const PROBE_CONNECT: Duration = Duration::from_secs(30);
/// How long a job waits at a full next hop before its lane is looked at.
const WAITING_LONG: Duration = Duration::from_secs(15);
/// Jobs waiting at next hops whose lanes are swept in one round.
const WAITING_LOOKED_AT_MAX: usize = 10_000;

/// Keeps house until shutdown.
pub(crate) async fn run(desk: Arc<Desk>) {
    let mut probes = JoinSet::new();
    let (mut pauses_at, mut blocked_at) = (Duration::ZERO, Duration::ZERO);
    let mut is_first = true;
    let mut seen = desk.live();
    loop {
        let now = desk.clock.monotonic();
        // A pause counts up the generation of the settings, so new settings may mean new pauses.
        let live = desk.live();
        if is_first || !Arc::ptr_eq(&live, &seen) || now.saturating_sub(pauses_at) >= PAUSES_EVERY {
            pauses_at = now;
            is_first = false;
            seen = live;
            read_pauses(&desk).await;
        }
        if now.saturating_sub(blocked_at) >= BLOCKED_LOOK {
            blocked_at = now;
            sweep(&desk).await;
        }
        let idle = desk.queue.pool().expired(now);
        if !idle.is_empty() {
            probes.spawn(async move {
                for wire in idle {
                    wire.quit().await;
                }
            });
        }
        start_probes(&desk, now, &mut probes);
        while probes.try_join_next().is_some() {}
        tokio::select! {
            () = desk.shutdown.requested() => break,
            () = desk.queue.0.upkeep.notified() => is_first = true,
            () = desk.clock.sleep(ROUND) => {}
        }
    }
    probes.shutdown().await;
}

/// Takes over the pauses of the store.
async fn read_pauses(desk: &Desk) {
    let pauses = match desk.store.read(|tx| pause::all(tx)).await {
        Ok(pauses) => pauses,
        Err(error) => {
            tracing::warn!(%error, "pauses cannot be read, the last known ones hold");
            return;
        }
    };
    let live = desk.live();
    let mut lanes = HashSet::new();
    let mut hops = HashSet::new();
    for pause in pauses {
        match pause.kind {
            PauseKind::NextHop => {
                hops.insert((pause.tenant, pause.subject));
            }
            // The operator's pause is about everyone's mail to the domain.
            PauseKind::Domain if pause.tenant == TenantId::OPERATOR => {
                lanes.extend(live.tenants.keys().map(|t| LaneId::of(*t, &pause.subject)))
            }
            PauseKind::Domain => {
                lanes.insert(LaneId::of(pause.tenant, &pause.subject));
            }
        }
    }
    apply_pauses(desk, lanes, hops);
}

fn apply_pauses(desk: &Desk, lanes: HashSet<LaneId>, hops: HashSet<(TenantId, String)>) {
    let mut state = desk.queue.state();
    if state.paused_lanes == lanes && state.paused_hops == hops {
        return;
    }
    let now = desk.now();
    let resumed_hop = state.paused_hops.difference(&hops).next().is_some();
    let resumed: Vec<LaneId> = state.paused_lanes.difference(&lanes).copied().collect();
    state.paused_lanes = lanes;
    state.paused_hops = hops;
    // Who waits at a hop looks for its place anew; jobs of paused lanes leave memory, the store keeps them.
    for job in state.hops.drain_waiting() {
        state.schedule.push_front(job.tenant, job.lane, job.class, LANE_ATTEMPTS_MAX, job);
    }
    let paused: Vec<LaneId> = state.paused_lanes.iter().copied().collect();
    for job in state.schedule.drain_lanes(&paused) {
        forget(&mut state, job, now);
    }
    state.lanes.wake(&resumed, now);
    drop(state);
    desk.queue.wake_loader();
    desk.queue.wake_worker();
    if resumed_hop {
        desk.queue.resume_paused();
    }
}

fn forget(state: &mut super::state::State, job: Job, now: Timestamp) {
    for key in job.keys().collect::<Vec<_>>() {
        state.claims.forget(key, job.number);
    }
    state.job_forgotten(&job, now);
    state.lanes.note(job.lane, job.tenant, now.after(BLOCKED_LOOK));
}

/// Lifetimes and warnings of what cannot be tried: paused lanes, and lanes whose jobs wait at full next hops.
async fn sweep(desk: &Arc<Desk>) {
    let lanes: Vec<(LaneId, Way)> = {
        let long_ago = desk.clock.monotonic().saturating_sub(WAITING_LONG);
        let state = desk.queue.state();
        let waiting: HashSet<LaneId> = state
            .hops
            .waiting_since(long_ago)
            .map(|job| job.lane)
            .take(WAITING_LOOKED_AT_MAX)
            .collect();
        state
            .paused_lanes
            .iter()
            .copied()
            .chain(waiting)
            .map(|l| (l, Way::Blocked))
            .collect()
    };
    let mut left = BLOCKED_ENTRIES_MAX;
    for (lane, way) in lanes {
        if left == 0 || desk.shutdown.is_requested() {
            return;
        }
        if let Err(error) = sweep_lane(desk, lane, way, &mut left).await {
            tracing::warn!(%error, "a blocked lane cannot be read");
            return;
        }
    }
}

async fn sweep_lane(desk: &Arc<Desk>, lane: LaneId, way: Way, left: &mut usize) -> Result<(), store::StoreError> {
    let now = desk.now();
    let mut after = None;
    while *left > 0 {
        let limit = PAGE_ENTRIES.min(*left);
        desk.queue.state().claims.read_begins();
        let page = desk.store.mail.due(lane, now, after, limit).await;
        let taken = page.map(|entries| {
            after = entries.last().map(|e| (e.due, e.queue_id, e.number));
            (entries.len(), take_over_due(desk, entries, now, way))
        });
        desk.queue.state().claims.read_ends();
        let (count, fates) = taken?;
        *left -= count;
        // Each is seen to even if one fails: they are all in hand.
        let mut failed = Ok(());
        for (entry, fate) in fates {
            failed = end(desk, entry, fate).await.and(failed);
        }
        failed?;
        if count < limit {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes those in hand that have a fate without an attempt.
fn take_over_due(desk: &Desk, entries: Vec<Entry>, now: Timestamp, way: Way) -> Vec<(Entry, Fate)> {
    let mut state = desk.queue.state();
    let mut fates = Vec::new();
    for entry in entries {
        let fate = match expire::judge(&entry, now, way) {
            Due::Expire => Fate::Expired,
            Due::HoldEnded => Fate::HoldEnded,
            Due::Attempt | Due::NotYet if expire::is_warning_due(&entry, now) => Fate::Warned,
            Due::Attempt | Due::NotYet => continue,
        };
        // Whoever has it in hands will see to it.
        if state.claims.take_quietly((entry.queue_id, entry.number)).is_ok() {
            fates.push((entry, fate));
        }
    }
    fates
}

/// Writes a fate without an attempt.
async fn end(desk: &Arc<Desk>, entry: Entry, fate: Fate) -> Result<(), store::StoreError> {
    let key = (entry.queue_id, entry.number);
    let read = desk.store.mail.message(entry.queue_id).await;
    let Ok(Some(message)) = read else {
        drop(desk.queue.state().claims.release(key));
        return read.map(|_| ());
    };
    let live = desk.live();
    let settled = outcome::settle(desk, &live, &message, vec![(entry, fate)], Vec::new()).await;
    desk.queue
        .ended(Ended::Outcome(Box::new(Outcome {
            settled,
            keys: vec![key],
            done: None,
        })))
        .await;
    Ok(())
}

fn start_probes(desk: &Arc<Desk>, now: Duration, probes: &mut JoinSet<()>) {
    let due = desk.queue.state().hops.probes_due(now);
    for hop in due.into_iter().take(PROBES_MAX.saturating_sub(probes.len())) {
        probes.spawn(probe(Arc::clone(desk), hop));
    }
}

/// A probe is a connect: it says nothing and counts for nothing else.
async fn probe(desk: Arc<Desk>, hop: HopKey) {
    let Ok(addresses) = desk.resolver.addresses(&hop.host).await else {
        return;
    };
    for ip in addresses.into_iter().take(8) {
        match desk
            .guard
            .connect(SocketAddr::new(ip, hop.port), None, PROBE_CONNECT, &desk.clock)
            .await
        {
            Ok(stream) => {
                drop(stream);
                desk.queue.hop_succeeded(&hop, 20);
                desk.queue.wake_worker();
                return;
            }
            Err(ConnectError::Forbidden(_) | ConnectError::Timeout(_) | ConnectError::Io { .. }) => {}
        }
    }
}
