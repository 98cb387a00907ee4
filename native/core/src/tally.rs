//! What the waiting requests of one process hold, so that it can be given back at once when the process ends,
//! wherever the requests lie.
//!
//! A request joins when it begins to wait and leaves when it starts or is taken back. The end of the process is
//! one move on the same word, so each request was either left before, and gave its share back itself, or is
//! among those that the end counted.

use crate::sync::{AtomicU64, Ordering};

const DEAD: u64 = 1 << 63;
const PLACE: u64 = 1;
const PERMIT: u64 = 1 << 32;

/// See the module. The highest bit says that the process has ended; below it are permits, then places.
#[derive(Debug)]
pub struct Tally(AtomicU64);

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Of a process that lives.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A request begins to wait, with a permit or without. `false`: the process has ended.
    #[must_use]
    pub fn join(&self, permit: bool) -> bool {
        self.change(|word| word + share(permit))
    }

    /// A request no longer waits. `false`: the process has ended, and what the request held was given back.
    #[must_use]
    pub fn leave(&self, permit: bool) -> bool {
        self.change(|word| word - share(permit))
    }

    /// The process has ended. Gives the places and the permits that go back now.
    #[must_use]
    pub fn end(&self) -> (usize, usize) {
        let before = self.0.swap(DEAD, Ordering::SeqCst) & !DEAD;
        let places = before & (PERMIT - 1);
        (to_usize(places), to_usize(before >> 32))
    }

    fn change(&self, to: impl Fn(u64) -> u64) -> bool {
        loop {
            let word = self.0.load(Ordering::SeqCst);
            if word & DEAD != 0 {
                return false;
            }
            if self
                .0
                .compare_exchange(word, to(word), Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                return true;
            }
        }
    }
}

fn share(permit: bool) -> u64 {
    if permit { PLACE + PERMIT } else { PLACE }
}

#[allow(clippy::cast_possible_truncation)]
fn to_usize(count: u64) -> usize {
    count as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_end_counts_those_that_still_wait() {
        let tally = Tally::new();
        assert!(tally.join(true));
        assert!(tally.join(true));
        assert!(tally.join(false));
        assert!(tally.leave(true));
        assert_eq!(tally.end(), (2, 1));
    }

    #[test]
    fn after_the_end_nothing_joins_or_is_given_back_twice() {
        let tally = Tally::new();
        assert!(tally.join(true));
        assert_eq!(tally.end(), (1, 1));
        assert!(!tally.leave(true));
        assert!(!tally.join(false));
        assert_eq!(tally.end(), (0, 0));
    }
}
