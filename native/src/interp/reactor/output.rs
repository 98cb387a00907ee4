//! Writing what protocols have to say, as fast as the peer takes it.

use super::Reactor;
use super::connection::Connection;
use crate::py::{Object, Python, Raised, Result, View, ffi};
use py_core::reactor::Kind;
use std::io::{Error, ErrorKind};
use std::rc::Rc;

/// From this size on the GIL is given up while the system copies.
const LONG: usize = 16 * 1024;

impl Connection {
    /// Nothing is read until what there is to be written is.
    pub(super) fn wait_for_output(&self) {
        self.reads.set(false);
        self.reads_after.set(!self.at_end.get());
    }

    /// It ends when everything is written.
    pub(super) fn close_when_written(&self) {
        self.reads.set(false);
        self.reads_after.set(false);
        self.closes.set(true);
    }

    /// Writes now what goes at once.
    pub(super) fn send(&self, py: Python<'_>, bytes: &[u8]) -> std::io::Result<usize> {
        let sender = self.sender.borrow();
        let (socket, sender) = (&self.socket, sender.as_ref());
        if bytes.len() < LONG {
            socket.send(bytes, sender)
        } else {
            py.detached(|| socket.send(bytes, sender))
        }
    }
}

fn would_block(error: &Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

impl Reactor {
    /// Writes what is there; when that is all, what waited for it follows.
    pub(super) fn write_out(&self, py: Python<'_>, connection: &Connection) {
        if connection.broken.get() {
            return;
        }
        let left = if connection.own.write_ready {
            // It is the protocol that knows how much is left.
            usize::from(self.asked_to_write(py, connection).is_none())
        } else {
            match self.flush(py, connection) {
                Ok(left) => left,
                Err(raised) => {
                    self.failed(py, connection, raised);
                    return;
                }
            }
        };
        if connection.broken.get() {
            return;
        }
        connection.writes.set(left > 0);
        if left > self.shared.settings.high_water && !connection.is_full.get() {
            self.tell_full(py, connection, true);
        } else if left <= self.shared.settings.low_water && connection.is_full.get() {
            self.tell_full(py, connection, false);
        }
        if left > 0 || connection.signalled.get() {
            return;
        }
        if connection.ends_output.get() && !connection.output_over.replace(true) {
            connection.socket.end_output();
        }
        if connection.closes.get() {
            connection.broken.set(true);
        } else if connection.reads_after.replace(false) {
            connection.reads.set(true);
        }
    }

    /// Writes the protocol's buffer; gives how much is left of it. A connection that is broken has nothing left.
    fn flush(&self, py: Python<'_>, connection: &Connection) -> Result<usize> {
        let protocol = connection.protocol(py)?;
        let name = self.names.write_buffer.get(py);
        loop {
            let buffer = protocol.getattr(&name)?;
            let view = View::of(&buffer, 0)?;
            let size = view.bytes().len();
            if size == 0 {
                return Ok(0);
            }
            let sent = connection.send(py, view.bytes());
            drop(view);
            match sent {
                Ok(count) => {
                    connection.moved.set(self.now());
                    drop_first(&protocol, &name, &buffer, count, size)?;
                    if count < size {
                        return Ok(size - count);
                    }
                    if size < LONG {
                        // Nobody can have changed it meanwhile.
                        return Ok(0);
                    }
                }
                Err(error) if would_block(&error) => return Ok(size),
                Err(_nobody_takes_it) if connection.socket.kind() == Kind::Datagram => {
                    // The socket goes on, for others.
                    drop_first(&protocol, &name, &buffer, size, size)?;
                    return Ok(0);
                }
                Err(_peer_is_gone) => {
                    connection.broken.set(true);
                    return Ok(0);
                }
            }
        }
    }

    /// Whether the buffer of the protocol has something.
    pub(super) fn has_output(&self, py: Python<'_>, connection: &Connection) -> bool {
        let buffer = connection.protocol(py);
        let buffer = buffer.and_then(|protocol| protocol.getattr(&self.names.write_buffer.get(py)));
        match buffer.and_then(|buffer| Ok(View::of(&buffer, 0)?.bytes().len())) {
            Ok(size) => size > 0,
            Err(raised) => {
                self.failed(py, connection, raised);
                false
            }
        }
    }

    /// Has the set wait for what the connection waits for, or ends the connection; sees first to what was asked for while
    /// its handler ran.
    pub(super) fn settle(&self, py: Python<'_>, connection: &Rc<Connection>) {
        while !connection.broken.get() && connection.signalled.replace(false) {
            self.write_out(py, connection);
        }
        if !connection.broken.get() && self.watch(connection).is_err() {
            // The descriptor was closed by somebody whose it was not.
            connection.broken.set(true);
        }
        if connection.broken.get() {
            self.lose(py, connection);
        }
    }

    fn watch(&self, connection: &Connection) -> std::io::Result<()> {
        let (before, wanted) = (connection.watched.get(), connection.wanted());
        if before == wanted {
            return Ok(());
        }
        let descriptor = connection.descriptor();
        if wanted == 0 {
            // Not kept with nothing to wait for: hang-ups would be reported all the time.
            self.set.remove(descriptor);
        } else if before == 0 {
            self.set.add(descriptor, wanted)?;
        } else {
            self.set.modify(descriptor, before, wanted)?;
        }
        if wanted & !before != 0 {
            // It has begun to wait.
            connection.moved.set(self.now());
        }
        connection.watched.set(wanted);
        Ok(())
    }

    /// It is about to be closed, which does not take it out of the set where somebody has made a duplicate.
    pub(super) fn unwatch(&self, connection: &Connection) {
        if connection.watched.replace(0) != 0 {
            self.set.remove(connection.descriptor());
        }
    }

    /// There is something to write. In a handler of the connection that is seen to afterwards.
    pub(super) fn signal(&self, py: Python<'_>, connection: &Rc<Connection>) {
        if connection.busy.get() {
            connection.signalled.set(true);
        } else if self.is_in_loop() {
            self.write_out(py, connection);
            self.settle(py, connection);
        } else {
            connection.signalled.set(true);
            self.put_off(connection);
        }
    }

    /// What the connection wants has changed. As above.
    pub(super) fn changed(&self, py: Python<'_>, connection: &Rc<Connection>) {
        match connection.busy.get() {
            true => {}
            false if self.is_in_loop() => self.settle(py, connection),
            false => self.put_off(connection),
        }
    }

    /// Whether handlers would find the loop of the context running. They do not in calls, which lie on top of the loop or
    /// beside it.
    fn is_in_loop(&self) -> bool {
        self.context.interrupts.pumps()
    }

    fn put_off(&self, connection: &Connection) {
        self.put_off.borrow_mut().push(connection.number);
        self.shared.has_more();
    }
}

/// Drops what was written from the front of a buffer.
fn drop_first(
    protocol: &Object<'_>,
    name: &Object<'_>,
    buffer: &Object<'_>,
    count: usize,
    size: usize,
) -> Result<()> {
    let py = protocol.py();
    let count = count.cast_signed();
    // SAFETY: attached; a live object, which is a bytearray where it is treated as one.
    unsafe {
        if ffi::PyByteArray_Check(buffer.as_ptr()) != 0 {
            if count == size.cast_signed() && ffi::PyByteArray_Size(buffer.as_ptr()) == count {
                return match ffi::PyByteArray_Resize(buffer.as_ptr(), 0) {
                    0 => Ok(()),
                    _ => Err(Raised::seen(py)),
                };
            }
            return match ffi::PySequence_DelSlice(buffer.as_ptr(), 0, count) {
                0 => Ok(()),
                _ => Err(Raised::seen(py)),
            };
        }
        // Something else was put in its place: bytes, as a rule.
        let whole = Object::owned_or_raised(py, ffi::PyByteArray_FromObject(buffer.as_ptr()))?;
        match ffi::PySequence_DelSlice(whole.as_ptr(), 0, count) {
            0 => protocol.set_attr(name, &whole),
            _ => Err(Raised::seen(py)),
        }
    }
}
