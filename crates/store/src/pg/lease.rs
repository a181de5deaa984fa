//! Lease: whose are the entries of the queue, and how does a node know that it is still the one?
//!
//! In:  the table `node`, by the database's clock; this machine's boot-time clock.
//! Out: an [`Identity`] (slot, epoch, writer number); take-over of what dead nodes owned; `lease_holds` without waiting.
//! Invariants:
//! * An entry belongs to the epoch in its `owner`. An epoch is given once. A write transaction of a node holds its `node` row
//!   `FOR KEY SHARE` and finds its epoch and writer number in it, or is void; who takes a node's row away, or its writer number, waits
//!   for such transactions to end. So nothing of a node is committed once another has begun to take its entries.
//! * The lease is counted from before the heartbeat was sent, and the node stops believing in it [`Timing::margin`] early.
//! * All entries of a message have one owner.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_postgres::Client;

use super::boottime;
use super::place::Place;
use super::session::{Fault, Session, pipelined};
use crate::StoreError;

/// Nodes of one installation.
const SLOTS: i16 = 16;
/// Messages taken over in one transaction.
const CHUNK: i64 = 1_000;
/// Advisory lock under which nodes come and go.
pub(super) const NODE_LOCK: i64 = 0x6d69_7473_0001;

/// Milliseconds since 1970 by the database's clock.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// How long a lease is and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) lease: Duration,
}

impl Timing {
    /// Between heartbeats.
    pub(super) fn heartbeat(self) -> Duration {
        self.lease / 3
    }
    /// So much earlier than the database a node takes its lease for ended.
    fn margin(self) -> Duration {
        self.lease / 6
    }
    /// Between looks for dead nodes.
    pub(super) fn look(self) -> Duration {
        self.lease / 12
    }
    fn lease_ms(self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What this node is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) slot: i16,
    pub(super) epoch: i64,
    pub(super) writer: i64,
}

/// This node's lease, as everyone in the process sees it.
pub(super) struct Lease {
    name: String,
    place: OnceLock<Place>,
    pub(super) timing: Timing,
    identity: Mutex<Identity>,
    epoch: AtomicI64,
    generation: AtomicI64,
    slot: AtomicU8,
    /// Boot time in milliseconds before the last confirmed heartbeat was sent; 0: none.
    confirmed: AtomicU64,
    touched: AtomicI64,
    is_given_up: AtomicBool,
    pub(super) arrivals: watch::Sender<u64>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Lease {
    pub(super) fn new(name: String, timing: Timing) -> Arc<Self> {
        Arc::new(Self {
            name,
            place: OnceLock::new(),
            timing,
            identity: Mutex::default(),
            epoch: AtomicI64::new(0),
            generation: AtomicI64::new(0),
            slot: AtomicU8::new(0),
            confirmed: AtomicU64::new(0),
            touched: AtomicI64::new(0),
            is_given_up: AtomicBool::new(false),
            arrivals: watch::Sender::new(0),
        })
    }

    /// Locks the node's name on this machine, before the first epoch is taken.
    pub(super) fn settle_down(&self, installation: &str) {
        self.place.get_or_init(|| Place::take(&self.name, installation));
    }

    pub(super) fn holds(&self) -> bool {
        self.holds_at(boottime::now())
    }

    fn holds_at(&self, now: Duration) -> bool {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        confirmed > 0 && millis(now).saturating_sub(confirmed) < millis(self.timing.lease - self.timing.margin())
    }

    /// What `entry.owner` is for this node.
    pub(super) fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How often this node took an epoch.
    pub(super) fn generation(&self) -> i64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn slot(&self) -> u8 {
        self.slot.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        self.arrivals.send_modify(|n| *n += 1);
    }

    /// Gives `session` the only right to write for this node. What an older connection still has under way has ended, or is void, when
    /// this comes back. Takes a new epoch when the old one is lost.
    pub(super) async fn claim_writer(&self, session: &Session, old: Option<&(i32, String)>) -> Result<Identity, Fault> {
        if let Some((pid, began)) = old {
            // Best effort: a backend that waits for a client that is gone would hold its row lock until its own time-out.
            let _ = session
                .client
                .query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2",
                    &[pid, began],
                )
                .await;
        }
        let mut identity = self.identity.lock().await;
        let sent = boottime::now();
        let client = &session.client;
        client.batch_execute("BEGIN").await?;
        let done = self.claim(client, &mut identity).await;
        self.finish(client, done, sent, &mut identity).await
    }

    async fn claim(&self, client: &Client, identity: &mut Identity) -> Result<Identity, Fault> {
        let held = client
            .query_opt(
                "SELECT 1 FROM node WHERE epoch = $1 AND writer = $2 FOR UPDATE",
                &[&identity.epoch, &identity.writer],
            )
            .await?;
        if held.is_none() {
            return self.register(client).await;
        }
        let text = format!("UPDATE node SET writer = nextval('node_epoch_seq'), until_at = {NOW} + $2 WHERE epoch = $1 RETURNING writer");
        let row = client.query_one(&text, &[&identity.epoch, &self.timing.lease_ms()]).await?;
        Ok(Identity {
            writer: row.try_get(0)?,
            ..*identity
        })
    }

    /// Takes a slot and an epoch: those this node had before it ended, when nobody took its entries, else new ones.
    async fn register(&self, client: &Client) -> Result<Identity, Fault> {
        client.query_one("SELECT pg_advisory_xact_lock($1)", &[&NODE_LOCK]).await?;
        let lease = self.timing.lease_ms();
        let host = self.place.get().map_or("", Place::host);
        // Whoever had the name locked on this machine before is gone, since we have it now.
        let own = format!(
            "SELECT slot FROM node WHERE name = $1 AND (until_at <= {NOW} OR (host = $2 AND host <> '')) ORDER BY until_at DESC LIMIT 1 FOR UPDATE"
        );
        if let Some(row) = client.query_opt(&own, &[&self.name, &host]).await? {
            let slot: i16 = row.try_get(0)?;
            let text = format!(
                "UPDATE node SET writer = nextval('node_epoch_seq'), until_at = {NOW} + $2, host = $3 WHERE slot = $1 RETURNING epoch, writer"
            );
            let row = client.query_one(&text, &[&slot, &lease, &host]).await?;
            return Ok(Identity {
                slot,
                epoch: row.try_get(0)?,
                writer: row.try_get(1)?,
            });
        }
        let taken = client
            .query(&format!("SELECT slot, until_at <= {NOW} FROM node ORDER BY until_at"), &[])
            .await?;
        let mut live = Vec::new();
        let mut dead = None;
        for row in &taken {
            let (slot, over): (i16, bool) = (row.try_get(0)?, row.try_get(1)?);
            live.push(slot);
            dead = dead.or(over.then_some(slot));
        }
        let slot = match ((0..SLOTS).find(|s| !live.contains(s)), dead) {
            (Some(free), _) => free,
            (None, Some(dead)) => {
                client.execute("DELETE FROM node WHERE slot = $1", &[&dead]).await?;
                dead
            }
            (None, None) => return Err(Fault::Lost(format!("{SLOTS} nodes are live already"))),
        };
        let text = format!(
            "INSERT INTO node (slot, epoch, writer, name, host, until_at, touched) \
             VALUES ($1, nextval('node_epoch_seq'), nextval('node_epoch_seq'), $2, $4, {NOW} + $3, 0) RETURNING epoch, writer"
        );
        let row = client.query_one(&text, &[&slot, &self.name, &lease, &host]).await?;
        Ok(Identity {
            slot,
            epoch: row.try_get(0)?,
            writer: row.try_get(1)?,
        })
    }

    /// Commits, and tells everyone who this node is now.
    async fn finish(
        &self,
        client: &Client,
        done: Result<Identity, Fault>,
        sent: Duration,
        identity: &mut MutexGuard<'_, Identity>,
    ) -> Result<Identity, Fault> {
        let new = match done {
            Ok(new) => new,
            Err(fault) => {
                if !fault.is_lost() {
                    client.batch_execute("ROLLBACK").await?;
                }
                return Err(fault);
            }
        };
        client.batch_execute("COMMIT").await?;
        let before = std::mem::replace(&mut **identity, new);
        self.slot.store(u8::try_from(new.slot).unwrap_or(0), Ordering::Release);
        if before.epoch != new.epoch {
            if before.epoch != 0 {
                tracing::warn!(
                    old = before.epoch,
                    new = new.epoch,
                    "lost the lease: another node may have taken over what this node held"
                );
            }
            self.touched.store(0, Ordering::Release);
            self.epoch.store(new.epoch, Ordering::Release);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        // Only now, so that nobody finds the lease good with the old epoch.
        self.confirmed.store(millis(sent), Ordering::Release);
        if before.epoch != new.epoch {
            self.wake();
        }
        Ok(new)
    }

    /// Prolongs the lease; takes a new epoch when it is lost.
    pub(super) async fn beat(&self, session: &Session) -> Result<(), Fault> {
        let mut identity = self.identity.lock().await;
        if self.is_given_up.load(Ordering::Acquire) {
            return Ok(());
        }
        let sent = boottime::now();
        let client = &session.client;
        let text = format!("UPDATE node SET until_at = {NOW} + $3 WHERE epoch = $1 AND writer = $2");
        let statement = session.prepared(&text).await?;
        if client
            .execute(&statement, &[&identity.epoch, &identity.writer, &self.timing.lease_ms()])
            .await?
            > 0
        {
            self.confirmed.store(millis(sent), Ordering::Release);
            return Ok(());
        }
        // Until there is a new one, the lease is over.
        self.confirmed.store(0, Ordering::Release);
        let sent = boottime::now();
        client.batch_execute("BEGIN").await?;
        let done = self.register(client).await;
        self.finish(client, done, sent, &mut identity).await?;
        Ok(())
    }

    /// Wakes the scheduler when another node changed an entry of this one.
    pub(super) async fn look_for_touches(&self, session: &Session) -> Result<(), Fault> {
        let statement = session.prepared("SELECT touched FROM node WHERE epoch = $1").await?;
        if let Some(row) = session.client.query_opt(&statement, &[&self.epoch()]).await? {
            let touched: i64 = row.try_get(0)?;
            if self.touched.swap(touched, Ordering::AcqRel) != touched {
                self.wake();
            }
        }
        Ok(())
    }

    /// Takes over what dead nodes owned, as long as `session` and the lease last. Chunk by chunk, so that live nodes share it.
    pub(super) async fn take_over(&self, session: &Session) -> Result<u64, Fault> {
        let client = &session.client;
        let dead = format!(
            "DELETE FROM node WHERE slot IN (SELECT slot FROM node WHERE until_at <= {NOW} AND epoch <> $1 FOR UPDATE SKIP LOCKED) RETURNING name"
        );
        let statement = session.prepared(&dead).await?;
        for row in client.query(&statement, &[&self.epoch()]).await? {
            let name: &str = row.try_get(0)?;
            tracing::warn!(node = name, "a node's lease has ended: its entries are taken over");
        }
        // Owners without a node: one look into the index per owner.
        let orphaned = session
            .prepared(
                "WITH RECURSIVE o(owner) AS ((SELECT owner FROM entry ORDER BY owner LIMIT 1) UNION ALL \
                 SELECT (SELECT e.owner FROM entry e WHERE e.owner > o.owner ORDER BY e.owner LIMIT 1) FROM o WHERE o.owner IS NOT NULL) \
                 SELECT owner FROM o WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM node n WHERE n.epoch = o.owner)",
            )
            .await?;
        let mut moved = 0;
        for row in client.query(&orphaned, &[]).await? {
            moved += self.take_chunk(session, row.try_get(0)?).await?;
        }
        if moved > 0 {
            self.wake();
        }
        Ok(moved)
    }

    async fn take_chunk(&self, session: &Session, dead: i64) -> Result<u64, Fault> {
        let client = &session.client;
        let guard = session
            .prepared("SELECT 1 / count(*) FROM (SELECT 1 FROM node WHERE epoch = $1 FOR KEY SHARE) live")
            .await?;
        // Whoever locks entries locks their message first, so that no two wait for each other.
        let chunk = session
            .prepared(
                "WITH pick AS (SELECT m.queue_id FROM message m WHERE m.queue_id IN \
                 (SELECT e.queue_id FROM entry e WHERE e.owner = $2 ORDER BY e.lane, e.due LIMIT $3) FOR UPDATE OF m SKIP LOCKED) \
                 UPDATE entry SET owner = $1 FROM pick WHERE entry.queue_id = pick.queue_id AND entry.owner = $2",
            )
            .await?;
        let mine = self.epoch();
        let (mine, dead): (&(dyn postgres_types::ToSql + Sync), &(dyn postgres_types::ToSql + Sync)) = (&mine, &dead);
        let guard_params = [mine];
        let chunk_params = [mine, dead, &CHUNK];
        let answers = pipelined(vec![
            Box::pin(async { client.batch_execute("BEGIN").await.map(|()| 0) }),
            Box::pin(async { client.execute(&guard, &guard_params).await }),
            Box::pin(async { client.execute(&chunk, &chunk_params).await }),
            Box::pin(async { client.batch_execute("COMMIT").await.map(|()| 0) }),
        ])
        .await;
        let counts = answers.into_iter().collect::<Result<Vec<u64>, _>>()?;
        Ok(counts.get(2).copied().unwrap_or(0))
    }

    /// Gives the lease up: others take over at once, or this node's next start takes its own entries again.
    pub(super) async fn give_up(&self, session: &Session) -> Result<(), Fault> {
        let identity = self.identity.lock().await;
        self.is_given_up.store(true, Ordering::Release);
        self.confirmed.store(0, Ordering::Release);
        session
            .client
            .execute(
                "UPDATE node SET until_at = 0 WHERE epoch = $1 AND writer = $2",
                &[&identity.epoch, &identity.writer],
            )
            .await?;
        Ok(())
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        StoreError::from(fault).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_ends_early_and_from_before_the_heartbeat() {
        let lease = Lease::new(
            "a".into(),
            Timing {
                lease: Duration::from_secs(12),
            },
        );
        let check = |confirmed_s: u64, now_s: u64, expect: bool| {
            lease.confirmed.store(confirmed_s * 1_000, Ordering::Release);
            assert_eq!(
                lease.holds_at(Duration::from_secs(now_s)),
                expect,
                "confirmed {confirmed_s}, now {now_s}"
            );
        };
        check(0, 5, false);
        check(100, 100, true);
        check(100, 109, true);
        check(100, 110, false);
        check(100, 130, false);
    }
}
