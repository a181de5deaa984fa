//! Which lanes of the store have to be looked at, and when? A calendar of lanes; entries are read page by page, never all at once.
//!
//! In: what is known of due times. Out: the next lane to read, tenants by turns.
//! Standards: domains-and-routing 1.1 (fairness). Invariants: a lane with a due entry that is not in memory is always in the calendar or being
//! read; the memory of a lane is a few words, however many entries it has.

use mail::{LaneId, QueueId, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// A position within a lane: due, queue id, number.
pub type Position = (Timestamp, QueueId, u32);

#[derive(Debug)]
struct Lane {
    tenant: TenantId,
    /// When to look; `None` while being read or full.
    wake_at: Option<Timestamp>,
    cursor: Option<Position>,
    /// Jobs of this lane, read from the store, that have not ended.
    in_memory: u32,
    /// Something that the reading under way may not see is due then.
    unseen: Option<Timestamp>,
    /// More is due behind the cursor, but memory for this lane is full.
    is_full: bool,
    is_reading: bool,
}

/// The calendar.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    calendar: BTreeMap<TenantId, BTreeSet<(Timestamp, LaneId)>>,
    last_tenant: Option<TenantId>,
    in_memory: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// A lane to read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which.
    pub lane: LaneId,
    /// Whose.
    pub tenant: TenantId,
    /// From behind here; `None`: from the start.
    pub after: Option<Position>,
}

/// What a page came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEnd {
    /// The page was full: more may follow behind this position.
    More(Position),
    /// Nothing more is due; the next entry is due then, if any.
    End(Option<Timestamp>),
    /// It could not be read: look again then.
    Failed(Timestamp),
}

impl Lanes {
    /// Something in the lane is due at `at`.
    pub fn note(&mut self, lane: LaneId, tenant: TenantId, at: Timestamp) {
        let new = || Lane {
            tenant,
            wake_at: None,
            cursor: None,
            in_memory: 0,
            unseen: None,
            is_full: false,
            is_reading: false,
        };
        let room = self.lanes.entry(lane).or_insert_with(new);
        if room.is_reading || room.cursor.is_some() {
            room.unseen = Some(room.unseen.map_or(at, |other| other.min(at)));
        }
        if room.is_full || room.is_reading {
            // It is put back when its reading ends or goes on; what is not seen until then stands in `unseen`.
            return;
        }
        if room.wake_at.is_none_or(|w| at < w) {
            Self::unlist(&mut self.calendar, room, lane);
            room.wake_at = Some(at);
            self.calendar.entry(room.tenant).or_default().insert((at, lane));
        }
    }

    /// These lanes may be read again now (their pause is over), as far as they are known.
    pub fn wake(&mut self, lanes: &[LaneId], now: Timestamp) {
        for lane in lanes {
            if let Some(tenant) = self.lanes.get(lane).map(|l| l.tenant) {
                self.note(*lane, tenant, now);
            }
        }
    }

    /// The next lane to read, if one is due; tenants take turns. `may(tenant, jobs in memory of it, of all)`.
    pub fn read_next(&mut self, now: Timestamp, may: impl Fn(TenantId, usize, usize) -> bool) -> Option<Read> {
        let behind = self.last_tenant.map_or(Bound::Unbounded, Bound::Excluded);
        let up_to = self.last_tenant.map_or(Bound::Unbounded, Bound::Included);
        let due = |(tenant, set): (&TenantId, &BTreeSet<(Timestamp, LaneId)>)| {
            let first = *set.first()?;
            let own = self.by_tenant.get(tenant).copied().unwrap_or(0);
            (first.0 <= now && may(*tenant, own, self.in_memory)).then_some((*tenant, first.1))
        };
        let after_last = self.calendar.range((behind, Bound::Unbounded)).find_map(due);
        let (tenant, lane) = after_last.or_else(|| {
            self.last_tenant
                .and_then(|_| self.calendar.range((Bound::Unbounded, up_to)).find_map(due))
        })?;
        self.last_tenant = Some(tenant);
        let room = self.lanes.get_mut(&lane)?;
        Self::unlist(&mut self.calendar, room, lane);
        room.is_reading = true;
        if room.cursor.is_none() {
            room.unseen = None;
        }
        Some(Read {
            lane,
            tenant,
            after: room.cursor,
        })
    }

    /// A page was read; `jobs` of it are in memory now. `window`: jobs of one lane in memory before its reading pauses.
    pub fn read(&mut self, lane: LaneId, jobs: u32, end: PageEnd, now: Timestamp, window: u32) {
        let Some(room) = self.lanes.get_mut(&lane) else { return };
        room.is_reading = false;
        room.in_memory += jobs;
        self.in_memory += usize::try_from(jobs).unwrap_or(0);
        *self.by_tenant.entry(room.tenant).or_default() += usize::try_from(jobs).unwrap_or(0);
        let wake_at = match end {
            PageEnd::More(position) => {
                room.cursor = Some(position);
                room.is_full = room.in_memory >= window;
                (!room.is_full).then_some(now)
            }
            PageEnd::End(next) => {
                room.cursor = None;
                [next, room.unseen.take()].into_iter().flatten().min()
            }
            PageEnd::Failed(at) => {
                room.cursor = None;
                Some(at)
            }
        };
        let tenant = room.tenant;
        room.wake_at = wake_at;
        match wake_at {
            Some(at) => {
                self.calendar.entry(tenant).or_default().insert((at, lane));
            }
            None => self.tidy(lane),
        }
    }

    /// A job read from the store has become two.
    pub fn split(&mut self, lane: LaneId) {
        let Some(room) = self.lanes.get_mut(&lane).filter(|l| l.in_memory > 0) else {
            return;
        };
        room.in_memory += 1;
        self.in_memory += 1;
        *self.by_tenant.entry(room.tenant).or_default() += 1;
    }

    /// A job read from the store has ended. `window` as in [`Lanes::read`].
    pub fn ended(&mut self, lane: LaneId, now: Timestamp, window: u32) {
        let Some(room) = self.lanes.get_mut(&lane) else { return };
        if room.in_memory == 0 {
            return;
        }
        room.in_memory -= 1;
        self.in_memory = self.in_memory.saturating_sub(1);
        let tenant = room.tenant;
        if let Some(count) = self.by_tenant.get_mut(&tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_tenant.remove(&tenant);
            }
        }
        if room.is_full && room.in_memory <= window / 2 {
            room.is_full = false;
            room.wake_at = Some(now);
            self.calendar.entry(tenant).or_default().insert((now, lane));
        }
        self.tidy(lane);
    }

    /// When the next lane is to be looked at.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.calendar.values().filter_map(|set| set.first()).map(|(at, _)| *at).min()
    }

    /// Lanes that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    fn unlist(calendar: &mut BTreeMap<TenantId, BTreeSet<(Timestamp, LaneId)>>, room: &mut Lane, lane: LaneId) {
        if let Some(at) = room.wake_at.take()
            && let Some(set) = calendar.get_mut(&room.tenant)
        {
            set.remove(&(at, lane));
            if set.is_empty() {
                calendar.remove(&room.tenant);
            }
        }
    }

    fn tidy(&mut self, lane: LaneId) {
        if self
            .lanes
            .get(&lane)
            .is_some_and(|l| l.wake_at.is_none() && !l.is_reading && !l.is_full && l.in_memory == 0)
        {
            self.lanes.remove(&lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 4;

    fn any(_: TenantId, _: usize, _: usize) -> bool {
        true
    }

    fn position(n: i64) -> Position {
        (Timestamp(n), QueueId::from_i64(n), 0)
    }

    #[test]
    fn lanes_wake_at_their_time_and_tenants_take_turns() {
        let mut lanes = Lanes::default();
        for l in 0..3 {
            lanes.note(LaneId(l), TenantId(1), Timestamp(10));
        }
        lanes.note(LaneId(9), TenantId(2), Timestamp(20));
        assert_eq!(lanes.next_wake(), Some(Timestamp(10)));
        assert_eq!(lanes.read_next(Timestamp(9), any), None);
        let order: Vec<i64> = std::iter::from_fn(|| lanes.read_next(Timestamp(20), any))
            .map(|r| r.lane.0)
            .collect();
        assert_eq!(order, [0, 9, 1, 2]);
    }

    #[test]
    fn a_full_lane_goes_on_when_half_of_it_has_ended() {
        let mut lanes = Lanes::default();
        let now = Timestamp(10);
        lanes.note(LaneId(1), TenantId(1), now);
        assert_eq!(lanes.read_next(now, any).map(|r| r.after), Some(None));
        lanes.read(LaneId(1), 4, PageEnd::More(position(5)), now, WINDOW);
        assert_eq!(lanes.read_next(now, any), None);
        lanes.ended(LaneId(1), now, WINDOW);
        assert_eq!(lanes.read_next(now, any), None);
        lanes.ended(LaneId(1), now, WINDOW);
        assert_eq!(lanes.read_next(now, any).map(|r| r.after), Some(Some(position(5))));
        lanes.read(LaneId(1), 0, PageEnd::End(None), now, WINDOW);
        lanes.ended(LaneId(1), now, WINDOW);
        lanes.ended(LaneId(1), now, WINDOW);
        assert!(lanes.is_empty());
    }

    #[test]
    fn what_comes_before_the_cursor_is_read_in_another_round() {
        let mut lanes = Lanes::default();
        let now = Timestamp(10);
        lanes.note(LaneId(1), TenantId(1), now);
        let _ = lanes.read_next(now, any);
        lanes.read(LaneId(1), 1, PageEnd::More(position(5)), now, WINDOW);
        lanes.note(LaneId(1), TenantId(1), now);
        assert_eq!(lanes.read_next(now, any).map(|r| r.after), Some(Some(position(5))));
        lanes.read(LaneId(1), 0, PageEnd::End(Some(Timestamp(99))), now, WINDOW);
        assert_eq!(lanes.read_next(now, any).map(|r| r.after), Some(None));
        lanes.read(LaneId(1), 0, PageEnd::End(Some(Timestamp(99))), now, WINDOW);
        assert_eq!((lanes.read_next(now, any), lanes.next_wake()), (None, Some(Timestamp(99))));
    }

    #[test]
    fn a_note_during_reading_is_not_lost() {
        let mut lanes = Lanes::default();
        let now = Timestamp(10);
        lanes.note(LaneId(1), TenantId(1), now);
        let _ = lanes.read_next(now, any);
        lanes.note(LaneId(1), TenantId(1), now);
        lanes.read(LaneId(1), 0, PageEnd::End(None), now, WINDOW);
        assert!(lanes.read_next(now, any).is_some());
        // What is only to be looked at later does not make the reader turn in circles.
        lanes.note(LaneId(1), TenantId(1), Timestamp(12));
        lanes.read(LaneId(1), 0, PageEnd::End(Some(Timestamp(20))), now, WINDOW);
        assert_eq!((lanes.read_next(now, any), lanes.next_wake()), (None, Some(Timestamp(12))));
        assert!(lanes.read_next(Timestamp(12), any).is_some());
        lanes.read(LaneId(1), 0, PageEnd::Failed(Timestamp(15)), now, WINDOW);
        assert_eq!(lanes.next_wake(), Some(Timestamp(15)));
    }

    #[test]
    fn who_has_no_share_is_passed_over() {
        let mut lanes = Lanes::default();
        lanes.note(LaneId(1), TenantId(1), Timestamp(1));
        lanes.note(LaneId(2), TenantId(2), Timestamp(1));
        let not_one = |tenant: TenantId, _: usize, _: usize| tenant != TenantId(1);
        assert_eq!(lanes.read_next(Timestamp(1), not_one).map(|r| r.lane), Some(LaneId(2)));
        assert_eq!(lanes.read_next(Timestamp(1), not_one), None);
        assert_eq!(lanes.read_next(Timestamp(1), any).map(|r| r.lane), Some(LaneId(1)));
    }
}
