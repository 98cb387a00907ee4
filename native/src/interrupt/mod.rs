//! Interrupting what an interpreter runs, from any thread, without its GIL.
//!
//! The interrupter names a request. A pending call, which CPython runs at the next safe point of that
//! interpreter, raises `erlang.Interrupted` if that request still runs, or waits below others that run on top of
//! it: those are interrupted first, each once, so that what they do on their way out is not interrupted again for
//! the sake of the requests below. A request that has ended meanwhile leaves nothing behind for the next one.
//! `time.sleep` waits on the same gate.
//!
//! What runs on top of an event loop has nothing to do with what lies below: it is a segment of its own, and the
//! interrupts of those below wait in theirs ([`segments`]). The steps of tasks belong to whom a context variable
//! names; only those of the one that is meant are interrupted ([`tasks`]).

mod blocked;
mod segments;
mod sleep;
mod tasks;

pub(crate) use blocked::choose_signal;
pub(crate) use sleep::{let_sleep, sleep_until, sleep_while, wake_sleepers};

use crate::py::{Object, Python, Raised, Result, api, ffi};
use parking_lot::{Condvar, Mutex};
use segments::Segment;
use std::cell::RefCell;
use std::ffi::{c_int, c_ulong, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tasks::Tasks;

/// Where an interrupt goes: an interpreter that is alive, and the thread in it.
struct Gate {
    interpreter: *mut ffi::PyInterpreterState,
    thread: c_ulong,
    os_thread: libc::pthread_t,
    state: *mut ffi::PyThreadState,
    /// `erlang.Interrupted` of that interpreter, and the context variable that says whose code runs; they outlive the
    /// gate.
    class: *mut ffi::PyObject,
    scope: *mut ffi::PyObject,
}

/// For so long after an interrupt the threads of the interpreter hand on what is for one of them: some turns at the GIL.
const CHASE: Duration = Duration::from_millis(30);

/// How long code may clean up, and an event loop may, before they are interrupted again.
const CLEAN_UP: Duration = Duration::from_millis(250);
const CLEAN_UP_OF_LOOP: Duration = Duration::from_secs(1);

/// What an interrupt met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    /// It does not run, or no longer.
    Nothing,
    /// Code that shall end.
    Code,
    /// Code that waits below others, or has heard of it.
    Later,
}

// SAFETY: the pointers are only used while the interpreter lives: its owner closes the gate first.
unsafe impl Send for Gate {}

/// The interruptible side of one context. Requests are named by numbers; 0 names none.
#[derive(Default)]
pub(crate) struct Interrupts {
    /// The innermost one.
    running: AtomicU64,
    /// Those that it runs on top of, outermost first; and whether there are any, for the owner thread alone.
    below: Mutex<Vec<u64>>,
    nested: AtomicBool,
    wanted: AtomicU64,
    /// The innermost request that was interrupted last, for its own or another's sake.
    delivered: AtomicU64,
    /// Somebody has interrupted it more than once: what its event loop runs is to end, too, not only what that waits for.
    insists: AtomicBool,
    posted: AtomicBool,
    /// A thread is about to wake the owner thread from the system; the exception was set for that by a thread.
    waking: AtomicBool,
    set_from_outside: AtomicBool,
    /// The owner thread waits, with the GIL released, and looks for interrupts itself; and for code of which scope.
    asleep: AtomicBool,
    sleeper: AtomicI64,
    /// The owner thread is inside of the context's event loop: what runs is a step, or the loop itself.
    pumps: AtomicBool,
    /// How often that loop has come to where it waits.
    turns: AtomicU64,
    /// How long other threads of the interpreter hand the pending call on.
    chase_until: Mutex<Option<Instant>>,
    gate: Mutex<Option<Gate>>,
    woken: Condvar,
    /// The request whose event loop was interrupted last where it waits, and when.
    ended_loop: Mutex<Option<(u64, Instant)>>,
    /// What lies below the code on top of event loops, outermost first. Changes under the lock of the gate.
    outer: Mutex<Vec<Segment>>,
    tasks: Tasks,
}

thread_local! {
    /// The context that the calling thread serves.
    static SERVED: RefCell<Option<Arc<Interrupts>>> = const { RefCell::new(None) };
}

impl Interrupts {
    /// The owner thread begins to serve: interrupts can reach it from now on.
    pub(crate) fn open(
        self: &Arc<Self>,
        _py: Python<'_>,
        class: *mut ffi::PyObject,
        scope: *mut ffi::PyObject,
    ) {
        // SAFETY: attached.
        let gate = unsafe {
            Gate {
                interpreter: ffi::PyInterpreterState_Get(),
                thread: ffi::PyThread_get_thread_ident(),
                os_thread: libc::pthread_self(),
                state: ffi::PyThreadState_Get(),
                class,
                scope,
            }
        };
        blocked::let_be_woken();
        *self.gate.lock() = Some(gate);
        SERVED.with(|served| *served.borrow_mut() = Some(self.clone()));
    }

    /// The owner thread stops serving: no interrupt touches the interpreter any more.
    pub(crate) fn close(&self) {
        *self.gate.lock() = None;
        SERVED.with(|served| *served.borrow_mut() = None);
    }

    /// The owner thread is about to run a request. Comes before the request's state becomes `running`, so
    /// that whoever cancels a running request finds it here.
    pub(crate) fn enter(&self, request: u64) {
        let before = self.running.load(Ordering::Relaxed);
        if before != 0 {
            // Under the lock, so that whoever looks for a request finds it in one of the two places.
            let mut below = self.below.lock();
            below.push(before);
            self.nested.store(true, Ordering::Relaxed);
            self.running.store(request, Ordering::SeqCst);
        } else {
            self.running.store(request, Ordering::SeqCst);
        }
    }

    /// The innermost request has ended; an interrupt that came late is taken back.
    pub(crate) fn leave(&self, py: Python<'_>) {
        self.take_back(py);
        if self.nested.load(Ordering::Relaxed) {
            // As above.
            let mut below = self.below.lock();
            self.running
                .store(below.pop().unwrap_or_default(), Ordering::SeqCst);
            self.nested.store(!below.is_empty(), Ordering::Relaxed);
        } else {
            self.running.store(0, Ordering::SeqCst);
        }
        self.insists.store(false, Ordering::SeqCst);
    }

    /// The request that runs, the innermost one, or 0.
    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::SeqCst)
    }

    /// Whether a request runs, or others run on top of it.
    fn runs(&self, request: u64) -> bool {
        if request == 0 || self.running() == request {
            return request != 0;
        }
        let below = self.below.lock();
        self.running() == request || below.contains(&request)
    }

    /// Whether an interrupt of `wanted` is one of `request`, too, which runs on top of it.
    fn covers(&self, wanted: u64, request: u64) -> bool {
        if wanted == request || wanted == 0 {
            return wanted == request;
        }
        let below = self.below.lock();
        let mut enclosing = below.iter().take_while(|&&one| one != request);
        enclosing.any(|&one| one == wanted)
    }

    /// Interrupts `request` if it runs here. Code that was interrupted already, and may be on its way out, is so
    /// `again` only where that is asked for.
    pub(crate) fn interrupt(self: &Arc<Self>, request: u64, again: bool) -> Met {
        let gate = self.gate.lock();
        let Some(target) = gate.as_ref() else {
            return Met::Nothing;
        };
        if !self.runs(request) {
            if !self.interrupt_below(request) {
                return Met::Nothing;
            }
            self.woken.notify_all();
            self.post(target);
            return Met::Later;
        }
        if again {
            self.delivered.store(0, Ordering::SeqCst);
            self.insists.store(true, Ordering::SeqCst);
        }
        let running = self.running();
        let was_interrupted = self.delivered.load(Ordering::SeqCst) == running;
        if request == running && was_interrupted {
            return Met::Code;
        }
        if !self.covers(self.wanted.load(Ordering::SeqCst), request) {
            self.wanted.store(request, Ordering::SeqCst);
        }
        if was_interrupted {
            // Its turn comes when what runs on top of it has ended.
            return Met::Code;
        }
        self.woken.notify_all();
        self.post(target);
        Met::Code
    }

    /// Has the pending call look once more at the next safe point, whether other code runs by then.
    ///
    /// Without the lock of the gate: CPython may give the GIL up here, and who gets it may wait for that lock.
    fn post_again(self: &Arc<Self>, _py: Python<'_>) {
        // SAFETY: attached.
        self.post_once(unsafe { ffi::PyInterpreterState_Get() });
    }

    /// Has the pending call made, at the next safe point of the interpreter.
    fn post(self: &Arc<Self>, target: &Gate) {
        *self.chase_until.lock() = Instant::now().checked_add(CHASE);
        self.post_once(target.interpreter);
    }

    /// The interpreter is alive: its gate is open, or the calling thread is attached to it.
    fn post_once(self: &Arc<Self>, interpreter: *mut ffi::PyInterpreterState) {
        if self.posted.swap(true, Ordering::SeqCst) {
            if cfg!(not(Py_3_13)) {
                remind(interpreter);
            }
            return;
        }
        let argument = Arc::into_raw(self.clone());
        // SAFETY: the interpreter is alive; `deliver` takes the reference over.
        let accepted = api::add_pending_call().is_some_and(|add| unsafe {
            add(interpreter, deliver, argument.cast_mut().cast(), 0) == 0
        });
        if !accepted {
            // The queue of pending calls is full; whoever repeats the interrupt tries again.
            self.posted.store(false, Ordering::SeqCst);
            // SAFETY: nobody took it over.
            drop(unsafe { Arc::from_raw(argument) });
        }
    }

    /// Whether an interrupt waits for what runs; asking takes it. One for a request below stays, so that all code on
    /// the way there is interrupted.
    fn take(&self) -> bool {
        let wanted = self.wanted.load(Ordering::SeqCst);
        if !self.concerns_what_runs(wanted) {
            return false;
        }
        let running = self.running();
        let ours = wanted != running
            || self
                .wanted
                .compare_exchange(wanted, 0, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        if ours {
            self.delivered.store(running, Ordering::SeqCst);
            self.insists.store(false, Ordering::SeqCst);
        }
        ours
    }

    /// Whether an interrupt waits for what runs.
    pub(crate) fn waits(&self) -> bool {
        self.concerns_what_runs(self.wanted.load(Ordering::SeqCst))
    }

    /// As [`Self::waits`], for code of this scope.
    pub(crate) fn waits_for(&self, scope: i64) -> bool {
        self.concerns_scope(scope) && self.waits() || self.tasks.wants(scope, self.pumps())
    }

    /// Whether code of this scope is the innermost request's, so that what interrupts that ends it.
    pub(crate) fn concerns_scope(&self, scope: i64) -> bool {
        let running = self.running();
        match scope {
            // Whatever runs when the context ends has to end with it.
            NOBODY.. if running >= UNASKED => true,
            NOBODY => !self.pumps(),
            _ => scope.cast_unsigned() == running,
        }
    }

    /// Whether the owner thread is inside of the context's event loop, and nothing runs on top.
    pub(crate) fn pumps(&self) -> bool {
        self.pumps.load(Ordering::SeqCst)
    }

    /// Says so; gives what was before.
    pub(crate) fn set_pumps(&self, pumps: bool) -> bool {
        self.pumps.swap(pumps, Ordering::SeqCst)
    }

    /// The loop has come to where it waits.
    pub(crate) fn count_turn(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the owner thread waits in an event loop, so that no step runs.
    fn is_parked(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) && self.sleeper.load(Ordering::SeqCst) == INSIDE
    }

    fn concerns_what_runs(&self, wanted: u64) -> bool {
        let running = self.running();
        self.runs(wanted) && (wanted == running || self.delivered.load(Ordering::SeqCst) != running)
    }

    /// The owner thread waits in `body`, for code of this scope, and looks for interrupts there or afterwards.
    pub(crate) fn asleep<T>(&self, py: Python<'_>, scope: i64, body: impl FnOnce() -> T) -> T {
        self.sleeper.store(scope, Ordering::SeqCst);
        self.asleep.store(true, Ordering::SeqCst);
        let result = py.detached(body);
        self.asleep.store(false, Ordering::SeqCst);
        result
    }

    /// As [`Self::take_raised`], for code of this scope.
    pub(crate) fn take_raised_for(&self, py: Python<'_>, scope: i64) -> Option<Raised> {
        if self.tasks.take(scope, self.pumps()) {
            return Some(self.exception(py));
        }
        self.concerns_scope(scope)
            .then(|| self.take_raised(py))
            .flatten()
    }

    /// The exception, if an interrupt waits for what runs. For waiting that was cut short on the owner thread.
    pub(crate) fn take_raised(&self, py: Python<'_>) -> Option<Raised> {
        let class = self.gate.lock().as_ref().map(|gate| gate.class)?;
        self.take().then(|| interrupted(py, class))
    }

    /// As [`Self::take_raised`], where an event loop waits: one that was ended there and comes back to wait cleans up,
    /// and is left alone for a while.
    pub(crate) fn take_raised_in_loop(&self, py: Python<'_>) -> Option<Raised> {
        let raised = self.take_raised(py)?;
        if self.is_cleaning_up() {
            raised.clear(py);
            return None;
        }
        Some(self.ends_loop(raised))
    }

    /// The same for a request whose time is over. Its code may have been interrupted for that, or by hand, before the loop
    /// saw it, and is on its way out.
    pub(crate) fn late_in_loop(&self, py: Python<'_>) -> Option<Raised> {
        let was_interrupted = self.delivered.load(Ordering::SeqCst) == self.running();
        (!was_interrupted && !self.is_cleaning_up()).then(|| self.ends_loop(self.raised(py)))
    }

    fn ends_loop(&self, raised: Raised) -> Raised {
        *self.ended_loop.lock() = Some((self.running(), Instant::now()));
        raised
    }

    fn is_cleaning_up(&self) -> bool {
        let running = self.running();
        self.ended_loop
            .lock()
            .is_some_and(|(request, at)| request == running && at.elapsed() < CLEAN_UP_OF_LOOP)
    }

    /// How long a request may go on after its interrupt, whose code, or what runs on top of it, has taken that and may be
    /// cleaning up. `None`: it has not taken any.
    pub(crate) fn grace(&self, request: u64) -> Option<Duration> {
        let has_taken =
            self.delivered.load(Ordering::SeqCst) == self.running() && self.runs(request);
        has_taken.then(|| match self.is_cleaning_up() {
            true => CLEAN_UP_OF_LOOP,
            false => CLEAN_UP,
        })
    }

    /// The exception of an interrupt, for what runs. One that is on its way for the same reason is taken back.
    pub(crate) fn raised(&self, py: Python<'_>) -> Raised {
        let running = self.running();
        let _on_its_way =
            self.wanted
                .compare_exchange(running, 0, Ordering::SeqCst, Ordering::SeqCst);
        self.delivered.store(running, Ordering::SeqCst);
        self.exception(py)
    }

    /// As [`Self::raised`], for code of this scope.
    pub(crate) fn raised_for(&self, py: Python<'_>, scope: i64) -> Raised {
        let _on_its_way = self.tasks.take(scope, self.pumps());
        if self.concerns_scope(scope) {
            return self.raised(py);
        }
        self.exception(py)
    }

    fn exception(&self, py: Python<'_>) -> Raised {
        match self.gate.lock().as_ref().map(|gate| gate.class) {
            Some(class) => interrupted(py, class),
            None => Raised::runtime_error(py, "the context has ended"),
        }
    }

    /// Runs inside the interpreter, in whichever of its threads came first.
    fn deliver(self: &Arc<Self>, py: Python<'_>) -> Result<()> {
        self.posted.store(false, Ordering::SeqCst);
        let target = self
            .gate
            .lock()
            .as_ref()
            .map(|gate| (gate.thread, gate.class, gate.scope));
        let Some((thread, class, scope)) = target else {
            return Ok(());
        };
        // SAFETY: attached.
        let is_own = unsafe { ffi::PyThread_get_thread_ident() } == thread;
        if is_own {
            let scope = current_scope(py, scope);
            if is_library_code(py) {
                // A loop that is left between two of its steps loses what it was about to do.
                if self.waits() || self.tasks.wants_step() {
                    self.post_again(py);
                }
                return Ok(());
            }
            if self.tasks.met(scope, self.pumps()) {
                return Err(interrupted(py, class));
            }
            if !self.concerns_scope(scope) || scope > 0 && !self.insists.load(Ordering::SeqCst) {
                // Somebody else's task, the loop itself, or what may yet come to where it waits: that looks for it.
                return Ok(());
            }
        } else {
            // Another thread of the interpreter was faster (in the main interpreter the contexts share it). An exception
            // that is set for a thread from outside is raised wherever that is, be it in the middle of an import.
            self.chase(py);
            return Ok(());
        }
        if self.take() {
            return Err(interrupted(py, class));
        }
        Ok(())
    }

    /// Has the owner thread looked for when it comes by, unless it sleeps, where it looks itself.
    fn chase(self: &Arc<Self>, py: Python<'_>) {
        let Some(until) = *self.chase_until.lock() else {
            return;
        };
        let wanted = self.waits() || self.tasks.wants_step();
        if wanted && !self.asleep.load(Ordering::SeqCst) && Instant::now() < until {
            self.post_again(py);
        }
    }
}

/// Code of no task.
pub(crate) const NOBODY: i64 = 0;

/// The inside of an event loop.
pub(crate) const INSIDE: i64 = -1;

/// Numbers from here on name code of users that no request asked for: finalisers, exit handlers.
pub(crate) const UNASKED: u64 = 1 << 63;

/// Whose code the thread runs, by the context variable: a request, [`NOBODY`], or a negative number for the inside of a
/// loop.
fn current_scope(py: Python<'_>, variable: *mut ffi::PyObject) -> i64 {
    let mut value = std::ptr::null_mut();
    // SAFETY: attached; a context variable of this interpreter. The value is a new reference, or null.
    let value = unsafe {
        if ffi::PyContextVar_Get(variable, std::ptr::null_mut(), &raw mut value) != 0 {
            ffi::PyErr_Clear();
        }
        Object::owned(py, value)
    };
    value.map_or(NOBODY, |value| {
        value.as_int().unwrap_or_else(|raised| {
            raised.clear(py);
            NOBODY
        })
    })
}

/// Whether the innermost code is that of a library that must not be left half-way: a loop would lose what it has in hand,
/// an import or a condition would keep its lock. It goes back to other code soon, or to where it looks for interrupts.
pub(crate) fn is_library_code(py: Python<'_>) -> bool {
    // SAFETY: attached; borrowed references, of which the first is a dict or null.
    let name = unsafe {
        let globals = ffi::PyEval_GetGlobals();
        if globals.is_null() {
            return false;
        }
        let name = ffi::PyDict_GetItemString(globals, c"__name__".as_ptr());
        if name.is_null() {
            return false;
        }
        Object::borrowed(py, name)
    };
    match name.str_of() {
        Ok(name) => {
            let name = name.unwrap_or_default();
            is_library(name.split('.').next().unwrap_or_default())
        }
        Err(raised) => {
            raised.clear(py);
            false
        }
    }
}

/// As that, by the name of the package.
fn is_library(package: &str) -> bool {
    matches!(
        package,
        "asyncio"
            | "erlang"
            | "importlib"
            | "_frozen_importlib"
            | "_frozen_importlib_external"
            | "selectors"
            | "threading"
            | "_weakrefset"
            | "weakref"
    )
}

/// Whose code the calling thread, an owner thread, runs.
pub(crate) fn scope_of_code(py: Python<'_>, interrupts: &Interrupts) -> i64 {
    let variable = interrupts.gate.lock().as_ref().map(|gate| gate.scope);
    variable.map_or(NOBODY, |variable| current_scope(py, variable))
}

/// The exception, of this class.
pub(crate) fn interrupted(py: Python<'_>, class: *mut ffi::PyObject) -> Raised {
    // SAFETY: attached; a class of this interpreter.
    let class = unsafe { Object::borrowed(py, class) };
    Raised::of_class(py, &class, "the call was interrupted from Erlang")
}

/// The pending call.
unsafe extern "C" fn deliver(argument: *mut c_void) -> c_int {
    // SAFETY: made by `Arc::into_raw` in `interrupt`, for this call alone.
    let interrupts = unsafe { Arc::from_raw(argument.cast::<Interrupts>().cast_const()) };
    // SAFETY: CPython runs pending calls attached.
    let py = unsafe { Python::assume_attached() };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| interrupts.deliver(py))) {
        Ok(Err(_raised)) => -1,
        _ => 0,
    }
}

/// Has the interpreter look at its pending calls. Below 3.13 a thread that is just giving the GIL up may clear the sign
/// that there are some, and code would run on for ever.
fn remind(interpreter: *mut ffi::PyInterpreterState) {
    // SAFETY: the interpreter is alive; the call does nothing. Where the queue is full the sign is set all the same.
    let _full = api::add_pending_call()
        .map(|add| unsafe { add(interpreter, look, std::ptr::null_mut(), 0) });
}

unsafe extern "C" fn look(_argument: *mut c_void) -> c_int {
    0
}

/// Makes the next thread of the interpreter that reaches a safe point end, unless it is the calling one.
/// `false` when that cannot be asked for.
pub(crate) fn evict_a_thread(interpreter: *mut ffi::PyInterpreterState) -> bool {
    // SAFETY: the caller's thread state keeps the interpreter alive. The argument is a number.
    api::add_pending_call().is_some_and(|add| unsafe {
        let own = ffi::PyThread_get_thread_ident() as usize;
        add(interpreter, evict, std::ptr::without_provenance_mut(own), 0) == 0
    })
}

/// The pending call of [`evict_a_thread`].
unsafe extern "C" fn evict(keeper: *mut c_void) -> c_int {
    // SAFETY: CPython runs pending calls attached.
    unsafe {
        if ffi::PyThread_get_thread_ident() as usize == keeper.addr() {
            return 0;
        }
        ffi::PyErr_SetNone(ffi::PyExc_SystemExit);
    }
    -1
}
