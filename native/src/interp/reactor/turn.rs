//! What a turn of the owner thread does for the connections of its context.

use super::calls::report;
use super::connection::{Connection, Own, in_context, new_context};
use super::table::Table;
use super::{Arrival, Handoff, Info, Reactor};
use crate::erlang_module::in_buffer;
use crate::interp::Stage;
use crate::interp::owner::Owner;
use crate::py::{Kept, NewBytes, Object, Python, Raised, Result};
use crate::sandbox::descriptors;
use py_core::event::{Event, Poller, READ, WRITE};
use py_core::reactor::{Kind, Sender};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is read of one connection before others have their turn.
const PIECE: usize = 256 * 1024;

/// Who brings so much at once is read without copying, in pieces that the system's allocator keeps at hand.
const BULK: usize = 8 * 1024;
const BULK_PIECE: usize = 64 * 1024;
/// How often a connection that is to end is read before others have their turn.
const LAST_READS: usize = 16;

/// What there is to do.
pub(in crate::interp) struct Ready {
    events: Vec<Event>,
    now: Instant,
}

impl Reactor {
    /// What there is to do now, if anything.
    pub(in crate::interp) fn ready(&self) -> std::io::Result<Option<Ready>> {
        let mut events = Vec::new();
        if !self.connections.borrow().is_empty() {
            self.set.poll(&mut events)?;
        }
        let now = Instant::now();
        let late = || self.due().is_some_and(|due| due <= now);
        let any = !events.is_empty()
            || !self.arrivals.borrow().is_empty()
            || self.shared.is_signalled()
            || late();
        Ok((any && self.in_turn.get().is_none()).then_some(Ready { events, now }))
    }

    /// When the next connection may be late.
    pub(in crate::interp) fn due(&self) -> Option<Instant> {
        self.expiry.borrow().next()
    }

    /// Whether this event of the loop's set says that there may be something in the reactor's.
    pub(in crate::interp) fn is_own(&self, event: &Event) -> bool {
        event.descriptor == self.set.as_raw_fd()
    }

    /// Whether this is the set of the loop that it works with.
    pub(in crate::interp) fn works_with(&self, poller: &Arc<Poller>) -> bool {
        Arc::ptr_eq(&self.poller, poller)
    }

    /// For a loop that waits: it serves connections, or it does not and must not wake for them.
    pub(in crate::interp) fn serves(&self, serves: bool) -> std::io::Result<()> {
        self.nest(serves)
    }

    /// Does it. Python runs.
    pub(in crate::interp) fn turn(&self, py: Python<'_>, ready: &Ready) {
        self.in_turn.set(Some(ready.now));
        self.shared.set_busy(Some(ready.now));
        let came = self.welcome(py, ready.now);
        if self.shared.is_signalled() {
            self.look_at_signals(py);
        }
        if came && self.shared.is_draining() {
            self.drain(py);
        }
        for event in &ready.events {
            if let Some(connection) = self.find_descriptor(event.descriptor) {
                self.see_to(py, &connection, event, ready.now);
            }
        }
        self.end_late_ones(py, ready.now);
        self.shared.set_busy(None);
        self.in_turn.set(None);
    }

    fn see_to(&self, py: Python<'_>, connection: &Rc<Connection>, event: &Event, now: Instant) {
        let interest = event.interest & connection.watched.get();
        if interest & WRITE != 0 && connection.writes.get() {
            self.write_out(py, connection);
        }
        if interest & READ != 0 && connection.wanted() & READ != 0 && !connection.broken.get() {
            connection.moved.set(now);
            self.read(py, connection);
        }
        if self.shared.is_draining() {
            self.wind_down(py, connection);
        }
        self.settle(py, connection);
    }

    /// Reads once; says whether something was there.
    fn read(&self, py: Python<'_>, connection: &Connection) -> bool {
        let read = if connection.in_bulk.get() {
            read_into_bytes(py, connection)
        } else {
            read_and_copy(py, connection)
        };
        match read {
            Ok(Some(Ok(data))) => match self.name_sender(py, connection) {
                Ok(()) => self.received(py, connection, &data),
                Err(raised) => self.failed(py, connection, raised),
            },
            Ok(Some(Err(raised))) => self.failed(py, connection, raised),
            Ok(None) => self.at_end(py, connection),
            Err(error) => {
                let again = std::io::Error::kind(&error) == ErrorKind::WouldBlock;
                // Of a datagram that nobody took; the socket goes on.
                let refused = connection.socket.kind() == Kind::Datagram;
                if !again && !refused {
                    connection.broken.set(true);
                }
                return false;
            }
        }
        true
    }

    fn name_sender(&self, py: Python<'_>, connection: &Connection) -> Result<()> {
        if connection.socket.kind() != Kind::Datagram {
            return Ok(());
        }
        let sender = connection
            .sender
            .borrow()
            .as_ref()
            .and_then(Sender::internet);
        let sender = address(py, sender)?;
        connection
            .protocol(py)?
            .set_attr(&self.names.sender.get(py), &sender)
    }

    /// New connections get their protocols. Says whether there were any.
    fn welcome(&self, py: Python<'_>, now: Instant) -> bool {
        let mut came = false;
        loop {
            let arrival = self.arrivals.borrow_mut().pop_front();
            let Some(arrival) = arrival else {
                return came;
            };
            came = true;
            let info = arrival.info.get(py);
            arrival.info.release(py);
            match self.made(py, arrival.handoff, &info, now) {
                Ok(connection) => {
                    if connection.own.connection_made {
                        self.begin(py, &connection, &info);
                    }
                    self.settle(py, &connection);
                }
                Err(raised) => {
                    report(py, raised);
                    self.tell_if_empty(py);
                }
            }
        }
    }

    fn begin(&self, py: Python<'_>, connection: &Connection, info: &Object<'_>) {
        let descriptor = Object::int(py, connection.descriptor().into());
        let told = descriptor.and_then(|descriptor| {
            let arguments = [&descriptor, info];
            self.call(py, connection, &self.names.connection_made, arguments)
        });
        if let Err(raised) = told {
            self.failed(py, connection, raised);
        }
    }

    fn made(
        &self,
        py: Python<'_>,
        handoff: Handoff,
        info: &Object<'_>,
        now: Instant,
    ) -> Result<Rc<Connection>> {
        let factory = Stage::here().and_then(|stage| stage.protocol_factory(py));
        let factory = factory.ok_or_else(|| {
            let text =
                "nobody has set a protocol factory here: call erlang.reactor.set_protocol_factory";
            Raised::runtime_error(py, text)
        })?;
        // What it sets there its protocol finds, and like that it can be interrupted.
        let variables = new_context(py)?;
        let protocol = in_context(&variables, || factory.call(&[]))?;
        if !protocol.is_a(self.names.base.as_ptr()) {
            let text = format!(
                "a protocol factory gives an erlang.reactor.Protocol, not {}",
                protocol.type_name()
            );
            return Err(Raised::type_error(py, &text));
        }
        let names = &self.names;
        if protocol.getattr(&names.number.get(py))?.as_int()? != 0 {
            let text =
                "a protocol factory makes a protocol for each connection; this one has had one";
            return Err(Raised::runtime_error(py, text));
        }
        let own = self.own_methods(&protocol)?;
        let number = Table::next_number(handoff.connection.as_raw_fd());
        let socket = (handoff.connection, handoff.place);
        let connection = Connection::new(number, socket, &protocol, &variables, own, now);
        let connection = Rc::new(connection);
        if let Err(raised) = self.introduce(&connection, &protocol, info) {
            connection.release(py);
            return Err(raised);
        }
        self.shared.announce(&connection.socket);
        self.connections.borrow_mut().insert(&connection);
        if let Some(at) = self.look_again(now) {
            self.expiry.borrow_mut().set(number, at);
        }
        Ok(connection)
    }

    /// Tells a protocol which connection is its own.
    fn introduce(
        &self,
        connection: &Connection,
        protocol: &Object<'_>,
        info: &Object<'_>,
    ) -> Result<()> {
        let (py, names) = (protocol.py(), &self.names);
        // Erlang has handed it over.
        descriptors::note(py, connection.descriptor());
        let descriptor = Object::int(py, connection.descriptor().into())?;
        let number = Object::int(py, connection.number.cast_signed())?;
        for (name, value) in [
            (&names.fd, &descriptor),
            (&names.client_info, info),
            (&names.number, &number),
        ] {
            protocol.set_attr(&name.get(py), value)?;
        }
        Ok(())
    }

    /// Which methods the class of a protocol has replaced. That of the last one is known: as a rule there is only one.
    fn own_methods(&self, protocol: &Object<'_>) -> Result<Own> {
        let py = protocol.py();
        let class = protocol.class();
        if let Some((known, own)) = &*self.last_class.borrow()
            && known.as_ptr() == class.as_ptr()
        {
            return Ok(*own);
        }
        let base = self.names.base.get(py);
        let is_own = |name: &Kept| {
            let name = name.get(py);
            let (method, inherited) = (class.getattr(&name)?, base.getattr(&name)?);
            Ok(method.as_ptr() != inherited.as_ptr())
        };
        let own = Own {
            connection_made: is_own(&self.names.connection_made)?,
            connection_lost: is_own(&self.names.connection_lost)?,
            write_ready: is_own(&self.names.write_ready)?,
            eof_received: is_own(&self.names.eof_received)?,
        };
        let before = self.last_class.replace(Some((class.keep(), own)));
        if let Some((class, _)) = before {
            class.release(py);
        }
        Ok(own)
    }

    /// What other threads have said.
    fn look_at_signals(&self, py: Python<'_>) {
        for descriptor in self.shared.take_signals() {
            if let Some(connection) = self.find_descriptor(descriptor) {
                self.signal(py, &connection);
            }
        }
        let put_off = std::mem::take(&mut *self.put_off.borrow_mut());
        for number in put_off {
            if let Some(connection) = self.find(number) {
                self.changed(py, &connection);
            }
        }
        if self.shared.is_draining() {
            self.drain(py);
        }
        self.shared.tell_waiters();
    }

    /// Connections that wait for input end; what has come already is read before.
    fn drain(&self, py: Python<'_>) {
        let all = self.connections.borrow().all();
        for connection in all {
            self.wind_down(py, &connection);
            self.settle(py, &connection);
        }
        self.tell_if_empty(py);
    }

    fn wind_down(&self, py: Python<'_>, connection: &Connection) {
        if connection.is_in_use() || connection.stays.get() {
            return;
        }
        for _ in 0..LAST_READS {
            if connection.broken.get() || connection.writes.get() && connection.reads.get() {
                return;
            }
            let waits = connection.wanted() & READ != 0;
            if connection.reads.get() && !(waits && self.read(py, connection)) {
                if connection.broken.get() {
                    return;
                }
                connection.stays.set(true);
                self.stopping(py, connection);
            }
            if !connection.reads.get() {
                connection.reads_after.set(false);
                connection.closes.set(true);
                return;
            }
            if connection.stays.get() {
                return;
            }
        }
        self.shared.has_more();
    }

    /// The longest time after which a connection is to be looked at.
    fn look_again(&self, now: Instant) -> Option<Instant> {
        let settings = &self.shared.settings;
        let soonest: Option<Duration> = settings
            .idle_timeout
            .into_iter()
            .chain(settings.write_timeout)
            .min();
        // Later than now, whatever the settings are.
        soonest.and_then(|soonest| now.checked_add(soonest.max(Duration::from_millis(1))))
    }

    /// When this connection is late, as things are.
    fn deadline(&self, connection: &Connection) -> Option<Instant> {
        let settings = &self.shared.settings;
        let limit = if connection.writes.get() {
            settings.write_timeout
        } else if connection.wanted() & READ != 0 {
            settings.idle_timeout
        } else {
            None
        };
        limit.and_then(|limit| connection.moved.get().checked_add(limit))
    }

    fn end_late_ones(&self, py: Python<'_>, now: Instant) {
        loop {
            let late = self.expiry.borrow_mut().take(now);
            let Some(connection) = late.and_then(|number| self.find(number)) else {
                if late.is_some() {
                    continue;
                }
                return;
            };
            let deadline = self.deadline(&connection);
            if deadline.is_some_and(|deadline| deadline <= now) && !connection.busy.get() {
                self.lose(py, &connection);
                continue;
            }
            let deadline = deadline.filter(|deadline| *deadline > now);
            let again = deadline.into_iter().chain(self.look_again(now)).min();
            if let Some(again) = again {
                self.expiry.borrow_mut().set(connection.number, again);
            }
        }
    }

    /// Ends everything, and tells the protocols.
    pub(super) fn end(&self, py: Python<'_>) {
        loop {
            let _came = self.welcome(py, Instant::now());
            let mut all = self.connections.borrow().all();
            all.retain(|connection| {
                if connection.busy.get() {
                    // It ends with its handler, which runs further out.
                    connection.broken.set(true);
                }
                !connection.is_in_use()
            });
            if all.is_empty() {
                break;
            }
            for connection in all {
                self.lose(py, &connection);
            }
        }
        self.tell_if_empty(py);
    }
}

/// What was read, if it was not the end.
type Read<'py> = std::io::Result<Option<Result<Object<'py>>>>;

fn read_and_copy<'py>(py: Python<'py>, connection: &Connection) -> Read<'py> {
    in_buffer(PIECE, |place| {
        if connection.socket.kind() == Kind::Datagram {
            let (count, sender) = connection.socket.receive_from(place)?;
            *connection.sender.borrow_mut() = Some(sender);
            return Ok(Some(Object::bytes(py, &place[..count])));
        }
        let count = connection.socket.receive(place)?;
        connection.in_bulk.set(count >= BULK);
        Ok((count > 0).then(|| Object::bytes(py, &place[..count])))
    })
}

/// Of a connection that brings much: straight into the object that the protocol gets.
fn read_into_bytes<'py>(py: Python<'py>, connection: &Connection) -> Read<'py> {
    let mut bytes = match NewBytes::of(py, BULK_PIECE) {
        Ok(bytes) => bytes,
        Err(raised) => return Ok(Some(Err(raised))),
    };
    let count = connection.socket.receive_new(bytes.place())?;
    connection.in_bulk.set(count >= BULK);
    Ok((count > 0).then(|| bytes.cut(count)))
}

/// An address as Python has it: (host, port), or None where there are no such things.
fn address(py: Python<'_>, address: Option<SocketAddr>) -> Result<Object<'_>> {
    let Some(address) = address else {
        return Ok(Object::none(py));
    };
    let host = Object::str(py, &address.ip().to_string())?;
    Object::tuple(py, [host, Object::int(py, address.port().into())?])
}

/// What is known of a connection; of one that was accepted here with both its ends.
fn with_ends<'py>(info: Object<'py>, handoff: &Handoff) -> Result<Object<'py>> {
    let py = info.py();
    let Some(peer) = &handoff.peer else {
        return Ok(info);
    };
    info.set_item(&Object::str(py, "peer")?, &address(py, peer.internet())?)?;
    let local = Object::str(py, "local")?;
    if info.dict_get(&local)?.is_none() {
        info.set_item(&local, &address(py, handoff.connection.local())?)?;
    }
    Ok(info)
}

impl Owner {
    /// A connection has come: its context gets a reactor with the first.
    pub(in crate::interp) fn connection_arrived(&mut self, py: Python<'_>, handoff: Handoff) {
        let reactor = match self.reactor(py) {
            Ok(reactor) => reactor,
            Err(raised) => {
                self.lending(|| report(py, raised));
                return;
            }
        };
        let options = reactor.context.conversion;
        let Info { env, term } = &handoff.info;
        let info = self.converter(py, env, options).object(*term);
        let info = info.and_then(|info| with_ends(info, &handoff));
        match info {
            Ok(info) => {
                let info = info.keep();
                reactor
                    .arrivals
                    .borrow_mut()
                    .push_back(Arrival { handoff, info });
            }
            Err(raised) => self.lending(|| report(py, raised)),
        }
    }
}
