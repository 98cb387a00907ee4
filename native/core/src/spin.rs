//! Looking for work before parking.
//!
//! Waking a sleeping thread costs several times what a short request does, so a consumer that
//! expects work soon looks for it for a few microseconds first. Two rules keep that harmless: a node-wide
//! [`SpinBudget`] bounds how many threads look at once, and each consumer's [`Spinner`] stops looking
//! when that does not pay. An idle consumer looks once and then sleeps for good.

use crate::sync::{AtomicUsize, Ordering, spin_loop};
use std::time::{Duration, Instant};

/// The longest time that a consumer looks for work before it parks.
pub const LONGEST: Duration = Duration::from_micros(50);
/// Below this a look is not worth its two clock readings.
const SHORTEST: Duration = Duration::from_micros(2);
/// The time after which a looking thread offers its core to others between two looks.
const ALONE: Duration = Duration::from_micros(4);
/// Looks between two readings of the clock.
const LOOKS_PER_READING: u32 = 32;

/// How many threads may spin at the same time on this node.
#[derive(Debug)]
pub struct SpinBudget {
    spinning: AtomicUsize,
    most: AtomicUsize,
}

impl SpinBudget {
    /// A budget for a machine (or container) with `cores` cores: half of them, so that the threads
    /// being waited for keep a core; none on a single core, where looking only delays the work.
    #[must_use]
    pub fn for_cores(cores: usize) -> Self {
        Self {
            spinning: AtomicUsize::new(0),
            most: AtomicUsize::new(cores / 2),
        }
    }

    /// Adapts the budget to another number of cores.
    pub fn set_cores(&self, cores: usize) {
        self.most.store(cores / 2, Ordering::Relaxed);
    }

    fn enter(&self) -> Option<Spinning<'_>> {
        let entered = self.spinning.fetch_add(1, Ordering::Relaxed);
        let guard = Spinning(self);
        (entered < self.most.load(Ordering::Relaxed)).then_some(guard)
    }
}

/// One place in a [`SpinBudget`].
struct Spinning<'a>(&'a SpinBudget);

impl Drop for Spinning<'_> {
    fn drop(&mut self) {
        self.0.spinning.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One consumer's experience: how long to look.
#[derive(Debug)]
pub struct Spinner {
    limit: Duration,
}

impl Default for Spinner {
    fn default() -> Self {
        Self { limit: LONGEST }
    }
}

impl Spinner {
    /// Looks until `ready` or the limit; `true` when ready.
    pub fn spin(&mut self, budget: &SpinBudget, ready: impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.limit < SHORTEST {
            return false;
        }
        let Some(_place) = budget.enter() else {
            return false;
        };
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS_PER_READING {
                if ready() {
                    self.limit = LONGEST;
                    return true;
                }
                spin_loop();
            }
            let elapsed = start.elapsed();
            if elapsed >= self.limit {
                self.limit /= 2;
                return false;
            }
            if elapsed >= ALONE {
                // The thread that we wait for may be waiting for this core.
                std::thread::yield_now();
            }
        }
    }

    /// Runs `park` and learns from how long it took: work that came soon would have been found by
    /// looking.
    pub fn parked(&mut self, park: impl FnOnce()) {
        let start = Instant::now();
        park();
        if start.elapsed() < LONGEST {
            self.limit = (self.limit * 2).clamp(SHORTEST, LONGEST);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fruitless_looking_stops_after_a_few_times() {
        let budget = SpinBudget::for_cores(4);
        let mut spinner = Spinner::default();
        let mut looked = 0;
        while spinner.limit >= SHORTEST {
            assert!(!spinner.spin(&budget, || false));
            looked += 1;
        }
        assert!(looked <= 5);
        let looks = std::cell::Cell::new(0);
        let found = spinner.spin(&budget, || {
            looks.set(looks.get() + 1);
            false
        });
        assert!(!found && looks.get() == 1);
    }

    #[test]
    fn work_that_comes_soon_after_parking_brings_looking_back() {
        let mut spinner = Spinner {
            limit: Duration::ZERO,
        };
        spinner.parked(|| {});
        assert_eq!(spinner.limit, SHORTEST);
        for _ in 0..10 {
            spinner.parked(|| {});
        }
        assert_eq!(spinner.limit, LONGEST);
    }

    #[test]
    fn a_single_core_never_spins_and_two_cores_spin_one() {
        assert!(SpinBudget::for_cores(1).enter().is_none());
        let two = SpinBudget::for_cores(2);
        let first = two.enter();
        assert!(first.is_some());
        assert!(two.enter().is_none());
        drop(first);
        assert!(two.enter().is_some());
    }
}
