//! How often calls ran inline, and why they did not.

use crate::beam::{Word, atoms};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a call goes by the mailbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Switched off in this node.
    Off,
    /// The context, its Python, or what is asked does not allow it.
    Unsupported,
    /// The first one: the owner thread has to hear of it.
    First,
    /// The owner thread is at work, or has something to do.
    Queued,
    /// Another scheduler is inside.
    Busy,
    /// Threads were started in the interpreter.
    Threads,
    /// The module would have to be imported.
    NotLoaded,
    /// It is not known yet that the function is short.
    Learning,
}

/// In the order of their numbers.
pub(crate) const REFUSALS: [Refusal; 8] = [
    Refusal::Off,
    Refusal::Unsupported,
    Refusal::First,
    Refusal::Queued,
    Refusal::Busy,
    Refusal::Threads,
    Refusal::NotLoaded,
    Refusal::Learning,
];

impl Refusal {
    pub(crate) fn word(self) -> Word {
        let known = atoms();
        match self {
            Self::Off => known.off,
            Self::Unsupported => known.not_supported,
            Self::First => known.first,
            Self::Queued => known.queued,
            Self::Busy => known.busy,
            Self::Threads => known.threads,
            Self::NotLoaded => known.not_loaded,
            Self::Learning => known.learning,
        }
    }
}

/// See the module. Written inside by one visitor at a time, but for the refusals.
#[derive(Default)]
pub(crate) struct Figures {
    slow: AtomicU64,
    interrupted: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    calls: AtomicU64,
}

impl Figures {
    /// For the visitor inside.
    pub(super) fn count_call(&self) -> u64 {
        let calls = self.calls.load(Ordering::Relaxed) + 1;
        self.calls.store(calls, Ordering::Relaxed);
        calls
    }

    /// A call held its scheduler up. Gives how many did.
    pub(super) fn count_slow(&self) -> u64 {
        self.slow.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn count_interrupted(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that ran, those that took too long, and those that were interrupted.
    pub(crate) fn counted(&self) -> [u64; 3] {
        [&self.calls, &self.slow, &self.interrupted].map(|count| count.load(Ordering::Relaxed))
    }

    /// Those that went by the mailbox, by the reason.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> {
        REFUSALS
            .into_iter()
            .map(|refusal| {
                (
                    refusal,
                    self.refused[refusal as usize].load(Ordering::Relaxed),
                )
            })
            .filter(|(_, count)| *count > 0)
    }
}
