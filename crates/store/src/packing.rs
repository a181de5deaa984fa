//! Packing: how do numbers and bytes stand one after another in our blobs?
//!
//! In:  numbers, byte strings. Out: LEB128 numbers (7 bits a byte, lowest first, high bit: more follows); strings as length, then bytes.
//! Invariants: reading never reads past the end, never allocates more than the input is long, never panics.

use crate::StoreError;

/// Appends a number.
pub(crate) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// Appends a byte string with its length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpack<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Unpack<'a> {
    /// `what` names the thing in errors.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StoreError> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(self.damaged())
    }

    /// A number that counts things in memory.
    pub(crate) fn count(&mut self) -> Result<usize, StoreError> {
        usize::try_from(self.number()?).map_err(|_| self.damaged())
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.count()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, StoreError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.damaged())
    }

    pub(crate) fn eight(&mut self) -> Result<[u8; 8], StoreError> {
        self.take(8)?.try_into().map_err(|_| self.damaged())
    }

    pub(crate) fn damaged(&self) -> StoreError {
        StoreError::Data(format!("{} is damaged", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(numbers in proptest::collection::vec(any::<u64>(), 0..20), text in ".{0,40}") {
            let mut out = Vec::new();
            numbers.iter().for_each(|n| put_number(&mut out, *n));
            put_bytes(&mut out, text.as_bytes());
            let mut unpack = Unpack::new(&out, "test");
            for n in numbers {
                prop_assert_eq!(unpack.number().ok(), Some(n));
            }
            prop_assert_eq!(unpack.text().ok(), Some(text.as_str()));
            prop_assert!(unpack.is_empty());
        }

        #[test]
        fn foreign_bytes_are_an_error_not_a_crash(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut unpack = Unpack::new(&bytes, "test");
            while !unpack.is_empty() && unpack.bytes().is_ok() {}
        }
    }
}
