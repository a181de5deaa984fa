//! What the queue has in memory: jobs by turns, claims, places at next hops, the calendar of lanes.
//!
//! In: messages handed over, pages of the store, what attempts come to. Out: the next job.
//! Invariants: every job in the schedule, at a hop or under way has claims for its entries; bodies in memory have a budget; no lock is held
//! across a wait.

use super::claim::{Claims, EntryKey};
use super::lanes::Lanes;
use super::schedule::{Class, Schedule};
use crate::actions::KeptAction;
use crate::delivery::hop::{HopKey, Hops};
use crate::delivery::route::turn::Turned;
use mail::{LaneId, QueueId, TenantId, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::spool::{Acceptance, Body, Entry, EntryState, SpoolMessage};

/// Attempts at a time, over all.
pub const ATTEMPTS_MAX: usize = 1_000;
/// Attempts at a time in one lane; the places at each next hop are fewer.
pub const LANE_ATTEMPTS_MAX: usize = 100;
/// Bodies of fresh messages kept in memory until their first attempt; the rest is read from the store.
pub const FRESH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Fresh jobs in memory, with or without their body; the rest is found in the store.
pub const FRESH_JOBS_MAX: usize = 50_000;
/// Jobs read from the store in memory, over all and per lane.
pub const WINDOW_JOBS_MAX: usize = 16_384;
/// See above.
pub const LANE_WINDOW_JOBS: u32 = 128;
/// A committed message is handed over in memory within this time; until then the store's copy of a first attempt is left alone,
/// so that a handing over that comes late cannot start what has already been delivered.
pub const HANDOVER_GRACE: Duration = Duration::from_secs(5);
/// So many entries acted on are remembered before those that lapsed are forgotten.
const ACTED_LOOK: usize = 1_024;
/// What a job costs besides its body, roughly.
const JOB_BYTES: usize = 1_024;

/// Recipients of one message in one lane, due together.
#[derive(Debug)]
pub struct Job {
    /// Number within the process: whose claims these are.
    pub number: u64,
    /// Message.
    pub queue_id: QueueId,
    /// Owner.
    pub tenant: TenantId,
    /// Lane.
    pub lane: LaneId,
    /// Where it stands.
    pub class: Class,
    /// Recipients.
    pub entries: Vec<Entry>,
    /// Their numbers, also while an attempt has the entries.
    pub numbers: Vec<u32>,
    /// The message, when it is in memory.
    pub message: Option<Arc<SpoolMessage>>,
    /// Counted against the budget of bodies.
    pub held_bytes: usize,
    /// State of [`store::MailStore::arrivals`] when the entries were read.
    pub generation: u64,
    /// Lease under which they were read (see [`store::MailStore::lease_epoch`]).
    pub lease_epoch: i64,
    /// Turns of this message, once taken.
    pub turned: Option<Turned>,
}

impl Job {
    /// Names of its entries.
    pub fn keys(&self) -> impl Iterator<Item = EntryKey> + '_ {
        self.entries.iter().map(|e| (e.queue_id, e.number))
    }
}

/// Everything under the one lock of the queue.
#[derive(Debug)]
pub struct State {
    /// Jobs that may start.
    pub schedule: Schedule<Job>,
    /// Places at next hops, and jobs that wait for one.
    pub hops: Hops<Job>,
    /// Entries in hands.
    pub claims: Claims<KeptAction>,
    /// Lanes of the store.
    pub lanes: Lanes,
    /// Lanes to which nothing is attempted.
    pub paused_lanes: HashSet<LaneId>,
    /// `host:port` to which nothing is attempted, by tenant; the operator's stop everyone's.
    pub paused_hops: HashSet<(TenantId, String)>,
    /// Bytes of fresh bodies in memory.
    pub fresh_bytes: usize,
    /// Fresh jobs in memory.
    pub fresh_jobs: usize,
    /// Arrivals seen.
    pub generation: u64,
    /// Lease under which lanes were last looked at.
    pub lease_epoch: i64,
    /// When the queue of this process began.
    pub began_at: Timestamp,
    /// Entries that a person acted on lately, and when: the store's copy is the right one, whatever is handed over in memory.
    acted: HashMap<EntryKey, Timestamp>,
    next_job: u64,
}

impl State {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self {
            schedule: Schedule::new(ATTEMPTS_MAX),
            hops: Hops::default(),
            claims: Claims::default(),
            lanes: Lanes::default(),
            paused_lanes: HashSet::new(),
            paused_hops: HashSet::new(),
            fresh_bytes: 0,
            fresh_jobs: 0,
            generation: 0,
            lease_epoch: 0,
            began_at: Timestamp(0),
            acted: HashMap::new(),
            next_job: 0,
        }
    }

    /// A number for a new job.
    pub fn job_number(&mut self) -> u64 {
        self.next_job += 1;
        self.next_job
    }

    /// Takes a committed message. How many jobs came of it.
    pub fn accept(&mut self, acceptance: Acceptance, now: Timestamp) -> usize {
        let Acceptance { message, entries, .. } = acceptance;
        let body_bytes = match &message.body {
            Body::Inline(bytes) => bytes.len(),
            Body::Blob { .. } => 0,
        } + message.variants.iter().map(|v| v.prefix.len()).sum::<usize>();
        let mut message = Some(Arc::new(message));
        if self.fresh_bytes + body_bytes > FRESH_BYTES_MAX {
            message = None;
        }
        let mut jobs = 0;
        let mut rest = entries;
        rest.sort_by_key(|e| (e.lane, e.number));
        while let Some(lane) = rest.first().map(|e| e.lane) {
            let split = rest.iter().position(|e| e.lane != lane).unwrap_or(rest.len());
            let later = rest.split_off(split);
            let of_lane = std::mem::replace(&mut rest, later);
            jobs += usize::from(self.accept_lane(lane, of_lane, message.clone(), body_bytes, now));
        }
        jobs
    }

    fn accept_lane(
        &mut self,
        lane: LaneId,
        entries: Vec<Entry>,
        message: Option<Arc<SpoolMessage>>,
        body_bytes: usize,
        now: Timestamp,
    ) -> bool {
        let number = self.job_number();
        let has_room = self.fresh_jobs < FRESH_JOBS_MAX;
        let mut ready = Vec::with_capacity(entries.len());
        for entry in entries {
            let is_late = now.since(entry.due) >= HANDOVER_GRACE;
            match entry.state {
                EntryState::Queued if entry.due <= now && !is_late && has_room && !self.is_set_apart(&entry) => {
                    if self.claims.ready((entry.queue_id, entry.number), number) {
                        ready.push(entry);
                    }
                }
                EntryState::Queued if entry.due <= now => self.lanes.note(lane, entry.tenant, entry.due.after(HANDOVER_GRACE)),
                EntryState::Queued | EntryState::Held => self.lanes.note(lane, entry.tenant, entry.due),
            }
        }
        let Some(first) = ready.first() else { return false };
        let held_bytes = if message.is_some() { body_bytes + JOB_BYTES } else { 0 };
        let (queue_id, tenant) = (first.queue_id, first.tenant);
        self.fresh_bytes += held_bytes;
        self.fresh_jobs += 1;
        let generation = self.generation;
        let job = Job {
            number,
            queue_id,
            tenant,
            lane,
            class: Class::Fresh,
            numbers: numbers(&ready),
            entries: ready,
            message,
            held_bytes,
            generation,
            lease_epoch: self.lease_epoch,
            turned: None,
        };
        self.schedule.push(tenant, lane, Class::Fresh, LANE_ATTEMPTS_MAX, job);
        true
    }

    /// Takes due entries of a page of the store; how many jobs came of it. Entries of one message stand together.
    pub fn take_page(&mut self, lane: LaneId, tenant: TenantId, entries: Vec<Entry>, now: Timestamp) -> u32 {
        let mut jobs = 0;
        let mut rest = entries;
        while let Some(queue_id) = rest.first().map(|e| e.queue_id) {
            let split = rest.iter().position(|e| e.queue_id != queue_id).unwrap_or(rest.len());
            let later = rest.split_off(split);
            let of_message = std::mem::replace(&mut rest, later);
            let number = self.job_number();
            let mut ready = Vec::with_capacity(of_message.len());
            for entry in of_message {
                if self.claims.has_left((entry.queue_id, entry.number)) {
                    // Read before its outcome was written: what is due of it now, the next read tells.
                    self.lanes.note(lane, tenant, now);
                } else if self.may_be_on_its_way(&entry, now) {
                    self.lanes.note(lane, tenant, entry.due.after(HANDOVER_GRACE));
                } else if self.claims.ready((entry.queue_id, entry.number), number) {
                    ready.push(entry);
                }
            }
            if ready.is_empty() {
                continue;
            }
            jobs += 1;
            let generation = self.generation;
            let class = Class::Waiting;
            let job = Job {
                number,
                queue_id,
                tenant,
                lane,
                class,
                numbers: numbers(&ready),
                entries: ready,
                message: None,
                held_bytes: 0,
                generation,
                lease_epoch: self.lease_epoch,
                turned: None,
            };
            self.schedule.push(tenant, lane, class, LANE_ATTEMPTS_MAX, job);
        }
        jobs
    }

    /// Paused, or acted on by a person since it was committed.
    fn is_set_apart(&self, entry: &Entry) -> bool {
        self.paused_lanes.contains(&entry.lane) || self.acted.contains_key(&(entry.queue_id, entry.number))
    }

    /// A person's action on an entry is written.
    pub fn acted_on(&mut self, key: EntryKey, now: Timestamp) {
        if self.acted.len() >= ACTED_LOOK && self.acted.len().is_power_of_two() {
            self.acted.retain(|_, at| now.since(*at) < HANDOVER_GRACE);
        }
        self.acted.insert(key, now);
    }

    /// Never tried, and so young that it may be handed over in memory any moment.
    fn may_be_on_its_way(&self, entry: &Entry, now: Timestamp) -> bool {
        let is_fresh = entry.state == EntryState::Queued && entry.attempts == 0 && entry.reason.is_none();
        let is_known = self.acted.contains_key(&(entry.queue_id, entry.number));
        is_fresh && !is_known && entry.due >= self.began_at && now.since(entry.due) < HANDOVER_GRACE
    }

    /// Part of a job goes its own way: it counts as a job of its own.
    pub fn job_split(&mut self, job: &Job) {
        match job.class {
            Class::Fresh => self.fresh_jobs += 1,
            Class::Waiting => self.lanes.split(job.lane),
        }
    }

    /// A job that was started goes no further: its share and its memory are free again. Its claims are the caller's.
    pub fn job_ended(&mut self, job: &Job, now: Timestamp) {
        self.share_ended(job.tenant, job.lane, job.class, job.held_bytes, now);
    }

    /// As [`State::job_ended`], of what is left of a job.
    pub fn share_ended(&mut self, tenant: TenantId, lane: LaneId, class: Class, held_bytes: usize, now: Timestamp) {
        self.schedule.done(tenant, lane);
        self.memory_ended(lane, class, held_bytes, now);
    }

    /// As [`State::job_ended`] for a job that has not started.
    pub fn job_forgotten(&mut self, job: &Job, now: Timestamp) {
        self.memory_ended(job.lane, job.class, job.held_bytes, now);
    }

    fn memory_ended(&mut self, lane: LaneId, class: Class, held_bytes: usize, now: Timestamp) {
        match class {
            Class::Fresh => {
                self.fresh_bytes = self.fresh_bytes.saturating_sub(held_bytes);
                self.fresh_jobs = self.fresh_jobs.saturating_sub(1);
            }
            Class::Waiting => self.lanes.ended(lane, now, LANE_WINDOW_JOBS),
        }
    }

    /// Gives a place at a next hop back; who waited for it may start.
    pub fn give_back(&mut self, hop: &HopKey) {
        if let Some(job) = self.hops.give_back(hop) {
            self.schedule.push_front(job.tenant, job.lane, job.class, LANE_ATTEMPTS_MAX, job);
        }
    }

    /// A next hop is well; who waited for its recovery may start.
    pub fn hop_succeeded(&mut self, hop: &HopKey, max: u32) {
        for job in self.hops.succeeded(hop, max) {
            self.schedule.push_front(job.tenant, job.lane, job.class, LANE_ATTEMPTS_MAX, job);
        }
    }

    /// Whether a next hop is paused for a tenant.
    #[must_use]
    pub fn is_hop_paused(&self, tenant: TenantId, hop: &str) -> bool {
        let of = |t: TenantId| self.paused_hops.contains(&(t, hop.to_owned()));
        !self.paused_hops.is_empty() && (of(tenant) || of(TenantId::OPERATOR))
    }
}

fn numbers(entries: &[Entry]) -> Vec<u32> {
    entries.iter().map(|e| e.number).collect()
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}
