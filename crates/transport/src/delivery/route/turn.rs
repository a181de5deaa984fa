//! Whose turn is it among equal rows? One counter per set of equal rows on this node, moved once per message.

use config::document::InboundServer;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Sets that are remembered; beyond it all begin anew with the upper row.
const SETS_MAX: usize = 100_000;

/// The counters of this node.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<String, usize>>);

impl Turns {
    /// The position of a set now; moves it on when `moves`.
    fn take(&self, key: &str, moves: Moves) -> usize {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= SETS_MAX && !counters.contains_key(key) {
            counters.clear();
        }
        let counter = counters.entry(key.to_owned()).or_default();
        let position = *counter;
        if moves == Moves::Once {
            *counter = counter.wrapping_add(1);
        }
        position
    }
}

/// Whether an attempt moves the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// The first attempt of a message.
    Once,
    /// A later attempt, or a look.
    Not,
}

/// Turns taken by one message.
#[derive(Clone, Debug)]
pub struct Turned {
    moves: Moves,
    taken: Vec<(String, usize)>,
}

impl Turned {
    /// None yet.
    #[must_use]
    pub fn new(moves: Moves) -> Self {
        Self { moves, taken: Vec::new() }
    }

    pub(super) fn shift(&mut self, turns: &Turns, domain: &str, servers: &[InboundServer], group: &[usize]) -> usize {
        let mut key = domain.to_owned();
        for row in group.iter().filter_map(|index| servers.get(*index)) {
            key.push('\n');
            key.push_str(&row.recipient);
            key.push(' ');
            key.push_str(&row.host);
            key.push(':');
            key.push_str(&row.port.to_string());
        }
        if let Some((_, position)) = self.taken.iter().find(|(k, _)| *k == key) {
            return *position;
        }
        let position = turns.take(&key, self.moves) % group.len().max(1);
        self.taken.push((key, position));
        position
    }
}
