//! The functions of `_erlang` that `erlang.reactor` is made of.

use super::connection::Connection;
use super::names::Names;
use super::{Reactor, Shared};
use crate::erlang_module::in_buffer;
use crate::interp::Stage;
use crate::interp::owner::Owner;
use crate::interp::python_functions::{Methods, function, method, number};
use crate::py::{Object, Python, Raised, Result, View, ffi};
use py_core::event::Poller;
use std::io::ErrorKind;
use std::rc::Rc;

pub(crate) static METHODS: Methods<12> = Methods([
    method(c"reactor_factory", py_factory, c"reactor_factory(factory, /)\n--\n\nWhat makes the protocols of the context of the calling thread."),
    method(c"reactor_protocol", py_protocol, c"reactor_protocol(fd, /)\n--\n\nThe protocol of a connection of that context, or None."),
    method(c"reactor_signal", py_signal, c"reactor_signal(fd, /)\n--\n\nThe protocol of a connection has something to write. May be called on any thread. False: there is no such connection."),
    method(c"reactor_signal_number", py_signal_number, c"reactor_signal_number(number, /)\n--\n\nThe same for the number of a connection of the context of the calling thread."),
    method(c"reactor_close", py_close, c"reactor_close(number, /)\n--\n\nEnd a connection once everything is written."),
    method(c"reactor_hold", py_hold, c"reactor_hold(number, held, /)\n--\n\nRead nothing of a connection for now, or read again."),
    method(c"reactor_end_output", py_end_output, c"reactor_end_output(number, /)\n--\n\nLet the peer see the end once everything is written; read on."),
    method(c"reactor_read", py_read, c"reactor_read(number, n, /)\n--\n\nWhat a connection has to read now, at most so many bytes."),
    method(c"reactor_write", py_write, c"reactor_write(number, data, /)\n--\n\nWrite as much as goes at once; gives how much."),
    method(c"reactor_when_empty", py_when_empty, c"reactor_when_empty(callback, /)\n--\n\nCall something when the context has no connections any more."),
    method(c"reactor_end", py_end, c"reactor_end()\n--\n\nEnd all connections of the context."),
    ffi::PyMethodDef::zeroed(),
]);

impl Owner {
    /// The reactor of the context, made at its first use.
    pub(super) fn reactor(&mut self, py: Python<'_>) -> Result<Rc<Reactor>> {
        let stage = self.stage.clone().ok_or_else(|| not_here(py))?;
        if let Some(reactor) = stage.reactor() {
            return Ok(reactor);
        }
        let shared = stage.context.reactor.get().ok_or_else(|| not_here(py))?;
        let mut opened = None;
        self.inside_loop(py, || {
            let open = Object::import(py, "erlang.reactor")?.getattr_str("_open")?;
            opened = Some(open.call(&[])?.tuple_items()?);
            Ok(Object::none(py))
        })?;
        let opened: Option<[Object<'_>; 2]> = opened.and_then(|items| items.try_into().ok());
        let [poller, base] = opened.ok_or_else(|| not_here(py))?;
        let poller = Poller::get(number(&poller)?).ok_or_else(|| not_here(py))?;
        let names = Names::new(py, base)?;
        let reactor = Reactor::new(&stage.context, shared, names, poller);
        let reactor = Rc::new(reactor.map_err(|error| Raised::os_error(py, &error))?);
        stage.set_reactor(Some(reactor.clone()));
        Ok(reactor)
    }

    /// Gives back what is left of the connections of a loop.
    pub(in crate::interp) fn release_connections(&mut self, py: Python<'_>) {
        if let Some(stage) = self.stage.clone() {
            release(py, &stage);
        }
    }

    /// The same at the end of the context.
    pub(in crate::interp) fn release_reactor(&mut self, py: Python<'_>) {
        self.release_connections(py);
        if let Some(stage) = self.stage.clone() {
            stage.set_protocol_factory(py, None);
        }
    }
}

fn release(py: Python<'_>, stage: &Stage) {
    if let Some(reactor) = stage.set_reactor(None) {
        reactor.release(py);
        // Places are free now, and nobody else will say so.
        reactor.shared.tell_waiters();
        // Whoever holds it still, further out, would be in the middle of a turn.
        if let Some(reactor) = Rc::into_inner(reactor) {
            reactor.names.release(py);
        }
    }
}

fn not_here(py: Python<'_>) -> Raised {
    let text =
        "no connections are served here: erlang.reactor works on the thread of a reactor context";
    Raised::runtime_error(py, text)
}

fn stage(py: Python<'_>) -> Result<Rc<Stage>> {
    Stage::here().ok_or_else(|| not_here(py))
}

/// A connection that is open, by its number.
fn found(py: Python<'_>, which: &Object<'_>) -> Result<Option<(Rc<Reactor>, Rc<Connection>)>> {
    let Some(reactor) = stage(py)?.reactor() else {
        return Ok(None);
    };
    let connection = reactor.find(number(which)?);
    let open = connection.filter(|connection| !connection.broken.get());
    Ok(open.map(|connection| (reactor, connection)))
}

fn descriptor(object: &Object<'_>) -> Result<i32> {
    let py = object.py();
    i32::try_from(object.as_int()?).map_err(|_| Raised::value_error(py, "not a file descriptor"))
}

function!(py_factory, "reactor_factory", |py, arguments| {
    let [factory] = arguments.exactly()?;
    stage(py)?.set_protocol_factory(py, Some(factory.again().keep()));
    Ok(Object::none(py))
});

function!(py_protocol, "reactor_protocol", |py, arguments| {
    let [fd] = arguments.exactly()?;
    let descriptor = descriptor(fd)?;
    let reactor = stage(py)?.reactor();
    let connection = reactor.and_then(|reactor| reactor.find_descriptor(descriptor));
    match connection.filter(|connection| !connection.lost.get()) {
        Some(connection) => connection.protocol(py),
        None => Ok(Object::none(py)),
    }
});

function!(py_signal, "reactor_signal", |py, arguments| {
    let [fd] = arguments.exactly()?;
    let descriptor = descriptor(fd)?;
    let reactor = Stage::here().and_then(|stage| stage.reactor());
    let ours = reactor.and_then(|reactor| {
        let connection = reactor.find_descriptor(descriptor)?;
        Some((reactor, connection))
    });
    let known = match ours {
        Some((reactor, connection)) => {
            reactor.signal(py, &connection);
            true
        }
        None => Shared::signal(descriptor),
    };
    Ok(Object::bool(py, known))
});

function!(
    py_signal_number,
    "reactor_signal_number",
    |py, arguments| {
        let [which] = arguments.exactly()?;
        let found = found(py, which)?;
        if let Some((reactor, connection)) = &found {
            reactor.signal(py, connection);
        }
        Ok(Object::bool(py, found.is_some()))
    }
);

function!(py_close, "reactor_close", |py, arguments| {
    let [which] = arguments.exactly()?;
    if let Some((reactor, connection)) = found(py, which)? {
        connection.close_when_written();
        reactor.signal(py, &connection);
    }
    Ok(Object::none(py))
});

function!(py_hold, "reactor_hold", |py, arguments| {
    let [which, held] = arguments.exactly()?;
    if let Some((reactor, connection)) = found(py, which)? {
        connection.held_back.set(held.is_true());
        reactor.changed(py, &connection);
    }
    Ok(Object::none(py))
});

function!(py_end_output, "reactor_end_output", |py, arguments| {
    let [which] = arguments.exactly()?;
    if let Some((reactor, connection)) = found(py, which)? {
        connection.ends_output.set(true);
        reactor.signal(py, &connection);
    }
    Ok(Object::none(py))
});

function!(py_read, "reactor_read", |py, arguments| {
    let [which, most] = arguments.exactly()?;
    let most = usize::try_from(most.as_int()?).unwrap_or(usize::MAX);
    let Some((reactor, connection)) = found(py, which)? else {
        return Object::bytes(py, &[]);
    };
    let read = in_buffer(most, |place| {
        let count = connection.socket.receive(place)?;
        connection.moved.set(reactor.now());
        Ok(Object::bytes(py, &place[..count]))
    });
    match read {
        Ok(bytes) => bytes,
        Err(error) if std::io::Error::kind(&error) == ErrorKind::WouldBlock => {
            Object::bytes(py, &[])
        }
        Err(error) => Err(Raised::os_error(py, &error)),
    }
});

function!(py_write, "reactor_write", |py, arguments| {
    let [which, data] = arguments.exactly()?;
    let Some((reactor, connection)) = found(py, which)? else {
        let gone = std::io::Error::from_raw_os_error(libc::EPIPE);
        return Err(Raised::os_error(py, &gone));
    };
    let view = View::of(data, 0)?;
    let sent = connection.send(py, view.bytes());
    drop(view);
    match sent {
        Ok(count) => {
            connection.moved.set(reactor.now());
            Object::int(py, i64::try_from(count).unwrap_or(i64::MAX))
        }
        Err(error) if std::io::Error::kind(&error) == ErrorKind::WouldBlock => Object::int(py, 0),
        Err(error) => Err(Raised::os_error(py, &error)),
    }
});

function!(py_when_empty, "reactor_when_empty", |py, arguments| {
    let [callback] = arguments.exactly()?;
    match stage(py)?.reactor() {
        Some(reactor) => {
            reactor
                .when_empty
                .borrow_mut()
                .push(callback.again().keep());
            reactor.tell_if_empty(py);
        }
        None => drop(callback.call(&[])?),
    }
    Ok(Object::none(py))
});

function!(py_end, "reactor_end", |py, arguments| {
    let [] = arguments.exactly()?;
    let stage = stage(py)?;
    if let Some(reactor) = stage.reactor() {
        reactor.end(py);
        drop(reactor);
        release(py, &stage);
    }
    Ok(Object::none(py))
});
