//! Being attached to an interpreter.

use super::ffi;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether somebody wants to know how long threads wait for GILs.
static OBSERVED: AtomicBool = AtomicBool::new(false);

pub(crate) fn observe_attaching(on: bool) {
    OBSERVED.store(on, Ordering::Relaxed);
}

/// How often the calling thread has taken a GIL since it asked last, and how long that took in all, and at most.
#[derive(Clone, Copy)]
pub(crate) struct TakenAttached {
    pub(crate) count: u64,
    pub(crate) total: Duration,
    pub(crate) most: Duration,
}

thread_local! {
    static TAKEN: Cell<Option<TakenAttached>> = const { Cell::new(None) };
}

impl TakenAttached {
    pub(crate) fn take() -> Option<Self> {
        TAKEN.take()
    }

    fn add(took: Duration) {
        let before = TAKEN.get().unwrap_or(Self {
            count: 0,
            total: Duration::ZERO,
            most: Duration::ZERO,
        });
        TAKEN.set(Some(Self {
            count: before.count + 1,
            total: before.total + took,
            most: before.most.max(took),
        }));
    }
}

/// Attaches the calling thread.
///
/// # Safety
/// `state` is the calling thread's, which is not attached.
unsafe fn restore(state: *mut ffi::PyThreadState) {
    if !OBSERVED.load(Ordering::Relaxed) {
        // SAFETY: the caller's promise.
        unsafe { ffi::PyEval_RestoreThread(state) };
        return;
    }
    let begun = Instant::now();
    // SAFETY: the caller's promise.
    unsafe { ffi::PyEval_RestoreThread(state) };
    TakenAttached::add(begun.elapsed());
}

/// Proof that the calling thread is attached to an interpreter (holds its GIL).
#[derive(Clone, Copy)]
pub(crate) struct Python<'py>(PhantomData<(&'py (), *mut ())>);

impl Python<'_> {
    /// # Safety
    /// The calling thread is attached, and stays so for the lifetime.
    pub(crate) unsafe fn assume_attached() -> Self {
        Self(PhantomData)
    }

    /// CPython's number for the interpreter; 0 is the main one.
    pub(crate) fn interpreter_id(self) -> i64 {
        // SAFETY: attached.
        unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) }
    }

    /// Gives the GIL up while `body` runs, which must not touch anything of Python's.
    pub(crate) fn detached<T>(self, body: impl FnOnce() -> T) -> T {
        /// Attaches again, also when `body` panics.
        struct Detached(*mut ffi::PyThreadState);
        impl Drop for Detached {
            fn drop(&mut self) {
                // SAFETY: the state that was saved below, on this thread.
                unsafe { restore(self.0) };
            }
        }
        // SAFETY: attached, and so again when the guard is dropped.
        let _detached = Detached(unsafe { ffi::PyEval_SaveThread() });
        body()
    }
}

/// A thread state, used by the one OS thread that made it.
pub(crate) struct ThreadState(*mut ffi::PyThreadState);

impl ThreadState {
    /// A new thread state of the main interpreter for the calling thread, not attached yet.
    ///
    /// # Safety
    /// CPython is initialised.
    pub(crate) unsafe fn of_main() -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { ffi::PyThreadState_New(ffi::PyInterpreterState_Main()) })
    }

    /// # Safety
    /// `state` belongs to the calling thread, which is attached through it and detaches next.
    pub(crate) unsafe fn detach_current(state: *mut ffi::PyThreadState) -> Self {
        // SAFETY: the caller's promise.
        unsafe { ffi::PyEval_SaveThread() };
        Self(state)
    }

    pub(crate) fn interpreter(&self) -> *mut ffi::PyInterpreterState {
        // SAFETY: the thread state is alive, and with it its interpreter.
        unsafe { ffi::PyThreadState_GetInterpreter(self.0) }
    }

    /// Takes the GIL; blocks while another thread of the interpreter holds it.
    pub(crate) fn attach(&mut self) -> Attached<'_> {
        // SAFETY: the thread state is this thread's and is not attached, since `attach` borrows it.
        unsafe { restore(self.0) };
        Attached(PhantomData)
    }

    /// Deletes a thread state of the main interpreter.
    pub(crate) fn delete(self) {
        // SAFETY: this thread's, not attached; `DeleteCurrent` also gives the GIL back.
        unsafe {
            ffi::PyEval_RestoreThread(self.0);
            ffi::PyThreadState_Clear(self.0);
            ffi::PyThreadState_DeleteCurrent();
        }
    }

    /// Ends the interpreter of this thread state, which must be its last one.
    pub(crate) fn end_interpreter(self) {
        // SAFETY: this thread's, the only one of its interpreter (the caller has looked), not attached.
        unsafe {
            ffi::PyEval_RestoreThread(self.0);
            ffi::Py_EndInterpreter(self.0);
        }
    }

    /// Whether the interpreter has no other thread states: no Python threads that are still alive.
    pub(crate) fn is_alone(&mut self) -> bool {
        let own = self.0;
        let interpreter = self.interpreter();
        let _attached = self.attach();
        // SAFETY: attached, so no thread state of this interpreter comes or goes.
        unsafe {
            let head = ffi::PyInterpreterState_ThreadHead(interpreter);
            head == own && ffi::PyThreadState_Next(head).is_null()
        }
    }
}

/// The thread is attached until this is dropped.
pub(crate) struct Attached<'s>(PhantomData<(&'s mut ThreadState, *mut ())>);

impl Attached<'_> {
    pub(crate) fn python(&self) -> Python<'_> {
        Python(PhantomData)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        // SAFETY: attached by `ThreadState::attach`.
        unsafe { ffi::PyEval_SaveThread() };
    }
}
