//! The methods of protocols, and what becomes of a connection whose protocol fails.

use super::Reactor;
use super::connection::Connection;
use super::names::Action;
use crate::beam::atoms;
use crate::interp::{Stage, failure};
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::rc::Rc;
use std::sync::atomic::Ordering;

impl Reactor {
    /// Calls a method of the protocol, in the connection's own context.
    pub(super) fn call<'py, const N: usize>(
        &self,
        py: Python<'py>,
        connection: &Connection,
        method: &Kept,
        arguments: [&Object<'_>; N],
    ) -> Result<Object<'py>> {
        let protocol = connection.protocol(py)?;
        let mut given = [std::ptr::null_mut(); 4];
        given[0] = protocol.as_ptr();
        for (place, argument) in given[1..].iter_mut().zip(arguments) {
            *place = argument.as_ptr();
        }
        connection.busy.set(true);
        let result = connection.in_variables(py, || {
            // SAFETY: attached; so many objects, which are alive.
            unsafe {
                Object::owned_or_raised(
                    py,
                    ffi::PyObject_VectorcallMethod(
                        method.as_ptr(),
                        given.as_ptr(),
                        N + 1,
                        std::ptr::null_mut(),
                    ),
                )
            }
        });
        connection.busy.set(false);
        result
    }

    /// The same for a method that answers what is to be done.
    fn asked(
        &self,
        py: Python<'_>,
        connection: &Connection,
        method: &Kept,
        argument: Option<&Object<'_>>,
    ) -> Option<Option<Action>> {
        let result = match argument {
            Some(argument) => self.call(py, connection, method, [argument]),
            None => self.call(py, connection, method, []),
        };
        match result.and_then(|result| self.names.action(&result)) {
            Ok(action) => Some(action),
            Err(raised) => {
                self.failed(py, connection, raised);
                None
            }
        }
    }

    /// The protocol has failed: its connection ends.
    pub(super) fn failed(&self, py: Python<'_>, connection: &Connection, raised: Raised) {
        connection.broken.set(true);
        report(py, raised);
    }

    /// The protocol gets what was read.
    pub(super) fn received(&self, py: Python<'_>, connection: &Connection, data: &Object<'_>) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let asked = self.asked(py, connection, &self.names.data_received, Some(data));
        if let Some(action) = asked {
            self.act(py, connection, action.unwrap_or(Action::Continue));
        }
    }

    fn act(&self, py: Python<'_>, connection: &Connection, action: Action) {
        match action {
            Action::Continue | Action::ReadPending => {}
            Action::AsyncPending => connection.wait_for_output(),
            Action::WritePending => {
                connection.wait_for_output();
                connection.signalled.set(false);
                self.write_out(py, connection);
            }
            Action::Close => {
                connection.close_when_written();
                connection.signalled.set(false);
                if connection.own.write_ready && !self.has_output(py, connection) {
                    // One that writes itself is not asked to when it has nothing.
                    connection.broken.set(true);
                }
                self.write_out(py, connection);
            }
        }
    }

    /// The peer sends no more.
    pub(super) fn at_end(&self, py: Python<'_>, connection: &Connection) {
        connection.at_end.set(true);
        connection.reads.set(false);
        let action = if connection.own.eof_received {
            self.asked(py, connection, &self.names.eof_received, None)
        } else {
            Some(None)
        };
        if let Some(action) = action {
            self.act(py, connection, action.unwrap_or(Action::Close));
        }
    }

    /// The context takes no more connections: one that waits for input ends, unless its protocol has something to do.
    pub(super) fn stopping(&self, py: Python<'_>, connection: &Connection) {
        if connection.busy.get() || connection.closes.get() {
            return;
        }
        if let Some(action) = self.asked(py, connection, &self.names.stopping, None) {
            self.act(py, connection, action.unwrap_or(Action::Close));
        }
    }

    /// Asks a protocol that writes itself to do so. `None`: there is more to come; `Some`: all is written, or so it
    /// says.
    pub(super) fn asked_to_write(&self, py: Python<'_>, connection: &Connection) -> Option<()> {
        let result = self.call(py, connection, &self.names.write_ready, []);
        let action = result.and_then(|result| self.names.action(&result));
        match action {
            Ok(Some(Action::Close)) => {
                connection.broken.set(true);
                None
            }
            Ok(Some(Action::Continue | Action::WritePending)) => None,
            Ok(_) => Some(()),
            Err(raised) if raised.is_blocking(py) => {
                raised.clear(py);
                None
            }
            Err(raised) => {
                self.failed(py, connection, raised);
                None
            }
        }
    }

    /// Tells a protocol that it should write no more for a while, or again.
    pub(super) fn tell_full(&self, py: Python<'_>, connection: &Connection, full: bool) {
        connection.is_full.set(full);
        let method = if full {
            &self.names.pause_writing
        } else {
            &self.names.resume_writing
        };
        if let Err(raised) = self.call(py, connection, method, []) {
            self.failed(py, connection, raised);
        }
    }

    /// The connection has ended: closes it, and tells its protocol, once.
    pub(super) fn lose(&self, py: Python<'_>, connection: &Rc<Connection>) {
        if connection.lost.replace(true) {
            return;
        }
        connection.broken.set(true);
        self.unwatch(connection);
        // The peer need not wait for the protocol, nor for who has made a duplicate.
        connection.socket.shut_down();
        self.expiry.borrow_mut().forget(connection.number);
        let closed = connection.protocol(py).and_then(|protocol| {
            protocol.set_attr(&self.names.closed.get(py), &Object::bool(py, true))
        });
        if let Err(raised) = closed {
            report(py, raised);
        }
        if connection.own.connection_lost
            && let Err(raised) = self.call(py, connection, &self.names.connection_lost, [])
        {
            report(py, raised);
        }
        self.shared.forget(connection.descriptor());
        let last = self.connections.borrow_mut().remove(connection.number);
        connection.release(py);
        drop(last);
        self.tell_if_empty(py);
    }

    /// Whoever waits for the end of the last connection is told.
    pub(super) fn tell_if_empty(&self, py: Python<'_>) {
        if !self.is_empty() {
            return;
        }
        let callbacks = std::mem::take(&mut *self.when_empty.borrow_mut());
        for callback in callbacks {
            if let Err(raised) = callback.get(py).call(&[]) {
                report(py, raised);
            }
            callback.release(py);
        }
    }
}

/// Has Erlang log an exception, with its traceback.
pub(super) fn report(py: Python<'_>, raised: Raised) {
    let stage = Stage::here();
    let owner = stage
        .as_ref()
        .and_then(|stage| Some((stage, stage.borrow()?)));
    let Some((stage, owner)) = owner else {
        // The owner is at work itself, which runs no handler.
        raised.print(py);
        return;
    };
    let context = &stage.context;
    let env = context.envs.take();
    let story = failure::story(py, &env, &owner, raised);
    context.tell(|to| to.tuple(&[atoms().handler_failed, to.copy(story)]));
    context.envs.put(env);
}
