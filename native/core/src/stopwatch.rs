//! How long something has taken, for what looks at every call: a reading of the system's clock costs several times a
//! reading of the processor's counter.
//!
//! The counter is used where it runs at one speed whatever the processor does. How fast that is, is measured against the
//! system's clock, which is read only for what has taken longer than a moment.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Fewer ticks are a moment: some microseconds, less than ten on any processor.
const MOMENT: u64 = 8000;

/// What a moment is said to take.
const OF_A_MOMENT: Duration = Duration::from_micros(1);

/// Both clocks at the same time; `None` where the counter is of no use.
static ORIGIN: OnceLock<Option<(u64, Instant)>> = OnceLock::new();

/// Runs from its beginning on.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Begun);

#[derive(Clone, Copy, Debug)]
enum Begun {
    Ticks(u64, (u64, Instant)),
    At(Instant),
}

impl Stopwatch {
    /// Begins now.
    #[must_use]
    #[inline]
    pub fn start() -> Self {
        Self(match ORIGIN.get_or_init(origin) {
            Some(origin) => Begun::Ticks(ticks(), *origin),
            None => Begun::At(Instant::now()),
        })
    }

    /// How long ago that was; of less than a moment not exactly.
    #[must_use]
    #[inline]
    pub fn elapsed(&self) -> Duration {
        match self.0 {
            Begun::Ticks(begun, origin) => {
                // Read on another core, it may be behind by a little.
                let passed = ticks().saturating_sub(begun);
                if passed < MOMENT {
                    OF_A_MOMENT
                } else {
                    measured(passed, origin)
                }
            }
            Begun::At(begun) => begun.elapsed(),
        }
    }
}

/// So many ticks, by what the system's clock says of those since the beginning.
#[cold]
fn measured(passed: u64, (first, at): (u64, Instant)) -> Duration {
    let all = ticks().saturating_sub(first).max(1);
    let time = at.elapsed().as_nanos();
    let share = time * u128::from(passed) / u128::from(all);
    Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: the instruction exists on every processor of this architecture, and reads a counter.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}

fn origin() -> Option<(u64, Instant)> {
    is_steady().then(|| (ticks(), Instant::now()))
}

/// Whether the counter runs at one speed, also while the processor sleeps.
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "the function was unsafe once")]
fn is_steady() -> bool {
    const LEAVES: u32 = 0x8000_0000;
    const POWER: u32 = 0x8000_0007;
    const STEADY: u32 = 1 << 8;
    // SAFETY: the instruction exists on every processor of this architecture.
    unsafe {
        std::arch::x86_64::__cpuid(LEAVES).eax >= POWER
            && std::arch::x86_64::__cpuid(POWER).edx & STEADY != 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_steady() -> bool {
    false
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_system_s_clock() {
        let _origin = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(20));
        let (before, watch) = (Instant::now(), Stopwatch::start());
        std::thread::sleep(Duration::from_millis(20));
        let seen = watch.elapsed();
        let longest = before.elapsed();
        // The system may do something else between the readings of the two clocks.
        assert!(2 * seen >= Duration::from_millis(20), "{seen:?}");
        assert!(seen <= 2 * longest, "{seen:?} of {longest:?}");
    }
}
