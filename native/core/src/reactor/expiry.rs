//! When to look at which connection: each is in the list once, at the earliest time at which it might be late.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// See the module. Connections have numbers.
#[derive(Default)]
pub struct Expiry {
    due: BTreeSet<(Instant, u64)>,
    at: HashMap<u64, Instant>,
}

impl Expiry {
    /// A connection is to be looked at then, and not at the time that was said before.
    pub fn set(&mut self, connection: u64, at: Instant) {
        if let Some(before) = self.at.insert(connection, at) {
            self.due.remove(&(before, connection));
        }
        self.due.insert((at, connection));
    }

    pub fn forget(&mut self, connection: u64) {
        if let Some(before) = self.at.remove(&connection) {
            self.due.remove(&(before, connection));
        }
    }

    /// The next time.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// A connection whose time has come; it is in the list no more.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        let &(at, connection) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, connection));
        self.at.remove(&connection);
        Some(connection)
    }
}
