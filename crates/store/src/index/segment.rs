//! Segment: how do thousands of traces and their terms stand on disk?
//!
//! In:  traces in ascending order of id, each with its size and terms. Out: a head and blocks, each a small blob.
//! * Head: version, number of traces, first id of each chunk, first term of each term block.
//! * Chunk block: up to [`CHUNK`] traces, (id, size) each.
//! * Term block: terms ascending with their postings, about [`BLOCK_BYTES`] together; one posting may be longer.
//!
//! Layout to the byte: docs/format/tracking.md.

use mail::QueueId;

use super::posting::Set;
use super::term::{INDEX_VERSION, TERM_BITS};
use crate::StoreError;
use crate::packing::{Unpack, put_number};

/// Traces in a chunk block.
pub const CHUNK: usize = 512;
/// A block is closed at this size: with its row it fits into one page of 4 kB.
const BLOCK_BYTES: usize = 3_900;
/// Ordinals within a packed (term, ordinal).
const ORDINAL_BITS: u32 = 64 - TERM_BITS;
/// Traces of a segment at most.
pub const TRACES_MAX: usize = 1 << ORDINAL_BITS;
/// Block numbers of chunks begin here; those of terms at 0.
const CHUNKS_FROM: i64 = 1 << 23;

/// Key of a block in the engine's table.
#[must_use]
pub fn block_id(segment: i64, number: i64) -> i64 {
    (segment << 24) | number
}

/// A trace as the index knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doc {
    /// Its id as stored.
    pub id: i64,
    /// Octets, 0 when unknown.
    pub size: u64,
    /// Terms, in any order.
    pub terms: Vec<u64>,
}

/// A segment ready to be written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Head blob.
    pub head: Vec<u8>,
    /// (number, blob) of every block.
    pub blocks: Vec<(i64, Vec<u8>)>,
}

/// What a search needs to find its way in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of traces.
    pub traces: u32,
    /// First id of each chunk.
    pub chunk_ids: Vec<i64>,
    /// First term of each term block.
    pub block_terms: Vec<u64>,
}

impl Head {
    /// Packs it.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.chunk_ids.len() * 5 + self.block_terms.len() * 5);
        out.push(u8::try_from(INDEX_VERSION).unwrap_or(0));
        put_number(&mut out, u64::from(self.traces));
        put_number(&mut out, self.chunk_ids.len() as u64);
        put_ascending(&mut out, self.chunk_ids.iter().map(|id| id.unsigned_abs()));
        put_number(&mut out, self.block_terms.len() as u64);
        put_ascending(&mut out, self.block_terms.iter().copied());
        out
    }

    /// Unpacks it.
    ///
    /// # Errors
    /// [`StoreError::Data`] when it is damaged or of another version.
    pub fn from_blob(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut unpack = Unpack::new(bytes, "a segment of the search index");
        if i64::from(unpack.byte()?) != INDEX_VERSION {
            return Err(StoreError::Data("a segment of the search index has another version".into()));
        }
        let traces = u32::try_from(unpack.number()?).map_err(|_| unpack.damaged())?;
        let chunks = unpack.count()?;
        let chunk_ids = get_ascending(&mut unpack, chunks)?.into_iter().map(to_id).collect();
        let blocks = unpack.count()?;
        let block_terms = get_ascending(&mut unpack, blocks)?;
        Ok(Self {
            traces,
            chunk_ids,
            block_terms,
        })
    }

    /// Number of the block that has `term`, if any has.
    #[must_use]
    pub fn block_of(&self, term: u64) -> Option<i64> {
        let at = self.block_terms.partition_point(|first| *first <= term).checked_sub(1)?;
        i64::try_from(at).ok()
    }

    /// Number of the block that has the trace at `ordinal`.
    #[must_use]
    pub fn chunk_block(ordinal: u32) -> i64 {
        CHUNKS_FROM + i64::from(ordinal) / CHUNK as i64
    }

    /// An ordinal above those of all traces with `id` below `bound`; at most one chunk too many.
    #[must_use]
    pub fn ordinal_bound(&self, bound: QueueId) -> u32 {
        let chunks = self.chunk_ids.partition_point(|first| *first < bound.to_i64());
        u32::try_from(chunks * CHUNK).unwrap_or(u32::MAX).min(self.traces)
    }
}

fn put_ascending(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    let mut last = 0;
    for n in numbers {
        put_number(out, n.wrapping_sub(last));
        last = n;
    }
}

fn get_ascending(unpack: &mut Unpack<'_>, count: usize) -> Result<Vec<u64>, StoreError> {
    let mut out = Vec::with_capacity(count.min(unpack.rest().len()));
    let mut last = 0u64;
    for _ in 0..count {
        last = last.wrapping_add(unpack.number()?);
        out.push(last);
    }
    Ok(out)
}

fn to_id(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Reads a chunk block: (id, size) of each trace.
///
/// # Errors
/// [`StoreError::Data`] when it is damaged.
pub fn read_chunk(bytes: &[u8]) -> Result<Vec<(i64, u64)>, StoreError> {
    let mut unpack = Unpack::new(bytes, "a chunk of the search index");
    let mut out = Vec::with_capacity(CHUNK);
    let mut last = 0u64;
    while !unpack.is_empty() {
        last = last.wrapping_add(unpack.number()?);
        out.push((to_id(last), unpack.number()?));
    }
    Ok(out)
}

/// Looks for the posting of `wanted` in a term block.
///
/// # Errors
/// [`StoreError::Data`] when the block is damaged.
pub fn find_in_block(bytes: &[u8], first: u64, wanted: u64) -> Result<Option<Set>, StoreError> {
    let mut entries = Entries::new(bytes, first);
    while let Some((term, posting)) = entries.next_entry()? {
        if term >= wanted {
            return if term == wanted { posting.read().map(Some) } else { Ok(None) };
        }
    }
    Ok(None)
}

/// Reads the terms of a block one after another.
pub(crate) struct Entries<'a> {
    unpack: Unpack<'a>,
    term: u64,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(bytes: &'a [u8], first: u64) -> Self {
        Self {
            unpack: Unpack::new(bytes, "a block of the search index"),
            term: first,
        }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.unpack.rest().len()
    }

    pub(crate) fn next_entry(&mut self) -> Result<Option<(u64, Posting<'a>)>, StoreError> {
        if self.unpack.is_empty() {
            return Ok(None);
        }
        self.term = self.term.wrapping_add(self.unpack.number()?);
        let coded = self.unpack.number()?;
        let posting = match coded & 3 {
            0 => Posting::One(u32::try_from(coded >> 2).map_err(|_| self.unpack.damaged())?),
            1 => Posting::List(self.unpack.take(usize::try_from(coded >> 2).map_err(|_| self.unpack.damaged())?)?),
            2 => Posting::Bits(self.unpack.take(usize::try_from(coded >> 2).map_err(|_| self.unpack.damaged())?)?),
            _ => return Err(self.unpack.damaged()),
        };
        Ok(Some((self.term, posting)))
    }
}

/// A posting, not read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Posting<'a> {
    One(u32),
    List(&'a [u8]),
    Bits(&'a [u8]),
}

impl Posting<'_> {
    /// Each ordinal, ascending.
    pub(crate) fn each(self, f: &mut dyn FnMut(u32)) -> Result<(), StoreError> {
        match self {
            Self::One(n) => f(n),
            Self::Bits(bits) => {
                for (base, byte) in (0u32..).step_by(8).zip(bits) {
                    (0..8).filter(|bit| byte & (1 << bit) != 0).for_each(|bit| f(base + bit));
                }
            }
            Self::List(bytes) => {
                let mut unpack = Unpack::new(bytes, "a posting of the search index");
                let mut last = 0u32;
                while !unpack.is_empty() {
                    last = last.wrapping_add(u32::try_from(unpack.number()?).map_err(|_| unpack.damaged())?);
                    f(last);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn read(self) -> Result<Set, StoreError> {
        Ok(match self {
            Self::One(n) => Set::List(vec![n]),
            Self::Bits(bits) => Set::Bits(bits.to_vec()),
            Self::List(bytes) => {
                let mut out = Vec::with_capacity(bytes.len());
                self.each(&mut |n| out.push(n))?;
                Set::List(out)
            }
        })
    }
}

/// Makes a segment: traces first, then terms ascending.
#[derive(Default)]
pub(crate) struct Builder {
    head: Head,
    written: Written,
    block: Vec<u8>,
    last_term: u64,
}

impl Builder {
    /// All traces, ids ascending.
    pub(crate) fn traces(&mut self, docs: &mut dyn Iterator<Item = (i64, u64)>) {
        let mut chunk = Vec::new();
        let mut last = 0u64;
        let mut in_chunk = 0;
        for (id, size) in docs {
            if in_chunk == 0 {
                self.head.chunk_ids.push(id);
                last = 0;
            }
            put_number(&mut chunk, id.unsigned_abs().wrapping_sub(last));
            put_number(&mut chunk, size);
            last = id.unsigned_abs();
            self.head.traces += 1;
            in_chunk += 1;
            if in_chunk == CHUNK {
                self.close_chunk(&mut chunk);
                in_chunk = 0;
            }
        }
        if in_chunk > 0 {
            self.close_chunk(&mut chunk);
        }
    }

    fn close_chunk(&mut self, chunk: &mut Vec<u8>) {
        let number = CHUNKS_FROM + self.head.chunk_ids.len() as i64 - 1;
        self.written.blocks.push((number, std::mem::take(chunk)));
    }

    /// The next term, with its ordinals ascending.
    pub(crate) fn term(&mut self, term: u64, ordinals: &[u32]) {
        if self.block.is_empty() {
            self.head.block_terms.push(term);
            self.last_term = term;
        }
        put_number(&mut self.block, term - self.last_term);
        self.last_term = term;
        put_posting(&mut self.block, ordinals, self.head.traces);
        if self.block.len() >= BLOCK_BYTES {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        let number = self.head.block_terms.len() as i64 - 1;
        self.written.blocks.push((number, std::mem::take(&mut self.block)));
    }

    /// Blocks made so far, so that they need not all be held at once.
    pub(crate) fn take_blocks(&mut self) -> Vec<(i64, Vec<u8>)> {
        std::mem::take(&mut self.written.blocks)
    }

    pub(crate) fn finish(mut self) -> Written {
        if !self.block.is_empty() {
            self.close_block();
        }
        self.written.head = self.head.to_blob();
        self.written
    }
}

fn put_posting(out: &mut Vec<u8>, ordinals: &[u32], traces: u32) {
    if let [one] = ordinals {
        return put_number(out, u64::from(*one) << 2);
    }
    if ordinals.len() > traces as usize / 8 {
        let mut bits = vec![0u8; (traces as usize).div_ceil(8)];
        for n in ordinals {
            if let Some(byte) = bits.get_mut(*n as usize / 8) {
                *byte |= 1 << (n % 8);
            }
        }
        put_number(out, (bits.len() as u64) << 2 | 2);
        out.extend_from_slice(&bits);
        return;
    }
    let mut list = Vec::with_capacity(ordinals.len() * 2);
    put_ascending(&mut list, ordinals.iter().map(|n| u64::from(*n)));
    put_number(out, (list.len() as u64) << 2 | 1);
    out.extend_from_slice(&list);
}

/// Makes a segment of `docs`, which are sorted by id, each once, at most [`TRACES_MAX`].
#[must_use]
pub fn build(docs: &[Doc]) -> Written {
    let mut builder = Builder::default();
    builder.traces(&mut docs.iter().map(|d| (d.id, d.size)));
    let mut packed: Vec<u64> = Vec::with_capacity(docs.iter().map(|d| d.terms.len()).sum());
    for (ordinal, doc) in docs.iter().enumerate() {
        packed.extend(doc.terms.iter().map(|term| term << ORDINAL_BITS | ordinal as u64));
    }
    packed.sort_unstable();
    packed.dedup();
    let ordinal_of = |p: u64| u32::try_from(p & (TRACES_MAX as u64 - 1)).unwrap_or(0);
    let mut ordinals: Vec<u32> = Vec::new();
    let mut rest = packed.as_slice();
    while let Some(first) = rest.first() {
        let term = first >> ORDINAL_BITS;
        let (same, others) = rest.split_at(rest.iter().position(|p| p >> ORDINAL_BITS != term).unwrap_or(rest.len()));
        ordinals.clear();
        ordinals.extend(same.iter().map(|p| ordinal_of(*p)));
        builder.term(term, &ordinals);
        rest = others;
    }
    builder.finish()
}
