//! The life of contexts, as their Erlang processes steer it.

use super::resources::{Handle, Owned};
use super::{error, not_running, target, word};
use crate::beam::{Pid, Shared, atoms};
use crate::facts::FREE_THREADED;
use crate::interp::output::Destination;
use crate::interp::{Closing, Context, Mode, Settings, registry, start, warm};
use crate::memory;
use crate::sandbox::{Environment, Files, Imports, Network, Policy, Seccomp};
use crate::term::Conversion;
use crate::tracing;
use rustler::{Atom, Binary, Decoder, Encoder, Env, NifMap, Term};
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What Erlang starts a context with; checked there.
#[derive(NifMap)]
struct Options<'a> {
    mode: Atom,
    /// Milliseconds.
    stuck_after: u64,
    /// A number, or `infinity`.
    max_queue: Term<'a>,
    max_nested_runs: usize,
    conversion: ConversionOptions,
    sandbox: PolicyOptions<'a>,
    /// Bytes, or `infinity`.
    memory_limit: Term<'a>,
    /// Bytes, or `infinity`.
    max_result_size: Term<'a>,
    /// See `py_birth`; only compared.
    birth: Binary<'a>,
    /// Where modules come from besides `sys.path`.
    folders: Vec<Binary<'a>>,
    /// `group_leader`, `logger`, `discard`, or `process`.
    output: Atom,
    /// Milliseconds.
    output_timeout: u64,
}

/// See `py_conversion`.
#[derive(NifMap)]
struct ConversionOptions {
    binaries: Atom,
    atoms: Atom,
    map_keys: Atom,
    dict_keys: Atom,
    arrays: Atom,
}

impl ConversionOptions {
    fn settings(&self) -> Conversion {
        let known = atoms();
        Conversion {
            bytes_only: self.binaries.as_c_arg() == known.bytes,
            keep_atoms: self.atoms.as_c_arg() == known.atom,
            text_keys: self.map_keys.as_c_arg() == known.text,
            atom_keys: self.dict_keys.as_c_arg() == known.existing_atom,
            binary_arrays: self.arrays.as_c_arg() == known.binary,
        }
    }
}

impl Options<'_> {
    fn settings(&self) -> Settings {
        let worker = self.mode.as_c_arg() == atoms().worker;
        Settings {
            mode: if worker { Mode::Worker } else { Mode::OwnGil },
            stuck_after: Duration::from_millis(self.stuck_after),
            max_queue: bound(self.max_queue),
            max_nested_runs: self.max_nested_runs,
            conversion: self.conversion.settings(),
            policy: Arc::new(self.sandbox.policy()),
            memory_limit: bound(self.memory_limit),
            max_result_size: bound(self.max_result_size),
            birth: Arc::from(self.birth.as_slice()),
            output: match self.output.as_c_arg() {
                word if word == atoms().discard => Destination::Nowhere,
                word if word == atoms().process => Destination::Process,
                _ => Destination::Erlang,
            },
            output_timeout: Duration::from_millis(self.output_timeout),
        }
    }
}

/// A number, or `infinity`.
fn bound(term: Term<'_>) -> usize {
    usize::decode(term).unwrap_or(usize::MAX)
}

/// See `py_sandbox`, which puts it in order: lists or the atom `all`.
#[derive(NifMap)]
struct PolicyOptions<'a> {
    network: Term<'a>,
    read: Term<'a>,
    write: Term<'a>,
    subprocess: bool,
    ctypes: bool,
    native: bool,
    imports: Term<'a>,
    threads: bool,
    environment: Term<'a>,
    seccomp: Atom,
}

impl PolicyOptions<'_> {
    fn policy(&self) -> Policy {
        let known = atoms();
        Policy {
            network: match Vec::<(Term, Term)>::decode(self.network) {
                Ok(places) => Network::Only(places.into_iter().map(place).collect()),
                Err(_all) => Network::All,
            },
            read: files(self.read),
            write: files(self.write),
            subprocess: self.subprocess,
            ctypes: self.ctypes,
            native: self.native,
            imports: match <(Atom, Vec<Binary>)>::decode(self.imports) {
                Ok((kind, names)) => {
                    let names = names.iter().map(|name| text(name)).collect();
                    if kind.as_c_arg() == known.allow {
                        Imports::Allow(names)
                    } else {
                        Imports::Deny(names)
                    }
                }
                Err(_all) => Imports::All,
            },
            threads: self.threads,
            environment: match Vec::<Binary>::decode(self.environment) {
                Ok(names) => Environment::Only(
                    names
                        .iter()
                        .map(|name| OsString::from_vec(name.to_vec()))
                        .collect(),
                ),
                Err(_all) => Environment::All,
            },
            seccomp: match self.seccomp.as_c_arg() {
                word if word == known.required => Seccomp::Required,
                word if word == known.best_effort => Seccomp::BestEffort,
                _ => Seccomp::Off,
            },
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A host, or `any`, with a port, or `any`.
fn place((host, port): (Term, Term)) -> (Option<String>, Option<u16>) {
    let host = Binary::decode(host).ok().map(|host| text(&host));
    // One address has many texts.
    let host = host.map(|host| match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => host,
    });
    (host, u16::decode(port).ok())
}

/// A path without links, as far as it is there.
fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_missing| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path.to_path_buf(),
    })
}

/// Folders by their names, without links.
pub(super) fn under(folders: &[Binary<'_>]) -> Vec<PathBuf> {
    folders
        .iter()
        .map(|folder| canonical(Path::new(OsStr::from_bytes(folder))))
        .collect()
}

fn files(folders: Term) -> Files {
    match Vec::<Binary>::decode(folders) {
        Ok(folders) => Files::Under(under(&folders)),
        Err(_all) => Files::All,
    }
}

/// `context_start(Options) -> {ok, Handle, Serial} | {error, Reason}`, called by the context's process,
/// which then gets `{py_context, Serial, {ready, InterpreterId} | {failed, Text}}`. Starting a thread may
/// take longer than a normal scheduler should be held.
#[rustler::nif(schedule = "DirtyIo")]
fn context_start<'a>(env: Env<'a>, options: Options<'a>) -> Term<'a> {
    if !crate::runtime::is_running() {
        return not_running(env);
    }
    let known = atoms();
    let settings = options.settings();
    if settings.mode == Mode::OwnGil && FREE_THREADED {
        let reason = [word(env, known.not_supported), word(env, known.owngil)];
        return error(env, rustler::types::tuple::make_tuple(env, &reason));
    }
    if settings.memory_limit != usize::MAX && !memory::COUNTED {
        let reason = [
            word(env, known.not_supported),
            word(env, known.memory_limit),
        ];
        return error(env, rustler::types::tuple::make_tuple(env, &reason));
    }
    let owner = env.pid();
    let context = Context::new(Pid::new(owner), &settings);
    context.guard.trust(under(&options.folders));
    let owned = Shared::new(Owned(context.clone()));
    if !owned.monitor(Some(env), &context.pid) {
        return super::context_died(env, known.noproc);
    }
    // The monitor lives as long as the resource, and that as long as the context.
    context.keep_alive(Box::new(owned));
    if context.mode == Mode::OwnGil && !tracing::enter() {
        context.release_all();
        return error(env, word(env, known.memory_traced));
    }
    registry().add(&context);
    if start(context.clone()).is_err() {
        context.close(Closing::Answer(known.noproc));
        registry().remove(&context);
        context.release_all();
        if context.mode == Mode::OwnGil {
            tracing::leave();
        }
        return error(env, word(env, known.system_limit));
    }
    let serial = context.serial.encode(env);
    let handle = Handle::shared(context).encode(env);
    rustler::types::tuple::make_tuple(env, &[word(env, known.ok), handle, serial])
}

/// `spares_open(Count | default, Sandbox) -> ok`: so many interpreters wait from now on for contexts with that policy.
#[rustler::nif]
fn spares_open<'a>(env: Env<'a>, wanted: Term<'a>, sandbox: PolicyOptions<'a>) -> Term<'a> {
    warm::open(wanted.decode().ok(), Arc::new(sandbox.policy()));
    word(env, atoms().ok)
}

/// `spares_close() -> ok`: none is made any more, and those that wait end where that can be.
#[rustler::nif]
fn spares_close(env: Env<'_>) -> Term<'_> {
    warm::close();
    word(env, atoms().ok)
}

/// `spares() -> {Wanted, Ready}`.
#[rustler::nif]
fn spares() -> (usize, usize) {
    warm::counted()
}

/// `context_close(Handle, Reason) -> ok`: nothing new is accepted, what is queued or running is answered
/// `{error, {context_died, Reason}}`. The process gets `{py_context, Serial, ended}` in the end.
#[rustler::nif]
fn context_close<'a>(env: Env<'a>, handle: Shared<Handle>, reason: Atom) -> Term<'a> {
    handle.0.close(Closing::Answer(reason.as_c_arg()));
    word(env, atoms().ok)
}

/// `context_adopt(New, Old) -> Count`: moves the queue that a stuck context has left to its replacement.
#[rustler::nif(schedule = "DirtyCpu")]
fn context_adopt(env: Env<'_>, new: Shared<Handle>, old: Shared<Handle>) -> usize {
    new.0.adopt(env, &old.0)
}

/// `context_confined(Target) -> boolean() | {error, Reason}`: whether the kernel refuses system calls to its thread.
#[rustler::nif]
fn context_confined<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Err(answer) => answer,
        Ok(context) => context.confined.load(Ordering::Relaxed).encode(env),
    }
}

/// `context_info(Target) -> {Mode, InterpreterId, Processes, Queue} | {error, Reason}`.
#[rustler::nif]
fn context_info<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Err(answer) => answer,
        Ok(context) => {
            let mode = match context.mode {
                Mode::OwnGil => atoms().owngil,
                Mode::Worker => atoms().worker,
            };
            let (clients, queue) = context.load();
            let id = context.interpreter_id.load(Ordering::Relaxed);
            (word(env, mode), id, clients, queue).encode(env)
        }
    }
}

/// `context_memory(Target) -> {Used, Peak, Limit} | starting | {error, Reason}`, in bytes; the limit may be `infinity`.
#[rustler::nif]
fn context_memory<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    let known = atoms();
    let unsupported = |what| {
        error(
            env,
            (word(env, known.not_supported), word(env, what)).encode(env),
        )
    };
    let context = match target(env, at) {
        Err(answer) => return answer,
        Ok(context) if context.mode == Mode::Worker => return unsupported(known.worker),
        Ok(_) if !memory::COUNTED => return unsupported(known.memory_limit),
        Ok(context) => context,
    };
    let Some(holder) = context.memory.get() else {
        return word(env, known.starting);
    };
    let limit = match context.memory_limit {
        usize::MAX => word(env, known.infinity),
        limit => limit.encode(env),
    };
    (holder.account.used(), holder.account.peak(), limit).encode(env)
}
