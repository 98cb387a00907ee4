//! Local process identifiers.

use rustler::sys::ErlNifPid;

/// A process of this node.
#[derive(Clone, Copy)]
pub(crate) struct Pid(ErlNifPid);

// SAFETY: a local pid is an immediate word; it belongs to no environment and no thread.
unsafe impl Send for Pid {}
// SAFETY: as above.
unsafe impl Sync for Pid {}

impl Pid {
    pub(crate) fn new(pid: rustler::LocalPid) -> Self {
        Self(*pid.as_c_arg())
    }

    /// The process of this node that a name, an atom, is registered for.
    pub(crate) fn registered(name: super::Word) -> Option<Self> {
        let mut pid = std::mem::MaybeUninit::uninit();
        // SAFETY: an atom; the caller's environment is null on threads that are no schedulers, and else that of the
        // running function. On success the pid is written.
        unsafe {
            let found =
                rustler::sys::enif_whereis_pid(super::env::caller(), name, pid.as_mut_ptr());
            (found != 0).then(|| Self(pid.assume_init()))
        }
    }

    /// The process of a term of this node.
    pub(crate) fn of_term(env: &super::TermEnv, word: super::Word) -> Option<Self> {
        let mut pid = std::mem::MaybeUninit::uninit();
        // SAFETY: module rule; on success the pid is written.
        unsafe {
            let local = rustler::sys::enif_get_local_pid(env.raw(), word, pid.as_mut_ptr());
            (local != 0).then(|| Self(pid.assume_init()))
        }
    }

    pub(crate) fn raw(&self) -> &ErlNifPid {
        &self.0
    }

    /// The word itself, an immediate: equal for equal processes, so it serves as a key.
    pub(crate) fn word(&self) -> super::Word {
        // SAFETY: the function only reads the word out of the struct.
        unsafe { rustler::sys::enif_make_pid(std::ptr::null_mut(), self.0) }
    }
}
