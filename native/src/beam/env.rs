//! Environments that belong to no process: they carry terms into and out of the threads.

use super::{Pid, Word};
use crossbeam_queue::ArrayQueue;
use rustler::sys::{
    ErlNifEnv, enif_alloc_env, enif_clear_env, enif_free_env, enif_make_copy, enif_send,
};
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// An environment of our own, with whatever terms were made in it.
pub(crate) struct TermEnv {
    env: *mut ErlNifEnv,
    /// Where the next small binary lies if there is room in the piece of memory that has the last one.
    pub(super) next_small: Cell<usize>,
}

impl TermEnv {
    const fn of(env: *mut ErlNifEnv) -> Self {
        Self {
            env,
            next_small: Cell::new(0),
        }
    }
}

// SAFETY: a process-independent environment may be used by any one thread at a time, and `TermEnv`
// is its only owner.
unsafe impl Send for TermEnv {}

impl TermEnv {
    pub(crate) fn new() -> Self {
        // SAFETY: no precondition; the emulator aborts rather than return null.
        Self::of(unsafe { enif_alloc_env() })
    }

    pub(crate) fn raw(&self) -> *mut ErlNifEnv {
        self.env
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.env == other.env
    }

    /// Copies a term of any environment into this one.
    pub(crate) fn copy(&self, term: Word) -> Word {
        // SAFETY: the caller's term is alive for the call; the copy lives in this environment.
        unsafe { enif_make_copy(self.env, term) }
    }

    /// Invalidates every term in it and makes it usable again.
    pub(crate) fn clear(&mut self) {
        // SAFETY: we own it and hand out no term beyond a clear.
        unsafe { enif_clear_env(self.env) };
        self.next_small.set(0);
    }

    /// As [`Self::send`]; `false` when there is no such process any more.
    pub(crate) fn try_send(&mut self, to: &Pid, term: Word) -> bool {
        // SAFETY: `term` lives in this environment; the caller's environment is null on threads that are no
        // schedulers, and else that of the running function.
        let sent = unsafe { enif_send(caller(), to.raw(), self.env, term) };
        self.clear();
        sent != 0
    }

    /// As [`Self::send`], from a function that the emulator calls on a scheduler.
    pub(crate) fn send_as(&mut self, caller: super::Env, to: &Pid, term: Word) {
        // SAFETY: `term` lives in this environment, and the caller's is that of the running function.
        unsafe { enif_send(caller.as_c_arg(), to.raw(), self.env, term) };
        self.clear();
    }

    /// Sends `term`, which was made here, from a thread that is no scheduler; the environment is
    /// empty afterwards. A dead receiver is no error, as with `!`.
    pub(crate) fn send(&mut self, to: &Pid, term: Word) {
        let _received = self.try_send(to, term);
    }
}

thread_local! {
    /// The environment of the function that the emulator has called on this thread, where code is called from there
    /// that may send, or look up names.
    static CALLER: Cell<*mut ErlNifEnv> = const { Cell::new(std::ptr::null_mut()) };
}

/// What the emulator's functions take as the caller's environment: null on threads that are no schedulers. On a
/// scheduler the emulator must know the running process, whose lock it may have to give up while it waits for another.
pub(super) fn caller() -> *mut ErlNifEnv {
    CALLER.get()
}

/// Code that may send is called from a function of the emulator's until this is dropped.
pub(crate) struct CallingNif(());

impl CallingNif {
    #[inline]
    pub(crate) fn enter(env: super::Env<'_>) -> Self {
        CALLER.set(env.as_c_arg());
        Self(())
    }
}

impl Drop for CallingNif {
    #[inline]
    fn drop(&mut self) {
        CALLER.set(std::ptr::null_mut());
    }
}

/// The environment of the running function, for terms that are its arguments or its value.
pub(crate) struct CallerEnv<'a>(ManuallyDrop<TermEnv>, PhantomData<super::Env<'a>>);

impl<'a> CallerEnv<'a> {
    #[inline]
    pub(crate) fn new(env: super::Env<'a>) -> Self {
        Self(ManuallyDrop::new(TermEnv::of(env.as_c_arg())), PhantomData)
    }
}

impl Deref for CallerEnv<'_> {
    type Target = TermEnv;

    #[inline]
    fn deref(&self) -> &TermEnv {
        &self.0
    }
}

impl Drop for TermEnv {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { enif_free_env(self.env) };
    }
}

/// Cleared environments kept for reuse, since making one costs more than a short request.
pub(crate) struct EnvPool(ArrayQueue<TermEnv>);

impl EnvPool {
    pub(crate) fn new(most: usize) -> Self {
        Self(ArrayQueue::new(most))
    }

    pub(crate) fn take(&self) -> TermEnv {
        self.0.pop().unwrap_or_else(TermEnv::new)
    }

    pub(crate) fn put(&self, mut env: TermEnv) {
        env.clear();
        self.put_cleared(env);
    }

    /// As [`Self::put`], after something was sent from it.
    pub(crate) fn put_cleared(&self, env: TermEnv) {
        // A full pool drops it, which frees it.
        drop(self.0.push(env));
    }
}
