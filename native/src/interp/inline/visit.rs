//! Being inside: what the calling scheduler thread is for that long, and what it must not do.

use super::Inline;
use super::seats::Place;
use super::watchdog;
use crate::beam::{CallingNif, Env};
use crate::interp::Context;
use crate::interrupt::interrupted;
use crate::py::{Python, Result, ffi};
use crate::sandbox::{Guard, Guarding, OnScheduler};
use py_core::door::Visit;
use std::cell::Cell;
use std::sync::Arc;

/// What the calling thread is inside of.
#[derive(Clone, Copy)]
struct Inside {
    context: *const Context,
    inline: *const Inline,
    visit: u64,
    /// `erlang.Interrupted` of the interpreter.
    class: *mut ffi::PyObject,
}

thread_local! {
    static INSIDE: Cell<Option<Inside>> = const { Cell::new(None) };
}

/// The context that the calling thread is inside of, if it is; an exception when its code is to end.
pub(in crate::interp) fn visited(py: Python<'_>) -> Result<Option<Arc<Context>>> {
    let Some(inside) = INSIDE.get() else {
        return Ok(None);
    };
    // SAFETY: whoever is inside keeps the context alive by an `Arc`; this makes one more reference of it.
    let context = unsafe {
        Arc::increment_strong_count(inside.context);
        Arc::from_raw(inside.context)
    };
    if context.mailbox.is_closed() {
        return Err(interrupted(py, inside.class));
    }
    Ok(Some(context))
}

/// For pending calls: the context that the calling thread is inside of, the visit, and the class of interrupts.
pub(super) fn here(inline: &Inline) -> Option<(u64, *mut ffi::PyObject)> {
    let inside = INSIDE.get()?;
    std::ptr::eq(inside.inline, inline).then_some((inside.visit, inside.class))
}

/// The calling thread is attached, until this is dropped.
pub(super) struct Attached<'c> {
    collects: bool,
    _caller: CallingNif,
    _careful: OnScheduler,
    _guarding: Guarding<&'c Guard>,
}

/// Attaches the visitor's thread. The door was entered, and there are no strangers, so nobody holds the GIL.
pub(super) fn attach<'c>(
    env: Env<'_>,
    context: &'c Arc<Context>,
    inline: &Inline,
    visit: &Visit<'_>,
    place: &Place,
    class: *mut ffi::PyObject,
) -> Attached<'c> {
    let guarding = Guarding::borrowed(&context.guard);
    INSIDE.set(Some(Inside {
        context: Arc::as_ptr(context),
        inline,
        visit: visit.number(),
        class,
    }));
    // SAFETY: a state of this thread, which is not attached.
    unsafe { ffi::PyEval_RestoreThread(place.state) };
    place.attached();
    watchdog::watch();
    Attached {
        // SAFETY: attached. Finalisers run on the owner thread.
        collects: unsafe { ffi::PyGC_Disable() } != 0,
        _caller: CallingNif::enter(env),
        _careful: OnScheduler::begin(),
        _guarding: guarding,
    }
}

impl Attached<'_> {
    pub(super) fn python(&self) -> Python<'_> {
        // SAFETY: attached as long as this lives.
        unsafe { Python::assume_attached() }
    }

    /// Whether garbage is collected automatically in this interpreter.
    pub(super) fn collects(&self) -> bool {
        self.collects
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        // SAFETY: attached; this thread's state is saved where the seats know it.
        unsafe {
            if self.collects {
                ffi::PyGC_Enable();
            }
            ffi::PyEval_SaveThread();
        }
        INSIDE.set(None);
    }
}
