//! Interrupting what an interpreter runs, from any thread, without its GIL.
//!
//! The interrupter names a request. A pending call, which CPython runs at the next safe point of that
//! interpreter, raises `erlang.Interrupted` if that request still runs, or waits below others that run on top of
//! it: those are interrupted first, each once, so that what they do on their way out is not interrupted again for
//! the sake of the requests below. A request that has ended meanwhile leaves nothing behind for the next one.
//! `time.sleep` waits on the same gate.

use crate::py::{Object, Python, Raised, Result, api, ffi};
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::ffi::{c_int, c_ulong, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Where an interrupt goes: an interpreter that is alive, and the thread in it.
struct Gate {
    interpreter: *mut ffi::PyInterpreterState,
    thread: c_ulong,
    /// `erlang.Interrupted` of that interpreter, which outlives the gate.
    class: *mut ffi::PyObject,
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
    posted: AtomicBool,
    /// The owner thread waits, with the GIL released, and looks for interrupts itself.
    asleep: AtomicBool,
    /// An asynchronous exception was set, which has to be taken back when the request ends.
    scheduled: AtomicBool,
    gate: Mutex<Option<Gate>>,
    woken: Condvar,
}

thread_local! {
    /// The context that the calling thread serves.
    static SERVED: RefCell<Option<Arc<Interrupts>>> = const { RefCell::new(None) };
}

impl Interrupts {
    /// The owner thread begins to serve: interrupts can reach it from now on.
    pub(crate) fn open(self: &Arc<Self>, _py: Python<'_>, class: *mut ffi::PyObject) {
        // SAFETY: attached.
        let gate = unsafe {
            Gate {
                interpreter: ffi::PyInterpreterState_Get(),
                thread: ffi::PyThread_get_thread_ident(),
                class,
            }
        };
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
    pub(crate) fn leave(&self, _py: Python<'_>) {
        if self.nested.load(Ordering::Relaxed) {
            // As above.
            let mut below = self.below.lock();
            self.running
                .store(below.pop().unwrap_or_default(), Ordering::SeqCst);
            self.nested.store(!below.is_empty(), Ordering::Relaxed);
        } else {
            self.running.store(0, Ordering::SeqCst);
        }
        self.take_back();
    }

    /// Takes a scheduled exception back: the request has ended, or gets its interrupt in another way.
    fn take_back(&self) {
        if self.scheduled.swap(false, Ordering::SeqCst) {
            // SAFETY: on the owner thread, attached; null takes a scheduled exception back.
            unsafe {
                ffi::PyThreadState_SetAsyncExc(
                    ffi::PyThread_get_thread_ident().cast_signed(),
                    std::ptr::null_mut(),
                )
            };
        }
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

    /// Interrupts `request` if it runs here; `false` when it does not (any more). Code that was interrupted already,
    /// and may be on its way out, is so `again` only where that is asked for.
    pub(crate) fn interrupt(self: &Arc<Self>, request: u64, again: bool) -> bool {
        let gate = self.gate.lock();
        let Some(target) = gate.as_ref() else {
            return false;
        };
        if !self.runs(request) {
            return false;
        }
        if again {
            self.delivered.store(0, Ordering::SeqCst);
        }
        let running = self.running();
        let was_interrupted = self.delivered.load(Ordering::SeqCst) == running;
        if request == running && was_interrupted {
            return true;
        }
        if !self.covers(self.wanted.load(Ordering::SeqCst), request) {
            self.wanted.store(request, Ordering::SeqCst);
        }
        if was_interrupted {
            // Its turn comes when what runs on top of it has ended.
            return true;
        }
        self.woken.notify_all();
        if !self.posted.swap(true, Ordering::SeqCst) {
            let argument = Arc::into_raw(self.clone());
            // SAFETY: the gate is open, so the interpreter is alive; `deliver` takes the reference over.
            let accepted = api::add_pending_call().is_some_and(|add| unsafe {
                add(target.interpreter, deliver, argument.cast_mut().cast(), 0) == 0
            });
            if !accepted {
                // The queue of pending calls is full; whoever repeats the interrupt tries again.
                self.posted.store(false, Ordering::SeqCst);
                // SAFETY: nobody took it over.
                drop(unsafe { Arc::from_raw(argument) });
            }
        }
        true
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
        }
        ours
    }

    /// Whether an interrupt waits for what runs.
    pub(crate) fn waits(&self) -> bool {
        self.concerns_what_runs(self.wanted.load(Ordering::SeqCst))
    }

    fn concerns_what_runs(&self, wanted: u64) -> bool {
        let running = self.running();
        self.runs(wanted) && (wanted == running || self.delivered.load(Ordering::SeqCst) != running)
    }

    /// The owner thread waits in `body`, and looks for interrupts there or afterwards.
    pub(crate) fn asleep<T>(&self, py: Python<'_>, body: impl FnOnce() -> T) -> T {
        self.asleep.store(true, Ordering::SeqCst);
        let result = py.detached(body);
        self.asleep.store(false, Ordering::SeqCst);
        result
    }

    /// The exception, if an interrupt waits for what runs. For waiting that was cut short on the owner thread.
    pub(crate) fn take_raised(&self, py: Python<'_>) -> Option<Raised> {
        let class = self.gate.lock().as_ref().map(|gate| gate.class)?;
        self.take().then(|| {
            self.take_back();
            interrupted(py, class)
        })
    }

    /// The exception of an interrupt, for what runs. One that is on its way for the same reason is taken back.
    pub(crate) fn raised(&self, py: Python<'_>) -> Raised {
        let running = self.running();
        let _on_its_way =
            self.wanted
                .compare_exchange(running, 0, Ordering::SeqCst, Ordering::SeqCst);
        self.delivered.store(running, Ordering::SeqCst);
        self.take_back();
        match self.gate.lock().as_ref().map(|gate| gate.class) {
            Some(class) => interrupted(py, class),
            None => Raised::runtime_error(py, "the context has ended"),
        }
    }

    /// Runs inside the interpreter, in whichever of its threads came first.
    fn deliver(&self, py: Python<'_>) -> Result<()> {
        self.posted.store(false, Ordering::SeqCst);
        let target = self
            .gate
            .lock()
            .as_ref()
            .map(|gate| (gate.thread, gate.class));
        let Some((thread, class)) = target else {
            return Ok(());
        };
        // SAFETY: attached.
        let is_own = unsafe { ffi::PyThread_get_thread_ident() } == thread;
        // What is raised in a thread that waits would be seen when the wait is over.
        if !is_own && self.asleep.load(Ordering::SeqCst) || !self.take() {
            return Ok(());
        }
        if is_own {
            return Err(interrupted(py, class));
        }
        // Another thread of the interpreter was faster (in the main interpreter the contexts share it).
        // SAFETY: attached; the class lives as long as the interpreter.
        unsafe {
            self.scheduled.store(true, Ordering::SeqCst);
            ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), class);
        }
        Ok(())
    }
}

fn interrupted(py: Python<'_>, class: *mut ffi::PyObject) -> Raised {
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

/// Interpreters that are ending: their threads' sleeps end early.
static ENDING: Mutex<Vec<i64>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();

/// Ends the sleeps of an interpreter's own threads, so that they can be joined.
pub(crate) fn wake_sleepers(interpreter_id: i64) {
    ENDING.lock().push(interpreter_id);
    ENDED.notify_all();
}

/// The interpreter is used again, or gone.
pub(crate) fn let_sleep(interpreter_id: i64) {
    ENDING.lock().retain(|&ending| ending != interpreter_id);
}

/// Sleeps until `deadline` with the GIL released; raises if the context that this thread serves is
/// interrupted. In other threads of Python's it ends early when their interpreter does.
pub(crate) fn sleep_until(py: Python<'_>, deadline: Instant) -> Result<()> {
    let served = SERVED.with(|served| served.borrow().clone());
    let interpreter = py.interpreter_id();
    match &served {
        None => py.detached(|| {
            let mut ending = ENDING.lock();
            while !ending.contains(&interpreter)
                && !ENDED.wait_until(&mut ending, deadline).timed_out()
            {}
        }),
        Some(interrupts) => interrupts.asleep(py, || {
            let mut gate = interrupts.gate.lock();
            while !interrupts.waits()
                && !interrupts.woken.wait_until(&mut gate, deadline).timed_out()
            {}
        }),
    }
    let raised = served.and_then(|interrupts| interrupts.take_raised(py));
    raised.map_or(Ok(()), Err)
}
