//! Submitting requests, and taking them back.

use super::{context_died, target, word};
use crate::beam::{Pid, Shared, Word, atoms};
use crate::interp::callback::{self, Circle};
use crate::interp::{
    Body, Callback, Closing, Context, Envelope, Environment, Kind, Origin, Permit, Queue, Request,
    Scope,
};
use crate::term::ObjectRef;
use py_core::protocol::Cancel;
use py_core::stopwatch::Stopwatch;
use rustler::{Encoder, Env, Term};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is asked of a context.
pub(super) struct Asked<'a> {
    at: Term<'a>,
    kind: Kind,
    /// The caller's reference, where the kind has one.
    tag: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
    /// The callback that the calling process runs, or `none`.
    parent: Term<'a>,
    /// Milliseconds, or `infinity`.
    timeout: Term<'a>,
    /// Bounds are for others.
    unbounded: bool,
}

impl<'a> Asked<'a> {
    /// Not answered with a reference, made in no callback, without a time limit.
    pub(super) fn plain(
        env: Env<'a>,
        kind: Kind,
        at: Term<'a>,
        payload: Term<'a>,
        scope: Term<'a>,
    ) -> Self {
        let known = atoms();
        Self {
            at,
            kind,
            tag: word(env, known.undefined),
            payload,
            scope,
            parent: word(env, known.none),
            timeout: word(env, known.infinity),
            unbounded: false,
        }
    }

    /// Answered with this reference.
    pub(super) fn answered_to(self, tag: Term<'a>) -> Self {
        Self { tag, ..self }
    }

    /// Outside all bounds.
    pub(super) fn unbounded(self) -> Self {
        Self {
            unbounded: true,
            ..self
        }
    }

    /// With a time limit.
    pub(super) fn within(self, timeout: Term<'a>) -> Self {
        Self { timeout, ..self }
    }

    /// Made in this callback, or none.
    pub(super) fn made_in(self, parent: Term<'a>) -> Self {
        Self { parent, ..self }
    }
}

/// `call(Target, Ref, Payload, Scope, Parent, Timeout) -> Request | {error, Reason}`; answered by `{Ref, Result}` or
/// `{Ref, Error, Story}`, and before that by any number of callbacks, `{Ref, Callback, Function, Args, Left}`.
/// `Scope` says whose namespace: `own`, a process, or an environment.
fn call<'a>(env: Env<'a>, [at, tag, payload, scope, parent, timeout]: [Term<'a>; 6]) -> Term<'a> {
    let asked = Asked {
        tag,
        parent,
        timeout,
        ..Asked::plain(env, Kind::Call, at, payload, scope)
    };
    submitted(env, &asked)
}

plain_nif!("call", 6, call);

/// `forward(Target, Ref, Payload, Scope) -> Request | {error, Reason}`: as `call`, for a process that does something
/// else meanwhile. Callbacks go to processes of their own.
#[rustler::nif]
fn forward<'a>(
    env: Env<'a>,
    at: Term<'a>,
    tag: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
) -> Term<'a> {
    let asked = Asked::plain(env, Kind::Forward, at, payload, scope);
    submitted(env, &asked.answered_to(tag))
}

/// `spawn(Target, Payload, Scope, Parent) -> Request | {error, Reason}`; answered by
/// `{py_response, Request, Result}`.
#[rustler::nif]
fn spawn<'a>(
    env: Env<'a>,
    at: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
    parent: Term<'a>,
) -> Term<'a> {
    let asked = Asked::plain(env, Kind::Spawn, at, payload, scope);
    submitted(env, &asked.made_in(parent))
}

/// `cast(Target, Payload, Scope) -> Request | {error, Reason}`; not answered.
#[rustler::nif]
fn cast<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>, scope: Term<'a>) -> Term<'a> {
    let asked = Asked::plain(env, Kind::Cast, at, payload, scope);
    submitted(env, &asked)
}

/// The request, or the reason why there is none.
pub(super) fn submitted<'a>(env: Env<'a>, asked: &Asked<'a>) -> Term<'a> {
    submit(env, asked).unwrap_or_else(|answer| answer)
}

fn submit<'a>(env: Env<'a>, asked: &Asked<'a>) -> Result<Term<'a>, Term<'a>> {
    let started = Stopwatch::start();
    let kind = asked.kind;
    let context = &target(env, asked.at)?;
    let scope = read_scope(env, context, asked.scope)?;
    let known = atoms();
    let bounded =
        asked.timeout.as_c_arg() != known.infinity || asked.parent.as_c_arg() != known.none;
    // Read once, so that a limit of 0 is not over before it begins.
    let now = bounded.then(Instant::now);
    let origin = origin(asked, now);
    if origin.deadline.is_some_and(|deadline| Some(deadline) < now) {
        return Err(super::error(env, word(env, atoms().timeout)));
    }
    let (permit, place) = if asked.unbounded {
        (Permit::none(), Queue::enter_unseen())
    } else if origin.parent.is_some() {
        // What it is a part of holds a permit, and waits for it.
        (Permit::none(), context.queue.enter_anyway())
    } else {
        let permit = Permit::take().map_err(|all| overloaded(env, all.current, all.max))?;
        let place = context.queue.enter();
        let place = place.map_err(|full| overloaded(env, full.waiting, full.most))?;
        (permit, place)
    };
    let space = context.envs.take();
    let payload = space.copy(asked.payload.as_c_arg());
    let tag = match kind {
        Kind::Call | Kind::Forward | Kind::TaskForward => space.copy(asked.tag.as_c_arg()),
        Kind::Spawn | Kind::Task | Kind::Cast | Kind::TaskCast => atoms().undefined,
    };
    let client = context.client(Some(env), Pid::new(env.pid()));
    let body = Body {
        env: space,
        tag,
        payload,
    };
    let request = Shared::new(Request::new(
        context, kind, client, scope, origin, place, permit, body,
    ));
    if kind == Kind::Call
        && let Some(parent) = &request.origin.parent
        && let Err(circle) = callback::awaits(parent, &request, context)
    {
        let _taken_back = request.retract();
        return Err(deadlock(env, &circle));
    }
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

/// Where a request comes from. A callback that nobody waits for any more is no part of anything, but those around it
/// may be.
fn origin(asked: &Asked<'_>, now: Option<Instant>) -> Origin {
    let known = atoms();
    let own = (asked.timeout.as_c_arg() != known.infinity)
        .then(|| asked.timeout.decode().ok())
        .flatten()
        .zip(now)
        .and_then(|(milliseconds, now)| now.checked_add(Duration::from_millis(milliseconds)));
    if asked.parent.as_c_arg() == known.none {
        return Origin {
            parent: None,
            deadline: own,
        };
    }
    let parent = asked.parent.decode::<Shared<Callback>>().ok();
    let around = parent
        .as_ref()
        .and_then(|parent| parent.request()?.deadline());
    Origin {
        parent: parent.as_ref().and_then(Callback::wanted),
        deadline: own.into_iter().chain(around).min(),
    }
}

/// `{error, {deadlock, [Context]}}`.
fn deadlock<'a>(env: Env<'a>, circle: &Circle) -> Term<'a> {
    let contexts: Vec<_> = circle.0.iter().map(|pid| word(env, pid.word())).collect();
    super::error(env, (word(env, atoms().deadlock), contexts).encode(env))
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

/// A hundredth of a time slice.
const HUNDREDTH: Duration = Duration::from_micros(10);

/// A submission costs its caller reductions by the time that copying took, as `!` does by size. A time slice
/// is about a millisecond.
pub(super) fn consume_reductions(env: Env<'_>, started: Stopwatch) {
    consume_reductions_of(env, started.elapsed());
}

/// The same, for work that took this long. What is less than a hundredth is put on the account of the scheduler, and who
/// fills it pays: short calls one after another are no reason to keep it.
pub(super) fn consume_reductions_of(env: Env<'_>, took: Duration) {
    thread_local! {
        static OWED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    let owed = OWED.get() + took;
    let hundredths = owed.as_nanos() / HUNDREDTH.as_nanos();
    if hundredths == 0 {
        OWED.set(owed);
    } else {
        OWED.set(Duration::ZERO);
        let percent = i32::try_from(hundredths.min(100)).unwrap_or(100);
        let _exhausted = rustler::schedule::consume_timeslice(env, percent);
    }
}

/// `cancel(Request) -> cancelled | flush | calling | sending | sent | not_owner`. After `cancelled` no message comes;
/// after `flush` neither, but there may be callbacks in the mailbox. `calling` says that a callback is, or is certain
/// to come, and `sending` that the answer is; `sent` that it has come (and may have been received long ago).
#[rustler::nif]
fn cancel<'a>(env: Env<'a>, request: Shared<Request>) -> Term<'a> {
    if Pid::new(env.pid()).word() != request.client.pid.word() {
        return word(env, atoms().not_owner);
    }
    let met = request.cancel();
    Request::unpark(&request);
    word(env, cancelled(&request, met))
}

/// What [`cancel`] says.
pub(super) fn cancelled(request: &Request, met: Cancel) -> Word {
    let known = atoms();
    match met {
        Cancel::Unstarted | Cancel::Running | Cancel::Already if request.has_called_out() => {
            known.flush
        }
        Cancel::Unstarted | Cancel::Running | Cancel::Already => known.cancelled,
        Cancel::Calling => known.calling,
        Cancel::Done if request.is_sent() => known.sent,
        Cancel::Done => known.sending,
    }
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
