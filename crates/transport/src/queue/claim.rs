//! Who has an entry in hands? So that nothing is attempted twice at a time, and a person's action never crosses an attempt.
//!
//! In: claims and releases. Out: whether one may go on.
//! Invariants: an entry has at most one holder; actions that find an attempt under way are kept for its end.

use mail::QueueId;
use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

/// An entry's name.
pub type EntryKey = (QueueId, u32);

/// Number of no job.
const OURS: u64 = 0;

/// In whose hands.
#[derive(Debug)]
enum Claim<A> {
    /// In memory, waits for its turn in the job with this number.
    Ready(u64),
    /// Being attempted in the job with this number ([`OURS`]: by the queue itself), or its outcome is being written. Actions wait for the end.
    Attempt(u64, Vec<A>),
    /// A person's action is being written.
    Action,
}

/// All entries that are in someone's hands.
#[derive(Debug)]
pub struct Claims<A> {
    held: HashMap<EntryKey, Claim<A>>,
    /// Reads of the store that are under way.
    reads: u32,
    /// Entries that left someone's hands while a read was under way: what the read says of them may be out of date.
    left: HashSet<EntryKey>,
}

impl<A> Default for Claims<A> {
    fn default() -> Self {
        Self {
            held: HashMap::new(),
            reads: 0,
            left: HashSet::new(),
        }
    }
}

/// Someone has the entry in hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("someone has the entry in hands")]
pub struct InHands;

/// What an action found.
#[derive(Debug, PartialEq, Eq)]
pub enum ActionClaim<A> {
    /// Go on; [`Claims::release`] afterwards.
    Granted,
    /// An attempt is under way; the action is kept for its end.
    Kept,
    /// Another action is being written this very moment; the action is given back.
    Busy(A),
}

impl<A> Claims<A> {
    /// Takes an entry into memory, for the job with this number. `false`: someone has it already.
    pub fn ready(&mut self, key: EntryKey, job: u64) -> bool {
        match self.held.entry(key) {
            Slot::Occupied(_) => false,
            Slot::Vacant(slot) => {
                slot.insert(Claim::Ready(job));
                true
            }
        }
    }

    /// Begins an attempt. `false`: it was taken away from the job in the meantime.
    pub fn begin(&mut self, key: EntryKey, job: u64) -> bool {
        match self.held.get_mut(&key) {
            Some(Claim::Ready(number)) if *number == job => {
                self.held.insert(key, Claim::Attempt(job, Vec::new()));
                true
            }
            Some(Claim::Ready(_) | Claim::Attempt(..) | Claim::Action) | None => false,
        }
    }

    /// An attempt goes back to waiting (no place at the next hop). Kept actions are given out.
    #[must_use]
    pub fn put_back(&mut self, key: EntryKey, job: u64) -> Vec<A> {
        match self.held.get_mut(&key) {
            Some(Claim::Attempt(_, kept)) if kept.is_empty() => {
                self.held.insert(key, Claim::Ready(job));
                Vec::new()
            }
            Some(Claim::Attempt(..)) => self.release(key),
            Some(Claim::Ready(_) | Claim::Action) | None => Vec::new(),
        }
    }

    /// A person's action wants the entry.
    pub fn action(&mut self, key: EntryKey, action: A) -> ActionClaim<A> {
        match self.held.get_mut(&key) {
            None | Some(Claim::Ready(_)) => {
                self.held.insert(key, Claim::Action);
                ActionClaim::Granted
            }
            Some(Claim::Attempt(_, kept)) => {
                kept.push(action);
                ActionClaim::Kept
            }
            Some(Claim::Action) => ActionClaim::Busy(action),
        }
    }

    /// Gives up waiting, if the entry still waits in this job.
    pub fn forget(&mut self, key: EntryKey, job: u64) {
        if matches!(self.held.get(&key), Some(Claim::Ready(n)) if *n == job) {
            self.held.remove(&key);
        }
    }

    /// Takes an entry that nobody is attempting, for the queue's own writing. Actions that come meanwhile are kept.
    ///
    /// # Errors
    /// Someone has it in hands.
    pub fn take_quietly(&mut self, key: EntryKey) -> Result<(), InHands> {
        if self.has_left(key) {
            return Err(InHands);
        }
        match self.held.get(&key) {
            None | Some(Claim::Ready(_)) => {
                self.held.insert(key, Claim::Attempt(OURS, Vec::new()));
                Ok(())
            }
            Some(Claim::Attempt(..) | Claim::Action) => Err(InHands),
        }
    }

    /// A read of the store begins whose entries will be taken. Until [`Claims::read_ends`], what leaves hands is remembered.
    pub fn read_begins(&mut self) {
        self.reads += 1;
    }

    /// The entries of the read are taken.
    pub fn read_ends(&mut self) {
        self.reads = self.reads.saturating_sub(1);
        if self.reads == 0 {
            self.left.clear();
        }
    }

    /// Whether the entry left someone's hands since the oldest read that is under way began: it may be delivered, removed or changed.
    #[must_use]
    pub fn has_left(&self, key: EntryKey) -> bool {
        self.left.contains(&key)
    }

    /// Out of everyone's hands; the actions that were kept.
    #[must_use]
    pub fn release(&mut self, key: EntryKey) -> Vec<A> {
        if self.reads > 0 {
            self.left.insert(key);
        }
        match self.held.remove(&key) {
            Some(Claim::Attempt(_, kept)) => kept,
            Some(Claim::Ready(_) | Claim::Action) | None => Vec::new(),
        }
    }

    /// As [`Claims::release`], if the entry is in the hands of this job and no other.
    #[must_use]
    pub fn release_of(&mut self, key: EntryKey, job: u64) -> Vec<A> {
        match self.held.get(&key) {
            Some(Claim::Ready(number) | Claim::Attempt(number, _)) if *number == job => self.release(key),
            Some(Claim::Ready(_) | Claim::Attempt(..) | Claim::Action) | None => Vec::new(),
        }
    }

    /// Whether the entry is being attempted.
    #[must_use]
    pub fn is_attempted(&self, key: EntryKey) -> bool {
        matches!(self.held.get(&key), Some(Claim::Attempt(..)))
    }

    /// Entries in hands.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let key = (QueueId::from_i64(1), 0);
        let mut claims: Claims<u32> = Claims::default();
        assert!(claims.ready(key, 1) && !claims.ready(key, 1));
        assert!(claims.begin(key, 1) && !claims.begin(key, 1));
        assert_eq!(claims.action(key, 7), ActionClaim::Kept);
        assert_eq!(claims.release(key), [7]);
        assert_eq!(claims.action(key, 8), ActionClaim::Granted);
        assert_eq!(claims.action(key, 9), ActionClaim::Busy(9));
        assert!(!claims.ready(key, 1) && !claims.begin(key, 1));
        assert!(claims.release(key).is_empty() && claims.is_empty());
    }

    #[test]
    fn an_action_takes_a_waiting_entry_out_of_the_schedule() {
        let key = (QueueId::from_i64(1), 0);
        let mut claims: Claims<u32> = Claims::default();
        assert!(claims.ready(key, 1));
        assert_eq!(claims.action(key, 7), ActionClaim::Granted);
        assert!(!claims.begin(key, 1));
        // Read again by another job, it does not go back to the first one, whose copy is out of date.
        assert!(claims.release(key).is_empty() && claims.ready(key, 2));
        assert!(!claims.begin(key, 1) && claims.begin(key, 2));
    }

    #[test]
    fn what_left_hands_during_a_read_is_known() {
        let (key, other) = ((QueueId::from_i64(1), 0), (QueueId::from_i64(2), 0));
        let mut claims: Claims<u32> = Claims::default();
        assert!(claims.ready(key, 1) && claims.begin(key, 1));
        claims.read_begins();
        assert!(claims.release(key).is_empty());
        assert!(claims.has_left(key) && !claims.has_left(other));
        assert_eq!(claims.take_quietly(key), Err(InHands));
        claims.read_ends();
        assert!(!claims.has_left(key));
        assert_eq!(claims.take_quietly(key), Ok(()));
    }

    #[test]
    fn put_back_hands_out_kept_actions() {
        let key = (QueueId::from_i64(1), 0);
        let mut claims: Claims<u32> = Claims::default();
        assert!(claims.ready(key, 1) && claims.begin(key, 1));
        assert!(claims.put_back(key, 1).is_empty());
        assert!(claims.begin(key, 1));
        assert_eq!(claims.action(key, 7), ActionClaim::Kept);
        assert_eq!(claims.put_back(key, 1), [7]);
        assert!(claims.is_empty());
    }
}
