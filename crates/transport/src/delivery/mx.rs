//! Which hosts take mail for a domain, in which order? What the MX records say, pure.
//!
//! In: MX records as they came, who we are. Out: hosts in the order of trying, or why there are none.
//! Standards: RFC 5321 §5.1 (order, implicit MX, ourselves in the list), RFC 7505 (null MX), RFC 2181 §10.3.
//! Invariants: never a host at or behind our own preference; equal preferences in random order; bounded however long the list is.

/// Hosts of one list that are tried at most.
const HOSTS_MAX: usize = 20;

/// What the records come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchangers {
    /// In the order of trying, with their preference.
    Hosts(Vec<(u16, String)>),
    /// The domain takes no mail (RFC 7505): 556 5.1.10.
    Null,
    /// The best of them is this installation.
    Ourselves,
}

/// Puts `records` (preference, host) into order. No records: the domain itself (implicit MX). `dice(n)`: any number below `n`.
#[must_use]
pub fn order(domain: &str, records: &[(u16, String)], is_ours: &dyn Fn(&str) -> bool, dice: &mut dyn FnMut(usize) -> usize) -> Exchangers {
    let mut hosts: Vec<(u16, String)> = records
        .iter()
        .map(|(p, h)| (*p, h.trim_end_matches('.').to_ascii_lowercase()))
        .collect();
    if hosts.is_empty() {
        // RFC 5321 §5.1: without MX the address records of the domain itself, at preference 0.
        hosts.push((0, domain.to_owned()));
    } else {
        // RFC 7505 §3: a null MX stands alone; beside others it is a mistake and means nothing.
        hosts.retain(|(_, h)| !h.is_empty());
        if hosts.is_empty() {
            return Exchangers::Null;
        }
    }
    // RFC 5321 §5.1: when we stand in the list, we and everyone at or behind our preference are left out.
    if let Some(own) = hosts.iter().filter(|(_, h)| is_ours(h)).map(|(p, _)| *p).min() {
        hosts.retain(|(p, _)| *p < own);
        if hosts.is_empty() {
            return Exchangers::Ourselves;
        }
    }
    // RFC 5321 §5.1: equal preferences in random order, to spread the load.
    for i in (1..hosts.len()).rev() {
        hosts.swap(i, dice(i + 1) % (i + 1));
    }
    hosts.sort_by_key(|(p, _)| *p);
    let mut seen = std::collections::HashSet::new();
    hosts.retain(|(_, h)| seen.insert(h.clone()));
    hosts.truncate(HOSTS_MAX);
    Exchangers::Hosts(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(records: &[(u16, &str)], expect: &Exchangers) {
        let records: Vec<(u16, String)> = records.iter().map(|(p, h)| (*p, (*h).to_owned())).collect();
        let got = order("d.example", &records, &|h| h.ends_with(".in.gate.example"), &mut |_| 0);
        assert_eq!(got, *expect, "{records:?}");
    }

    fn hosts(list: &[(u16, &str)]) -> Exchangers {
        Exchangers::Hosts(list.iter().map(|(p, h)| (*p, (*h).to_owned())).collect())
    }

    #[test]
    fn orders() {
        check(
            &[(20, "b.example."), (10, "A.example.")],
            &hosts(&[(10, "a.example"), (20, "b.example")]),
        );
        check(&[], &hosts(&[(0, "d.example")]));
        check(&[(0, ".")], &Exchangers::Null);
        check(&[(0, "."), (10, "a.example.")], &hosts(&[(10, "a.example")]));
        check(&[(10, "t.in.gate.example."), (20, "b.example.")], &Exchangers::Ourselves);
        check(&[(10, "t.in.gate.example."), (10, "b.example.")], &Exchangers::Ourselves);
        check(
            &[(20, "t.in.gate.example."), (30, "c.example."), (10, "b.example.")],
            &hosts(&[(10, "b.example")]),
        );
        check(&[(10, "a.example."), (20, "a.example.")], &hosts(&[(10, "a.example")]));
    }

    #[test]
    fn equal_preferences_are_shuffled() {
        let records: Vec<(u16, String)> = (0..4).map(|n| (10, format!("m{n}.example"))).collect();
        let mut state = 1_u64;
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut dice = |n: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(state >> 33).unwrap() % n
            };
            let Exchangers::Hosts(list) = order("d.example", &records, &|_| false, &mut dice) else {
                panic!("hosts")
            };
            firsts.insert(list[0].1.clone());
        }
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    fn a_long_list_is_cut() {
        let records: Vec<(u16, String)> = (0..500).map(|n| (n, format!("m{n}.example"))).collect();
        assert!(matches!(order("d.example", &records, &|_| false, &mut |_| 0), Exchangers::Hosts(h) if h.len() == HOSTS_MAX));
    }
}
