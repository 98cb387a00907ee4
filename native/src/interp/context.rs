//! What Erlang's side and the owner thread share of one context.

use super::callback::{Relay, wake_loops};
use super::queue::Queue;
use super::{COUNTERS, Callback, Client, Counters, Request, Scope, reaper, registry};
use crate::beam::{Env, EnvPool, Pid, Shared, TermEnv, Word, atoms};
use crate::interrupt::Interrupts;
use crate::term::Conversion;
use crate::tracing;
use parking_lot::{Mutex, RwLock};
use py_core::mailbox::{Mailbox, Take};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Which interpreter a context runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// One of its own, with its own GIL.
    OwnGil,
    /// The main one, shared with all other contexts of this mode.
    Worker,
}

/// What comes through a mailbox.
pub(crate) enum Envelope {
    Request(Shared<Request>),
    /// The next turn of a request that was suspended.
    Continue(Shared<Request>),
    /// The namespace with this number goes: its process has ended, or nobody refers to it.
    NamespaceDown(u64),
    /// Erlang has dropped references to objects of the interpreter.
    Dropped,
    /// The owner thread should look at what it waits for: a callback has its answer, or is to be given up.
    Nudge,
}

/// Why a context closed, and what becomes of its queue.
#[derive(Clone, Copy)]
pub(crate) enum Closing {
    /// Everything queued is answered `{error, {context_died, Reason}}`.
    Answer(Word),
    /// The queue stays, to be moved to a replacement or answered later.
    Keep(Word),
}

/// What a context is started with.
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// How long an interrupt may stay without effect before the context counts as stuck.
    pub(crate) stuck_after: Duration,
    /// How many requests may wait.
    pub(crate) max_queue: usize,
    pub(crate) conversion: Conversion,
}

/// Numbers from here on name code of users that no request asked for: finalisers, exit handlers.
const UNASKED: u64 = 1 << 63;

/// The environments that a context keeps for reuse.
const SPARE_ENVS: usize = 256;

/// The requests that were started and have not ended. They are looked at together: one that goes from one place to
/// another is never in neither.
#[derive(Default)]
struct Begun {
    /// The request that runs, on top of those that wait for callbacks; innermost last.
    running: Vec<Shared<Request>>,
    /// The callbacks that the owner thread waits for, on top of one another; innermost last.
    waits: Vec<Wait>,
    /// Requests that wait for their next turn.
    suspended: Vec<Shared<Request>>,
}

struct Wait {
    callback: Shared<Callback>,
    /// How many requests the thread runs here and further out.
    depth: usize,
}

/// What stands between a request and its turn, where that can be found out.
pub(crate) enum Turn {
    /// Nothing that depends on it.
    Comes,
    /// Code that waits for it.
    Never,
    /// The thread waits for this callback first.
    After(Shared<Callback>),
}

/// See the module.
pub(crate) struct Context {
    pub(crate) serial: u64,
    /// The Erlang process that owns the context.
    pub(crate) pid: Pid,
    pub(crate) mode: Mode,
    pub(crate) mailbox: Mailbox<Envelope>,
    pub(crate) interrupts: Arc<Interrupts>,
    pub(crate) envs: EnvPool,
    pub(crate) queue: Queue,
    pub(crate) conversion: Conversion,
    /// Messages to other nodes.
    pub(crate) relay: Relay,
    /// See [`Settings::stuck_after`].
    pub(crate) stuck_after: Duration,
    /// CPython's number for the interpreter; -1 until it is born.
    pub(crate) interpreter_id: AtomicI64,
    clients: RwLock<HashMap<Word, Shared<Client>>>,
    client_count: AtomicUsize,
    requests: AtomicU64,
    unasked: AtomicU64,
    /// The reaper has an eye on unasked code.
    watched: AtomicBool,
    begun: Mutex<Begun>,
    /// For the owner thread: what it has put off may hold something for another wait than the one that put it off.
    pub(super) for_other_waits: AtomicBool,
    closing: Mutex<Option<Closing>>,
    /// The owner thread is done with it.
    ended: AtomicBool,
    set_aside: AtomicBool,
    /// Its code ignored an interrupt for too long, and it was given up.
    stuck: AtomicBool,
    /// No code of users runs for it any more.
    done_with_code: AtomicBool,
    /// What lives as long as the context: the monitor of its process.
    companions: Mutex<Vec<Box<dyn Send>>>,
}

impl Context {
    pub(crate) fn new(pid: Pid, settings: &Settings) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            serial: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            pid,
            mode: settings.mode,
            mailbox: Mailbox::new(),
            interrupts: Arc::default(),
            envs: EnvPool::new(SPARE_ENVS),
            queue: Queue::new(settings.max_queue),
            conversion: settings.conversion,
            relay: Relay::default(),
            stuck_after: settings.stuck_after,
            interpreter_id: AtomicI64::new(-1),
            clients: RwLock::default(),
            client_count: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            unasked: AtomicU64::new(UNASKED),
            watched: AtomicBool::new(false),
            begun: Mutex::default(),
            for_other_waits: AtomicBool::new(false),
            closing: Mutex::default(),
            ended: AtomicBool::new(false),
            set_aside: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            done_with_code: AtomicBool::new(false),
            companions: Mutex::default(),
        })
    }

    /// A number that no other request of this node has.
    pub(crate) fn next_request(&self) -> u64 {
        (self.serial << 40) | (self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The record of a process here, made at its first use.
    pub(crate) fn client(&self, env: Option<Env>, pid: Pid) -> Shared<Client> {
        if let Some(client) = self.clients.read().get(&pid.word()) {
            return client.clone();
        }
        let mut clients = self.clients.write();
        if let Some(client) = clients.get(&pid.word()) {
            return client.clone();
        }
        let client = Client::monitored(env, pid, self);
        if !client.is_dead() {
            self.client_count.fetch_add(1, Ordering::Relaxed);
            clients.insert(pid.word(), client.clone());
        }
        client
    }

    /// How busy it is: the processes that use it, then the requests that wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        (
            self.client_count.load(Ordering::Relaxed),
            self.queue.waiting(),
        )
    }

    /// A client's process has ended: its namespace goes when the requests that it left are done, its running
    /// request is interrupted unless it is a cast.
    pub(crate) fn client_down(self: &Arc<Self>, client: &Client) {
        let removed = self.clients.write().remove(&client.pid.word());
        if removed.is_some() {
            self.client_count.fetch_sub(1, Ordering::Relaxed);
        }
        self.drop_namespace(client.id);
        for request in self.begun() {
            // By process: a request that moved here has its client record in the context that it came from.
            if request.client.pid.word() == client.pid.word() {
                request.caller_ended();
            }
        }
    }

    /// A namespace goes once the requests before this have run. May be called on any thread.
    pub(crate) fn drop_namespace(&self, id: u64) {
        // A closed mailbox needs no notice: all namespaces go with the context.
        let _accepted = self.notify(Envelope::NamespaceDown(id));
    }

    /// Erlang has dropped references to objects: the owner thread gives them back. May be called on any thread;
    /// `false` when nobody will see to it.
    pub(crate) fn objects_dropped(&self) -> bool {
        self.notify(Envelope::Dropped)
    }

    /// `false`: the mailbox is closed. Nobody empties that of a stuck context, so it takes no notices.
    fn notify(&self, notice: Envelope) -> bool {
        !self.mailbox.is_closed() && self.mailbox.push(notice)
    }

    /// The owner thread says that it runs a request, on top of those that it runs already.
    pub(crate) fn push_running(&self, request: Shared<Request>) {
        self.begun.lock().running.push(request);
    }

    /// The innermost request runs no longer, nor will it.
    pub(crate) fn pop_running(&self) {
        let request = self.begun.lock().running.pop();
        if let Some(request) = request {
            request.code_ended();
        }
    }

    /// The innermost request waits for its next turn.
    pub(super) fn suspend_running(&self) {
        let mut begun = self.begun.lock();
        if let Some(request) = begun.running.pop() {
            begun.suspended.push(request);
        }
    }

    /// Whether a request that waits for its next turn will use a namespace.
    pub(super) fn has_suspended_in(&self, namespace: u64) -> bool {
        let uses = |request: &Shared<Request>| {
            let of = match &request.scope {
                Scope::Own => &request.client,
                Scope::Of(client) => client,
                Scope::In(_) => return false,
            };
            of.id == namespace && !request.state.is_over()
        };
        self.begun.lock().suspended.iter().any(uses)
    }

    /// The turn of a request has come that was suspended.
    pub(super) fn resume_suspended(&self, request: &Request) {
        let mut begun = self.begun.lock();
        let place = |other: &Shared<Request>| other.id == request.id;
        if let Some(place) = begun.suspended.iter().position(place) {
            let request = begun.suspended.swap_remove(place);
            begun.running.push(request);
        }
    }

    /// All requests that were started and have not ended.
    fn begun(&self) -> Vec<Shared<Request>> {
        let begun = self.begun.lock();
        let all = begun.suspended.iter().chain(&begun.running);
        all.cloned().collect()
    }

    /// The request whose code runs now.
    pub(crate) fn innermost(&self) -> Option<Shared<Request>> {
        self.begun.lock().running.last().cloned()
    }

    /// What has to end here before the turn comes of a request that was made in `made_in`, as far as it depends on
    /// what `parent` led to.
    pub(super) fn turn(&self, made_in: &Callback, parent: &Callback) -> Turn {
        let begun = self.begun.lock();
        let leads = |wait: &Wait| made_in.is_or_descends_from(&wait.callback);
        let place = begun.waits.iter().rposition(leads);
        // What runs further in than the wait on top of which it can run.
        let (waits, running) = match place {
            Some(place) => {
                let depth = begun.waits[place].depth;
                (&begun.waits[place + 1..], &begun.running[depth..])
            }
            None => (&begun.waits[..], &begun.running[..]),
        };
        let serves = place.is_none_or(|place| begun.waits[place].callback.serves());
        if !serves
            || waits
                .iter()
                .any(|wait| parent.is_or_descends_from(&wait.callback))
            // Code may have led to it without waiting for it here, as that of an event loop does.
            || running.iter().any(|running| parent.comes_from(running))
        {
            return Turn::Never;
        }
        match waits.last() {
            Some(wait) if wait.depth == begun.running.len() => Turn::After(wait.callback.clone()),
            _ => Turn::Comes,
        }
    }

    /// The owner thread runs nothing any more, and cannot say what it ran: it has panicked.
    pub(crate) fn code_ended(&self) {
        for request in self.begun() {
            request.code_ended();
        }
    }

    /// The owner thread says that it waits for a callback, with the innermost request.
    pub(super) fn push_wait(&self, callback: Shared<Callback>) {
        let mut begun = self.begun.lock();
        let depth = begun.running.len();
        begun.waits.push(Wait { callback, depth });
    }

    /// It does so no more.
    pub(super) fn pop_wait(&self) {
        let wait = self.begun.lock().waits.pop();
        // Not under the lock: it may have been the last to know the callback.
        drop(wait);
    }

    /// Whether the owner thread waits for a callback, or runs something on top of one.
    fn has_waits(&self) -> bool {
        !self.begun.lock().waits.is_empty()
    }

    /// The owner thread looks at what it waits for, if it does. May be called on any thread.
    pub(super) fn nudge(&self) {
        let _seen = self.notify(Envelope::Nudge);
    }

    /// The owner thread is about to run code of users that no request asked for. It is interrupted when it
    /// takes too long, and counts as stuck as any other code does.
    pub(crate) fn enter_unasked(self: &Arc<Self>) {
        let number = self.unasked.fetch_add(1, Ordering::Relaxed) + 1;
        self.interrupts.enter(number);
        // One eye is enough: it looks at what runs by then.
        if !self.watched.swap(true, Ordering::SeqCst) {
            reaper().watch(self, number);
        }
    }

    /// The number under which unasked code runs now, if `before` is over or was none; the eye closes when no
    /// such code runs.
    pub(crate) fn next_unasked(&self, before: u64) -> Option<u64> {
        let seen = |number: u64| number >= UNASKED && number != before;
        let running = self.interrupts.running();
        if seen(running) {
            return Some(running);
        }
        self.watched.store(false, Ordering::SeqCst);
        // Such code may have begun just now, with the eye still open.
        let running = self.interrupts.running();
        (seen(running) && !self.watched.swap(true, Ordering::SeqCst)).then_some(running)
    }

    /// Interrupts a request if it runs here, again and again until it ends.
    pub(crate) fn interrupt(self: &Arc<Self>, request: u64) {
        if self.interrupt_once(request, false) {
            reaper().repeat_interrupt(self, request);
        }
    }

    /// Interrupts a request if it runs here, also while it waits for a callback; `false` when it does not run.
    /// `again`: also if it was interrupted before.
    pub(crate) fn interrupt_once(&self, request: u64, again: bool) -> bool {
        let interrupted = self.interrupts.interrupt(request, again);
        // In this order: the owner thread says that it waits before it looks for interrupts.
        if interrupted && self.has_waits() {
            self.nudge();
        }
        if interrupted {
            wake_loops(self.serial);
        }
        interrupted
    }

    /// Interrupts a request, and what the callbacks that it led to wait for in this and other contexts.
    pub(crate) fn interrupt_chain(self: &Arc<Self>, request: u64) {
        // All of it is looked for first, since what is interrupted ends. The outermost is interrupted first, so that
        // no code goes on with what the processes make of that.
        let mut chain = vec![(self.clone(), request)];
        while let Some((context, request)) = chain.last()
            && let Some((awaited, serial)) = context.awaited_by(*request)
            && let Some(context) = registry().by_serial(serial)
        {
            chain.push((context, awaited));
        }
        let mut seen = Vec::new();
        for (context, request) in chain {
            // What runs on top of it there is interrupted with it.
            if !seen.contains(&context.serial) {
                seen.push(context.serial);
                context.interrupt(request);
            }
        }
    }

    /// What the process waits for that runs the callback of a request.
    fn awaited_by(&self, request: u64) -> Option<(u64, u64)> {
        let begun = self.begun.lock();
        let own = |wait: &&Wait| {
            let of = wait.callback.request();
            of.is_some_and(|one| one.id == request)
        };
        begun.waits.iter().rev().find(own)?.callback.awaited()
    }

    /// Interrupts whatever runs here; `false` when nothing does.
    pub(crate) fn interrupt_running(self: &Arc<Self>) -> bool {
        let request = self.interrupts.running();
        if request == 0 || !self.interrupt_once(request, true) {
            return false;
        }
        reaper().repeat_interrupt(self, request);
        true
    }

    /// Closes the context for whatever reason comes first; the reaper sees to the rest, so that this may be
    /// called on a scheduler.
    pub(crate) fn close(self: &Arc<Self>, closing: Closing) {
        {
            let mut present = self.closing.lock();
            // A queue that was kept for a replacement may still be answered instead.
            match (&*present, closing) {
                (None, _) | (Some(Closing::Keep(_)), Closing::Answer(_)) => {
                    *present = Some(closing)
                }
                _ => return,
            }
        }
        self.shut();
    }

    fn shut(self: &Arc<Self>) {
        registry().hide(self);
        self.mailbox.close();
        reaper().close(self);
    }

    /// Gives the context up: its queue waits for a replacement, and its process is told.
    pub(crate) fn give_up(self: &Arc<Self>) {
        {
            // Together, so that a context which is done is not counted.
            let mut closing = self.closing.lock();
            if self.done_with_code.load(Ordering::SeqCst) {
                return;
            }
            if !self.stuck.swap(true, Ordering::SeqCst) {
                Counters::up(&COUNTERS.stuck);
            }
            if closing.is_some() {
                // It closes already, and its queue is seen to.
                return;
            }
            *closing = Some(Closing::Keep(atoms().stuck));
        }
        self.shut();
        self.tell(|_| atoms().stuck);
    }

    /// The owner thread runs no code of users for this context any more.
    pub(crate) fn recovered(&self) {
        let _closing = self.closing.lock();
        self.done_with_code.store(true, Ordering::SeqCst);
        if self.stuck.swap(false, Ordering::SeqCst) {
            Counters::down(&COUNTERS.stuck);
        }
    }

    /// Why it closed, once it has.
    pub(crate) fn closing(&self) -> Option<Closing> {
        *self.closing.lock()
    }

    /// Answers the requests that run here in place of the owner thread, and interrupts them. For the reaper.
    pub(crate) fn abandon_running(self: &Arc<Self>, reason: Word) {
        for request in self.begun() {
            Request::abandon(&request, reason);
            self.interrupt(request.id);
        }
    }

    /// The owner thread is done with it, and says so to the context's process.
    pub(crate) fn end(self: &Arc<Self>) {
        let first = !self.ended.swap(true, Ordering::SeqCst);
        if first && self.mode == Mode::OwnGil && !self.set_aside.load(Ordering::SeqCst) {
            tracing::leave();
        }
        if self.closing().is_none() {
            self.close(Closing::Answer(atoms().noproc));
        }
        reaper().forget(self);
        self.release_all();
        self.forget_if_over();
        self.tell(|_| atoms().ended);
    }

    /// Its interpreter cannot be ended or used again: threads of Python's own may go on in it.
    pub(super) fn set_aside(&self) {
        self.set_aside.store(true, Ordering::SeqCst);
        Counters::up(&COUNTERS.set_aside);
    }

    /// Leaves the registry once the thread is done and the queue was answered: a queue that still waits for a
    /// replacement must be found when everything stops.
    pub(crate) fn forget_if_over(&self) {
        let answered = matches!(self.closing(), Some(Closing::Answer(_)));
        if answered && self.ended.load(Ordering::SeqCst) {
            registry().remove(self);
        }
    }

    /// Keeps something until the context has ended.
    pub(crate) fn keep_alive(&self, companion: Box<dyn Send>) {
        self.companions.lock().push(companion);
    }

    /// The context's process has ended without closing it first: it was killed.
    pub(crate) fn orphaned(self: &Arc<Self>) {
        // The queue of a stuck context is left to whoever replaces it.
        if self.closing().is_none() {
            self.close(Closing::Answer(atoms().killed));
        }
    }

    /// Takes over the queue of a stuck context; gives the number of requests. `env` is the calling NIF's.
    pub(crate) fn adopt(self: &Arc<Self>, env: Env, stuck: &Arc<Self>) -> usize {
        let mut moved = 0;
        while let Take::Item(envelope) = stuck.mailbox.take() {
            if let Envelope::Request(request) = envelope {
                request.move_to(self, env);
                moved += 1;
                if !self.mailbox.push(Envelope::Request(request)) {
                    // This one has closed, too; its reaper looks once more.
                    reaper().close(self);
                }
            }
        }
        // Whatever comes too late to be moved is answered.
        stuck.close(Closing::Answer(atoms().stuck));
        moved
    }

    /// Nothing is monitored for this context any more.
    pub(crate) fn release_all(&self) {
        let companions = std::mem::take(&mut *self.companions.lock());
        drop(companions);
        self.forget_clients();
    }

    /// No process is monitored for this context any more.
    pub(crate) fn forget_clients(&self) {
        let clients = std::mem::take(&mut *self.clients.write());
        drop(clients);
    }

    /// Sends `{py_context, Serial, What}` to the context's process. Not for schedulers.
    pub(crate) fn tell(&self, make: impl FnOnce(&TermEnv) -> Word) {
        let mut env = TermEnv::new();
        let what = make(&env);
        let serial = env.int(self.serial.cast_signed());
        let message = env.tuple(&[atoms().py_context, serial, what]);
        env.send(&self.pid, message);
    }
}
