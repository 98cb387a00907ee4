//! What contexts do, for operators. Nothing here waits for Python.

use super::word;
use crate::beam::{TermEnv, Word, atoms, atoms_created};
use crate::interp::trace;
use crate::interp::watch::{self, Doing, Seen, Started};
use crate::interp::{Context, Mode, Request, registry};
use crate::memory;
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Encoder, Env, Term};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So much of the text of code is told.
const TEXT: usize = 60;

/// `context_serials() -> [Serial]`: those that are there, also such as end or are stuck.
#[rustler::nif]
fn context_serials() -> Vec<u64> {
    let mut serials: Vec<u64> = registry().all().iter().map(|one| one.serial).collect();
    serials.sort_unstable();
    serials
}

/// `context_serial(Target) -> Serial | {error, Reason}`.
#[rustler::nif]
fn context_serial<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    match super::target(env, at) {
        Ok(context) => context.serial.encode(env),
        Err(answer) => answer,
    }
}

/// `context_pid(Target) -> Pid | {error, Reason}`.
#[rustler::nif]
fn context_pid<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    match super::target(env, at) {
        Ok(context) => word(env, context.pid.word()),
        Err(answer) => answer,
    }
}

/// `context_seen(Serial) -> {Pid, Mode, State, Interpreter, Processes, Queue, MaxQueue, Requests, Interrupts, CpuTime,
/// Memory, Running, Tasks, OldestTask} | gone`.
///
/// `Running` are `{Pid, Kind, Milliseconds, What}`, outermost first; `Memory` is `{Used, Peak, Limit} | undefined`,
/// `CpuTime` nanoseconds or `undefined`.
#[rustler::nif]
fn context_seen(env: Env<'_>, serial: u64) -> Term<'_> {
    let Some(context) = registry().by_serial(serial) else {
        return word(env, atoms().gone);
    };
    let seen = context.seen();
    let (processes, queue) = context.load();
    let running: Vec<_> = seen.running.iter().map(|one| started(env, one)).collect();
    let elements = [
        word(env, context.pid.word()),
        mode(env, &context),
        doing(env, &seen),
        context.interpreter_id.load(Ordering::Relaxed).encode(env),
        processes.encode(env),
        queue.encode(env),
        bound(env, context.queue.most()),
        seen.requests.encode(env),
        context.watch.interrupted().encode(env),
        or_undefined(env, context.watch.cpu_time()),
        memory_of(env, &context),
        running.encode(env),
        seen.tasks.encode(env),
        or_undefined(env, seen.oldest_task),
    ];
    make_tuple(env, &elements)
}

/// `context_sample(Serial) -> {Pid, Processes, Queue, Tasks, Gil, Turns, Used} | gone`: how things are, and what there
/// was since the sample before. `Gil` and `Turns` are `{Count, Total, Most}` in nanoseconds, `Used` bytes or
/// `undefined`.
#[rustler::nif]
fn context_sample(env: Env<'_>, serial: u64) -> Term<'_> {
    let Some(context) = registry().by_serial(serial) else {
        return word(env, atoms().gone);
    };
    let (processes, queue) = context.load();
    let elements = [
        word(env, context.pid.word()),
        processes.encode(env),
        queue.encode(env),
        context.seen().tasks.encode(env),
        context.watch.gil.take().encode(env),
        context.watch.turns.take().encode(env),
        or_undefined(env, used(&context)),
    ];
    make_tuple(env, &elements)
}

/// `observe(samples | interrupts, boolean()) -> boolean()`: whether to measure what samples tell, or to have contexts
/// tell their processes of interrupts; gives what was so before.
#[rustler::nif]
fn observe(what: Atom, on: bool) -> bool {
    if what.as_c_arg() == atoms().interrupts {
        watch::tell_of_interrupts(on)
    } else {
        watch::measure(on)
    }
}

/// `record_spans(boolean()) -> boolean()`: whether Python records spans; gives what was so before.
#[rustler::nif]
fn record_spans(on: bool) -> bool {
    trace::record(on)
}

/// `atoms_created() -> Count`: names that come from Python code and have become new atoms.
#[rustler::nif(name = "atoms_created")]
fn created() -> usize {
    atoms_created()
}

fn mode<'a>(env: Env<'a>, context: &Context) -> Term<'a> {
    match context.mode {
        Mode::OwnGil => word(env, atoms().owngil),
        Mode::Worker => word(env, atoms().worker),
    }
}

fn doing<'a>(env: Env<'a>, seen: &Seen) -> Term<'a> {
    let known = atoms();
    let atom = match seen.doing {
        Doing::Starting => known.starting,
        Doing::Nothing => known.idle,
        Doing::Running => known.running,
        Doing::Waiting => known.waiting,
        Doing::Closing => known.closing,
        Doing::Stuck => known.stuck,
    };
    word(env, atom)
}

fn or_undefined<T: Encoder>(env: Env<'_>, value: Option<T>) -> Term<'_> {
    value.map_or_else(|| word(env, atoms().undefined), |value| value.encode(env))
}

/// A number, or `infinity`.
fn bound(env: Env<'_>, most: usize) -> Term<'_> {
    match most {
        usize::MAX => word(env, atoms().infinity),
        most => most.encode(env),
    }
}

fn used(context: &Context) -> Option<usize> {
    let counted = context.mode == Mode::OwnGil && memory::COUNTED;
    let holder = context.memory.get().filter(|_| counted)?;
    Some(holder.account.used())
}

fn memory_of<'a>(env: Env<'a>, context: &Arc<Context>) -> Term<'a> {
    match (used(context), context.memory.get()) {
        (Some(used), Some(holder)) => {
            let peak = holder.account.peak().max(used);
            (used, peak, bound(env, context.memory_limit)).encode(env)
        }
        _ => word(env, atoms().undefined),
    }
}

fn started<'a>(env: Env<'a>, one: &Started) -> Term<'a> {
    let request = &one.request;
    let kind = Atom::from_str(env, request.kind.name());
    let elements = [
        word(env, request.client.pid.word()),
        kind.map_or_else(|_| word(env, atoms().undefined), |kind| kind.encode(env)),
        one.age.encode(env),
        asked(env, request),
    ];
    make_tuple(env, &elements)
}

/// What a request is about: `{call, Module, Function, Arity}`, `{eval | exec, Text}`, a kind, or `undefined`.
fn asked<'a>(env: Env<'a>, request: &Request) -> Term<'a> {
    let undefined = word(env, atoms().undefined);
    // Whoever holds it is about to answer.
    let Some(body) = request.body.try_lock() else {
        return undefined;
    };
    let Some(body) = body.as_ref() else {
        return undefined;
    };
    let (payload, _trace) = trace::unwrapped(&body.env, body.payload);
    let Some(payload) = body.env.get_tuple(payload) else {
        return undefined;
    };
    about(env, &body.env, payload).unwrap_or(undefined)
}

fn about<'a>(env: Env<'a>, of: &TermEnv, payload: &[Word]) -> Option<Term<'a>> {
    let known = atoms();
    match *payload {
        [kind, module, function, arguments, _]
            if kind == known.call || kind == known.call_many || kind == known.map =>
        {
            let names = [
                word(env, kind),
                name(env, of, module)?,
                name(env, of, function)?,
                of.list_length(arguments).unwrap_or_default().encode(env),
            ];
            Some(make_tuple(env, &names))
        }
        [kind, code, ..] if kind == known.eval || kind == known.exec => {
            let text = String::from_utf8_lossy(of.get_binary(code)?);
            let line = text.trim_start().lines().next().unwrap_or_default();
            let line: String = line.chars().take(TEXT).collect();
            Some(make_tuple(env, &[word(env, kind), line.encode(env)]))
        }
        [kind, ..] if of.is_immediate(kind) => Some(word(env, kind)),
        _ => None,
    }
}

/// An atom, or the text of a binary.
fn name<'a>(env: Env<'a>, of: &TermEnv, name: Word) -> Option<Term<'a>> {
    if of.is_immediate(name) {
        return Some(word(env, name));
    }
    let text = String::from_utf8_lossy(of.get_binary(name)?);
    Some(text.chars().take(TEXT).collect::<String>().encode(env))
}
