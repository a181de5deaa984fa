//! What was learned and is still true. Sharded, bounded, with caps on how long anything is believed.

use super::record::{Kind, Lookup};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SHARDS: usize = 16;
/// Names a shard holds at most; sixteen shards of six types at a few hundred bytes each stay far below 50 MB.
const SHARD_ENTRIES_MAX: usize = 4_096;
/// A TTL of 0 would have every message of a burst ask again.
const POSITIVE_SECONDS_MIN: u32 = 1;
const POSITIVE_SECONDS_MAX: u32 = 3_600;
const NEGATIVE_SECONDS_MIN: u32 = 1;
/// RFC 2308 §5 allows hours; a record that somebody just made should be seen soon.
const NEGATIVE_SECONDS_MAX: u32 = 300;

pub(super) struct Cache {
    shards: [Mutex<HashMap<Box<str>, Kinds>>; SHARDS],
    hasher: RandomState,
}

/// One slot a type, so that a look-up needs no key of its own.
type Kinds = [Option<Entry>; Kind::COUNT];

struct Entry {
    answer: Lookup,
    /// By the monotonic clock.
    until: Duration,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn get(&self, name: &str, kind: Kind, now: Duration) -> Option<Lookup> {
        let shard = self.shard(name).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.get(name)?.get(kind as usize)?.as_ref()?;
        (entry.until > now).then(|| entry.answer.clone())
    }

    pub(super) fn insert(&self, name: &str, kind: Kind, answer: Lookup, ttl_seconds: u32, now: Duration) {
        let seconds = match answer {
            Lookup::Found(_) => ttl_seconds.clamp(POSITIVE_SECONDS_MIN, POSITIVE_SECONDS_MAX),
            Lookup::NoData | Lookup::NoSuchName => ttl_seconds.clamp(NEGATIVE_SECONDS_MIN, NEGATIVE_SECONDS_MAX),
        };
        let entry = Entry {
            answer,
            until: now.saturating_add(Duration::from_secs(u64::from(seconds))),
        };
        let mut shard = self.shard(name).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_ENTRIES_MAX && !shard.contains_key(name) {
            make_room(&mut shard, now);
        }
        if let Some(slot) = shard.entry(name.into()).or_default().get_mut(kind as usize) {
            *slot = Some(entry);
        }
    }

    fn shard(&self, name: &str) -> &Mutex<HashMap<Box<str>, Kinds>> {
        let place = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0);
        self.shards.get(place).unwrap_or(&self.shards[0])
    }
}

/// Drops what is over; if that is little, an eighth at random (a hash map's order is that), so that a flood of names cannot stop the cache.
fn make_room(shard: &mut HashMap<Box<str>, Kinds>, now: Duration) {
    shard.retain(|_, kinds| kinds.iter().flatten().any(|entry| entry.until > now));
    if shard.len() > SHARD_ENTRIES_MAX / 8 * 7 {
        let mut place = 0_usize;
        shard.retain(|_, _| {
            place += 1;
            !place.is_multiple_of(8)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Rr;
    use super::*;

    fn text(content: &str) -> Lookup {
        Lookup::Found([Rr::Text(content.to_owned())].into())
    }

    #[test]
    fn entries_live_as_long_as_their_ttl_within_the_caps() {
        let check = |answer: Lookup, ttl: u32, lives: u64| {
            let cache = Cache::new();
            let start = Duration::from_secs(1000);
            cache.insert("a.example", Kind::Txt, answer.clone(), ttl, start);
            assert_eq!(
                cache.get("a.example", Kind::Txt, start + Duration::from_secs(lives - 1)),
                Some(answer),
                "ttl {ttl}"
            );
            assert_eq!(
                cache.get("a.example", Kind::Txt, start + Duration::from_secs(lives)),
                None,
                "ttl {ttl}"
            );
            assert_eq!(cache.get("a.example", Kind::Mx, start), None, "another type");
            assert_eq!(cache.get("b.example", Kind::Txt, start), None, "another name");
        };
        check(text("x"), 60, 60);
        check(text("x"), 0, 1);
        check(text("x"), 86_400, 3_600);
        check(Lookup::NoSuchName, 3_600, 300);
        check(Lookup::NoData, 20, 20);
    }

    #[test]
    fn a_flood_of_names_stays_bounded() {
        let cache = Cache::new();
        for number in 0..SHARDS * SHARD_ENTRIES_MAX * 2 {
            cache.insert(&format!("{number}.example"), Kind::A, Lookup::NoSuchName, 60, Duration::ZERO);
        }
        let held: Vec<usize> = cache.shards.iter().map(|shard| shard.lock().unwrap().len()).collect();
        assert!(held.iter().all(|names| *names <= SHARD_ENTRIES_MAX), "{held:?}");
        cache.insert("new.example", Kind::A, Lookup::NoData, 60, Duration::ZERO);
        assert_eq!(cache.get("new.example", Kind::A, Duration::ZERO), Some(Lookup::NoData));
    }
}
