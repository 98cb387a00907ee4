//! Interrupting code that waits in the system: for a descriptor, mostly.
//!
//! From 3.15 on CPython raises an exception that is set for a thread where a system call was cut short, too. Setting it
//! takes the GIL, which may be held for ever, so that a thread of its own does it: one for each context at a time. The
//! signal that cuts the call short does nothing else.
//!
//! Where a signal comes just before the call, the next interrupt repeats it.

use super::{Interrupts, is_library};
use crate::facts::{FREE_THREADED, facts};
use crate::py::{Object, Python, ffi};
use std::ffi::{c_int, c_ulong};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// Whether CPython raises what is set for a thread when a system call is cut short.
fn is_supported() -> bool {
    facts().version >= (15, 0) && !FREE_THREADED
}

/// The signal: one of those that nobody has a handler for, if there is any. Only ever sent to owner threads.
fn signal() -> Option<c_int> {
    static SIGNAL: OnceLock<Option<c_int>> = OnceLock::new();
    *SIGNAL.get_or_init(|| {
        real_time_signals()
            .rev()
            .find(|&number| is_free(number) && take(number))
    })
}

/// Tried from the end: what else uses such signals begins at the other one.
#[cfg(target_os = "linux")]
fn real_time_signals() -> std::ops::RangeInclusive<c_int> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// Elsewhere there may be none, and code that waits is interrupted when its wait is over.
#[cfg(not(target_os = "linux"))]
fn real_time_signals() -> std::ops::RangeInclusive<c_int> {
    std::ops::RangeInclusive::new(1, 0)
}

fn is_free(number: c_int) -> bool {
    let mut present = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; a zeroed struct is a valid one.
    unsafe {
        libc::sigaction(number, std::ptr::null(), present.as_mut_ptr()) == 0
            && present.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

fn take(number: c_int) -> bool {
    extern "C" fn nothing(_number: c_int) {}
    let handler: extern "C" fn(c_int) = nothing;
    // SAFETY: a zeroed struct is a valid one: an empty mask, and no flag that has system calls go on.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = handler as usize;
        libc::sigaction(number, &raw const action, std::ptr::null_mut()) == 0
    }
}

/// Settles which one it is, before there are threads that may not ask for it.
pub(crate) fn choose_signal() {
    if is_supported() {
        let _chosen = signal();
    }
}

/// The calling thread, an owner thread, can be woken from system calls from now on.
pub(crate) fn let_be_woken() {
    if !is_supported() {
        return;
    }
    if let Some(number) = signal() {
        // SAFETY: changes the mask of this thread alone.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, number);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        }
    }
}

impl Interrupts {
    /// The code that was interrupted has come to no safe point: it may wait in the system. Returns at once.
    pub(crate) fn wake_blocked(self: &Arc<Self>) {
        let worth_it = is_supported()
            && self.posted.load(Ordering::SeqCst)
            && !self.asleep.load(Ordering::SeqCst)
            && !self.pumps();
        if !worth_it || self.waking.swap(true, Ordering::SeqCst) {
            return;
        }
        let self_ = self.clone();
        let started = std::thread::Builder::new()
            .name("py-wake".into())
            .spawn(move || {
                self_.wake_from_outside();
                self_.waking.store(false, Ordering::SeqCst);
            });
        if started.is_err() {
            self.waking.store(false, Ordering::SeqCst);
        }
    }

    fn wake_from_outside(&self) {
        // The interpreter lives while its gate is open, and then while it has this thread state.
        let state = match &*self.gate.lock() {
            // SAFETY: alive; a thread state for this thread.
            Some(gate) => unsafe { ffi::PyThreadState_New(gate.interpreter) },
            None => return,
        };
        if state.is_null() {
            return;
        }
        // SAFETY: of this thread, and not attached; deleting it detaches.
        unsafe {
            ffi::PyEval_RestoreThread(state);
            self.wake(Python::assume_attached());
            ffi::PyThreadState_Clear(state);
            ffi::PyThreadState_DeleteCurrent();
        }
    }

    /// With the GIL, so that the owner thread waits in the system, or for the GIL.
    fn wake(&self, py: Python<'_>) {
        // CPython may give the GIL up in what follows, and who gets it may wait for the gate.
        let target = match &*self.gate.lock() {
            Some(gate) => (gate.thread, gate.class, gate.state),
            None => return,
        };
        let (thread, class, state) = target;
        let running = self.running();
        let is_blocked = self.posted.load(Ordering::SeqCst)
            && !self.asleep.load(Ordering::SeqCst)
            && !self.pumps();
        if !is_blocked || !self.waits() || waits_for_library(py, state) || !self.take() {
            return;
        }
        // SAFETY: attached; a class of this interpreter, and nothing, if the thread is gone.
        unsafe { ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), class) };
        let gate = self.gate.lock();
        match &*gate {
            Some(gate) if self.running() == running => {
                self.set_from_outside.store(true, Ordering::SeqCst);
                if let Some(number) = signal() {
                    // SAFETY: the thread lives while the gate is open.
                    unsafe { libc::pthread_kill(gate.os_thread, number) };
                }
            }
            _ => {
                drop(gate);
                // SAFETY: as above.
                unsafe {
                    ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), std::ptr::null_mut())
                };
            }
        }
    }

    /// For the owner thread: what was set for it, and not raised, is taken back.
    pub(super) fn take_back(&self, _py: Python<'_>) {
        if self.set_from_outside.swap(false, Ordering::SeqCst) {
            // SAFETY: attached; the number of this thread.
            unsafe {
                let own: c_ulong = ffi::PyThread_get_thread_ident();
                ffi::PyThreadState_SetAsyncExc(own.cast_signed(), std::ptr::null_mut());
            }
        }
    }
}

/// Whether the innermost code of the owner thread must not be left half-way. What waits for its caller is the caller's.
fn waits_for_library(py: Python<'_>, state: *mut ffi::PyThreadState) -> bool {
    // SAFETY: attached, and the gate was open: the thread state is there, and its frames stay as they are.
    let mut frame = unsafe { Object::owned(py, ffi::PyThreadState_GetFrame(state).cast()) };
    while let Some(present) = frame {
        let top = module_of(py, &present);
        if top != "selectors" {
            return is_library(&top);
        }
        // SAFETY: attached; a frame.
        frame = unsafe { Object::owned(py, ffi::PyFrame_GetBack(present.as_ptr().cast()).cast()) };
    }
    false
}

/// The package of the code of a frame; nothing where it has none.
fn module_of(py: Python<'_>, frame: &Object<'_>) -> String {
    // SAFETY: attached; a frame, whose globals are a dict; what is found in it is borrowed, or null.
    let name = unsafe {
        let Some(globals) = Object::owned(py, ffi::PyFrame_GetGlobals(frame.as_ptr().cast()))
        else {
            return String::new();
        };
        let name = ffi::PyDict_GetItemString(globals.as_ptr(), c"__name__".as_ptr());
        if name.is_null() {
            return String::new();
        }
        Object::borrowed(py, name)
    };
    match name.str_of() {
        Ok(name) => {
            let name = name.unwrap_or_default();
            name.split('.').next().unwrap_or_default().to_owned()
        }
        Err(raised) => {
            raised.clear(py);
            String::new()
        }
    }
}
