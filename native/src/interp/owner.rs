//! The owner thread: it makes an interpreter, serves contexts with it one after another, and ends it.

use super::code::CodeCache;
use super::continuation::Continuation;
use super::failure::Attributes;
use super::loops::{Aside, LoopTools, RunningLoop};
use super::many::Batch;
use super::modules::Modules;
use super::scope::Namespaces;
use super::sources::Sources;
use super::stack;
use super::stream::{self, StreamTools};
use super::{
    COUNTERS, Closing, Context, Counters, Envelope, Mode, Stage, Station, callback, execute, loops,
    output, python_functions, reactor, retire, spares, warm,
};
use crate::beam::{TermEnv, Word, atoms};
use crate::erlang_module::{self, Types};
use crate::facts::facts;
use crate::memory;
use crate::py::{Kept, Object, Python, Raised, Result, StartError, ThreadState, ffi};
use crate::sandbox::{self, Environment, Files, GuardedInterpreter, Guarding, Imports, Policy};
use crate::term::{AtomNames, Held, KeyNames, Simplifier};
use parking_lot::Mutex;
use py_core::mailbox::Take;
use py_core::seccomp::is_confined;
use py_core::spin::Spinner;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// CPython below 3.14 counts C recursion instead of measuring the stack, and overruns smaller ones.
pub(crate) const STACK: usize = 16 << 20;

/// Making an interpreter excludes making another: parts of CPython's start are not safe in parallel.
static CREATION: Mutex<()> = Mutex::new(());

/// A context in a busy mailbox gives its GIL up for a moment after this many requests, for other threads
/// of its interpreter. Requests that run no bytecode would never do so themselves.
const TURN: usize = 64;

/// What an owner thread works with.
pub(crate) struct Owner {
    pub(crate) types: Types,
    pub(crate) names: AtomNames,
    pub(crate) keys: KeyNames,
    pub(super) modules: Modules,
    pub(crate) code: CodeCache,
    pub(crate) namespaces: Namespaces,
    pub(crate) held: Arc<Held>,
    pub(crate) simplifier: Simplifier,
    pub(crate) attributes: Attributes,
    pub(crate) mode: Mode,
    /// `erlang._boot`.
    pub(crate) boot: crate::py::Kept,
    pub(crate) interpreter_id: i64,
    pub(crate) spinner: Spinner,
    /// What code finds that calls Erlang, while a context is served.
    pub(crate) stage: Option<Rc<Stage>>,
    /// The step of a birth that has failed just now.
    pub(super) failed_step: Option<Word>,
    /// `erlang._tasks`, once it was needed, and asyncio's functions, once it is loaded.
    pub(crate) loop_tools: Option<LoopTools>,
    pub(crate) running_loop: Option<RunningLoop>,
    /// What suspended requests go on with.
    pub(crate) continuations: HashMap<u64, Continuation>,
    /// Batches between two turns, by request.
    pub(super) batches: HashMap<u64, Batch>,
    /// The iterators of streams that are not asynchronous, by request.
    pub(crate) streams: HashMap<u64, Kept>,
    /// `erlang._streams`, once it was needed.
    pub(crate) stream_tools: Option<StreamTools>,
}

/// Finds or starts an owner thread for a context.
pub(crate) fn start(context: Arc<Context>) -> std::io::Result<()> {
    if context.mode == Mode::OwnGil && (spares::assign(&context) || warm::assign(&context)) {
        return Ok(());
    }
    start_thread(context)
}

/// Starts a context on a thread of its own that was promised an interpreter which will not be.
pub(super) fn start_alone(context: &Arc<Context>) {
    if start_thread(context.clone()).is_err() {
        context.close(Closing::Answer(atoms().noproc));
        context.end();
    }
}

fn start_thread(context: Arc<Context>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(format!("py-ctx-{}", context.serial))
        .stack_size(STACK)
        .spawn(move || {
            Counters::up(&COUNTERS.threads);
            live(context);
            Counters::down(&COUNTERS.threads);
        })
        .map(drop)
}

/// Ends the context if its thread panics: whoever waits must get an answer whatever happens.
struct EndOnPanic<'a>(&'a Arc<Context>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let interpreter = self.0.interpreter_id.load(Ordering::Relaxed);
            Station::leave(interpreter, self.0);
            self.0.interrupts.close();
            self.0.code_ended();
            self.0.close(Closing::Answer(atoms().crashed));
            self.0.abandon_running(atoms().crashed);
            self.0.set_aside();
            self.0.end();
            Counters::down(&COUNTERS.threads);
        }
    }
}

/// The life of an owner thread.
fn live(first: Arc<Context>) {
    stack::begins_here();
    memory::keep_large_blocks();
    let speaks = output::speaks_for(&first);
    let born = {
        let _guard = EndOnPanic(&first);
        let policy = &first.guard.policy;
        let is_closed = || first.mailbox.is_closed();
        birth(first.mode, policy, is_closed, || first.set_aside())
    };
    match born {
        Ok((state, owner)) => {
            drop(speaks);
            serve_all(state, owner, first);
        }
        Err(StartError(text)) => {
            first.tell(|env| env.tuple(&[atoms().failed, env.binary(text.as_bytes())]));
            first.end();
        }
    }
}

/// Makes an interpreter that waits for a context.
pub(super) fn make_spare(
    policy: &Policy,
    given_up: impl Fn() -> bool,
    set_aside: impl FnOnce(),
) -> std::result::Result<(ThreadState, Owner), StartError> {
    stack::begins_here();
    memory::keep_large_blocks();
    let (mut state, owner) = birth(Mode::OwnGil, policy, given_up, set_aside)?;
    if policy.imports == Imports::All && policy.native {
        let attached = state.attach();
        let py = attached.python();
        let loaded = owner.boot.get(py).getattr_str("load_ahead");
        if let Err(raised) = loaded.and_then(|load| load.call(&[])) {
            // What is not loaded now is loaded when somebody imports it.
            raised.clear(py);
        }
    }
    Ok((state, owner))
}

/// The context gets an interpreter that was made ahead, on the calling thread, which made it.
pub(super) fn serve_from(state: ThreadState, owner: Owner, context: Arc<Context>) {
    Counters::up(&COUNTERS.threads);
    serve_all(state, owner, context);
    Counters::down(&COUNTERS.threads);
}

/// Ends an interpreter that no context has used.
pub(super) fn end_spare(mut state: ThreadState, owner: Owner) {
    {
        let attached = state.attach();
        owner.release(attached.python());
    }
    let _ended = retire::discard(state, Mode::OwnGil, keep_spare);
}

/// An interpreter that no context has used can neither be used nor ended.
pub(super) fn keep_spare() {
    Counters::up(&COUNTERS.set_aside);
}

/// Serves a context, and those that follow it in the same interpreter.
fn serve_all(mut state: ThreadState, mut owner: Owner, first: Arc<Context>) {
    let mut next = Some(first);
    while let Some(context) = next.take() {
        let _guard = EndOnPanic(&context);
        let _speaks = output::speaks_for(&context);
        let _guarding = Guarding::thread(context.guard.clone());
        let own = owner.mode == Mode::OwnGil;
        let _guarded =
            own.then(|| GuardedInterpreter::new(owner.interpreter_id, context.guard.clone()));
        owner.serve(&mut state, &context);
        if let Some(root) = context.known_root() {
            root.let_go();
        }
        match retire::retire(state, owner, &context) {
            Some((kept_state, kept_owner, following)) => {
                (state, owner) = (kept_state, kept_owner);
                next = Some(following);
            }
            None => return,
        }
    }
}

/// Makes an interpreter and prepares it for user code.
fn birth(
    mode: Mode,
    policy: &Policy,
    given_up: impl Fn() -> bool,
    set_aside: impl FnOnce(),
) -> std::result::Result<(ThreadState, Owner), StartError> {
    // First of all: `site` and `.pth` files run code of users.
    sandbox::seccomp::enter(policy).map_err(StartError)?;
    if mode == Mode::OwnGil {
        memory::enter();
    }
    // SAFETY: contexts are started only while the runtime runs, so CPython is initialised.
    let main = unsafe { ThreadState::of_main() };
    let mut state = match mode {
        Mode::Worker => main,
        Mode::OwnGil => main
            .into_own_gil(|| CREATION.try_lock(), || drop(CREATION.lock()), given_up)
            .inspect_err(|_| memory::leave())?,
    };
    memory::register(&state);
    let prepared = {
        let attached = state.attach();
        let py = attached.python();
        prepare(py, mode, policy).map_err(|raised| StartError(told(py, raised)))
    };
    match prepared {
        Ok(owner) => Ok((state, owner)),
        Err(error) => {
            let _ended = retire::discard(state, mode, set_aside);
            Err(error)
        }
    }
}

/// An exception in words, for errors of our own code.
pub(crate) fn told(py: Python<'_>, raised: Raised) -> String {
    let Some(exception) = raised.fetch(py) else {
        return "unknown error".into();
    };
    exception.to_text().unwrap_or_else(|raised| {
        raised.clear(py);
        "unknown error".into()
    })
}

/// The part of a birth that runs inside the interpreter. `site` and `.pth` files run here: user code, so no
/// lock is held.
fn prepare(py: Python<'_>, mode: Mode, policy: &Policy) -> Result<Owner> {
    let types = match mode {
        Mode::OwnGil => install(py)?,
        Mode::Worker => erlang_module::installed(py)?,
    };
    let boot = boot(py)?;
    if mode == Mode::OwnGil {
        prepare_code(py, &boot)?;
        restrict(py, &boot, policy)?;
    } else if policy.imports != Imports::All {
        // The others in this interpreter are asked as well, and may import what they like.
        sandbox::replace_imports(&Object::import(py, "_erlang")?)?;
    }
    Ok(Owner {
        types,
        names: AtomNames::default(),
        keys: KeyNames::default(),
        modules: Modules::default(),
        code: CodeCache::new(Sources::new(py)?),
        namespaces: Namespaces::default(),
        held: match mode {
            Mode::OwnGil => Arc::default(),
            Mode::Worker => Held::of_main(),
        },
        simplifier: Simplifier::default(),
        attributes: Attributes::new(py)?,
        mode,
        boot: boot.keep(),
        interpreter_id: py.interpreter_id(),
        spinner: Spinner::default(),
        stage: None,
        failed_step: None,
        loop_tools: None,
        running_loop: None,
        continuations: HashMap::new(),
        batches: HashMap::new(),
        streams: HashMap::new(),
        stream_tools: None,
    })
}

/// Prepares the main interpreter, in which contexts of mode `worker` run.
pub(crate) fn prepare_main(py: Python<'_>) -> std::result::Result<(), String> {
    let prepared = install(py).and_then(|types| {
        types.release(py);
        prepare_code(py, &boot(py)?)?;
        sandbox::remember_modules_of_main(py)
    });
    prepared.map_err(|raised| told(py, raised))
}

/// Makes a new interpreter ready for code of users.
fn prepare_code(py: Python<'_>, boot: &Object<'_>) -> Result<()> {
    sandbox::replace_all(&Object::import(py, "_erlang")?)?;
    boot.getattr_str("prepare")?.call(&[])?;
    Ok(())
}

/// What a policy says once and for all of an interpreter.
fn restrict(py: Python<'_>, boot: &Object<'_>, policy: &Policy) -> Result<()> {
    if let Environment::Only(names) = &policy.environment {
        let names = names
            .iter()
            .map(|name| Object::bytes(py, name.as_bytes()))
            .collect::<Result<Vec<_>>>()?;
        let names = names.iter().collect::<Vec<_>>();
        boot.getattr_str("limit_environment")?.call(&names)?;
    }
    if policy.write != Files::All {
        boot.getattr_str("write_no_bytecode")?.call(&[])?;
    }
    if policy.imports != Imports::All {
        sandbox::replace_imports(&Object::import(py, "_erlang")?)?;
    }
    Ok(())
}

/// Makes the module `_erlang`.
fn install(py: Python<'_>) -> Result<Types> {
    let types = erlang_module::install(py)?;
    python_functions::add(py, &callback::METHODS)?;
    python_functions::add(py, &callback::STATE_METHODS)?;
    python_functions::add(py, &loops::METHODS)?;
    python_functions::add(py, &output::METHODS)?;
    python_functions::add(py, &reactor::METHODS)?;
    python_functions::add(py, &stream::METHODS)?;
    Ok(types)
}

/// Makes the package `erlang` importable and gives its `_boot`.
fn boot(py: Python<'_>) -> Result<Object<'_>> {
    let package = Object::str(py, &facts().package_path)?;
    // SAFETY: attached; `sys.path` is borrowed and a list, unless someone has replaced it.
    unsafe {
        let path = ffi::PySys_GetObject(c"path".as_ptr());
        if path.is_null() {
            return Err(Raised::runtime_error(py, "sys.path is missing"));
        }
        match ffi::PySequence_Contains(path, package.as_ptr()) {
            1 => {}
            0 if ffi::PyList_Insert(path, 0, package.as_ptr()) == 0 => {}
            _ => return Err(Raised::seen(py)),
        }
    }
    Object::import(py, "erlang._boot")
}

impl Owner {
    /// Serves a context until it closes.
    fn serve(&mut self, state: &mut ThreadState, context: &Arc<Context>) {
        context.mailbox.consume_here();
        if let Some(holder) = memory::held() {
            holder.account.restart(context.memory_limit);
            let _first = context.memory.set(holder);
        }
        context.watch.begin();
        self.stage = Some(Stage::open(context));
        Station::enter(self.interpreter_id, &self.held, context);
        context
            .interpreter_id
            .store(self.interpreter_id, Ordering::Relaxed);
        context.confined.store(is_confined(), Ordering::Relaxed);
        {
            let attached = state.attach();
            context.interrupts.open(
                attached.python(),
                self.types.interrupted(),
                self.types.scope(),
            );
            self.watch_dropped(context);
            let py = attached.python();
            if let Some(inline) = &context.inline {
                inline.begin(py);
            }
            if let Err(raised) = sandbox::trust_modules(py, &context.guard) {
                // Nothing but memory can be missing; then no modules are found, and their imports say so.
                raised.clear(py);
            }
            self.unasked(py, context, |owner| {
                owner.held.release_dropped(py, context.serial)
            });
        }
        let id = self.interpreter_id;
        context.tell(|env| env.tuple(&[atoms().ready, env.int(id)]));
        if self.mode == Mode::OwnGil {
            warm::top_up();
        }
        let mut reply = TermEnv::new();
        let mut looked = false;
        while let Some(first) = self.next(context, &mut reply, looked) {
            let attached = state.attach();
            context.watch.note_attaching();
            let py = attached.python();
            self.handle(py, context, first, &mut reply);
            looked = match self.mode {
                Mode::OwnGil => self.serve_turn(py, context, &mut reply),
                // The main GIL is shared by all worker contexts: each request is a turn of its own.
                Mode::Worker => false,
            };
            // The next loop may have been made in the last turn of the one before.
            while !context.mailbox.is_closed() && self.drive(py, context) {
                // Whatever has come meanwhile was served in the event loop.
                looked = false;
            }
        }
    }

    /// Does what may run finalisers.
    pub(crate) fn unasked(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        work: impl FnOnce(&mut Self),
    ) {
        context.enter_unasked();
        work(self);
        context.interrupts.leave(py);
    }

    /// Lets destructors of Erlang's references wake this thread.
    fn watch_dropped(&self, context: &Arc<Context>) {
        let serial = context.serial;
        let context = Arc::downgrade(context);
        let wake = move || {
            // What a closed context leaves is seen to when it ends.
            let _seen_to = context
                .upgrade()
                .is_some_and(|context| context.objects_dropped());
        };
        self.held.serve(serial, Arc::new(wake));
    }

    /// Serves what follows while the GIL is held anyway; it is kept while looking for more, which takes less
    /// long than other threads of the interpreter have to wait for running code. Says whether it looked in
    /// vain.
    fn serve_turn(&mut self, py: Python<'_>, context: &Arc<Context>, reply: &mut TermEnv) -> bool {
        for _ in 0..TURN {
            if context.mailbox.is_closed() || self.has_loop() {
                break;
            }
            match context.mailbox.take() {
                Take::Item(envelope) => self.handle(py, context, envelope, reply),
                // Schedulers cannot enter while the GIL is held.
                Take::Empty if context.is_called_inline() => return false,
                Take::Empty
                    if context
                        .mailbox
                        .look(&mut self.spinner, &facts().spin_budget) => {}
                Take::Empty => return true,
                Take::Closed => return false,
            }
        }
        false
    }

    /// Waits, detached, for something that needs Python; `None` when the context has closed. `looked`: the
    /// mailbox was watched for a while already.
    fn next(
        &mut self,
        context: &Arc<Context>,
        reply: &mut TermEnv,
        mut looked: bool,
    ) -> Option<Envelope> {
        // What lies in a closed mailbox is the reaper's, to answer or to move.
        while !context.mailbox.is_closed() {
            match context.mailbox.take() {
                Take::Item(Envelope::Request(request)) => {
                    if !execute::echo(&request, reply) {
                        return Some(Envelope::Request(request));
                    }
                    if let Some(body) = request.body.lock().take() {
                        context.envs.put(body.env);
                    }
                    looked = false;
                }
                // Whatever else it was about is over.
                Take::Item(Envelope::Nudge) => context.tell_of_places(),
                Take::Item(envelope) => return Some(envelope),
                Take::Closed => break,
                Take::Empty => self.idle(context, looked),
            }
        }
        None
    }

    /// Waits until there is something in the mailbox. Meanwhile schedulers may run code themselves.
    fn idle(&mut self, context: &Arc<Context>, looked: bool) {
        let mut spinner = std::mem::take(&mut self.spinner);
        let inline = context.inline.as_ref();
        let opened = inline.and_then(|inline| inline.open(self));
        if looked || !context.mailbox.look(&mut spinner, &facts().spin_budget) {
            context.mailbox.sleep(&mut spinner, None);
        }
        drop(opened);
        self.spinner = spinner;
    }

    /// Sees to something while code waits below it.
    pub(crate) fn handle_on_top(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        envelope: Envelope,
    ) {
        // The answer that the code below works on lies in another one.
        let mut reply = context.envs.take();
        {
            let _aside = Aside::step(py, self, &context.interrupts);
            self.handle(py, context, envelope, &mut reply);
        }
        context.envs.put(reply);
    }

    fn handle(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        envelope: Envelope,
        reply: &mut TermEnv,
    ) {
        match envelope {
            Envelope::Request(request) => self.run(py, context, request, reply),
            Envelope::NamespaceDown(id) if context.has_suspended_in(id) => {
                // A cast outlives its sender. It goes on before this comes again.
                context.drop_namespace(id);
            }
            Envelope::NamespaceDown(id) => {
                self.unasked(py, context, |owner| owner.namespaces.remove(py, id));
            }
            Envelope::Dropped => {
                self.unasked(py, context, |owner| {
                    owner.held.release_dropped(py, context.serial)
                });
            }
            Envelope::Connection(handoff) => self.connection_arrived(py, *handoff),
            Envelope::Garbage => self.unasked(py, context, |owner| {
                owner.boot_step(py, "collect_garbage");
            }),
            Envelope::Inline => {
                let mut ready = false;
                self.unasked(py, context, |owner| {
                    owner.boot_step(py, "load_for_schedulers");
                    ready = Self::guards_schedulers(py);
                });
                if let Some(inline) = context.inline.as_ref().filter(|_| ready) {
                    inline.is_prepared();
                }
            }
            Envelope::Continue(request) => self.go_on(py, context, &request, reply),
            Envelope::Nudge => context.tell_of_places(),
        }
        self.relieve(py, context);
    }

    /// `false`: what refuses it could not be put there, and calls go on by the mailbox.
    fn guards_schedulers(py: Python<'_>) -> bool {
        let module = Object::import(py, "_erlang");
        let done = module.and_then(|module| sandbox::replace_for_schedulers(&module));
        done.map_err(|raised| raised.clear(py)).is_ok()
    }

    /// Calls a function of `erlang._boot` that nobody waits for. One that fails is missed at most.
    fn boot_step(&self, py: Python<'_>, name: &str) {
        let boot = self.boot.get(py);
        let called = boot.getattr_str(name).and_then(|step| step.call(&[]));
        if let Err(raised) = called {
            raised.clear(py);
        }
    }

    /// After code that was refused memory, for whatever no request waits for.
    fn relieve(&mut self, py: Python<'_>, context: &Arc<Context>) {
        if context
            .memory
            .get()
            .is_some_and(|holder| holder.account.is_strained())
        {
            self.unasked(py, context, |_| Self::clean_up(py, context));
        }
    }

    /// After code that was refused memory: what it has left in circles goes, and nobody else hears of it. Runs code of
    /// users.
    pub(in crate::interp) fn clean_up(py: Python<'_>, context: &Context) {
        if let Some(holder) = context.memory.get()
            && holder.account.take_strained()
        {
            memory::collect(py);
            holder.forget();
        }
    }
}
