//! Submitting requests, and taking them back.

use super::{context_died, target, word};
use crate::beam::{Pid, Shared, atoms};
use crate::interp::{Body, Closing, Context, Envelope, Kind, Request};
use rustler::{Encoder, Env, Term};
use std::sync::Arc;
use std::time::Instant;

/// `call(Target, Ref, Payload) -> Request | {error, Reason}`; answered by `{Ref, Result}` or
/// `{Ref, Error, Story}`.
#[rustler::nif]
fn call<'a>(env: Env<'a>, at: Term<'a>, tag: Term<'a>, payload: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Ok(context) => submit(env, &context, Kind::Call, tag, payload),
        Err(answer) => answer,
    }
}

/// `spawn(Target, Payload) -> Request | {error, Reason}`; answered by `{py_response, Request, Result}`.
#[rustler::nif]
fn spawn<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Ok(context) => submit(env, &context, Kind::Spawn, payload, payload),
        Err(answer) => answer,
    }
}

/// `cast(Target, Payload) -> Request | {error, Reason}`; not answered.
#[rustler::nif]
fn cast<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Ok(context) => submit(env, &context, Kind::Cast, payload, payload),
        Err(answer) => answer,
    }
}

fn submit<'a>(
    env: Env<'a>,
    context: &Arc<Context>,
    kind: Kind,
    tag: Term<'a>,
    payload: Term<'a>,
) -> Term<'a> {
    let started = Instant::now();
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
    let request = Shared::new(Request::new(context, kind, client, body));
    if !context.mailbox.push(Envelope::Request(request.clone())) && request.state.retract() {
        let reason = match context.closing() {
            Some(Closing::Answer(reason) | Closing::Keep(reason)) => reason,
            None => atoms().noproc,
        };
        return context_died(env, reason);
    }
    consume_reductions(env, started);
    request.encode(env)
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
