//! One request: what was asked, by whom, and how the answer goes back.

use super::queue::Place;
use super::{Client, Context, Scope, registry};
use crate::beam::{Shared, TermEnv, Word, atoms};
use parking_lot::Mutex;
use py_core::protocol::{Cancel, RequestState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the answer goes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{Ref, Result}` or `{Ref, Error, Story}`, to a process that waits for it.
    Call,
    /// `{py_response, Request, Result}`.
    Spawn,
    /// None.
    Cast,
}

/// What was asked, in an environment of its own. Nothing is made in that environment while the request
/// lives, so that two threads may read it.
pub(crate) struct Body {
    pub(crate) env: TermEnv,
    /// The caller's reference, for [`Kind::Call`].
    pub(crate) tag: Word,
    pub(crate) payload: Word,
}

/// See the module.
pub(crate) struct Request {
    /// Unique in this node; names it to the interrupter.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) client: Shared<Client>,
    pub(crate) scope: Scope,
    pub(crate) state: RequestState,
    /// Present while it waits.
    place: Mutex<Option<Place>>,
    /// The serial of the context that has it; changes when a queue moves.
    pub(crate) context: AtomicU64,
    /// Present until whoever ended the request takes it.
    pub(crate) body: Mutex<Option<Body>>,
    sent: AtomicBool,
}

impl Request {
    pub(crate) fn new(
        context: &Context,
        kind: Kind,
        client: Shared<Client>,
        scope: Scope,
        place: Place,
        body: Body,
    ) -> Self {
        Self {
            id: context.next_request(),
            kind,
            client,
            scope,
            state: RequestState::new(),
            place: Mutex::new(Some(place)),
            context: AtomicU64::new(context.serial),
            body: Mutex::new(Some(body)),
            sent: AtomicBool::new(false),
        }
    }

    /// It no longer waits.
    fn leave_queue(&self) {
        drop(self.place.lock().take());
    }

    /// Waits in another context now.
    pub(super) fn move_to(&self, context: &Context) {
        self.context.store(context.serial, Ordering::SeqCst);
        let mut place = self.place.lock();
        if place.is_some() {
            *place = Some(context.queue.enter_anyway());
        }
    }

    /// The owner thread begins to run it. `false`: it was cancelled or answered meanwhile.
    pub(super) fn start(&self) -> bool {
        self.leave_queue();
        self.state.start()
    }

    /// The submitter takes it back from a closed mailbox. `false`: its answer comes as a message.
    pub(crate) fn retract(&self) -> bool {
        self.leave_queue();
        self.state.retract()
    }

    /// Sends the answer; whoever calls has won the right to.
    pub(crate) fn send(&self, env: &mut TermEnv, message: Word) {
        env.send(&self.client.pid, message);
        self.sent.store(true, Ordering::SeqCst);
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
            (Kind::Call, None) => Some(env.tuple(&[env.copy(body.tag), result])),
            (Kind::Call, Some(story)) => Some(env.tuple(&[env.copy(body.tag), result, story])),
            (Kind::Spawn, _) => Some(env.tuple(&[atoms().py_response, env.shared(self_), result])),
            (Kind::Cast, _) => None,
        }
    }

    /// Answers `{error, {context_died, Reason}}` if `claim` wins the right to answer. Not for schedulers.
    fn answer_died(self_: &Shared<Self>, reason: Word, claim: impl Fn(&RequestState) -> bool) {
        // The lock keeps the owner thread from clearing the environment while the reference is read.
        let body = self_.body.lock();
        if !claim(&self_.state) {
            return;
        }
        self_.leave_queue();
        if let Some(read) = body.as_ref() {
            let mut env = TermEnv::new();
            let died = env.tuple(&[atoms().context_died, reason]);
            let result = env.tuple(&[atoms().error, died]);
            if let Some(message) = Self::message(self_, &env, read, result, None) {
                self_.send(&mut env, message);
            }
        }
    }

    /// The context died before the request began.
    pub(crate) fn answer_unstarted(self_: &Shared<Self>, reason: Word) {
        Self::answer_died(self_, reason, RequestState::answer_unstarted);
    }

    /// The context died while the request ran, or was just about to.
    pub(crate) fn abandon(self_: &Shared<Self>, reason: Word) {
        Self::answer_died(self_, reason, |state| {
            state.answer_unstarted() || state.abandon()
        });
    }

    /// The caller takes the request back; if it runs, its code is interrupted until it ends.
    pub(crate) fn cancel(&self) -> Cancel {
        let met = self.state.cancel();
        if met == Cancel::Unstarted {
            self.leave_queue();
        }
        if met == Cancel::Running
            && let Some(context) = registry().by_serial(self.context.load(Ordering::SeqCst))
        {
            context.interrupt(self.id);
        }
        met
    }
}
