//! The state of one connection, as far as it is not in its protocol.

use super::shared::Place;
use crate::py::Raised;
use crate::py::{Kept, Object, Python, Result, ffi};
use py_core::event::{Interest, READ, WRITE};
use py_core::reactor::{Connection as Socket, Sender};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

/// See the module.
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) socket: Socket,
    /// Free when the connection is.
    _place: Place,
    protocol: Cell<Option<Kept>>,
    /// The `contextvars.Context` in which its handlers run.
    variables: Cell<Option<Kept>>,
    pub(super) own: Own,
    /// What the set waits for; 0: it is not in there.
    pub(super) watched: Cell<Interest>,
    /// Input is wanted.
    pub(super) reads: Cell<bool>,
    /// There is something left to be written.
    pub(super) writes: Cell<bool>,
    /// Too much of it, so that the protocol was told.
    pub(super) is_full: Cell<bool>,
    /// Input is wanted again when all is written.
    pub(super) reads_after: Cell<bool>,
    /// The protocol wants no input for now, whatever else it says.
    pub(super) held_back: Cell<bool>,
    /// It ends when all is written; or only its output does, which is over once that has happened.
    pub(super) closes: Cell<bool>,
    pub(super) ends_output: Cell<bool>,
    pub(super) output_over: Cell<bool>,
    /// The peer sends nothing more.
    pub(super) at_end: Cell<bool>,
    /// The context takes no more connections, and this one was told so.
    pub(super) stays: Cell<bool>,
    /// A handler of it runs, and what was asked for meanwhile.
    pub(super) busy: Cell<bool>,
    pub(super) signalled: Cell<bool>,
    /// Nothing works any more; or it has ended.
    pub(super) broken: Cell<bool>,
    pub(super) lost: Cell<bool>,
    /// When something was last read or written.
    pub(super) moved: Cell<Instant>,
    pub(super) sender: RefCell<Option<Sender>>,
    /// The last read brought much.
    pub(super) in_bulk: Cell<bool>,
}

/// Which methods the class of a protocol has replaced: what those of the base class do is done here.
#[derive(Clone, Copy)]
pub(super) struct Own {
    pub(super) connection_made: bool,
    pub(super) connection_lost: bool,
    pub(super) write_ready: bool,
    pub(super) eof_received: bool,
}

impl Connection {
    pub(super) fn new(
        number: u64,
        handoff: (Socket, Place),
        protocol: &Object<'_>,
        variables: &Object<'_>,
        own: Own,
        now: Instant,
    ) -> Self {
        let (socket, place) = handoff;
        Self {
            number,
            socket,
            _place: place,
            protocol: Cell::new(Some(protocol.again().keep())),
            variables: Cell::new(Some(variables.again().keep())),
            own,
            watched: Cell::new(0),
            reads: Cell::new(true),
            writes: Cell::new(false),
            is_full: Cell::new(false),
            reads_after: Cell::new(false),
            held_back: Cell::new(false),
            closes: Cell::new(false),
            ends_output: Cell::new(false),
            output_over: Cell::new(false),
            at_end: Cell::new(false),
            stays: Cell::new(false),
            busy: Cell::new(false),
            signalled: Cell::new(false),
            broken: Cell::new(false),
            lost: Cell::new(false),
            moved: Cell::new(now),
            sender: RefCell::default(),
            in_bulk: Cell::new(false),
        }
    }

    /// A handler of it runs, or it is about to end.
    pub(super) fn is_in_use(&self) -> bool {
        self.busy.get() || self.lost.get()
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Its protocol, until it has ended.
    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> Result<Object<'py>> {
        held(&self.protocol, py)
    }

    /// What the set should wait for.
    pub(super) fn wanted(&self) -> Interest {
        let mut wanted = 0;
        if self.reads.get() && !self.is_full.get() && !self.held_back.get() {
            wanted |= READ;
        }
        if self.writes.get() {
            wanted |= WRITE;
        }
        wanted
    }

    /// Runs in the connection's `contextvars.Context`.
    pub(super) fn in_variables<'py, T>(
        &self,
        py: Python<'py>,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        in_context(&held(&self.variables, py)?, body)
    }

    /// Gives back what it holds of the interpreter.
    pub(super) fn release(&self, py: Python<'_>) {
        for place in [&self.protocol, &self.variables] {
            if let Some(kept) = place.take() {
                kept.release(py);
            }
        }
    }
}

/// A new `contextvars.Context`.
pub(super) fn new_context(py: Python<'_>) -> Result<Object<'_>> {
    // SAFETY: attached; a new reference.
    unsafe { Object::owned_or_raised(py, ffi::PyContext_New()) }
}

/// Runs in a `contextvars.Context`.
pub(super) fn in_context<T>(variables: &Object<'_>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let py = variables.py();
    // SAFETY: attached; a context, which is left below. One that is entered already is an exception.
    if unsafe { ffi::PyContext_Enter(variables.as_ptr()) } != 0 {
        return Err(Raised::seen(py));
    }
    let result = body();
    // Leaving must not meet an exception.
    let raised = result
        .is_err()
        .then(|| Raised::seen(py).fetch(py))
        .flatten();
    // SAFETY: attached; it was entered above, and whatever was entered after it was left.
    let left = unsafe { ffi::PyContext_Exit(variables.as_ptr()) };
    if left != 0 {
        Raised::seen(py).clear(py);
    }
    match (result, raised) {
        (Err(_), Some(raised)) => {
            // SAFETY: attached; the reference is taken over.
            unsafe { ffi::PyErr_SetRaisedException(raised.into_ptr()) };
            Err(Raised::seen(py))
        }
        (result, _) => result,
    }
}

fn held<'py>(place: &Cell<Option<Kept>>, py: Python<'py>) -> Result<Object<'py>> {
    let kept = place.take();
    let object = kept.as_ref().map(|kept| kept.get(py));
    place.set(kept);
    object.ok_or_else(|| Raised::runtime_error(py, "the connection has ended"))
}
