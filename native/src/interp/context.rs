//! What Erlang's side and the owner thread share of one context.

use super::begun::Begun;
use super::callback::{Relay, wake_loops};
use super::inline::Inline;
use super::output::{Destination, Output};
use super::queue::Queue;
use super::reactor::{Handoff, Shared as Connections};
use super::spares::Sort;
use super::watch::Watch;
use super::{COUNTERS, Client, Counters, Request, reaper, registry};
use crate::beam::{Env, EnvPool, Pid, Shared, TermEnv, Word, WordMap, atoms};
use crate::event::Root;
use crate::interrupt::{Interrupts, Met, UNASKED};
use crate::memory::Holder;
use crate::sandbox::{Guard, Listener, Policy};
use crate::term::Conversion;
use crate::tracing;
use parking_lot::{Mutex, RwLock};
use py_core::event::{Poller, Wake};
use py_core::mailbox::{Mailbox, Take};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
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
    /// A connection was handed over.
    Connection(Box<Handoff>),
    /// So much garbage lies in the interpreter that it should be collected.
    Garbage,
    /// Schedulers are going to run code: what that may need is to be there.
    Inline,
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
    /// How many event loops may run on top of one another in the requests of the context.
    pub(crate) max_nested_runs: usize,
    pub(crate) conversion: Conversion,
    /// What its code may do.
    pub(crate) policy: Arc<Policy>,
    /// See [`Sort::birth`].
    pub(crate) birth: Arc<[u8]>,
    /// How many bytes the interpreter may have; `usize::MAX`: as many as there are.
    pub(crate) memory_limit: usize,
    /// How many bytes of a result may go to Erlang; `usize::MAX`: any number.
    pub(crate) max_result_size: usize,
    /// Where what its code prints goes.
    pub(crate) output: Destination,
    /// How long code that prints waits for room.
    pub(crate) output_timeout: Duration,
}

/// Names the steps of the event loop of a context that closes, whosesoever they are.
const STEPS: u64 = u64::MAX;

/// The environments that a context keeps for reuse.
const SPARE_ENVS: usize = 256;

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
    /// What its code may do, and what was refused to it.
    pub(crate) guard: Arc<Guard>,
    /// See [`Sort::birth`].
    pub(crate) birth: Mutex<Arc<[u8]>>,
    /// The kernel refuses system calls to its thread.
    pub(crate) confined: AtomicBool,
    pub(crate) memory_limit: usize,
    pub(crate) max_result_size: usize,
    /// Whose memory it uses, once its interpreter is there; none in the main one.
    pub(crate) memory: OnceLock<&'static Holder>,
    /// Messages to other nodes.
    pub(crate) relay: Relay,
    /// What its code prints and logs.
    pub(super) output: Output,
    /// See [`Settings::stuck_after`].
    pub(crate) stuck_after: Duration,
    /// CPython's number for the interpreter; -1 until it is born.
    pub(crate) interpreter_id: AtomicI64,
    clients: RwLock<WordMap<Word, Shared<Client>>>,
    client_count: AtomicUsize,
    requests: AtomicU64,
    unasked: AtomicU64,
    /// The reaper has an eye on unasked code.
    watched: AtomicBool,
    pub(super) begun: Mutex<Begun>,
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
    /// What the emulator watches while the thread sleeps in an event loop; made with the first loop.
    root: OnceLock<Root>,
    /// The thread sleeps in the set of this loop, since the context closes.
    sleeps_in: Mutex<Option<Arc<Poller>>>,
    /// What is known of its connections, once it takes some.
    pub(crate) reactor: OnceLock<Arc<Connections>>,
    /// See [`Settings::max_nested_runs`].
    pub(super) max_nested_runs: usize,
    /// What lives as long as the context: the monitor of its process.
    companions: Mutex<Vec<Box<dyn Send>>>,
    pub(crate) watch: Watch,
    /// For schedulers that run its code themselves, where they may.
    pub(crate) inline: Option<Box<Inline>>,
}

impl Context {
    pub(crate) fn new(pid: Pid, settings: &Settings) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let serial = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new_cyclic(|this| Self {
            serial,
            pid,
            mode: settings.mode,
            mailbox: Mailbox::new(),
            interrupts: Arc::default(),
            envs: EnvPool::new(SPARE_ENVS),
            queue: Queue::new(settings.max_queue),
            conversion: settings.conversion,
            guard: Arc::new(Guard::new(
                settings.policy.clone(),
                Some(Self::listener(this.clone())),
            )),
            birth: Mutex::new(settings.birth.clone()),
            confined: AtomicBool::new(false),
            memory_limit: settings.memory_limit,
            max_result_size: settings.max_result_size,
            memory: OnceLock::new(),
            relay: Relay::default(),
            output: Output::new(settings.output, settings.output_timeout),
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
            root: OnceLock::new(),
            sleeps_in: Mutex::default(),
            reactor: OnceLock::new(),
            max_nested_runs: settings.max_nested_runs,
            companions: Mutex::default(),
            watch: Watch::default(),
            inline: Inline::new(settings),
        })
    }

    /// Which interpreters it may be given, and may follow it in its own.
    pub(super) fn sort(&self) -> Sort {
        Sort {
            policy: self.guard.policy.clone(),
            birth: self.birth.lock().clone(),
        }
    }

    /// Tells the context's process of what was refused.
    fn listener(context: Weak<Self>) -> Listener {
        Box::new(move |name, count| {
            if let Some(context) = context.upgrade() {
                context.tell(|env| {
                    let name = env.binary(name.as_bytes());
                    env.tuple(&[atoms().refused, name, env.int(count.cast_signed())])
                });
            }
        })
    }

    /// A number that no other request of this node has.
    pub(crate) fn next_request(&self) -> u64 {
        (self.serial << 40) | (self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// How many requests there were.
    pub(super) fn request_count(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
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
                Request::unpark(&request);
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
        if self.interrupt_once(request, false) != Met::Nothing {
            reaper().repeat_interrupt(self, request);
        }
    }

    /// Interrupts a request if it runs here, also while it waits for a callback or in an event loop. `again`: also if it
    /// was interrupted before.
    pub(crate) fn interrupt_once(&self, request: u64, again: bool) -> Met {
        let mut met = self.interrupts.interrupt(request, again);
        if met == Met::Nothing && self.has_task(request) {
            met = if again {
                self.interrupts.interrupt_task_again(request)
            } else {
                self.interrupts.interrupt_task(request);
                Met::Code
            };
            if !self.has_task(request) {
                self.interrupts.forget_task(request);
            }
        } else if request == STEPS {
            met = self.interrupts.interrupt_lasting_step();
        }
        if met != Met::Nothing {
            self.look_up();
        }
        met
    }

    /// The owner thread looks for interrupts if it sleeps.
    fn look_up(&self) {
        // In this order: the owner thread says that it waits before it looks for interrupts.
        if self.has_waits() {
            self.nudge();
        }
        wake_loops(self.serial);
        if let Some(poller) = &*self.sleeps_in.lock() {
            poller.wake();
        }
    }

    /// Whether schedulers run its code themselves, so that the owner thread keeps the interpreter no longer than it has to.
    pub(super) fn is_called_inline(&self) -> bool {
        self.inline
            .as_ref()
            .is_some_and(|inline| inline.is_wanted())
    }

    /// For the owner thread: whoever waits for a place for a connection is told, if there is one.
    pub(super) fn tell_of_places(&self) {
        if let Some(connections) = self.reactor.get() {
            connections.tell_waiters();
        }
    }

    /// The owner thread looks up from a loop's own set, if it sleeps in one. May be called on any thread.
    pub(super) fn ring(&self) {
        if let Some(poller) = &*self.sleeps_in.lock() {
            poller.ring();
        }
    }

    /// The owner thread sleeps in a loop's own set while `body` runs.
    pub(super) fn sleeping_in<T>(&self, poller: &Arc<Poller>, body: impl FnOnce() -> T) -> T {
        *self.sleeps_in.lock() = Some(poller.clone());
        let result = body();
        *self.sleeps_in.lock() = None;
        result
    }

    /// For the owner thread: what the emulator watches for it. `None`: there are no descriptors left, at the moment.
    pub(super) fn root(&self) -> Option<&Root> {
        if self.root.get().is_none() {
            // Nobody else makes one.
            let _first = self.root.set(Root::new().ok()?);
        }
        self.root.get()
    }

    /// That, if there is one.
    pub(crate) fn known_root(&self) -> Option<&Root> {
        self.root.get()
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

    /// Interrupts whatever runs here; `false` when nothing does.
    pub(crate) fn interrupt_running(self: &Arc<Self>) -> bool {
        let request = self.interrupts.running();
        if let Some(inline) = &self.inline
            && inline.interrupt(self)
        {
            return true;
        }
        if request == 0 {
            let interrupted = self.interrupts.interrupt_any_task();
            self.look_up();
            return interrupted;
        }
        if self.interrupt_once(request, true) == Met::Nothing {
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
            if let Some(connections) = self.reactor.get() {
                connections.cut_off();
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
        self.release_answers();
        for request in self.begun() {
            Request::abandon(&request, reason);
            self.interrupt(request.id);
        }
        if self.interrupts.drives_tasks() {
            reaper().repeat_interrupt(self, STEPS);
        }
    }

    /// The owner thread is done with it, and says so to the context's process.
    pub(crate) fn end(self: &Arc<Self>) {
        let first = !self.ended.swap(true, Ordering::SeqCst);
        self.watch.end();
        if first && self.mode == Mode::OwnGil && !self.set_aside.load(Ordering::SeqCst) {
            tracing::leave();
        }
        if self.closing().is_none() {
            self.close(Closing::Answer(atoms().noproc));
        }
        reaper().forget(self);
        self.release_all();
        self.forget_if_over();
        self.finish_output();
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
        // Taking from its own queue would never end, and one that is open has a thread that serves it.
        if Arc::ptr_eq(self, stuck) || stuck.closing().is_none() {
            return 0;
        }
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

    /// Asks the context's process to have the emulator watch the descriptors of the loop that sleeps.
    pub(super) fn ask_for_arming(&self) {
        self.tell(|_| atoms().arm);
    }

    /// Sends `{py_context, Serial, What}` to the context's process. On a scheduler only within [`CallingNif`].
    pub(crate) fn tell(&self, make: impl FnOnce(&TermEnv) -> Word) {
        let mut env = TermEnv::new();
        let what = make(&env);
        let serial = env.int(self.serial.cast_signed());
        let message = env.tuple(&[atoms().py_context, serial, what]);
        env.send(&self.pid, message);
    }
}

impl Wake for Context {
    fn wake(&self) {
        self.mailbox.wake();
    }
}
