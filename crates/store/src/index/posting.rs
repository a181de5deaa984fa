//! Postings: which traces of a segment have a term, and how do several such sets meet?
//!
//! In and out: ascending ordinals (places of traces in their segment). Few: a list; many: one bit each.

/// A set of ordinals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// Ascending.
    List(Vec<u32>),
    /// Bit n of byte n / 8 (lowest first).
    Bits(Vec<u8>),
}

impl Set {
    /// Every ordinal below `n`.
    #[must_use]
    pub fn all(n: u32) -> Self {
        let mut bits = vec![0xff; (n as usize).div_ceil(8)];
        if let (Some(last), true) = (bits.last_mut(), !n.is_multiple_of(8)) {
            *last = 0xff >> (8 - n % 8);
        }
        Self::Bits(bits)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Bits(bits) => bits.iter().map(|b| b.count_ones() as usize).sum(),
        }
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Bits(bits) => bits.iter().all(|b| *b == 0),
        }
    }

    /// In both.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bits(a), Self::Bits(b)) => Self::Bits(a.iter().zip(&b).map(|(a, b)| a & b).collect()),
            (Self::List(list), Self::Bits(bits)) | (Self::Bits(bits), Self::List(list)) => {
                Self::List(list.into_iter().filter(|n| has_bit(&bits, *n)).collect())
            }
            (Self::List(a), Self::List(b)) => {
                let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
                let mut rest = large.as_slice();
                let mut out = Vec::with_capacity(small.len());
                for n in small {
                    rest = rest.get(rest.partition_point(|m| *m < n)..).unwrap_or_default();
                    if rest.first() == Some(&n) {
                        out.push(n);
                    }
                }
                Self::List(out)
            }
        }
    }

    /// In any.
    #[must_use]
    pub fn join(sets: Vec<Self>) -> Self {
        let mut list = Vec::new();
        let mut bits: Option<Vec<u8>> = None;
        for set in sets {
            match (set, bits.as_mut()) {
                (Self::List(more), _) => list.extend(more),
                (Self::Bits(more), None) => bits = Some(more),
                (Self::Bits(more), Some(bits)) => bits.iter_mut().zip(more).for_each(|(b, m)| *b |= m),
            }
        }
        match bits {
            None => {
                list.sort_unstable();
                list.dedup();
                Self::List(list)
            }
            Some(mut bits) => {
                for n in list {
                    if let Some(byte) = bits.get_mut(n as usize / 8) {
                        *byte |= 1 << (n % 8);
                    }
                }
                Self::Bits(bits)
            }
        }
    }

    /// The greatest ordinal below `bound`.
    #[must_use]
    pub fn last_below(&self, bound: u32) -> Option<u32> {
        match self {
            Self::List(list) => list.get(list.partition_point(|n| *n < bound).checked_sub(1)?).copied(),
            Self::Bits(bits) => {
                let mut at = (bound as usize).min(bits.len() * 8);
                while at > 0 {
                    let byte = bits.get((at - 1) / 8).copied().unwrap_or(0);
                    let kept = byte & (0xff >> (7 - (at - 1) % 8));
                    if kept != 0 {
                        return u32::try_from((at - 1) / 8 * 8).ok().map(|base| base + kept.ilog2());
                    }
                    at = (at - 1) / 8 * 8;
                }
                None
            }
        }
    }
}

fn has_bit(bits: &[u8], n: u32) -> bool {
    bits.get(n as usize / 8).is_some_and(|b| b & (1 << (n % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn list(set: &BTreeSet<u32>) -> Set {
        Set::List(set.iter().copied().collect())
    }
    fn bits(set: &BTreeSet<u32>) -> Set {
        let mut bits = vec![0u8; 32];
        set.iter().for_each(|n| bits[*n as usize / 8] |= 1 << (n % 8));
        Set::Bits(bits)
    }
    fn read(set: &Set) -> Vec<u32> {
        let mut out = Vec::new();
        let mut bound = u32::MAX;
        while let Some(n) = set.last_below(bound) {
            out.push(n);
            bound = n;
        }
        out.reverse();
        out
    }

    proptest! {
        #[test]
        fn sets_of_either_form_are_sets(a in proptest::collection::btree_set(0u32..256, 0..60), b in proptest::collection::btree_set(0u32..256, 0..60)) {
            let both: Vec<u32> = a.intersection(&b).copied().collect();
            let any: Vec<u32> = a.union(&b).copied().collect();
            for x in [list(&a), bits(&a)] {
                for y in [list(&b), bits(&b)] {
                    prop_assert_eq!(read(&x.clone().meet(y.clone())), both.clone());
                    prop_assert_eq!(read(&Set::join(vec![x.clone(), y.clone()])), any.clone());
                    prop_assert_eq!(x.len(), a.len());
                }
            }
        }
    }

    #[test]
    fn all_is_all() {
        for n in [0, 1, 7, 8, 9, 64] {
            assert_eq!(read(&Set::all(n)), (0..n).collect::<Vec<_>>());
        }
    }
}
