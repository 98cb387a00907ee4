//! Submitting requests, and taking them back.

use super::{context_died, target, word};
use crate::beam::{Pid, Shared, atoms};
use crate::interp::{Body, Closing, Context, Envelope, Environment, Kind, Permit, Request, Scope};
use crate::term::ObjectRef;
use rustler::{Encoder, Env, Term};
use std::sync::Arc;
use std::time::Instant;

/// `call(Target, Ref, Payload, Scope) -> Request | {error, Reason}`; answered by `{Ref, Result}` or
/// `{Ref, Error, Story}`. `Scope` says whose namespace: `own`, a process, or an environment.
#[rustler::nif]
fn call<'a>(
    env: Env<'a>,
    at: Term<'a>,
    tag: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
) -> Term<'a> {
    submit(env, at, Kind::Call, tag, payload, scope).unwrap_or_else(|answer| answer)
}

/// `spawn(Target, Payload, Scope) -> Request | {error, Reason}`; answered by
/// `{py_response, Request, Result}`.
#[rustler::nif]
fn spawn<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>, scope: Term<'a>) -> Term<'a> {
    submit(env, at, Kind::Spawn, payload, payload, scope).unwrap_or_else(|answer| answer)
}

/// `cast(Target, Payload, Scope) -> Request | {error, Reason}`; not answered.
#[rustler::nif]
fn cast<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>, scope: Term<'a>) -> Term<'a> {
    submit(env, at, Kind::Cast, payload, payload, scope).unwrap_or_else(|answer| answer)
}

fn submit<'a>(
    env: Env<'a>,
    at: Term<'a>,
    kind: Kind,
    tag: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
) -> Result<Term<'a>, Term<'a>> {
    let started = Instant::now();
    let context = &target(env, at)?;
    let scope = read_scope(env, context, scope)?;
    let permit = Permit::take().map_err(|all| overloaded(env, all.current, all.max))?;
    let place = context
        .queue
        .enter()
        .map_err(|full| overloaded(env, full.waiting, full.most))?;
    let space = context.envs.take();
    let payload = space.copy(payload.as_c_arg());
    let tag = if kind == Kind::Call {
        space.copy(tag.as_c_arg())
    } else {
        atoms().undefined
    };
    let client = context.client(Some(env), Pid::new(env.pid()));
    let body = Body {
        env: space,
        tag,
        payload,
    };
    let request = Shared::new(Request::new(
        context, kind, client, scope, place, permit, body,
    ));
    if !context.mailbox.push(Envelope::Request(request.clone())) && request.retract() {
        let reason = match context.closing() {
            Some(Closing::Answer(reason) | Closing::Keep(reason)) => reason,
            None => atoms().noproc,
        };
        return Err(context_died(env, reason));
    }
    consume_reductions(env, started);
    Ok(request.encode(env))
}

/// `own`, a process of this node, or an environment.
fn read_scope<'a>(
    env: Env<'a>,
    context: &Arc<Context>,
    scope: Term<'a>,
) -> Result<Scope, Term<'a>> {
    if scope.as_c_arg() == atoms().own {
        return Ok(Scope::Own);
    }
    if let Ok(environment) = scope.decode::<Shared<Environment>>() {
        return Ok(Scope::In(environment));
    }
    match scope.decode::<rustler::LocalPid>() {
        Ok(pid) => {
            let client = context.client(Some(env), Pid::new(pid));
            // Nobody would remove the namespace of a process that has ended.
            if client.is_dead() {
                return Err(super::error(env, word(env, atoms().stale_reference)));
            }
            Ok(Scope::Of(client))
        }
        // The reference has come back from another node, after nobody here referred to it any more.
        Err(_) => Err(super::error(env, word(env, atoms().stale_reference))),
    }
}

/// `{error, {overloaded, Current, Max}}`.
fn overloaded<'a, N: Encoder>(env: Env<'a>, current: N, max: N) -> Term<'a> {
    let reason = (word(env, atoms().overloaded), current, max);
    super::error(env, reason.encode(env))
}

/// `environment(Target) -> {ok, Environment} | {error, Reason}`: a new namespace, which goes with the last
/// reference to it.
#[rustler::nif]
fn environment<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    named(env, at, |context| Environment::new(context))
}

/// `own_environment(Target) -> {ok, Environment} | {error, Reason}`: the calling process's own namespace.
#[rustler::nif]
fn own_environment<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    named(env, at, |context| {
        Environment::of(context.client(Some(env), Pid::new(env.pid())))
    })
}

fn named<'a>(
    env: Env<'a>,
    at: Term<'a>,
    make: impl FnOnce(&Arc<Context>) -> Environment,
) -> Term<'a> {
    match target(env, at) {
        Ok(context) => (word(env, atoms().ok), Shared::new(make(&context))).encode(env),
        Err(answer) => answer,
    }
}

/// A submission costs its caller reductions by the time that copying took, as `!` does by size. A time slice
/// is about a millisecond.
fn consume_reductions(env: Env<'_>, started: Instant) {
    let hundredths = started.elapsed().as_micros() / 10;
    if hundredths > 0 {
        let percent = i32::try_from(hundredths.min(100)).unwrap_or(100);
        let _exhausted = rustler::schedule::consume_timeslice(env, percent);
    }
}

/// `cancel(Request) -> cancelled | sending | sent | not_owner`. After `cancelled` no message comes; `sending`
/// says that it is certain to come, `sent` that it has come (and may have been received long ago).
#[rustler::nif]
fn cancel<'a>(env: Env<'a>, request: Shared<Request>) -> Term<'a> {
    if Pid::new(env.pid()).word() != request.client.pid.word() {
        return word(env, atoms().not_owner);
    }
    use py_core::protocol::Cancel;
    let known = atoms();
    let met = match request.cancel() {
        Cancel::Unstarted | Cancel::Running | Cancel::Already | Cancel::Calling => known.cancelled,
        Cancel::Done if request.is_sent() => known.sent,
        Cancel::Done => known.sending,
    };
    word(env, met)
}

/// `is_mine(Request) -> boolean()`: whether the calling process made the request.
#[rustler::nif]
fn is_mine(env: Env<'_>, request: Shared<Request>) -> bool {
    Pid::new(env.pid()).word() == request.client.pid.word()
}

/// `is_object(Term) -> boolean()`: whether it is a reference to a Python object.
#[rustler::nif]
fn is_object(term: Term<'_>) -> bool {
    term.decode::<Shared<ObjectRef>>().is_ok()
}

/// `interrupt(Target) -> ok | not_running | {error, Reason}`.
#[rustler::nif]
fn interrupt<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Ok(context) if context.interrupt_running() => word(env, atoms().ok),
        Ok(_) => word(env, atoms().not_running),
        Err(answer) => answer,
    }
}

/// `least_loaded([Handle]) -> Index | none`: the place, from 1, of the context with the fewest processes and
/// requests; the calling process counts as one of its processes from now on.
#[rustler::nif]
fn least_loaded<'a>(env: Env<'a>, handles: Vec<Shared<super::Handle>>) -> Term<'a> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let count = handles.len();
    // Processes that look at the same moment see the same loads; each begins at another place.
    let first = TURN.fetch_add(1, Ordering::Relaxed);
    let place = (0..count)
        .map(|i| (first + i) % count)
        .min_by_key(|&i| handles[i].0.load());
    let Some(place) = place else {
        return word(env, atoms().none);
    };
    let _counted = handles[place].0.client(Some(env), Pid::new(env.pid()));
    (place + 1).encode(env)
}
