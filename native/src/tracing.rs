//! Keeps two things apart: tracing of memory, and interpreters with GILs of their own.
//!
//! CPython's `tracemalloc` hooks the allocators of the whole process, but guards its tables by the main GIL
//! alone: other GILs beside that would corrupt them. So memory is traced only while there are no such
//! interpreters in use, and none is taken into use while it is traced.

use parking_lot::Mutex;

struct State {
    traced: bool,
    /// Interpreters with their own GILs in which Python may run.
    parallel: usize,
}

static STATE: Mutex<State> = Mutex::new(State {
    traced: false,
    parallel: 0,
});

/// Memory is about to be traced. `false`: it must not be.
pub(crate) fn begin() -> bool {
    let mut state = STATE.lock();
    state.traced |= state.parallel == 0;
    state.traced
}

/// Memory is no longer traced.
pub(crate) fn end() {
    STATE.lock().traced = false;
}

/// An interpreter with its own GIL is about to be used. `false`: it must not be, memory is traced.
pub(crate) fn enter() -> bool {
    let mut state = STATE.lock();
    if !state.traced {
        state.parallel += 1;
    }
    !state.traced
}

/// Nothing runs in one such interpreter any more.
pub(crate) fn leave() {
    STATE.lock().parallel -= 1;
}
