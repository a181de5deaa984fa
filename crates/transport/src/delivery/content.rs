//! What do the recipients of a variant get, byte for byte? Prefix, then the body with the edits applied, in pieces.
//!
//! In: a message of the spool, its variant, the body in chunks of any size. Out: pieces in order.
//! Standards: none. Invariants: memory does not grow with the message; edits are ascending and disjoint, what lies outside the body is ignored.

use store::spool::{Edit, SpoolMessage, Variant};

/// Applies edits to a body that comes in chunks.
#[derive(Debug)]
pub struct Splice<'e> {
    edits: &'e [Edit],
    index: usize,
    /// Offset of the next octet of the body.
    at: u64,
}

impl<'e> Splice<'e> {
    /// At the start of the body.
    #[must_use]
    pub fn new(edits: &'e [Edit]) -> Self {
        Self { edits, index: 0, at: 0 }
    }

    /// The next chunk of the body; `emit` gets what comes of it.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn write<E>(&mut self, chunk: &[u8], emit: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let Some(edit) = self.edits.get(self.index) else {
                self.at += length(rest);
                return emit(rest);
            };
            if self.at < edit.from {
                let count = clamp(edit.from - self.at, rest.len());
                let (plain, tail) = rest.split_at(count);
                emit(plain)?;
                self.at += length(plain);
                rest = tail;
                continue;
            }
            // The insertion comes once, where the edit begins; what is left out may end in a later chunk.
            if self.at == edit.from {
                emit(edit.insert.as_bytes())?;
            }
            let count = clamp(edit.to.saturating_sub(self.at), rest.len());
            let (left_out, tail) = rest.split_at(count);
            self.at += length(left_out);
            rest = tail;
            if self.at >= edit.to {
                self.index += 1;
            }
        }
        Ok(())
    }

    /// The body has ended: insertions at its very end.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn finish<E>(mut self, emit: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(edit) = self.edits.get(self.index) {
            if edit.from == self.at {
                emit(edit.insert.as_bytes())?;
            }
            self.index += 1;
        }
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn clamp(n: u64, max: usize) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX).min(max)
}

/// Octets of what the recipients get.
#[must_use]
pub fn size_bytes(message: &SpoolMessage, variant: &Variant) -> u64 {
    let prefix = length(&variant.prefix);
    let inserted: u64 = variant.edits.iter().map(|e| length(e.insert.as_bytes())).sum();
    let left_out: u64 = variant.edits.iter().map(|e| e.to.min(message.size).saturating_sub(e.from)).sum();
    (prefix + message.size + inserted).saturating_sub(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, edits: &[(u64, u64, &str)], expect: &str) {
        let edits: Vec<Edit> = edits
            .iter()
            .map(|(from, to, insert)| Edit {
                from: *from,
                to: *to,
                insert: (*insert).into(),
            })
            .collect();
        for size in 1..=body.len().max(1) {
            let mut out = Vec::new();
            let mut emit = |piece: &[u8]| {
                out.extend_from_slice(piece);
                Ok::<(), ()>(())
            };
            let mut splice = Splice::new(&edits);
            for chunk in body.as_bytes().chunks(size) {
                splice.write(chunk, &mut emit).unwrap();
            }
            splice.finish(&mut emit).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expect, "{body:?} {edits:?} in chunks of {size}");
        }
    }

    #[test]
    fn edits_in_chunks_of_every_size() {
        check("0123456789", &[], "0123456789");
        check("0123456789", &[(2, 5, "ab")], "01ab56789");
        check("0123456789", &[(2, 5, "")], "0156789");
        check("0123456789", &[(3, 3, "x")], "012x3456789");
        check("0123456789", &[(0, 0, "x"), (3, 3, "y"), (10, 10, "z")], "x012y3456789z");
        check("0123456789", &[(0, 2, "a"), (2, 4, "b"), (9, 10, "c")], "ab45678c");
        check("0123456789", &[(0, 10, "")], "");
        check("", &[(0, 0, "x")], "x");
    }
}
