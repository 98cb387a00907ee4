//! What code must not do that runs on a scheduler thread of Erlang: wait.
//!
//! Functions of this library that wait ask themselves; of CPython's, those are known that raise an audit event, or that
//! something of this library stands in front of.

use crate::py::{Python, Raised, Result};
use std::cell::Cell;
use std::os::fd::RawFd;

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
pub(crate) fn is_on_scheduler() -> bool {
    ON.get()
}

/// Raises on such a thread.
pub(crate) fn refuse_to_wait(py: Python<'_>, what: &str) -> Result<()> {
    if is_on_scheduler() {
        refuse(py, what)
    } else {
        Ok(())
    }
}

/// Raises on such a thread, for a module that is about to be loaded: that reads files, or waits for the main GIL. No
/// `ImportError`: code that can do without the module would do without it from now on, as `encodings` does for good.
pub(super) fn refuse_to_load(py: Python<'_>) -> Result<()> {
    refuse_to_wait(py, "a module that is not loaded yet")
}

/// Raises on such a thread, where the setting would be lost.
pub(super) fn refuse_to_set_collecting(py: Python<'_>, what: &str) -> Result<()> {
    if !is_on_scheduler() {
        return Ok(());
    }
    let text = format!(
        "{what} cannot be used in a call that runs inline, in which no garbage is collected; \
         it is called without dispatch => inline"
    );
    Err(Raised::runtime_error(py, &text))
}

/// Raises on such a thread where a descriptor has nothing to read, and reading it waits.
pub(super) fn refuse_to_wait_for(py: Python<'_>, descriptor: RawFd) -> Result<()> {
    if is_on_scheduler() && reading_waits(descriptor) {
        refuse(py, "reading from where nothing has come yet")
    } else {
        Ok(())
    }
}

fn reading_waits(descriptor: RawFd) -> bool {
    let mut asked = libc::pollfd {
        fd: descriptor,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: both only ask about a number; the second writes the answer where it says, and does not wait.
    unsafe {
        let flags = libc::fcntl(descriptor, libc::F_GETFL);
        flags & libc::O_NONBLOCK == 0 && libc::poll(&raw mut asked, 1, 0) == 0
    }
}

fn refuse(py: Python<'_>, what: &str) -> Result<()> {
    let text = format!(
        "{what} cannot be used in a call that runs inline, since it would hold up a scheduler of Erlang; \
         functions that need it are called without dispatch => inline"
    );
    Err(Raised::runtime_error(py, &text))
}

/// Raises for what an audit event announces.
pub(super) fn refuse_event(py: Python<'_>, event: &[u8]) -> Result<()> {
    refuse(py, &String::from_utf8_lossy(event))
}

/// Whether an audit event announces something that waits, or that has to be done on the context's own thread: threads
/// would hold the interpreter.
pub(super) fn waits(event: &[u8]) -> bool {
    matches!(
        event,
        b"time.sleep"
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
