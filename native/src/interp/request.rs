//! One request: what was asked, by whom, and how the answer goes back.

use super::flow::Flow;
use super::many::Results;
use super::queue::{Place, Queue};
use super::trace::Trace;
use super::watch::coarse_now;
use super::{Callback, Client, Context, Permit, Scope, registry};
use crate::beam::{Env, Shared, TermEnv, Word, atoms};
use parking_lot::Mutex;
use py_core::protocol::{Cancel, RequestState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// How the answer goes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{Ref, Result}` or `{Ref, Error, Story}`, to a process that waits for it and runs what the code calls.
    Call,
    /// The same, to a process that does something else meanwhile.
    Forward,
    /// `{py_response, Request, Result}`.
    Spawn,
    /// `{async_result, Request, Result}`, when the task of the event loop has ended that the request becomes.
    Task,
    /// As [`Self::Forward`], when that task has ended.
    TaskForward,
    /// None.
    Cast,
    /// None, when the task has ended that the request becomes.
    TaskCast,
}

impl Kind {
    /// It becomes a task of the event loop.
    pub(crate) fn is_task(self) -> bool {
        matches!(self, Self::Task | Self::TaskForward | Self::TaskCast)
    }

    /// Nobody waits for an answer: it goes on when its sender has ended.
    pub(crate) fn is_cast(self) -> bool {
        matches!(self, Self::Cast | Self::TaskCast)
    }
}

/// What was asked, in an environment of its own. Two threads may read it: while the request lives, only the owner
/// thread makes anything more in that environment, and only what nobody else looks at.
pub(crate) struct Body {
    pub(crate) env: TermEnv,
    /// The caller's reference, for [`Kind::Call`] and [`Kind::Forward`].
    pub(crate) tag: Word,
    pub(crate) payload: Word,
}

/// Where a request comes from.
#[derive(Default)]
pub(crate) struct Origin {
    /// The callback in which it was made.
    pub(crate) parent: Option<Shared<Callback>>,
    /// The earliest end of the time limits of the request and those around it.
    pub(crate) deadline: Option<Instant>,
}

/// See the module.
pub(crate) struct Request {
    /// Unique in this node; names it to the interrupter.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) client: Shared<Client>,
    pub(crate) scope: Scope,
    pub(crate) origin: Origin,
    pub(crate) state: RequestState,
    /// Present while it waits.
    place: Mutex<Option<Place>>,
    /// Held until its code has ended, or can no longer begin.
    permit: Permit,
    /// The serial of the context that has it; changes when a queue moves.
    pub(crate) context: Arc<AtomicU64>,
    /// Present until whoever ended the request takes it.
    pub(crate) body: Mutex<Option<Body>>,
    /// The reference that the caller waits with since it has answered a callback. Locked after `body`.
    renewed: Mutex<Option<(TermEnv, Word)>>,
    /// A callback was sent to the caller.
    called_out: AtomicBool,
    timed_out: AtomicBool,
    sent: AtomicBool,
    /// When its code began, by the coarse clock; 0 before.
    started: AtomicU64,
    /// Of a stream.
    flow: OnceLock<Box<Flow>>,
    /// Of a batch that has begun.
    pub(super) results: OnceLock<Arc<Results>>,
    /// The trace that it is a part of, if any, once it has begun.
    pub(super) trace: OnceLock<Box<Trace>>,
}

impl Request {
    #[expect(clippy::too_many_arguments, reason = "each is a field")]
    pub(crate) fn new(
        context: &Context,
        kind: Kind,
        client: Shared<Client>,
        scope: Scope,
        origin: Origin,
        mut place: Place,
        permit: Permit,
        body: Body,
    ) -> Self {
        // The caller lives: it is the process that submits.
        let _alive = Self::join(kind, context, &client, &mut place, &permit);
        Self {
            id: context.next_request(),
            kind,
            client,
            scope,
            origin,
            state: RequestState::new(),
            place: Mutex::new(Some(place)),
            permit,
            context: Arc::new(AtomicU64::new(context.serial)),
            body: Mutex::new(Some(body)),
            renewed: Mutex::default(),
            called_out: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            sent: AtomicBool::new(false),
            started: AtomicU64::new(0),
            flow: OnceLock::new(),
            results: OnceLock::new(),
            trace: OnceLock::new(),
        }
    }

    /// Whether it was made in this callback, or in one that its code led to.
    pub(crate) fn descends_from(&self, callback: &Callback) -> bool {
        let parent = self.origin.parent.as_deref();
        parent.is_some_and(|parent| parent.is_or_descends_from(callback))
    }

    /// When its time, or that of a request around it, is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // What a function spawned may go on after that function, and then has all the time that it wants.
        let parent = self.origin.parent.as_ref();
        let spawned = matches!(self.kind, Kind::Spawn | Kind::Task | Kind::TaskForward);
        let bound = !spawned || parent.and_then(Callback::wanted).is_some();
        self.origin.deadline.filter(|_| bound)
    }

    /// Whether that is so now.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline()
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Its code is being ended because its time is over.
    pub(crate) fn set_timed_out(&self) {
        self.timed_out.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::SeqCst)
    }

    /// Whether the caller may have a callback of this request in its mailbox.
    pub(crate) fn has_called_out(&self) -> bool {
        self.called_out.load(Ordering::SeqCst)
    }

    /// Sends `{Ref, Callback, Function, Arguments, Left}` to the caller, `Left` being the milliseconds until the
    /// deadline; whoever answers in the place of the owner thread does so before or after, not in between.
    /// `false`: nobody waits any more.
    pub(crate) fn call_out(&self, env: &mut TermEnv, rest: &[Word; 4]) -> bool {
        let body = self.body.lock();
        let Some(read) = body.as_ref() else {
            return false;
        };
        if !self.state.call_out() {
            return false;
        }
        self.called_out.store(true, Ordering::SeqCst);
        let [callback, function, arguments, left] = *rest;
        let message = env.tuple(&[self.tag(env, read), callback, function, arguments, left]);
        env.send(&self.client.pid, message);
        true
    }

    /// `{Ref, tail, Function, Arguments, Left}`, which ends the request: the caller calls the function, and its value is
    /// the result.
    pub(super) fn tail_message(
        &self,
        env: &TermEnv,
        function: Word,
        arguments: Word,
    ) -> Option<Word> {
        let body = self.body.lock();
        let tag = self.tag(env, body.as_ref()?);
        Some(env.tuple(&[tag, atoms().tail, function, arguments, self.left(env)]))
    }

    /// The process of a function that has taken the place of the request has its value. `false`: nobody wants it.
    pub(super) fn finish(
        self_: &Shared<Self>,
        caller: Env,
        env: &mut TermEnv,
        result: Word,
    ) -> bool {
        let body = self_.body.lock();
        let Some(read) = body.as_ref() else {
            return false;
        };
        let message = Self::message(self_, env, read, result, None);
        if !self_.state.finish() {
            return false;
        }
        self_.over();
        if let Some(message) = message {
            env.send_as(caller, &self_.client.pid, message);
        }
        self_.sent.store(true, Ordering::SeqCst);
        true
    }

    /// The milliseconds until the deadline, or `infinity`.
    pub(super) fn left(&self, env: &TermEnv) -> Word {
        self.deadline().map_or(atoms().infinity, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: nobody is late before the time is over.
            env.int(i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX))
        })
    }

    /// The caller has answered a callback, and waits with another reference from now on. `false`: it was answered or
    /// cancelled meanwhile, with the old one.
    pub(crate) fn resume(&self, tag: Word) -> bool {
        let _answered_before_or_after = self.body.lock();
        let resumed = self.state.resume();
        if resumed {
            // In the same environment each time: made here and freed on another thread, or the other way round, it
            // would wake a thread of the emulator.
            let mut renewed = self.renewed.lock();
            let (env, word) = renewed.get_or_insert_with(|| (TermEnv::new(), tag));
            env.clear();
            *word = env.copy(tag);
        }
        resumed
    }

    /// The reference that the caller waits with.
    fn tag(&self, env: &TermEnv, body: &Body) -> Word {
        match self.renewed.lock().as_ref() {
            Some((_env, tag)) => env.copy(*tag),
            None if env.is(&body.env) => body.tag,
            None => env.copy(body.tag),
        }
    }

    /// Nobody waits for it any more.
    fn over(&self) {
        if let Some(parent) = &self.origin.parent {
            parent.awaits_no_more(self.id);
        }
    }

    /// Lets the end of the caller give back what the request holds while it waits. `false`: it has ended.
    fn join(
        kind: Kind,
        context: &Context,
        client: &Shared<Client>,
        place: &mut Place,
        permit: &Permit,
    ) -> bool {
        // A cast outlives its sender; and without bounds there is nothing to give back in a hurry.
        if kind.is_cast() || !(context.queue.is_bounded() || permit.is_held()) {
            return true;
        }
        place.join(client, permit.is_held())
    }

    /// It no longer waits. `false`: its caller has ended while it did, so it must not run.
    fn leave_queue(&self) -> bool {
        self.give_back(&mut self.place.lock())
    }

    fn give_back(&self, place: &mut Option<Place>) -> bool {
        let alive = place.take().is_none_or(Place::give_back);
        if !alive {
            self.permit.forget();
        }
        alive
    }

    /// Waits in another context now. `env` is the calling NIF's.
    pub(super) fn move_to(&self, context: &Context, env: Env) {
        self.context.store(context.serial, Ordering::SeqCst);
        let client = context.client(Some(env), self.client.pid);
        let mut place = self.place.lock();
        let Some(held) = &*place else {
            return;
        };
        let mut next = if held.is_unseen() {
            Queue::enter_unseen()
        } else {
            context.queue.enter_anyway()
        };
        if self.give_back(&mut place)
            && Self::join(self.kind, context, &client, &mut next, &self.permit)
        {
            *place = Some(next);
        } else {
            let _unstarted = self.state.cancel();
            self.permit.give_back();
        }
    }

    /// The owner thread begins to run it. `false`: it was cancelled or answered meanwhile.
    pub(super) fn start(&self) -> bool {
        let alive = self.leave_queue();
        if alive && self.state.start() {
            self.started.store(coarse_now(), Ordering::Relaxed);
            return true;
        }
        let _unstarted = self.state.cancel();
        self.permit.give_back();
        false
    }

    /// When its code began, by the coarse clock.
    pub(super) fn started_at(&self) -> u64 {
        match self.started.load(Ordering::Relaxed) {
            // It is just about to.
            0 => u64::MAX,
            at => at,
        }
    }

    /// Its code has ended, however it did.
    pub(super) fn code_ended(&self) {
        self.permit.give_back();
    }

    /// The submitter takes it back from a closed mailbox. `false`: its answer comes as a message.
    pub(crate) fn retract(&self) -> bool {
        self.leave_queue();
        let retracted = self.state.retract();
        if retracted {
            self.over();
            self.permit.give_back();
        }
        retracted
    }

    /// Sends the answer; whoever calls has won the right to.
    pub(crate) fn send(&self, env: &mut TermEnv, message: Word) {
        self.over();
        env.send(&self.client.pid, message);
        self.sent.store(true, Ordering::SeqCst);
    }

    /// Where the items go if it is a stream. More may be wanted before it has begun.
    pub(crate) fn flow(&self) -> &Flow {
        self.flow.get_or_init(Box::default)
    }

    /// That, if it is one.
    pub(super) fn known_flow(&self) -> Option<&Flow> {
        self.flow.get().map(|flow| &**flow)
    }

    /// The same, from a function that the emulator calls, whose environment is `caller`, where that is one.
    pub(super) fn send_from(&self, caller: Option<Env>, env: &mut TermEnv, message: Word) {
        match caller {
            Some(caller) => {
                self.over();
                env.send_as(caller, &self.client.pid, message);
                self.sent.store(true, Ordering::SeqCst);
            }
            None => self.send(env, message),
        }
    }

    /// Whether the answer is in the caller's mailbox, or was.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::SeqCst)
    }

    /// The answer in the shape that the caller waits for. `story` is what `py:last_error/0` tells.
    pub(crate) fn message(
        self_: &Shared<Self>,
        env: &TermEnv,
        body: &Body,
        result: Word,
        story: Option<Word>,
    ) -> Option<Word> {
        match (self_.kind, story) {
            (Kind::Call | Kind::Forward | Kind::TaskForward, None) => {
                Some(env.tuple(&[self_.tag(env, body), result]))
            }
            (Kind::Call | Kind::Forward | Kind::TaskForward, Some(story)) => {
                Some(env.tuple(&[self_.tag(env, body), result, story]))
            }
            (Kind::Spawn, _) => Some(env.tuple(&[atoms().py_response, env.shared(self_), result])),
            (Kind::Task, _) => Some(env.tuple(&[atoms().async_result, env.shared(self_), result])),
            (Kind::Cast | Kind::TaskCast, _) => None,
        }
    }

    /// Answers `{error, {context_died, Reason}}` in place of the owner thread, if the request waits or, else, if
    /// it runs, and nobody was faster. Not for schedulers.
    fn answer_died(self_: &Shared<Self>, reason: Word, waits: bool) -> bool {
        // The lock keeps the owner thread from clearing the environment while the reference is read.
        let body = self_.body.lock();
        let won = if waits {
            self_.state.answer_unstarted()
        } else {
            self_.state.abandon()
        };
        if !won {
            return false;
        }
        if waits {
            self_.leave_queue();
            self_.permit.give_back();
        }
        if let Some(read) = body.as_ref() {
            let env = TermEnv::new();
            let died = env.tuple(&[atoms().context_died, reason]);
            let (mut env, result) = self_.so_far(died).unwrap_or_else(|| {
                let result = env.tuple(&[atoms().error, died]);
                (env, result)
            });
            if let Some(message) = Self::message(self_, &env, read, result, None) {
                self_.send(&mut env, message);
            }
        }
        true
    }

    /// The context died before the request began.
    pub(crate) fn answer_unstarted(self_: &Shared<Self>, reason: Word) {
        Self::answer_died(self_, reason, true);
    }

    /// The context died while the request ran, or was just about to. Code that runs keeps its permit.
    pub(crate) fn abandon(self_: &Shared<Self>, reason: Word) {
        if !Self::answer_died(self_, reason, true) {
            Self::answer_died(self_, reason, false);
        }
    }

    /// The caller takes the request back; if it runs, its code is interrupted until it ends.
    pub(crate) fn cancel(&self) -> Cancel {
        let met = self.state.cancel();
        self.cancelled(met)
    }

    /// The caller has a callback of it, and takes the request back instead of answering. `false`: its answer is on
    /// the way.
    pub(crate) fn cancel_callback(&self) -> bool {
        let cancelled = self.state.cancel_callback();
        if cancelled {
            self.cancelled(Cancel::Running);
        }
        cancelled
    }

    /// The process of the caller has ended.
    pub(crate) fn caller_ended(&self) {
        if self.kind.is_cast() {
            return;
        }
        // Its code may be given up at this moment, and go on; or call again.
        while self.cancel() == Cancel::Calling && !self.cancel_callback() {}
    }

    fn cancelled(&self, met: Cancel) -> Cancel {
        if matches!(met, Cancel::Unstarted | Cancel::Running) {
            self.over();
        }
        if met == Cancel::Unstarted {
            self.leave_queue();
            self.permit.give_back();
            // It may lie in the mailbox for long, and what was asked may be large. Nobody reads it any more.
            let body = self.body.lock().take();
            drop(body);
        }
        if met == Cancel::Running
            && let Some(context) = registry().by_serial(self.context.load(Ordering::SeqCst))
        {
            context.interrupt_chain(self.id);
        }
        met
    }
}
