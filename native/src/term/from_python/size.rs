//! How much memory of Erlang's a value takes, counted before that is taken.

use std::cell::Cell;

/// A word of Erlang's.
pub(super) const WORD: usize = 8;

/// What a float, or a binary besides its bytes, takes: a few words.
pub(super) const FLOAT: usize = 2 * WORD;
pub(super) const BINARY: usize = 3 * WORD;

/// A value is larger than it may be: so much was counted before that was seen.
#[derive(Clone, Copy)]
pub(crate) struct TooLarge(pub(crate) usize);

/// Bytes, up to a limit.
pub(super) struct Size {
    limit: usize,
    counted: Cell<usize>,
}

impl Size {
    pub(super) fn up_to(limit: usize) -> Self {
        Self {
            limit,
            counted: Cell::new(0),
        }
    }

    /// So many bytes more, which may be looked at later.
    #[inline(always)]
    pub(super) fn count(&self, bytes: usize) {
        self.counted.set(self.counted.get().saturating_add(bytes));
    }

    /// So many bytes more. `false`: that is too much.
    #[inline(always)]
    #[must_use]
    pub(super) fn admits(&self, bytes: usize) -> bool {
        self.count(bytes);
        self.counted.get() <= self.limit
    }

    pub(super) fn counted(&self) -> usize {
        self.counted.get()
    }

    /// That, once it was.
    pub(super) fn exceeded(&self) -> Option<TooLarge> {
        (self.counted.get() > self.limit).then(|| TooLarge(self.counted.get()))
    }
}
