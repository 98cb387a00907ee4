//! The life of one request.
//!
//! ```text
//!             start            finish
//!   queued ──────────▶ running ──────────▶ done
//!     │                 │   ▲ │              ▲
//!     │         call_out│   │ │resume        │ answer_unstarted (from queued)
//!     │                 ▼   │ │              │ abandon (from running, calling)
//!     │                calling│              │
//!     ▼ cancel, retract   ▼   ▼ cancel       │
//!   cancelled ◀───────────┴───┘
//! ```
//!
//! Every arrow is one compare-and-swap on one word, so exactly one party wins each of them. Whoever
//! moves a request to `done` sends its one answer, and sends it after the move; the answer must be
//! complete before. Nobody ever sends an answer for a cancelled request.

use crate::sync::{AtomicU8, Ordering};

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const CALLING: u8 = 2;
const DONE: u8 = 3;
const CANCELLED: u8 = 4;

/// What [`RequestState::cancel`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It had not begun and never will; no message comes.
    Unstarted,
    /// It was running and should be interrupted; no message comes.
    Running,
    /// Its answer is on the way, or has arrived.
    Done,
    /// It waits for a callback whose message is on the way to the caller. The caller takes that
    /// message first and then calls [`RequestState::cancel_callback`].
    Calling,
    /// It was cancelled before.
    Already,
}

/// The state word of a request; see the picture in the module's documentation.
#[derive(Debug)]
pub struct RequestState(AtomicU8);

impl Default for RequestState {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestState {
    /// A request that waits in a mailbox.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU8::new(QUEUED))
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// The consumer begins to run it. `false`: it was cancelled or answered meanwhile; leave it.
    #[must_use]
    pub fn start(&self) -> bool {
        self.swap(QUEUED, RUNNING)
    }

    /// The consumer has its answer ready. `true`: send it now. `false`: nobody wants it any more.
    #[must_use]
    pub fn finish(&self) -> bool {
        self.swap(RUNNING, DONE)
    }

    /// The consumer is about to send a callback message. `false`: cancelled, do not send it.
    #[must_use]
    pub fn call_out(&self) -> bool {
        self.swap(RUNNING, CALLING)
    }

    /// The answer of the callback was handed in. `false`: cancelled or abandoned meanwhile.
    #[must_use]
    pub fn resume(&self) -> bool {
        self.swap(CALLING, RUNNING)
    }

    /// A drainer answers a request that no consumer will start. `true`: send the answer now.
    #[must_use]
    pub fn answer_unstarted(&self) -> bool {
        self.swap(QUEUED, DONE)
    }

    /// A reaper answers in place of a consumer that is dead or stuck. `true`: send the answer now.
    #[must_use]
    pub fn abandon(&self) -> bool {
        self.swap(RUNNING, DONE) || self.swap(CALLING, DONE)
    }

    /// The submitter found the mailbox closed after its push and takes the request back.
    /// `false`: a drainer was faster and its answer comes as a message.
    #[must_use]
    pub fn retract(&self) -> bool {
        self.swap(QUEUED, CANCELLED)
    }

    /// The caller no longer wants an answer.
    #[must_use]
    pub fn cancel(&self) -> Cancel {
        loop {
            match self.0.load(Ordering::SeqCst) {
                QUEUED if self.swap(QUEUED, CANCELLED) => return Cancel::Unstarted,
                RUNNING if self.swap(RUNNING, CANCELLED) => return Cancel::Running,
                CALLING => return Cancel::Calling,
                DONE => return Cancel::Done,
                CANCELLED => return Cancel::Already,
                _ => {}
            }
        }
    }

    /// The caller has taken the callback's message and cancels instead of answering it.
    /// `false`: it was abandoned, and an answer is on the way.
    #[must_use]
    pub fn cancel_callback(&self) -> bool {
        self.swap(CALLING, CANCELLED)
    }

    /// Whether it has its answer, or nobody wants one.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.0.load(Ordering::SeqCst), DONE | CANCELLED)
    }

    /// Whether nobody waits for its answer any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == CANCELLED
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_request_runs_once_and_is_answered_once() {
        let state = RequestState::new();
        assert!(state.start());
        assert!(!state.start());
        assert!(state.finish());
        assert!(!state.finish());
        assert_eq!(state.cancel(), Cancel::Done);
    }

    #[test]
    fn a_cancelled_request_is_neither_started_nor_answered() {
        let state = RequestState::new();
        assert_eq!(state.cancel(), Cancel::Unstarted);
        assert_eq!(state.cancel(), Cancel::Already);
        assert!(!state.start());
        assert!(!state.answer_unstarted());
        assert!(state.is_cancelled());
    }

    #[test]
    fn a_running_request_that_is_cancelled_does_not_finish() {
        let state = RequestState::new();
        assert!(state.start());
        assert_eq!(state.cancel(), Cancel::Running);
        assert!(!state.finish());
        assert!(!state.call_out());
    }

    #[test]
    fn a_callback_is_taken_before_its_request_is_cancelled() {
        let state = RequestState::new();
        assert!(state.start());
        assert!(state.call_out());
        assert_eq!(state.cancel(), Cancel::Calling);
        assert!(state.cancel_callback());
        assert!(!state.resume());
        assert!(!state.finish());
    }

    #[test]
    fn an_abandoned_request_is_answered_by_the_reaper_alone() {
        for calling in [false, true] {
            let state = RequestState::new();
            assert!(state.start());
            if calling {
                assert!(state.call_out());
            }
            assert!(state.abandon());
            assert!(!state.finish());
            assert!(!state.resume());
            assert!(!state.cancel_callback());
            assert_eq!(state.cancel(), Cancel::Done);
        }
    }
}
