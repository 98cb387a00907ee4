//! What the kernel refuses to the threads of a context, whatever code they run.
//!
//! A thread that is confined stays so, and hands that down to the threads that it starts, so that it and its interpreter
//! only ever serve one policy.

use super::{Policy, Seccomp};
use py_core::seccomp::confine_thread;

/// Confines the calling owner thread as its policy wants it, before code of users runs there.
pub(crate) fn enter(policy: &Policy) -> Result<(), String> {
    match policy.seccomp {
        Seccomp::Off => Ok(()),
        Seccomp::Required => confine_thread(),
        // `py_sandbox:policy/1` says what came of it.
        Seccomp::BestEffort => {
            confine_thread().unwrap_or_default();
            Ok(())
        }
    }
}
