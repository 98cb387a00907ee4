//! `time.sleep`, which interrupts end.

use super::{Interrupts, SERVED, scope_of_code};
use crate::py::{Python, Result};
use crate::sandbox::refuse_to_wait;
use parking_lot::{Condvar, Mutex};
use std::time::Instant;

/// Interpreters that are ending: their threads' sleeps end early.
static ENDING: Mutex<Vec<i64>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();

/// Ends the sleeps of an interpreter's own threads, so that they can be joined.
pub(crate) fn wake_sleepers(interpreter_id: i64) {
    ENDING.lock().push(interpreter_id);
    ENDED.notify_all();
}

/// The interpreter is used again, or gone.
pub(crate) fn let_sleep(interpreter_id: i64) {
    ENDING.lock().retain(|&ending| ending != interpreter_id);
}

/// Sleeps until `deadline` with the GIL released; raises if the context that this thread serves is
/// interrupted. In other threads of Python's it ends early when their interpreter does.
pub(crate) fn sleep_until(py: Python<'_>, deadline: Instant) -> Result<()> {
    sleep_while(py, deadline, || true)
}

/// As [`sleep_until`], for no longer than something is so. Who changes that calls [`Interrupts::look_again`].
pub(crate) fn sleep_while(
    py: Python<'_>,
    deadline: Instant,
    is_so: impl Fn() -> bool,
) -> Result<()> {
    refuse_to_wait(py, "waiting")?;
    let served = SERVED.with(|served| served.borrow().clone());
    let interpreter = py.interpreter_id();
    let scope = served
        .as_ref()
        .map_or(0, |served| scope_of_code(py, served));
    match &served {
        None => py.detached(|| {
            let mut ending = ENDING.lock();
            while !ending.contains(&interpreter)
                && is_so()
                && !ENDED.wait_until(&mut ending, deadline).timed_out()
            {}
        }),
        Some(interrupts) => interrupts.asleep(py, scope, || {
            let mut gate = interrupts.gate.lock();
            while !interrupts.waits_for(scope)
                && is_so()
                && !interrupts.woken.wait_until(&mut gate, deadline).timed_out()
            {}
        }),
    }
    let raised = served.and_then(|interrupts| interrupts.take_raised_for(py, scope));
    raised.map_or(Ok(()), Err)
}

impl Interrupts {
    /// Whoever sleeps in [`sleep_while`], on the owner thread or any that serves no context, looks again.
    pub(crate) fn look_again(&self) {
        drop(self.gate.lock());
        self.woken.notify_all();
        drop(ENDING.lock());
        ENDED.notify_all();
    }
}
