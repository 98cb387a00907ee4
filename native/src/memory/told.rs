//! Telling code that it has taken too much: a `MemoryError` at the next safe point, in the thread that asked.
//!
//! A hook must not post the pending call itself: CPython gives the GIL up when it has to wait for its lock, in the midst
//! of whatever asked for memory. The reaper does it, and the hook waits for that: code would go on asking meanwhile, and
//! get to where everything is refused.

use super::Holder;
use crate::interrupt::is_library_code;
use crate::py::{Python, api, ffi};
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// For so long the other threads of the interpreter hand the exception on, and so does code that must not be left
/// half-way.
const CHASE: Duration = Duration::from_millis(30);

/// Has [`post`] called on a thread of its own.
type Messenger = fn(&'static Holder);

static MESSENGER: OnceLock<Messenger> = OnceLock::new();

/// Whoever posts; the first one counts.
pub(crate) fn tell_through(messenger: Messenger) {
    let _first = MESSENGER.set(messenger);
}

/// The longest that a thread waits for the reaper.
const PATIENCE: Duration = Duration::from_millis(50);

fn this_thread() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// The calling thread has asked for too much.
#[cold]
pub(super) fn tell(holder: &'static Holder) {
    holder.culprit.store(this_thread(), Ordering::SeqCst);
    holder.wanted.store(true, Ordering::SeqCst);
    let Some(messenger) = MESSENGER.get() else {
        return;
    };
    if !holder.posted.swap(true, Ordering::SeqCst) {
        *holder.sent.lock() = false;
        messenger(holder);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut sent = holder.sent.lock();
    while !*sent && !holder.bell.wait_until(&mut sent, deadline).timed_out() {}
}

/// The calling thread is refused memory, which its code hears of at once: once is enough.
#[cold]
pub(super) fn heard(holder: &'static Holder) {
    if holder.culprit.load(Ordering::SeqCst) == this_thread() {
        holder.forget();
    }
}

/// For the reaper: posts the pending call.
pub(crate) fn post(holder: &'static Holder) {
    let gate = holder.gate.lock();
    let posted = gate.is_some_and(|interpreter| {
        *holder.chase_until.lock() = Instant::now().checked_add(CHASE);
        add(holder, interpreter.0)
    });
    *holder.sent.lock() = true;
    holder.bell.notify_all();
    if !posted {
        // It ends, or its queue is full; the next step tries again.
        holder.posted.store(false, Ordering::SeqCst);
    }
}

/// The interpreter is alive.
fn add(holder: &'static Holder, interpreter: *mut ffi::PyInterpreterState) -> bool {
    let argument = std::ptr::from_ref(holder).cast_mut().cast();
    // SAFETY: the interpreter is alive; holders live for ever.
    api::add_pending_call()
        .is_some_and(|add| unsafe { add(interpreter, deliver, argument, 0) == 0 })
}

/// The pending call: runs in whichever thread of the interpreter came first.
unsafe extern "C" fn deliver(argument: *mut c_void) -> c_int {
    // SAFETY: the holder that was given to `add`; it lives for ever.
    let holder: &'static Holder = unsafe { &*argument.cast::<Holder>().cast_const() };
    // SAFETY: CPython runs pending calls attached.
    let py = unsafe { Python::assume_attached() };
    holder.posted.store(false, Ordering::SeqCst);
    if !holder.wanted.load(Ordering::SeqCst) || !holder.account.is_over() {
        holder.wanted.store(false, Ordering::SeqCst);
        return 0;
    }
    if holder.culprit.load(Ordering::SeqCst) != this_thread() || is_library_code(py) {
        let until = *holder.chase_until.lock();
        if until.is_some_and(|until| Instant::now() < until) {
            holder.posted.store(true, Ordering::SeqCst);
            // SAFETY: attached.
            if !add(holder, unsafe { ffi::PyInterpreterState_Get() }) {
                holder.posted.store(false, Ordering::SeqCst);
            }
        }
        return 0;
    }
    holder.wanted.store(false, Ordering::SeqCst);
    // SAFETY: attached.
    unsafe { ffi::PyErr_NoMemory() };
    -1
}
