//! What experience says of a function: whether its calls are short enough for the calling thread.

use std::time::Duration;

/// A call shorter than this is short.
pub const SHORT: Duration = Duration::from_micros(50);
/// A call longer than this is too long for a thread that has other things to do.
pub const LONG: Duration = Duration::from_millis(1);

/// So many short calls in a row are enough, at first.
const ENOUGH: u32 = 100;
/// Each time that a function disappoints it has to show so many times more of them, up to a bound.
const MORE: u32 = 10;
const MOST: u32 = 1_000_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Learner {
    /// Short calls in a row.
    streak: u32,
    needed: u32,
    trusted: bool,
    /// How often it was trusted in vain.
    disappointments: u32,
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            streak: 0,
            needed: ENOUGH,
            trusted: false,
            disappointments: 0,
        }
    }
}

impl Learner {
    /// Whether its next call may run on the calling thread.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Short calls in a row, and how many are needed.
    #[must_use]
    pub fn progress(&self) -> (u32, u32) {
        (self.streak, self.needed)
    }

    /// How often it was trusted in vain.
    #[must_use]
    pub fn disappointments(&self) -> u32 {
        self.disappointments
    }

    /// A call has taken this long, wherever it ran.
    pub fn took(&mut self, time: Duration) {
        if self.trusted {
            // Between short and long it stays as it is, so that it does not go to and fro.
            if time > LONG {
                self.trusted = false;
                self.streak = 0;
                self.needed = self.needed.saturating_mul(MORE).min(MOST);
                self.disappointments = self.disappointments.saturating_add(1);
            }
        } else if time < SHORT {
            self.streak += 1;
            self.trusted = self.streak >= self.needed;
        } else {
            self.streak = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(learner: &mut Learner, times: u32, time: Duration) {
        for _ in 0..times {
            learner.took(time);
        }
    }

    #[test]
    fn many_short_calls_in_a_row_make_trust() {
        let mut learner = Learner::default();
        repeated(&mut learner, ENOUGH - 1, Duration::ZERO);
        learner.took(SHORT);
        assert_eq!(learner.progress(), (0, ENOUGH));
        repeated(&mut learner, ENOUGH - 1, SHORT / 2);
        assert!(!learner.is_trusted());
        learner.took(SHORT / 2);
        assert!(learner.is_trusted());
    }

    #[test]
    fn one_long_call_ends_it_and_the_next_trust_costs_more() {
        let mut learner = Learner::default();
        repeated(&mut learner, ENOUGH, Duration::ZERO);
        learner.took(LONG);
        assert!(learner.is_trusted(), "not longer than allowed");
        learner.took(LONG + Duration::from_nanos(1));
        assert!(!learner.is_trusted());
        repeated(&mut learner, ENOUGH, Duration::ZERO);
        assert!(!learner.is_trusted());
        repeated(&mut learner, ENOUGH * (MORE - 1), Duration::ZERO);
        assert!(learner.is_trusted());
        assert_eq!(learner.disappointments(), 1);
    }

    #[test]
    fn what_trust_needs_has_a_bound() {
        let mut learner = Learner::default();
        for _ in 0..10 {
            learner.trusted = true;
            learner.took(2 * LONG);
        }
        assert_eq!(learner.progress(), (0, MOST));
    }
}
