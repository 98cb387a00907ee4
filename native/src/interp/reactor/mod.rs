//! Connections that Erlang has handed over, and the protocols of Python's that serve them.
//!
//! ```text
//! a process ──NIF: duplicate, count──▶ mailbox ──▶ Reactor.arrivals
//!                                                      │ a turn of the thread, where its event loop waits
//!     ready descriptors ──▶ [`turn`] ──▶ [`connection`]: read, write ◀──▶ methods of a Protocol
//! ```
//!
//! Everything but [`Shared`] belongs to the owner thread. No list is borrowed while Python runs.

mod calls;
mod connection;
mod functions;
mod names;
mod output;
mod shared;
mod table;
mod turn;

pub(super) use functions::METHODS;
pub(crate) use shared::{Handoff, Info, Refused, Settings, Shared};

use super::Context;
use crate::py::{Kept, Python};
use connection::{Connection, Own};
use names::Names;
use py_core::event::{PollSet, Poller};
use py_core::reactor::Expiry;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use table::Table;

/// What has come and waits for its first turn.
struct Arrival {
    handoff: Handoff,
    /// What Erlang says about it, as Python gets it.
    info: Kept,
}

/// See the module. There is one on the owner thread, as long as the loop lives that it works with.
pub(crate) struct Reactor {
    context: Arc<Context>,
    shared: Arc<Shared>,
    names: Names,
    /// Nested in the set of the loop of the context, but where that waits on top of code that holds the context.
    set: PollSet,
    poller: Arc<Poller>,
    nested: Cell<bool>,
    connections: RefCell<Table>,
    arrivals: RefCell<VecDeque<Arrival>>,
    expiry: RefCell<Expiry>,
    /// When the turn began that is under way.
    in_turn: Cell<Option<Instant>>,
    /// The class of the last protocol, and what is known of it.
    last_class: RefCell<Option<(Kept, Own)>>,
    /// Connections that code outside of the loop has asked something of: they are seen to in the next turn.
    put_off: RefCell<Vec<u64>>,
    /// What is to be called when the last connection has ended.
    when_empty: RefCell<Vec<Kept>>,
}

impl Reactor {
    fn new(
        context: &Arc<Context>,
        shared: &Arc<Shared>,
        names: Names,
        poller: Arc<Poller>,
    ) -> io::Result<Self> {
        let this = Self {
            context: context.clone(),
            shared: shared.clone(),
            names,
            set: PollSet::new()?,
            poller,
            nested: Cell::new(false),
            connections: RefCell::default(),
            arrivals: RefCell::default(),
            expiry: RefCell::default(),
            in_turn: Cell::new(None),
            last_class: RefCell::default(),
            put_off: RefCell::default(),
            when_empty: RefCell::default(),
        };
        this.nest(true)?;
        Ok(this)
    }

    /// Whether the loop of the context wakes for connections.
    fn nest(&self, nested: bool) -> io::Result<()> {
        if nested && !self.nested.get() {
            self.poller
                .add(self.set.as_raw_fd(), py_core::event::READ)?;
        } else if !nested && self.nested.get() {
            self.poller.remove(self.set.as_raw_fd());
        }
        self.nested.set(nested);
        Ok(())
    }

    fn find(&self, connection: u64) -> Option<Rc<Connection>> {
        self.connections.borrow().by_number(connection)
    }

    fn find_descriptor(&self, descriptor: i32) -> Option<Rc<Connection>> {
        self.connections.borrow().by_descriptor(descriptor)
    }

    /// About now: turns are short.
    fn now(&self) -> Instant {
        self.in_turn.get().unwrap_or_else(Instant::now)
    }

    fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && self.arrivals.borrow().is_empty()
    }

    /// Gives back what it holds of the interpreter; whatever is open is closed without a word to its protocol.
    pub(super) fn release(&self, py: Python<'_>) {
        let _set_may_be_gone = self.nest(false);
        let arrivals = std::mem::take(&mut *self.arrivals.borrow_mut());
        for arrival in arrivals {
            arrival.info.release(py);
        }
        let connections = self.connections.borrow().all();
        // Those whose handlers run further out are ended there.
        for connection in connections.iter().filter(|one| !one.is_in_use()) {
            self.connections.borrow_mut().remove(connection.number);
            self.shared.forget(connection.descriptor());
            connection.release(py);
        }
        let callbacks = std::mem::take(&mut *self.when_empty.borrow_mut());
        for callback in callbacks {
            callback.release(py);
        }
        if let Some((class, _)) = self.last_class.take() {
            class.release(py);
        }
    }
}
