//! Connections that Erlang hands over to a context.

use super::resources::{Handle, Listener};
use super::{context_died, error, word};
use crate::beam::{Pid, Shared, Watched, Word, atoms};
use crate::interp::reactor::{Info, Refused, Settings, Shared as Connections};
use py_core::reactor::{listener, pair, taken};
use rustler::{Decoder, Encoder, Env, NifMap, Term};
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// What a context serves connections with; checked in Erlang. Times are milliseconds or `infinity`.
#[derive(NifMap)]
struct Options<'a> {
    max_connections: Term<'a>,
    idle_timeout: Term<'a>,
    write_timeout: Term<'a>,
    high_water: usize,
    low_water: usize,
}

impl Options<'_> {
    fn settings(&self) -> Settings {
        let time = |term| u64::decode(term).ok().map(Duration::from_millis);
        Settings {
            max_connections: usize::decode(self.max_connections).unwrap_or(Connections::UNBOUNDED),
            idle_timeout: time(self.idle_timeout),
            write_timeout: time(self.write_timeout),
            high_water: self.high_water,
            low_water: self.low_water,
        }
    }
}

/// `reactor_open(Handle, Options) -> ok | {error, already_open}`: the context takes connections from now on.
#[rustler::nif]
fn reactor_open<'a>(env: Env<'a>, handle: Shared<Handle>, options: Options<'a>) -> Term<'a> {
    let connections = Connections::new(&handle.0, options.settings());
    match handle.0.reactor.set(Arc::new(connections)) {
        Ok(()) => word(env, atoms().ok),
        Err(_before) => error(env, word(env, atoms().already_open)),
    }
}

fn opened(handle: &Handle) -> Option<&Arc<Connections>> {
    handle.0.reactor.get()
}

/// `reactor_handoff(Handle, Fd, Info) -> ok | {error, Reason}`: a duplicate of the descriptor is a connection of the
/// context. After an error it is as it was.
#[rustler::nif]
fn reactor_handoff<'a>(env: Env<'a>, handle: Shared<Handle>, fd: i32, info: Term<'a>) -> Term<'a> {
    let known = atoms();
    if !crate::runtime::is_running() {
        return super::not_running(env);
    }
    let Some(connections) = opened(&handle) else {
        return error(env, word(env, known.not_reactor));
    };
    match connections.hand_over(fd, Info::new(info.as_c_arg() as Word)) {
        Ok(()) => word(env, known.ok),
        Err(refused) => refusal(env, &refused),
    }
}

/// `{error, Reason}`.
fn refusal<'a>(env: Env<'a>, refused: &Refused) -> Term<'a> {
    let known = atoms();
    match refused {
        Refused::Overloaded { active, most } => {
            let reason = [
                word(env, known.overloaded),
                active.encode(env),
                most.encode(env),
            ];
            error(env, rustler::types::tuple::make_tuple(env, &reason))
        }
        Refused::Draining => error(env, word(env, known.draining)),
        Refused::Closed => context_died(env, known.noproc),
        Refused::Failed(why) => error(env, posix(env, why)),
    }
}

/// `listener_open(Fd) -> {ok, Listener} | {error, Posix}`: a duplicate of a listening socket.
#[rustler::nif]
fn listener_open(env: Env<'_>, fd: i32) -> Term<'_> {
    match listener(fd) {
        Ok(descriptor) => {
            let listener = Shared::new(Listener(Watched::new(descriptor)));
            let opened = [word(env, atoms().ok), listener.encode(env)];
            rustler::types::tuple::make_tuple(env, &opened)
        }
        Err(why) => error(env, posix(env, &why)),
    }
}

/// `listener_arm(Listener, Message) -> ok`: the calling process gets the message once when there is a connection to accept.
#[rustler::nif]
fn listener_arm<'a>(env: Env<'a>, listener: Shared<Listener>, message: Term<'a>) -> Term<'a> {
    listener.0.arm(env, message);
    word(env, atoms().ok)
}

/// `listener_accept(Listener, Handle, Info, Most) -> {Count, more | empty | {error, Reason}}`: so many connections went to
/// the context, at most `Most`; with `more` there may be others.
#[rustler::nif]
fn listener_accept<'a>(
    env: Env<'a>,
    listener: Shared<Listener>,
    handle: Shared<Handle>,
    info: Term<'a>,
    most: usize,
) -> Term<'a> {
    let known = atoms();
    let Some(connections) = opened(&handle) else {
        return (0, error(env, word(env, known.not_reactor))).encode(env);
    };
    let mut count = 0;
    while count < most {
        let info = Info::new(info.as_c_arg() as Word);
        let why = match listener.0.with(|fd| connections.accept(fd, info)) {
            Some(Ok(())) => {
                count += 1;
                continue;
            }
            Some(Err(Refused::Failed(why))) => match why.kind() {
                // The peer has given up.
                ErrorKind::ConnectionAborted => continue,
                ErrorKind::WouldBlock => word(env, known.empty),
                _ => error(env, posix(env, &why)),
            },
            Some(Err(refused)) => refusal(env, &refused),
            None => error(env, word(env, known.closed)),
        };
        return (count, why).encode(env);
    }
    (count, word(env, known.more)).encode(env)
}

/// `listener_close(Listener) -> ok`, for the process that had it armed.
#[rustler::nif]
fn listener_close(env: Env<'_>, listener: Shared<Listener>) -> Term<'_> {
    listener.0.stop(env);
    listener.0.let_go();
    word(env, atoms().ok)
}

/// `reactor_when_free(Handle, Message) -> ok | {error, not_reactor}`: the calling process gets the message once when the
/// context has a place for a connection; nothing if it takes no more of them, or ends.
#[rustler::nif]
fn reactor_when_free<'a>(env: Env<'a>, handle: Shared<Handle>, message: Term<'a>) -> Term<'a> {
    match opened(&handle) {
        Some(connections) => {
            connections.tell_when_free(Pid::new(env.pid()), message.as_c_arg() as Word);
            word(env, atoms().ok)
        }
        None => error(env, word(env, atoms().not_reactor)),
    }
}

/// The name of an error of the system, as `file` and `inet` have them.
fn posix<'a>(env: Env<'a>, error: &Error) -> Term<'a> {
    let known = atoms();
    let name = match error.raw_os_error() {
        Some(libc::EBADF) => known.ebadf,
        Some(libc::EMFILE) => known.emfile,
        Some(libc::ENFILE) => known.enfile,
        Some(libc::EINVAL) => known.einval,
        Some(number) => return number.encode(env),
        None if error.kind() == ErrorKind::OutOfMemory => known.enomem,
        None => known.einval,
    };
    word(env, name)
}

/// `reactor_stats(Handle) -> {Active, Total, Requests, Max | infinity, BusyMicroseconds} | {error, not_reactor}`.
#[rustler::nif]
fn reactor_stats(env: Env<'_>, handle: Shared<Handle>) -> Term<'_> {
    let Some(connections) = opened(&handle) else {
        return error(env, word(env, atoms().not_reactor));
    };
    let most = match connections.most() {
        Connections::UNBOUNDED => word(env, atoms().infinity),
        most => most.encode(env),
    };
    let busy = u64::try_from(connections.busy().as_micros()).unwrap_or(u64::MAX);
    let counts = (
        connections.active(),
        connections.total(),
        connections.requests(),
    );
    (counts.0, counts.1, counts.2, most, busy).encode(env)
}

/// `reactor_drain(Handle) -> ok | {error, not_reactor}`: nothing new is taken, and what waits for input ends.
#[rustler::nif]
fn reactor_drain(env: Env<'_>, handle: Shared<Handle>) -> Term<'_> {
    match opened(&handle) {
        Some(connections) => {
            connections.drain();
            word(env, atoms().ok)
        }
        None => error(env, word(env, atoms().not_reactor)),
    }
}

/// `reactor_taken(Fd) -> Bytes | undefined`: how much of a TCP connection was read from the system so far.
#[rustler::nif]
fn reactor_taken(env: Env<'_>, fd: i32) -> Term<'_> {
    match taken(fd) {
        Some(bytes) => bytes.encode(env),
        None => word(env, atoms().undefined),
    }
}

/// `socketpair() -> {ok, Fd, Fd} | {error, Posix}`: two connected sockets, which are the caller's to close.
#[rustler::nif]
fn socketpair(env: Env<'_>) -> Term<'_> {
    match pair() {
        Ok([left, right]) => {
            let pair = [word(env, atoms().ok), left.encode(env), right.encode(env)];
            rustler::types::tuple::make_tuple(env, &pair)
        }
        Err(why) => error(env, posix(env, &why)),
    }
}

/// `close_fd(Fd) -> ok | {error, Posix}`: for one that the caller has made, and nobody else knows.
#[rustler::nif(schedule = "DirtyIo")]
fn close_fd(env: Env<'_>, fd: i32) -> Term<'_> {
    // SAFETY: the caller's promise; a bad descriptor is an error.
    if unsafe { libc::close(fd) } == 0 {
        word(env, atoms().ok)
    } else {
        error(env, posix(env, &Error::last_os_error()))
    }
}
