//! A descriptor that the emulator watches: `enif_select`, which rustler does not have, and its resource type, which
//! needs a *stop* callback.
//!
//! Some facts:
//! - A descriptor is watched for one message at a time, and armed again for the next.
//! - Once it is watched it may be closed only in the stop callback, which the emulator calls when no thread of its own
//!   looks at the descriptor any more.
//! - Arming and stopping happen on schedulers alone: in functions that a process calls, and in callbacks of the
//!   emulator. On OTP 29 the emulator dies of it elsewhere.

use super::{Env, Kind};
use parking_lot::Mutex;
use rustler::sys::{
    ErlNifEnv, ErlNifEvent, ErlNifMonitor, ErlNifPid, ErlNifResourceTypeInit, enif_monitor_process,
    enif_release_resource, enif_select, enif_select_x, enif_self,
};
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

const READ: c_int = 1 << 0;
const STOP: c_int = 1 << 2;
const CUSTOM_MESSAGE: c_int = 1 << 4;

static KIND: Kind = Kind::new();

/// Opens the resource type. For the function that the emulator calls when the library is loaded.
pub(crate) fn open_kind(env: Env) -> bool {
    let callbacks = ErlNifResourceTypeInit {
        dtor: destructor as *const _,
        stop: stopped as *const _,
        down: down as *const _,
        members: 3,
        dyncall: std::ptr::null(),
    };
    // SAFETY: the callbacks have the types that the emulator calls them with.
    unsafe { KIND.open(env, c"py_watched", &callbacks) }
}

/// Whose the descriptor is.
enum State {
    /// Ours alone.
    Unwatched(OwnedFd),
    /// The emulator's, to be closed by the stop callback.
    Watched(RawFd),
    Over,
}

struct Inner(Mutex<State>);

/// A descriptor that a process may have watched.
pub(crate) struct Watched {
    inner: Arc<Inner>,
    /// The resource, of which this holds one reference.
    object: *mut c_void,
}

// SAFETY: the object is only given to functions of the emulator that any thread may call, or that the methods below
// call on schedulers; what it holds is behind a lock.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        let inner = Arc::new(Inner(Mutex::new(State::Unwatched(descriptor))));
        // SAFETY: the block takes a pointer, which the destructor takes out again.
        let object = unsafe {
            let object = KIND.allocate(size_of::<*const Inner>());
            object
                .cast::<*const Inner>()
                .write(Arc::into_raw(inner.clone()));
            object
        };
        Self { inner, object }
    }

    /// Does something with the descriptor, unless that is over. Nobody closes it meanwhile.
    pub(crate) fn with<T>(&self, body: impl FnOnce(RawFd) -> T) -> Option<T> {
        match &*self.inner.0.lock() {
            State::Unwatched(descriptor) => Some(body(descriptor.as_raw_fd())),
            State::Watched(descriptor) => Some(body(*descriptor)),
            State::Over => None,
        }
    }

    /// Has the emulator send `message` to the calling process when the descriptor is readable, once. The end of that
    /// process ends all watching. For functions that a process calls on a normal scheduler.
    pub(crate) fn arm(&self, env: Env, message: rustler::Term) {
        let mut state = self.inner.0.lock();
        let first = matches!(*state, State::Unwatched(_));
        let descriptor = match std::mem::replace(&mut *state, State::Over) {
            State::Unwatched(descriptor) => descriptor.into_raw_fd(),
            State::Watched(descriptor) => descriptor,
            State::Over => return,
        };
        let mut pid = std::mem::MaybeUninit::<ErlNifPid>::uninit();
        // SAFETY: on a scheduler, in a function that a process calls; the object and the descriptor live.
        let armed = unsafe {
            enif_self(env.as_c_arg(), pid.as_mut_ptr());
            let flags = READ | CUSTOM_MESSAGE;
            let null_env = std::ptr::null_mut();
            let (pid, message) = (pid.as_ptr(), message.as_c_arg());
            let event = descriptor as ErlNifEvent;
            enif_select_x(
                env.as_c_arg(),
                event,
                flags,
                self.object,
                pid,
                message,
                null_env,
            ) >= 0
        };
        if first && !armed {
            // SAFETY: it was ours, and the emulator has not taken it.
            *state = State::Unwatched(unsafe { OwnedFd::from_raw_fd(descriptor) });
            return;
        }
        *state = State::Watched(descriptor);
        drop(state);
        if first {
            // SAFETY: as above. A process that has ended cannot have called this.
            unsafe {
                let pid = pid.as_ptr();
                enif_monitor_process(env.as_c_arg(), self.object, pid, std::ptr::null_mut())
            };
        }
    }

    /// The descriptor is not needed any more. For functions that a process calls on a normal scheduler.
    pub(crate) fn stop(&self, env: Env) {
        stop(&self.inner, env.as_c_arg(), self.object);
    }

    /// From any thread: closes the descriptor unless it is watched. If it is, the end of the process does that.
    pub(crate) fn let_go(&self) {
        let mut state = self.inner.0.lock();
        if matches!(*state, State::Unwatched(_)) {
            *state = State::Over;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the reference from `new`.
        unsafe { enif_release_resource(self.object) };
    }
}

fn stop(inner: &Inner, env: *mut ErlNifEnv, object: *mut c_void) {
    let before = std::mem::replace(&mut *inner.0.lock(), State::Over);
    if let State::Watched(descriptor) = before {
        let known = super::atoms();
        let event = descriptor as ErlNifEvent;
        // SAFETY: on a scheduler; the object is alive, and was given with this descriptor before. The stop callback
        // closes it.
        unsafe { enif_select(env, event, STOP, object, std::ptr::null(), known.undefined) };
    }
}

/// Nobody uses the descriptor any more, and it will not be watched again.
unsafe extern "C" fn stopped(
    _env: *mut ErlNifEnv,
    _object: *mut c_void,
    event: ErlNifEvent,
    _is_direct_call: c_int,
) {
    // SAFETY: it came from `OwnedFd::into_raw_fd`, and the emulator gives it back here, once.
    drop(unsafe { OwnedFd::from_raw_fd(event as RawFd) });
}

/// The process that had it watched has ended.
unsafe extern "C" fn down(
    env: *mut ErlNifEnv,
    object: *mut c_void,
    _pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    // SAFETY: an object of this type, alive for the call.
    let inner = unsafe { &**object.cast::<*const Inner>() };
    stop(inner, env, object);
}

unsafe extern "C" fn destructor(_env: *mut ErlNifEnv, object: *mut c_void) {
    // SAFETY: the pointer that `new` has put there; nobody reads it again.
    drop(unsafe { Arc::from_raw(object.cast::<*const Inner>().read()) });
}
