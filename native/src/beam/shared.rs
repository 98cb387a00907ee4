//! Values that Erlang and Rust share: resources of the emulator.
//!
//! Not those of rustler, whose types go when the Erlang module is purged, while threads of ours may still make values
//! of them. A [`Kind`] is opened once in the life of the OS process, by the first instance of the module, and stays:
//! the emulator keeps the type, and the library, as long as there is one value, and one of each kind is never dropped.
//! So whatever becomes of that instance, references to old values go on to work.

use super::{Env, Pid, Word};
use rustler::sys::{
    ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType,
    ErlNifResourceTypeInit, enif_alloc_resource, enif_get_resource, enif_keep_resource,
    enif_make_resource, enif_monitor_process, enif_open_resource_type_x, enif_release_resource,
};
use rustler::{Decoder, Encoder, Error, NifResult, Term};
use std::ffi::{CStr, c_void};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A resource type of the emulator.
pub(crate) struct Kind(AtomicPtr<ErlNifResourceType>);

impl Kind {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Opens it. For the function that the emulator calls when the library is loaded, once in the life of the OS
    /// process.
    ///
    /// # Safety
    /// The callbacks have the types that the emulator calls them with, and fit what [`Self::allocate`] is used for.
    pub(super) unsafe fn open(
        &self,
        env: Env,
        name: &CStr,
        callbacks: &ErlNifResourceTypeInit,
    ) -> bool {
        // SAFETY: called while the library is loaded; the caller's promise.
        let opened = unsafe {
            enif_open_resource_type_x(
                env.as_c_arg(),
                name.as_ptr(),
                callbacks,
                ErlNifResourceFlags::ERL_NIF_RT_CREATE,
                std::ptr::null_mut(),
            )
        };
        self.0.store(opened.cast_mut(), Ordering::Release);
        if opened.is_null() {
            return false;
        }
        // The one that is never dropped; nothing ever reads it, or runs its destructor.
        let _kept = self.allocate(1);
        true
    }

    /// Room for a value of this kind, which the caller fills at once, and its only reference.
    pub(super) fn allocate(&self, size: usize) -> *mut c_void {
        // SAFETY: the type was opened when the library was loaded, and stays.
        unsafe { enif_alloc_resource(self.0.load(Ordering::Acquire), size) }
    }
}

/// What can be shared.
pub(crate) trait Share: Sized + Send + Sync + 'static {
    /// Whether [`Self::down`] does something.
    const MONITORS: bool = false;

    /// The one of this type.
    fn kind() -> &'static Kind;

    /// A process that [`Shared::monitor`] was called for has ended. Runs on a scheduler.
    fn down(&self, _env: Env) {}

    /// See [`Kind::open`].
    fn open(env: Env, name: &CStr) -> bool {
        let down = if Self::MONITORS {
            down::<Self> as *const _
        } else {
            std::ptr::null()
        };
        let callbacks = ErlNifResourceTypeInit {
            dtor: destructor::<Self> as *const _,
            stop: std::ptr::null(),
            down,
            members: 3,
            dyncall: std::ptr::null(),
        };
        // SAFETY: both callbacks are for values of this type, which alone are made of this kind.
        unsafe { Self::kind().open(env, name, &callbacks) }
    }
}

/// A reference to a shared value.
pub(crate) struct Shared<T: Share>(NonNull<T>);

// SAFETY: the value may be used and dropped on any thread, by its bounds; the emulator counts references atomically.
unsafe impl<T: Share> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Share> Sync for Shared<T> {}

impl<T: Share> Shared<T> {
    /// The emulator aligns what it allocates to words.
    const ALIGNED: () = assert!(align_of::<T>() <= align_of::<usize>());

    pub(crate) fn new(value: T) -> Self {
        let () = Self::ALIGNED;
        let room = T::kind().allocate(size_of::<T>()).cast::<T>();
        let Some(room) = NonNull::new(room) else {
            unreachable!("the emulator ends the node when it has no memory")
        };
        // SAFETY: big enough and aligned.
        unsafe { room.write(value) };
        Self(room)
    }

    fn raw(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// As the emulator's functions take it.
    pub(super) fn as_c_arg(&self) -> *const c_void {
        self.raw()
    }

    /// Has [`Share::down`] called when the process ends; `false`: it has ended. `env` is that of the calling native
    /// function, `None` on threads of our own.
    pub(crate) fn monitor(&self, env: Option<Env>, pid: &Pid) -> bool {
        let env = env.map_or(std::ptr::null_mut(), |env| env.as_c_arg());
        // SAFETY: the value lives; the emulator does not say which monitor it was, and we never take one back.
        unsafe { enif_monitor_process(env, self.raw(), pid.raw(), std::ptr::null_mut()) == 0 }
    }

    /// The value that a reference stands for.
    ///
    /// # Safety
    /// The term lives in the environment.
    pub(super) unsafe fn of_term(env: *mut ErlNifEnv, term: Word) -> Option<Self> {
        let mut found = std::ptr::null();
        // SAFETY: the caller's promise. What is found is alive, and of this kind; keeping it makes the reference.
        unsafe {
            if enif_get_resource(
                env,
                term,
                T::kind().0.load(Ordering::Acquire),
                &raw mut found,
            ) == 0
            {
                return None;
            }
            let value = NonNull::new(found.cast_mut().cast::<T>())?;
            enif_keep_resource(found);
            Some(Self(value))
        }
    }
}

impl<T: Share> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: alive as long as there is a reference.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Share> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: alive as long as this reference.
        unsafe { enif_keep_resource(self.raw()) };
        Self(self.0)
    }
}

impl<T: Share> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the one that this stands for.
        unsafe { enif_release_resource(self.raw()) };
    }
}

impl<T: Share> Encoder for Shared<T> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the value lives, and the term keeps it so.
        unsafe { Term::new(env, enif_make_resource(env.as_c_arg(), self.raw())) }
    }
}

impl<'a, T: Share> Decoder<'a> for Shared<T> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        // SAFETY: a term is tied to its environment.
        unsafe { Self::of_term(term.get_env().as_c_arg(), term.as_c_arg()) }.ok_or(Error::BadArg)
    }
}

/// Panics must not reach the emulator; they are told on standard error.
fn caught(body: impl FnOnce()) {
    let _told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
}

unsafe extern "C" fn destructor<T: Share>(_env: *mut ErlNifEnv, value: *mut c_void) {
    // SAFETY: the last reference has gone, so that nobody reads the value again.
    caught(|| unsafe { std::ptr::drop_in_place(value.cast::<T>()) });
}

unsafe extern "C" fn down<T: Share>(
    env: *mut ErlNifEnv,
    value: *mut c_void,
    _pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    // SAFETY: the environment and the value live for the call.
    caught(|| unsafe { (*value.cast::<T>()).down(Env::new(&env, env)) });
}
