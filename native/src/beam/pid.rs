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

    /// As rustler wants it.
    pub(crate) fn local(&self) -> rustler::LocalPid {
        rustler::LocalPid::from_c_arg(self.0)
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
