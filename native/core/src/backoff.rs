//! When to interrupt again code that has not yet reacted.
//!
//! An interrupt can be lost (raised in a `__del__`, caught by a broad `except`), so it is repeated at
//! growing intervals until its request ends.

use std::time::Duration;

/// The first interval: soon, since code that has not taken the interrupt may wait in the system.
pub const FIRST: Duration = Duration::from_millis(50);
/// No interval grows beyond this.
pub const LONGEST: Duration = Duration::from_millis(200);

/// An endless sequence of intervals, each twice the one before.
#[derive(Debug, Clone)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST);
        Some(now)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let intervals: Vec<_> = Backoff::default().take(10).collect();
        assert_eq!(intervals[0], FIRST);
        assert_eq!(intervals[1], FIRST * 2);
        assert_eq!(intervals[9], LONGEST);
        assert!(intervals.is_sorted());
    }
}
