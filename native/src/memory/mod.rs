//! How much memory each interpreter with its own GIL has, and how much it may have.
//!
//! CPython takes memory from two places: its arenas, and, for whatever is larger than 512 bytes, `malloc`. Both go
//! through [`hooks`], which count for the *holder* of the calling thread: the owner thread takes one up before it makes
//! its interpreter, threads that Python code starts find that of their interpreter when they first ask for memory. What
//! is counted is what blocks occupy (`malloc_usable_size`), so that no block needs a header, and blocks of any origin
//! may be freed by anybody.
//!
//! Beyond the limit code hears of it by an exception ([`told`]), and is refused large blocks at once; see
//! [`py_core::account`].

mod hooks;
pub(crate) mod kept;
mod shelves;
mod told;

pub(crate) use hooks::{COUNTED, install};
pub(crate) use shelves::{clear as keep_nothing, open as keep_large_blocks};
pub(crate) use told::{post, tell_through};

use crate::py::{Python, ThreadState, ffi};
use parking_lot::{Condvar, Mutex};
use py_core::account::{Account, Counting};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// One interpreter's memory. Holders are never freed, since a thread of Python's own may end long after everything
/// else of its interpreter; they are taken up again.
#[derive(Default)]
pub(crate) struct Holder {
    pub(crate) account: Account,
    /// Where the exception goes: an interpreter that is alive.
    gate: Mutex<Option<Interpreter>>,
    /// The reaper knows, or the pending call is on its way.
    posted: AtomicBool,
    /// The reaper has posted it, or could not.
    sent: Mutex<bool>,
    bell: Condvar,
    /// The code has not heard of it yet.
    wanted: AtomicBool,
    /// The thread that asked for too much.
    culprit: AtomicUsize,
    /// How long other threads of the interpreter hand the pending call on.
    chase_until: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Interpreter(*mut ffi::PyInterpreterState);

// SAFETY: the pointer is compared, or used by the holder of the gate, which is closed before the interpreter ends.
unsafe impl Send for Interpreter {}

/// Who holds the memory that a thread asks for.
#[derive(Clone, Copy)]
enum Mine {
    /// The thread has not been attached to an interpreter yet.
    Unknown,
    Nobody,
    /// `Main` on its owner thread.
    Holder(&'static Holder, Counting),
}

thread_local! {
    static MINE: Cell<Mine> = const { Cell::new(Mine::Unknown) };
}

/// The interpreters that have holders.
static REGISTERED: Mutex<Vec<(Interpreter, &'static Holder)>> = Mutex::new(Vec::new());

/// Holders of interpreters that have ended.
static FREE: Mutex<Vec<&'static Holder>> = Mutex::new(Vec::new());

/// The calling thread, an owner thread, holds memory from now on.
pub(crate) fn enter() -> &'static Holder {
    let free = FREE.lock().pop();
    let holder = free.unwrap_or_else(|| Box::leak(Box::default()));
    holder.account.reset();
    holder.posted.store(false, Ordering::SeqCst);
    holder.wanted.store(false, Ordering::SeqCst);
    MINE.set(Mine::Holder(holder, Counting::Main));
    holder
}

/// The calling thread's.
pub(crate) fn held() -> Option<&'static Holder> {
    match MINE.get() {
        Mine::Holder(holder, _) => Some(holder),
        Mine::Unknown | Mine::Nobody => None,
    }
}

/// The calling thread, which holds nothing of its own, asks for memory of a holder until this is dropped.
pub(crate) struct Holding(());

impl Holding {
    /// In place of the owner thread, which asks for none meanwhile.
    #[inline]
    pub(crate) fn for_owner(holder: &'static Holder) -> Self {
        MINE.set(Mine::Holder(holder, Counting::Main));
        Self(())
    }

    /// Beside it.
    pub(crate) fn beside_owner(holder: &'static Holder) -> Self {
        MINE.set(Mine::Holder(holder, Counting::Other));
        Self(())
    }
}

impl Drop for Holding {
    #[inline]
    fn drop(&mut self) {
        MINE.set(Mine::Nobody);
    }
}

/// The interpreter was made: its threads hold with the calling one.
pub(crate) fn register(state: &ThreadState) {
    if let Some(holder) = held() {
        let interpreter = Interpreter(state.interpreter());
        REGISTERED.lock().push((interpreter, holder));
        *holder.gate.lock() = Some(interpreter);
    }
}

/// The interpreter is about to end.
pub(crate) fn unregister() {
    if let Some(holder) = held() {
        *holder.gate.lock() = None;
        REGISTERED
            .lock()
            .retain(|(_, registered)| !std::ptr::eq(*registered, holder));
    }
}

/// It has ended, or was never made, and its memory is given back.
pub(crate) fn leave() {
    if let Some(holder) = held() {
        MINE.set(Mine::Nobody);
        FREE.lock().push(holder);
    }
}

/// More room for the calling thread while its holder's code is told what has become of it.
pub(crate) struct Reserve(Option<(&'static Holder, isize)>);

/// See [`Reserve`].
pub(crate) fn reserve() -> Reserve {
    Reserve(held().map(|holder| {
        let more = holder.account.slack().cast_signed();
        holder.account.move_last(more);
        (holder, more)
    }))
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let Some((holder, more)) = self.0 {
            holder.account.move_last(-more);
        }
    }
}

impl Holder {
    /// What was asked for too much is over: whoever runs next is not to hear of it.
    pub(crate) fn forget(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }
}

/// Collects what lies in circles, whether that is done automatically or not, and gives back what is kept for later. Runs
/// code of users.
pub(crate) fn collect(_py: Python<'_>) {
    // SAFETY: attached.
    unsafe {
        let enabled = ffi::PyGC_Enable() != 0;
        let _found = ffi::PyGC_Collect();
        if !enabled {
            ffi::PyGC_Disable();
        }
    }
    keep_nothing();
}
