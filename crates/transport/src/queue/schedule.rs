//! Whose turn is it? The pure heart of the queue: tenants take turns, within a tenant its lanes, within a lane fresh and waiting jobs.
//!
//! In: jobs that may start, what has ended. Out: the next job to start.
//! Standards: domains-and-routing 1.1 ("one tenant's backlog delays another's by at most one scheduling round").
//! Invariants: a tenant with work and a free share is passed over at most once by every other tenant before its turn; no tenant takes the
//! last places while others may come; jobs of a lane start in order within their class.

use mail::{LaneId, TenantId};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Attempts of a tenant that may always run, however many others there are (while there is room at all).
const TENANT_FLOOR: usize = 2;

/// Fresh from a commit, or back from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never tried.
    Fresh,
    /// Tried before, or read from the store.
    Waiting,
}

/// A job that starts now.
#[derive(Debug, PartialEq, Eq)]
pub struct Start<J> {
    /// Owner.
    pub tenant: TenantId,
    /// Lane.
    pub lane: LaneId,
    /// Class it stood in.
    pub class: Class,
    /// The job.
    pub job: J,
}

/// Jobs that may start, by tenant and lane.
#[derive(Debug)]
pub struct Schedule<J> {
    tenants: HashMap<TenantId, Tenant<J>>,
    /// Tenants that have jobs, in the order of their turns.
    ring: VecDeque<TenantId>,
    running: usize,
    running_max: usize,
    ready: usize,
}

#[derive(Debug)]
struct Tenant<J> {
    lanes: HashMap<LaneId, Lane<J>>,
    ring: VecDeque<LaneId>,
    running: usize,
    is_in_ring: bool,
}

#[derive(Debug)]
struct Lane<J> {
    fresh: VecDeque<J>,
    waiting: VecDeque<J>,
    running: usize,
    running_max: usize,
    last: Class,
    is_in_ring: bool,
}

impl<J> Schedule<J> {
    /// At most `running_max` jobs at a time.
    #[must_use]
    pub fn new(running_max: usize) -> Self {
        Self {
            tenants: HashMap::new(),
            ring: VecDeque::new(),
            running: 0,
            running_max,
            ready: 0,
        }
    }

    /// A job may start. `lane_max`: how many of its lane may run at a time.
    pub fn push(&mut self, tenant: TenantId, lane: LaneId, class: Class, lane_max: usize, job: J) {
        let lane_room = self.lane_mut(tenant, lane, lane_max);
        match class {
            Class::Fresh => lane_room.fresh.push_back(job),
            Class::Waiting => lane_room.waiting.push_back(job),
        }
        self.ready += 1;
        self.wake(tenant, lane);
    }

    /// A job that had begun and could not go on (its next hop is full) may start again, before the others of its class.
    pub fn push_front(&mut self, tenant: TenantId, lane: LaneId, class: Class, lane_max: usize, job: J) {
        let lane_room = self.lane_mut(tenant, lane, lane_max);
        match class {
            Class::Fresh => lane_room.fresh.push_front(job),
            Class::Waiting => lane_room.waiting.push_front(job),
        }
        self.ready += 1;
        self.wake(tenant, lane);
    }

    /// The next job to start, if one may.
    pub fn start_next(&mut self) -> Option<Start<J>> {
        if self.running >= self.running_max {
            return None;
        }
        // Each tenant in the ring is looked at once.
        for _ in 0..self.ring.len() {
            let id = self.ring.pop_front()?;
            let free = self.running_max - self.running;
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            if !has_share(tenant.running, free) {
                self.ring.push_back(id);
                continue;
            }
            let Some((lane, class, job)) = tenant.next() else {
                tenant.is_in_ring = false;
                self.tidy(id);
                continue;
            };
            tenant.running += 1;
            self.running += 1;
            self.ready -= 1;
            if tenant.ring.is_empty() {
                tenant.is_in_ring = false;
            } else {
                self.ring.push_back(id);
            }
            return Some(Start {
                tenant: id,
                lane,
                class,
                job,
            });
        }
        None
    }

    /// A job that was started has ended, or was put back.
    pub fn done(&mut self, tenant: TenantId, lane: LaneId) {
        self.running = self.running.saturating_sub(1);
        if let Some(room) = self.tenants.get_mut(&tenant) {
            room.running = room.running.saturating_sub(1);
            if let Some(lane_room) = room.lanes.get_mut(&lane) {
                lane_room.running = lane_room.running.saturating_sub(1);
                if lane_room.is_empty() && lane_room.running == 0 && !lane_room.is_in_ring {
                    room.lanes.remove(&lane);
                }
            }
        }
        self.wake(tenant, lane);
        self.tidy(tenant);
    }

    /// Whether a job might start now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.running < self.running_max && !self.ring.is_empty()
    }

    /// Jobs that wait for their turn.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Jobs that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Jobs of a lane that run.
    #[must_use]
    pub fn running_in(&self, tenant: TenantId, lane: LaneId) -> usize {
        self.tenants.get(&tenant).and_then(|t| t.lanes.get(&lane)).map_or(0, |l| l.running)
    }

    /// Takes out every job of these lanes that has not started (their domains were paused).
    pub fn drain_lanes(&mut self, lanes: &[LaneId]) -> Vec<J> {
        let mut jobs = Vec::new();
        for tenant in self.tenants.values_mut() {
            for lane in lanes {
                if let Some(room) = tenant.lanes.get_mut(lane) {
                    jobs.extend(room.fresh.drain(..).chain(room.waiting.drain(..)));
                }
            }
        }
        self.ready -= jobs.len();
        jobs
    }

    /// Waiting jobs by tenant, for figures.
    #[must_use]
    pub fn ready_by_tenant(&self) -> BTreeMap<TenantId, usize> {
        self.tenants
            .iter()
            .map(|(id, t)| (*id, t.lanes.values().map(|l| l.fresh.len() + l.waiting.len()).sum()))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    fn lane_mut(&mut self, tenant: TenantId, lane: LaneId, lane_max: usize) -> &mut Lane<J> {
        let room = self.tenants.entry(tenant).or_insert_with(|| Tenant {
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            running: 0,
            is_in_ring: false,
        });
        let lane_room = room.lanes.entry(lane).or_insert_with(|| Lane {
            fresh: VecDeque::new(),
            waiting: VecDeque::new(),
            running: 0,
            running_max: 1,
            last: Class::Waiting,
            is_in_ring: false,
        });
        lane_room.running_max = lane_max.max(1);
        lane_room
    }

    /// Puts a lane that may start something, and its tenant, into their rings.
    fn wake(&mut self, tenant: TenantId, lane: LaneId) {
        let Some(room) = self.tenants.get_mut(&tenant) else { return };
        if let Some(lane_room) = room.lanes.get_mut(&lane)
            && !lane_room.is_in_ring
            && lane_room.may_start()
        {
            lane_room.is_in_ring = true;
            room.ring.push_back(lane);
        }
        if !room.is_in_ring && !room.ring.is_empty() {
            room.is_in_ring = true;
            self.ring.push_back(tenant);
        }
    }

    /// Forgets a tenant that has nothing and runs nothing.
    fn tidy(&mut self, tenant: TenantId) {
        if self
            .tenants
            .get(&tenant)
            .is_some_and(|t| t.lanes.is_empty() && t.running == 0 && !t.is_in_ring)
        {
            self.tenants.remove(&tenant);
        }
    }
}

impl<J> Tenant<J> {
    fn next(&mut self) -> Option<(LaneId, Class, J)> {
        while let Some(id) = self.ring.pop_front() {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.is_in_ring = false;
            if !lane.may_start() {
                if lane.is_empty() && lane.running == 0 {
                    self.lanes.remove(&id);
                }
                continue;
            }
            let Some((class, job)) = lane.take() else { continue };
            lane.running += 1;
            if lane.may_start() {
                lane.is_in_ring = true;
                self.ring.push_back(id);
            }
            return Some((id, class, job));
        }
        None
    }
}

impl<J> Lane<J> {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty()
    }

    fn may_start(&self) -> bool {
        !self.is_empty() && self.running < self.running_max
    }

    /// Fresh and waiting jobs take turns, so that neither starves the other.
    fn take(&mut self) -> Option<(Class, J)> {
        let order = match self.last {
            Class::Fresh => [Class::Waiting, Class::Fresh],
            Class::Waiting => [Class::Fresh, Class::Waiting],
        };
        for class in order {
            let job = match class {
                Class::Fresh => self.fresh.pop_front(),
                Class::Waiting => self.waiting.pop_front(),
            };
            if let Some(job) = job {
                self.last = class;
                return Some((class, job));
            }
        }
        None
    }
}

/// Whether someone who has `own` places may take another while `free` are left: up to as many as stay free, so that whoever comes next
/// finds half of what the last one found.
#[must_use]
pub fn has_share(own: usize, free: usize) -> bool {
    free > 0 && (own < TENANT_FLOOR || own < free)
}

#[cfg(test)]
mod tests;
