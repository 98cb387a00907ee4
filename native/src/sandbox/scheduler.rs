//! What code must not do that runs on a scheduler thread of Erlang: wait.
//!
//! Functions of this library that wait ask themselves; of CPython's, those are known that raise an audit event.

use crate::py::{Python, Raised, Result, ffi};
use std::cell::Cell;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread is a scheduler's that runs Python code, until this is dropped.
pub(crate) struct OnScheduler(());

impl OnScheduler {
    #[inline]
    pub(crate) fn begin() -> Self {
        ON.set(true);
        Self(())
    }
}

impl Drop for OnScheduler {
    #[inline]
    fn drop(&mut self) {
        ON.set(false);
    }
}

/// Whether the calling thread is one.
#[inline]
pub(super) fn is_on() -> bool {
    ON.get()
}

/// Raises on such a thread.
pub(crate) fn refuse_to_wait(py: Python<'_>, what: &str) -> Result<()> {
    if is_on() { refuse(py, what) } else { Ok(()) }
}

fn refuse(py: Python<'_>, what: &str) -> Result<()> {
    Err(Raised::runtime_error(py, &text(what)))
}

fn text(what: &str) -> String {
    format!(
        "{what} cannot be used in a call that runs inline, since it would hold up a scheduler of Erlang; \
         functions that need it are called without dispatch => inline"
    )
}

/// Raises for what an audit event announces.
pub(super) fn refuse_event(py: Python<'_>, event: &[u8]) -> Result<()> {
    if event == b"import" {
        // The class that code expects of imports, and does without what it wanted.
        // SAFETY: a static class.
        let class = unsafe { ffi::PyExc_ImportError };
        let text = text("a module that is not loaded yet");
        return Err(Raised::of_static_class(py, class, &text));
    }
    refuse(py, &String::from_utf8_lossy(event))
}

/// Whether an audit event announces something that waits, or that has to be done on the context's own thread: imports
/// read files, and threads would hold the interpreter.
pub(super) fn waits(event: &[u8]) -> bool {
    matches!(
        event,
        b"import"
            | b"time.sleep"
            | b"builtins.input"
            | b"fcntl.flock"
            | b"fcntl.lockf"
            | b"os.lockf"
            | b"os.system"
            | b"os.posix_spawn"
            | b"subprocess.Popen"
            | b"_posixsubprocess.fork_exec"
            | b"_thread.start_new_thread"
            | b"_thread.start_joinable_thread"
            | b"sqlite3.connect"
            | b"urllib.Request"
    ) || event.starts_with(b"socket.") && event != b"socket.gethostname"
}
