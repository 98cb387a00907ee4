//! What ends visits that take too long: a thread that looks at them every few milliseconds, as long as there are any.
//!
//! A visit neither reads a clock nor sets a timer for it: a limit counts from when the watchdog saw the visit first.
//! When nobody has visited for a while it sleeps without a time limit.

use super::Inline;
use super::visit;
use crate::interp::Context;
use crate::interrupt::{interrupted, is_library_code};
use crate::py::{Python, api};
use parking_lot::{Condvar, Mutex};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// So many looks without a visit, and it sleeps.
const PATIENCE: u32 = 200;

/// It is awake.
static AWAKE: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct Watched {
    contexts: Vec<One>,
    started: bool,
}

struct One {
    context: Weak<Context>,
    /// The visit that was seen last, and when first.
    visit: u64,
    since: Instant,
    /// Since when it is to be over.
    over_since: Option<Instant>,
    /// How many visits there had been at the last look.
    visits: u64,
    told: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched {
    contexts: Vec::new(),
    started: false,
});
static MORE: Condvar = Condvar::new();

/// Visits of this context are looked at from now on. `false`: there is no thread for that.
pub(super) fn add(context: &Arc<Context>) -> bool {
    let mut watched = WATCHED.lock();
    if !watched.started {
        let started = std::thread::Builder::new()
            .name("py-inline".into())
            .spawn(|| {
                loop {
                    // The panic is told on standard error; visits must be watched all the same.
                    let _ended = std::panic::catch_unwind(run);
                }
            });
        if started.is_err() {
            return false;
        }
        watched.started = true;
    }
    watched.contexts.push(One {
        context: Arc::downgrade(context),
        visit: 0,
        since: Instant::now(),
        over_since: None,
        visits: 0,
        told: false,
    });
    true
}

/// The calling thread is inside.
#[inline]
pub(super) fn watch() {
    // After the visit has begun, as the watchdog looks for visits after it has said that it sleeps.
    if !AWAKE.load(Ordering::SeqCst) && !AWAKE.swap(true, Ordering::SeqCst) {
        wake();
    }
}

#[cold]
fn wake() {
    drop(WATCHED.lock());
    MORE.notify_one();
}

fn run() {
    let mut idle = 0;
    let mut watched = WATCHED.lock();
    loop {
        if idle >= PATIENCE {
            AWAKE.store(false, Ordering::SeqCst);
            if !look(&mut watched) {
                while !AWAKE.load(Ordering::SeqCst) {
                    MORE.wait(&mut watched);
                }
            }
            AWAKE.store(true, Ordering::SeqCst);
            idle = 0;
        }
        MORE.wait_for(&mut watched, INTERVAL);
        idle = if look(&mut watched) { 0 } else { idle + 1 };
    }
}

/// Whether anybody has visited anything since the last look.
fn look(watched: &mut Watched) -> bool {
    let mut any = false;
    watched.contexts.retain_mut(|one| {
        let Some(context) = one.context.upgrade() else {
            return false;
        };
        let Some(inline) = &context.inline else {
            return false;
        };
        let visits = inline.door.visits();
        any |= visits != one.visits;
        one.visits = visits;
        if let Some(visit) = inline.door.visit() {
            any = true;
            one.look(&context, inline, visit);
        }
        true
    });
    any
}

impl One {
    fn look(&mut self, context: &Arc<Context>, inline: &Inline, visit: u64) {
        let now = Instant::now();
        if self.visit != visit {
            (self.visit, self.since) = (visit, now);
            (self.over_since, self.told) = (None, false);
            return;
        }
        let lasted = now.saturating_duration_since(self.since);
        let limit = inline.limit.load(Ordering::Relaxed);
        if inline.door.visit() != Some(visit) {
            // The limit may be another visit's.
            return;
        }
        if lasted >= Duration::from_millis(limit) {
            inline.late.store(visit, Ordering::SeqCst);
        }
        let over = inline.late.load(Ordering::SeqCst) == visit
            || inline.unwanted.load(Ordering::SeqCst) == visit
            || context.closing().is_some();
        if !over {
            return;
        }
        post(context, inline);
        // However long it has run before: from now on it ignores interrupts.
        let over_since = *self.over_since.get_or_insert(now);
        let ignored = now.saturating_duration_since(over_since);
        if ignored >= context.stuck_after && !self.told {
            self.told = true;
            context.give_up();
        }
    }
}

/// Has the visitor interrupted at the next safe point of its code, if it is to be.
pub(super) fn post(context: &Arc<Context>, inline: &Inline) {
    if inline.posted.swap(true, Ordering::SeqCst) {
        return;
    }
    let accepted = match &*inline.gate.lock() {
        Some(gate) => {
            let argument = Arc::into_raw(context.clone());
            // SAFETY: the interpreter is alive, as its gate is open; `deliver` takes the reference over.
            let accepted = api::add_pending_call().is_some_and(|add| unsafe {
                add(gate.0, deliver, argument.cast_mut().cast(), 0) == 0
            });
            if !accepted {
                // SAFETY: nobody took it over.
                drop(unsafe { Arc::from_raw(argument) });
            }
            accepted
        }
        None => false,
    };
    if !accepted {
        // The next look tries again.
        inline.posted.store(false, Ordering::SeqCst);
    }
}

/// The pending call. Runs inside the interpreter, on whatever thread.
unsafe extern "C" fn deliver(argument: *mut c_void) -> c_int {
    // SAFETY: made by `Arc::into_raw` in `post`, for this call alone.
    let context = unsafe { Arc::from_raw(argument.cast::<Context>().cast_const()) };
    // SAFETY: CPython runs pending calls attached.
    let py = unsafe { Python::assume_attached() };
    let Some(inline) = &context.inline else {
        return 0;
    };
    inline.posted.store(false, Ordering::SeqCst);
    let Some((visit, class)) = visit::here(inline) else {
        return 0;
    };
    let wanted = inline.late.load(Ordering::SeqCst) == visit
        || inline.unwanted.load(Ordering::SeqCst) == visit
        || context.closing().is_some();
    // Code that must not be left half-way comes back soon; the watchdog tries again.
    if !wanted || is_library_code(py) {
        return 0;
    }
    inline.figures.count_interrupted();
    let _raised = interrupted(py, class);
    -1
}
