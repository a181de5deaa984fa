//! Names that we give: tenants, queue ids, references, blobs, lanes.
//!
//! A queue id is 63 bits, so that it can be the clustering key of both engines:
//! ```text
//! bit 62..22  milliseconds since 2024-01-01 UTC (41 bits, until 2093)
//! bit 21..18  node slot (4 bits)
//! bit 17..0   random (18 bits), unique within its millisecond and node
//! ```
//! Time + random, never a sequence: a sequence would tell others our volume. As text: 13 letters of
//! Crockford's base 32, lower case.

use crate::text::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

use crate::Timestamp;

const EPOCH_MS: i64 = 1_704_067_200_000;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The installation's number of a tenant; never shown, never reused. 0 is the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub i64);

impl TenantId {
    /// Owner of what belongs to no tenant: refused connections, unknown domains.
    pub const OPERATOR: Self = Self(0);
}

/// Our name for one accepted message in transit, or for one refused mail transaction in tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u64);

/// The text is not an id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {expected} letters or digits as the product prints them")]
pub struct IdError {
    /// How many letters such an id has.
    pub expected: usize,
}

impl From<IdError> for Text {
    fn from(error: IdError) -> Self {
        Self::new("check.id").with("letters", error.expected)
    }
}

impl QueueId {
    /// From the stored number. Never fails: any 63-bit number is a possible id.
    #[must_use]
    pub fn from_i64(raw: i64) -> Self {
        Self(raw.unsigned_abs() & (u64::MAX >> 1))
    }

    /// The number as both engines store it.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// When it was given. The day of this moment names the tracking table.
    #[must_use]
    pub fn time(self) -> Timestamp {
        Timestamp(i64::try_from(self.0 >> 22).unwrap_or(0) + EPOCH_MS)
    }

    /// The smallest id that can have been given at `at`: a bound for searches by time.
    #[must_use]
    pub fn first_at(at: Timestamp) -> Self {
        Self(u64::try_from((at.0 - EPOCH_MS).max(0)).unwrap_or(0) << 22)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 13];
        for (i, letter) in text.iter_mut().enumerate() {
            *letter = letter_of(u8::try_from((self.0 >> (60 - 5 * i)) & 31).unwrap_or(0));
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for QueueId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let err = IdError { expected: 13 };
        if text.len() != 13 {
            return Err(err);
        }
        let mut n: u128 = 0;
        for b in text.bytes() {
            n = n << 5 | u128::from(digit_of(b).ok_or(err)?);
        }
        u64::try_from(n).ok().filter(|n| *n <= u64::MAX >> 1).map(Self).ok_or(err)
    }
}

/// Gives queue ids: one per process, so that no id is given twice within a millisecond.
#[derive(Debug)]
pub struct IdSource {
    slot: u64,
    state: std::sync::Mutex<(i64, Vec<u32>)>,
}

impl IdSource {
    /// `slot`: 0 to 15, different on each live node of an installation.
    #[must_use]
    pub fn new(slot: u8) -> Self {
        Self {
            slot: u64::from(slot & 15),
            state: std::sync::Mutex::new((0, Vec::new())),
        }
    }

    /// A new id for something that happens now.
    pub fn queue_id(&self, now: Timestamp) -> QueueId {
        let ms = (now.0 - EPOCH_MS).max(0);
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.0 != ms {
            *state = (ms, Vec::new());
        }
        let mut random = random_u32() & 0x3_ffff;
        while state.1.contains(&random) {
            random = (random + 1) & 0x3_ffff;
        }
        state.1.push(random);
        QueueId((u64::try_from(ms).unwrap_or(0) << 22 | self.slot << 18 | u64::from(random)) & (u64::MAX >> 1))
    }
}

/// Names one refusal to the outside: 80 random bits, so that nobody can guess another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(pub [u8; 10]);

impl Reference {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 10];
        fill_random(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
        let mut text = [0u8; 16];
        for (i, letter) in text.iter_mut().enumerate() {
            *letter = letter_of(u8::try_from((n >> (75 - 5 * i)) & 31).unwrap_or(0));
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Reference {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let err = IdError { expected: 16 };
        if text.len() != 16 {
            return Err(err);
        }
        let mut n: u128 = 0;
        for b in text.bytes() {
            n = n << 5 | u128::from(digit_of(b).ok_or(err)?);
        }
        let bytes = n.to_be_bytes();
        let mut out = [0; 10];
        out.copy_from_slice(bytes.get(6..).ok_or(err)?);
        Ok(Self(out))
    }
}

/// Stored bytes of a large body, named by their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl FromStr for BlobId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let err = IdError { expected: 64 };
        let mut out = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(err);
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair)
                .ok()
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or(err)?;
        }
        Ok(Self(out))
    }
}

/// What waits together and is scheduled fairly against others: the recipients of one tenant at one recipient domain.
/// A stable 63-bit hash, so that it can stand in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub i64);

impl LaneId {
    /// The lane of `domain` (lower case A-labels) within `tenant`. FNV-1a: stable across versions and machines.
    #[must_use]
    pub fn of(tenant: TenantId, domain: &str) -> Self {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for b in tenant.0.to_be_bytes().iter().chain(domain.as_bytes()) {
            h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(i64::try_from(h >> 1).unwrap_or(0))
    }
}

macro_rules! text_serde {
    ($($t:ty),*) => {$(
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
text_serde!(QueueId, Reference, BlobId);

fn letter_of(digit: u8) -> u8 {
    ALPHABET.get(usize::from(digit)).copied().unwrap_or(b'0')
}

fn digit_of(letter: u8) -> Option<u8> {
    let letter = letter.to_ascii_lowercase();
    ALPHABET.iter().position(|l| *l == letter).and_then(|i| u8::try_from(i).ok())
}

/// Fills from the system's random source. A system without one cannot run a mail gate: we stop rather than guess.
fn fill_random(out: &mut [u8]) {
    if getrandom::fill(out).is_err() {
        std::process::abort();
    }
}

fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_id_text_round_trips_and_sorts_by_time() {
        let ids = IdSource::new(3);
        let a = ids.queue_id(Timestamp(1_800_000_000_000));
        let b = ids.queue_id(Timestamp(1_800_000_000_001));
        assert_eq!(a.to_string().parse(), Ok(a));
        assert_eq!(a.time(), Timestamp(1_800_000_000_000));
        assert!(a < b && a.to_string() < b.to_string());
        assert_eq!(QueueId::from_i64(a.to_i64()), a);
    }

    #[test]
    fn ids_of_one_millisecond_differ() {
        let ids = IdSource::new(0);
        let given: std::collections::BTreeSet<_> = (0..5_000).map(|_| ids.queue_id(Timestamp(1_800_000_000_000))).collect();
        assert_eq!(given.len(), 5_000);
    }

    #[test]
    fn reference_round_trips() {
        let r = Reference::random();
        assert_eq!(r.to_string().len(), 16);
        assert_eq!(r.to_string().parse(), Ok(r));
        assert!("short".parse::<Reference>().is_err());
    }
}
