//! The end of the OS process.
//!
//! `exit(3)`, which the emulator calls, runs the exit handlers and destructors of all libraries, while threads go on:
//! OpenSSL frees what a handshake uses, and the process dies of a signal; OpenBLAS joins threads that never end. So once
//! Python lives, the process leaves before them, with the status that was asked for.
//!
//! Exit handlers run in the opposite order of their registration, and libraries register theirs when they are loaded, or
//! later. That ours comes first is seen to where an end is known to be near: when the emulator says so, from OTP 26 on
//! and unless it is to halt without flushing; and on each scheduler that has called us, by a thread-local value, whose
//! destructor `exit` runs before all handlers. On other threads only handlers from before Python's start come later.

use crate::beam::Env;
use std::sync::atomic::{AtomicBool, Ordering};

static PYTHON_LIVES: AtomicBool = AtomicBool::new(false);

/// Python lives from now on.
pub(super) fn python_lives() {
    PYTHON_LIVES.store(true, Ordering::SeqCst);
    leave_first();
}

/// The calling thread may be the one that ends the process.
pub(crate) fn may_end_here() {
    Ends::here();
}

/// Has the emulator tell when it halts. For the function that it calls when the library is loaded.
pub(crate) fn hear_of_halt(env: Env) {
    emulator::hear_of_halt(env);
}

struct Ends;

thread_local! {
    static ENDS: Ends = const { Ends };
}

impl Ends {
    fn here() {
        // Not while the thread ends.
        let _known = ENDS.try_with(|_| ());
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Schedulers end with the process alone; where other threads end, there is one handler more.
        leave_first();
    }
}

fn leave_first() {
    if PYTHON_LIVES.load(Ordering::SeqCst) {
        process::leave_before_other_handlers();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod process {
    use libc::{FILE, c_int, c_void};

    unsafe extern "C" {
        static stdout: *mut FILE;
        static stderr: *mut FILE;
        fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
        fn ftrylockfile(file: *mut FILE) -> c_int;
        fn fflush_unlocked(file: *mut FILE) -> c_int;
    }

    /// Makes `leave` the handler that runs first, as far as is known yet.
    pub(super) fn leave_before_other_handlers() {
        // SAFETY: the library of the function stays. Without memory for it the process ends as it would without us.
        let _registered = unsafe { on_exit(leave, std::ptr::null_mut()) };
    }

    extern "C" fn leave(status: c_int, _argument: *mut c_void) {
        // SAFETY: what C code has printed is written, unless a thread prints just now and will never end.
        unsafe {
            for stream in [stdout, stderr] {
                if ftrylockfile(stream) == 0 {
                    fflush_unlocked(stream);
                }
            }
            libc::_exit(status)
        }
    }
}

/// Without `on_exit` the status cannot be known.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod process {
    pub(super) fn leave_before_other_handlers() {}
}

mod emulator {
    use crate::beam::Env;
    use rustler::sys::ErlNifEnv;
    use std::ffi::{c_int, c_void};

    /// `ERL_NIF_OPT_ON_HALT`.
    const ON_HALT: c_int = 2;

    type SetOption = unsafe extern "C" fn(*mut ErlNifEnv, c_int, ...) -> c_int;

    pub(super) fn hear_of_halt(env: Env) {
        // SAFETY: a name that ends with a zero. From OTP 26 the emulator has a function of this name and type.
        let set_option = unsafe {
            let address = libc::dlsym(libc::RTLD_DEFAULT, c"enif_set_option".as_ptr());
            std::mem::transmute::<*mut c_void, Option<SetOption>>(address)
        };
        if let Some(set_option) = set_option {
            let callback: unsafe extern "C" fn(*mut c_void) = halts;
            // SAFETY: while the library is loaded; the option takes a function of this type, whose library stays.
            let _set = unsafe { set_option(env.as_c_arg(), ON_HALT, callback) };
        }
    }

    unsafe extern "C" fn halts(_private: *mut c_void) {
        super::leave_first();
    }
}
