//! How much of an owner thread's stack is in use. Requests that run on top of one another, from Python to Erlang and
//! back, need not have a Python frame each, so CPython's own limits do not see them all.

use super::owner::STACK;
use std::cell::Cell;

/// From here on nothing more runs on top. The rest is for the code of the last request, which CPython below 3.14
/// lets recurse by counting.
const ENOUGH: usize = STACK / 2;

thread_local! {
    static BEGIN: Cell<usize> = const { Cell::new(0) };
}

/// An address in the current frame.
#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    (&raw const local).addr()
}

/// The calling thread's stack begins about here.
pub(super) fn begins_here() {
    BEGIN.set(here());
}

/// Whether nothing more should run on top of what runs on the calling thread.
pub(super) fn is_deep() -> bool {
    BEGIN.get().abs_diff(here()) > ENOUGH
}
