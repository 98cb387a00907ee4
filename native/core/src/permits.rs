//! A bound on how many may work at the same time, and a line of those who wait for their turn.
//!
//! One word holds two numbers, how many hold a permit and how many wait, so that every move is one
//! compare-and-swap. Who enters without waiting is refused while somebody waits: a permit that becomes free
//! goes to the line. The line itself, who stands in it and who was told, is kept elsewhere; here it is a number,
//! and whoever makes a permit free learns how many of the line may have one.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No bound: nothing is counted but what was waited for.
pub const UNBOUNDED: u32 = u32::MAX;

const WAITER: u64 = 1 << 32;

/// No permit is free: so many hold one, so many may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded {
    pub current: u32,
    pub max: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Permits {
    /// Holders in the lower half, those who wait in the upper one.
    word: AtomicU64,
    max: AtomicU32,
}

impl Default for Permits {
    fn default() -> Self {
        Self::new()
    }
}

impl Permits {
    /// Without a bound.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            max: AtomicU32::new(UNBOUNDED),
        }
    }

    /// Without a bound; loom's atomics cannot be made in a constant.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            max: AtomicU32::new(UNBOUNDED),
        }
    }

    /// A permit at once or not at all. `Ok(false)`: there is no bound, so none was taken.
    pub fn enter(&self) -> Result<bool, Overloaded> {
        if self.max.load(Ordering::Relaxed) == UNBOUNDED {
            return Ok(false);
        }
        loop {
            let max = self.max.load(Ordering::SeqCst);
            let word = self.word.load(Ordering::SeqCst);
            let current = held(word);
            if waiting(word) > 0 {
                // What is free at this moment is promised to the line.
                let current = current.max(max);
                return Err(Overloaded { current, max });
            }
            if current >= max {
                return Err(Overloaded { current, max });
            }
            if self.swap(word, word + 1) {
                return Ok(true);
            }
        }
    }

    /// Gives a permit back. Says how many of the line have one now, and must be told.
    #[must_use]
    pub fn leave(&self) -> u32 {
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        if waiting(before) == 0 {
            return 0;
        }
        self.hand_out()
    }

    /// Joins the line. Says how many of it have a permit now, as [`Self::leave`] does.
    #[must_use]
    pub fn wait(&self) -> u32 {
        self.word.fetch_add(WAITER, Ordering::SeqCst);
        self.hand_out()
    }

    /// Leaves the line without a permit. `false`: nobody waits any more, so one is on its way.
    #[must_use]
    pub fn stop_waiting(&self) -> bool {
        loop {
            let word = self.word.load(Ordering::SeqCst);
            if waiting(word) == 0 {
                return false;
            }
            if self.swap(word, word - WAITER) {
                return true;
            }
        }
    }

    /// Nobody waits any more.
    pub fn dissolve_line(&self) {
        self.word.fetch_and(WAITER - 1, Ordering::SeqCst);
    }

    /// Another bound. Those beyond a lower one keep their permits. Says how many of the line have one now.
    #[must_use]
    pub fn set_max(&self, max: u32) -> u32 {
        self.max.store(max, Ordering::SeqCst);
        self.hand_out()
    }

    /// The bound.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::SeqCst)
    }

    /// How many hold a permit.
    #[must_use]
    pub fn current(&self) -> u32 {
        held(self.word.load(Ordering::SeqCst))
    }

    fn hand_out(&self) -> u32 {
        let mut granted = 0;
        loop {
            let max = self.max.load(Ordering::SeqCst);
            let word = self.word.load(Ordering::SeqCst);
            if waiting(word) == 0 || held(word) >= max {
                return granted;
            }
            if self.swap(word, word - WAITER + 1) {
                granted += 1;
            }
        }
    }

    fn swap(&self, from: u64, to: u64) -> bool {
        self.word
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

#[allow(clippy::cast_possible_truncation)]
fn held(word: u64) -> u32 {
    word as u32
}

fn waiting(word: u64) -> u32 {
    held(word >> 32)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn bounded(max: u32) -> Permits {
        let permits = Permits::new();
        assert_eq!(permits.set_max(max), 0);
        permits
    }

    #[test]
    fn without_a_bound_nothing_is_counted() {
        let permits = Permits::new();
        assert_eq!(permits.enter(), Ok(false));
        assert_eq!(permits.current(), 0);
    }

    #[test]
    fn without_a_bound_who_waits_has_a_permit_at_once() {
        let permits = Permits::new();
        assert_eq!(permits.wait(), 1);
        assert_eq!(permits.current(), 1);
        assert_eq!(permits.leave(), 0);
        assert_eq!(permits.current(), 0);
    }

    #[test]
    fn the_bound_is_kept_and_told() {
        let permits = bounded(2);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!(permits.enter(), Ok(true));
        let full = Overloaded { current: 2, max: 2 };
        assert_eq!(permits.enter(), Err(full));
        assert_eq!(permits.leave(), 0);
        assert_eq!(permits.enter(), Ok(true));
    }

    #[test]
    fn a_free_permit_goes_to_the_line() {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!(permits.wait(), 0);
        assert_eq!(permits.wait(), 0);
        assert_eq!(permits.leave(), 1);
        assert!(permits.enter().is_err());
        assert_eq!(permits.leave(), 1);
        assert_eq!(permits.leave(), 0);
        assert_eq!(permits.enter(), Ok(true));
    }

    #[test]
    fn who_stops_waiting_gets_nothing_unless_it_is_too_late() {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!(permits.wait(), 0);
        assert!(permits.stop_waiting());
        assert_eq!(permits.leave(), 0);
        assert_eq!(permits.wait(), 1);
        assert!(!permits.stop_waiting());
    }

    #[test]
    fn a_higher_bound_serves_the_line_and_a_lower_one_waits_for_the_surplus() {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!((permits.wait(), permits.wait()), (0, 0));
        assert_eq!(permits.set_max(3), 2);
        assert_eq!(permits.set_max(1), 0);
        assert_eq!(permits.wait(), 0);
        assert_eq!((permits.leave(), permits.leave()), (0, 0));
        assert_eq!(permits.leave(), 1);
    }

    #[test]
    fn a_line_that_is_dissolved_takes_nothing() {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!(permits.wait(), 0);
        permits.dissolve_line();
        assert_eq!(permits.leave(), 0);
        assert_eq!(permits.current(), 0);
    }

    #[test]
    fn threads_never_hold_more_than_the_bound() {
        const MAX: u32 = 3;
        let permits = bounded(MAX);
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if permits.enter().is_ok() {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < MAX);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            assert_eq!(permits.leave(), 0);
                        }
                    }
                });
            }
        });
        assert_eq!(permits.current(), 0);
    }
}
