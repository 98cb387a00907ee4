//! One callback: who waits for it, who runs it, and the slot that its answer goes into.

use super::answers::Answers;
use crate::beam::{Env, Pid, Shared, TermEnv, Word, atoms};
use crate::interp::{Context, Kind, Request};
use parking_lot::{Condvar, Mutex};
use py_core::protocol::Cancel;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What came back: `{ok, Value}` or `{raised, Kind, Reason, Text, Stack, Story}`.
pub(crate) struct Reply {
    pub(crate) env: TermEnv,
    pub(crate) word: Word,
}

enum Slot {
    Waiting,
    Answered(Reply),
    /// The answer was taken, or nobody wants it any more.
    Over,
}

/// Who waits. Erlang may keep its references to a callback for long after whoever waited has gone.
pub(super) enum Waiter {
    /// The owner thread of a context, at its mailbox.
    Owner(Weak<Context>),
    /// A thread of Python's own.
    Thread(Condvar),
    /// An event loop, which has given the call a number.
    Loop(Weak<Answers>, u64),
    /// The caller of the request, whose answer the value is.
    Caller(Weak<Context>),
}

/// What became of the value of a function that has taken the place of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finished {
    Answered,
    /// Nobody waits for the answers of casts.
    Cast,
    /// Nobody waits any more.
    Unwanted,
}

/// Where the process that runs a callback waits itself.
struct Awaited {
    request: u64,
    context: Arc<AtomicU64>,
}

/// See the module.
pub(crate) struct Callback {
    /// The request whose code called; none for threads of Python's own.
    request: Option<Shared<Request>>,
    /// Who waits can run nested requests meanwhile.
    serves: bool,
    /// The process that waits for the request runs it.
    by_caller: bool,
    waiter: Waiter,
    slot: Mutex<Slot>,
    awaited: Mutex<Option<Awaited>>,
}

impl Callback {
    pub(super) fn new(
        request: Option<Shared<Request>>,
        serves: bool,
        by_caller: bool,
        waiter: Waiter,
    ) -> Shared<Self> {
        Shared::new(Self {
            request,
            serves,
            by_caller,
            waiter,
            slot: Mutex::new(Slot::Waiting),
            awaited: Mutex::default(),
        })
    }

    /// A function takes the place of a request.
    pub(crate) fn tail(request: Shared<Request>, context: &Arc<Context>) -> Shared<Self> {
        let waiter = Waiter::Caller(Arc::downgrade(context));
        Self::new(Some(request), false, false, waiter)
    }

    pub(crate) fn request(&self) -> Option<&Shared<Request>> {
        self.request.as_ref()
    }

    pub(crate) fn serves(&self) -> bool {
        self.serves
    }

    fn parent(&self) -> Option<&Shared<Callback>> {
        self.request.as_ref()?.origin.parent.as_ref()
    }

    /// Whether it is `other`, or was made by code that `other` led to.
    pub(crate) fn is_or_descends_from(&self, other: &Self) -> bool {
        let mut next = Some(self);
        while let Some(callback) = next {
            if std::ptr::eq(callback, other) {
                return true;
            }
            next = callback.parent().map(|parent| &**parent);
        }
        false
    }

    /// Itself, or the nearest of those that led to it, whose answer somebody waits for.
    pub(crate) fn wanted(self_: &Shared<Self>) -> Option<Shared<Self>> {
        let mut next = Some(self_);
        while let Some(callback) = next {
            if callback.is_wanted() {
                return Some(callback.clone());
            }
            next = callback.parent();
        }
        None
    }

    /// Whether the code of a request led to it by callbacks that have no answer yet.
    pub(crate) fn comes_from(&self, request: &Request) -> bool {
        let mut next = Some(self);
        while let Some(callback) = next {
            if callback.request().is_some_and(|own| own.id == request.id) && callback.is_wanted() {
                return true;
            }
            next = callback.parent().map(|parent| &**parent);
        }
        false
    }

    /// Whether somebody waits for its answer.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(*self.slot.lock(), Slot::Waiting)
    }

    /// The process that runs it waits for a request now.
    pub(super) fn awaits(&self, request: &Request) {
        *self.awaited.lock() = Some(Awaited {
            request: request.id,
            context: request.context.clone(),
        });
    }

    /// That request is over.
    pub(crate) fn awaits_no_more(&self, request: u64) {
        let mut awaited = self.awaited.lock();
        if awaited.as_ref().is_some_and(|one| one.request == request) {
            *awaited = None;
        }
    }

    /// The request that its process waits for, and the serial of the context that has it.
    pub(crate) fn awaited(&self) -> Option<(u64, u64)> {
        let awaited = self.awaited.lock();
        awaited
            .as_ref()
            .map(|one| (one.request, one.context.load(Ordering::SeqCst)))
    }

    /// The dispatcher answers for the process that runs it, and this does for the dispatcher. `false`: there is none.
    pub(super) fn handed_to(self_: &Shared<Self>, dispatcher: Pid) -> bool {
        self_.monitor(None, &dispatcher)
    }

    /// A dispatcher has ended, and its processes with it.
    pub(crate) fn down(&self, caller: Env) {
        let env = TermEnv::new();
        let known = atoms();
        if let Waiter::Caller(_) = &self.waiter {
            let reason = env.tuple(&[known.exit, known.noproc]);
            let result = env.tuple(&[known.error, reason]);
            let _wanted = self.finish(caller, result);
            return;
        }
        let text = env.binary(b"exit: noproc (the process that ran the function has ended)");
        let word = env.tuple(&[
            known.raised,
            known.exit,
            known.noproc,
            text,
            env.list_of(&[]),
            known.none,
        ]);
        let _wanted = self.put(None, Reply { env, word });
    }

    /// The answer has come; `renewed` is what the caller waits with from now on. `false`: nobody wants it.
    pub(crate) fn answer(&self, renewed: Option<Word>, answer: Word) -> bool {
        if !self.is_wanted() {
            return false;
        }
        // Copying may take long, so it comes before the lock.
        let env = self.space();
        let word = env.copy(answer);
        self.put(renewed, Reply { env, word })
    }

    /// The value of a function that has taken the place of its request: `{ok, Value}` or `{error, Reason}`.
    pub(crate) fn finish(&self, caller: Env, result: Word) -> Finished {
        let first = matches!(
            std::mem::replace(&mut *self.slot.lock(), Slot::Over),
            Slot::Waiting
        );
        let Some(request) = self.request.as_ref().filter(|_| first) else {
            return Finished::Unwanted;
        };
        let mut env = self.space();
        let result = env.copy(result);
        let answered = Request::finish(request, caller, &mut env, result);
        if let Some(context) = self.context() {
            context.envs.put(env);
        }
        match (answered, request.kind) {
            (_, Kind::Cast) => Finished::Cast,
            (true, _) => Finished::Answered,
            (false, _) => Finished::Unwanted,
        }
    }

    fn space(&self) -> TermEnv {
        self.context()
            .map_or_else(TermEnv::new, |context| context.envs.take())
    }

    /// The context that it came from, where that is known.
    fn context(&self) -> Option<Arc<Context>> {
        match &self.waiter {
            Waiter::Owner(context) | Waiter::Caller(context) => context.upgrade(),
            Waiter::Thread(_) | Waiter::Loop(..) => None,
        }
    }

    fn put(&self, renewed: Option<Word>, reply: Reply) -> bool {
        let mut slot = self.slot.lock();
        if !matches!(*slot, Slot::Waiting) {
            return false;
        }
        if self.by_caller
            && let (Some(request), Some(tag)) = (&self.request, renewed)
            && !request.resume(tag)
        {
            *slot = Slot::Over;
            drop(slot);
            self.wake();
            return false;
        }
        if let Waiter::Loop(answers, number) = &self.waiter {
            *slot = Slot::Over;
            drop(slot);
            if let Some(answers) = answers.upgrade() {
                answers.came(*number, reply);
            }
            return true;
        }
        *slot = Slot::Answered(reply);
        drop(slot);
        self.wake();
        true
    }

    fn wake(&self) {
        match &self.waiter {
            Waiter::Owner(_) => {
                if let Some(context) = self.context() {
                    context.nudge();
                }
            }
            Waiter::Thread(came) => {
                came.notify_one();
            }
            Waiter::Loop(..) | Waiter::Caller(_) => {}
        }
    }

    /// The answer, if it has come.
    pub(super) fn take(&self) -> Option<Reply> {
        let mut slot = self.slot.lock();
        if !matches!(*slot, Slot::Answered(_)) {
            return None;
        }
        match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Answered(reply) => Some(reply),
            Slot::Waiting | Slot::Over => None,
        }
    }

    /// Whoever waited does so no more; gives the answer if it has come just now.
    pub(super) fn give_up(&self) -> Option<Reply> {
        let mut slot = self.slot.lock();
        match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Answered(reply) => Some(reply),
            Slot::Over => None,
            Slot::Waiting => {
                if let Some(request) = self.request.as_ref().filter(|_| self.by_caller) {
                    // Its code goes on, unless it was cancelled or answered.
                    let _resumed = request.state.resume();
                }
                None
            }
        }
    }

    /// The process that should have run it takes the whole request back instead.
    pub(crate) fn cancel(&self) -> Cancel {
        let Some(request) = &self.request else {
            return Cancel::Already;
        };
        let mut slot = self.slot.lock();
        let waiting = matches!(*slot, Slot::Waiting);
        *slot = Slot::Over;
        drop(slot);
        match waiting {
            true if request.cancel_callback() => Cancel::Running,
            true => Cancel::Done,
            // The owner thread goes on already.
            false => request.cancel(),
        }
    }

    /// For a thread of Python's own: sleeps until the answer is there. `None`: it was given up.
    pub(super) fn wait(&self) -> Option<Reply> {
        let Waiter::Thread(came) = &self.waiter else {
            return self.take();
        };
        let mut slot = self.slot.lock();
        while matches!(*slot, Slot::Waiting) {
            came.wait(&mut slot);
        }
        match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Answered(reply) => Some(reply),
            Slot::Waiting | Slot::Over => None,
        }
    }

    /// For a thread of Python's own: it shall wait no longer.
    pub(super) fn release_thread(&self) {
        let _came_too_late = self.give_up();
        self.wake();
    }
}
