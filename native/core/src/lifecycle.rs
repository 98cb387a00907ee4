//! The states of the runtime as a whole: `uninit → initing → running → shutting_down → stopped`,
//! and from `stopped` to `initing` again. All moves are compare-and-swaps on one word.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Never started.
    Uninit = 0,
    /// CPython is being started, or the application is being started again.
    Initing = 1,
    /// Requests are accepted.
    Running = 2,
    /// Contexts are being ended.
    ShuttingDown = 3,
    /// All contexts are ended; CPython lives on, since it can be initialised only once.
    Stopped = 4,
}

/// The state word.
#[derive(Debug)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// A runtime that was never started.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(Phase::Uninit as u8))
    }

    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Uninit,
            1 => Phase::Initing,
            2 => Phase::Running,
            3 => Phase::ShuttingDown,
            _ => Phase::Stopped,
        }
    }

    /// Whether requests are accepted.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) == Phase::Running as u8
    }

    fn step(&self, from: Phase, to: Phase) -> bool {
        self.0
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Claims the start; the one caller that gets `true` goes on to [`Self::started`] or [`Self::failed`].
    #[must_use]
    pub fn begin_start(&self) -> bool {
        self.step(Phase::Uninit, Phase::Initing) || self.step(Phase::Stopped, Phase::Initing)
    }

    /// The start succeeded.
    #[must_use]
    pub fn started(&self) -> bool {
        self.step(Phase::Initing, Phase::Running)
    }

    /// The start failed; it may be tried again.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.step(Phase::Initing, Phase::Uninit)
    }

    /// Claims the shutdown.
    #[must_use]
    pub fn begin_stop(&self) -> bool {
        self.step(Phase::Running, Phase::ShuttingDown)
    }

    /// All contexts are gone.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.step(Phase::ShuttingDown, Phase::Stopped)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_starts_stops_and_starts_again() {
        let life = Lifecycle::new();
        for _ in 0..3 {
            assert!(life.begin_start());
            assert!(!life.begin_start());
            assert!(!life.is_running());
            assert!(life.started());
            assert!(life.is_running());
            assert!(life.begin_stop());
            assert!(!life.begin_stop());
            assert!(life.stopped());
            assert_eq!(life.phase(), Phase::Stopped);
        }
    }

    #[test]
    fn a_failed_start_can_be_tried_again() {
        let life = Lifecycle::new();
        assert!(life.begin_start());
        assert!(life.failed());
        assert!(life.begin_start());
    }
}
