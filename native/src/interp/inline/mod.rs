//! Inline dispatch: the calling scheduler thread enters an idle interpreter itself.
//!
//! ```text
//!   NIF on a scheduler ──[`Door`]──▶ its own thread state ──▶ the function ──▶ the result, on the caller's heap
//!          │ shut, taken, other work queued, threads, module not loaded …
//!          └──▶ the mailbox, as ever
//! ```
//!
//! The owner thread lends its means ([`Owner`]) while it waits for work, and gets them back before it takes any. A
//! scheduler never waits: whoever is turned away goes by the mailbox, and is counted. Inside, whatever would wait is an
//! error ([`crate::sandbox::refuse_to_wait`]); no garbage is collected but on the owner thread; what takes too long is ended by
//! [`watchdog`].
//!
//! It exists where CPython measures the stack instead of counting calls (3.14), for interpreters with a GIL of their
//! own, the default policy and no memory limit.

mod figures;
pub(crate) mod marks;
mod run;
mod seats;
mod visit;
mod watchdog;

pub(crate) use figures::Refusal;
pub(crate) use run::{Asked, call};
pub(in crate::interp) use visit::visited;

use super::owner::Owner;
use super::{Context, Mode, Settings};
use crate::facts::{FREE_THREADED, facts};
use crate::memory;
use crate::py::{Python, ffi};
use crate::sandbox::Policy;
use figures::Figures;
use parking_lot::Mutex;
use py_core::door::Door;
use py_core::learner::Learner;
use seats::Seats;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// The first version whose CPython looks at the stack of the thread that it runs on.
const STACK_IS_MEASURED: (u32, u32) = (14, 0);

/// The switch of the whole node.
static ALLOWED: AtomicBool = AtomicBool::new(true);

/// How long any call may take, in milliseconds: a scheduler that is held up holds up whatever waits for it, be it the
/// process that would interrupt the call.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets the switch.
pub(crate) fn allow(on: bool) {
    ALLOWED.store(on, Ordering::SeqCst);
}

/// Sets the bound on all calls.
pub(crate) fn limit(milliseconds: u64) {
    LIMIT.store(milliseconds, Ordering::SeqCst);
}

/// Names a function.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) module: Box<[u8]>,
    pub(crate) function: Box<[u8]>,
}

/// So many functions are learned about in one context.
const MOST_LEARNED: usize = 4096;

/// What schedulers find of one context. See the module.
pub(crate) struct Inline {
    door: Door,
    /// Somebody has asked: the owner opens the door from now on when it waits.
    wanted: AtomicBool,
    /// The owner thread has made ready for that.
    prepared: AtomicBool,
    /// What is lent; only read inside.
    owner: AtomicPtr<Owner>,
    /// Where interrupts go: an interpreter that is alive.
    gate: Mutex<Option<Interpreter>>,
    seats: Seats,
    /// How long the visit may last, in milliseconds; of the visitor inside.
    limit: AtomicU64,
    /// The visit that is to be interrupted whatever its limit.
    unwanted: AtomicU64,
    /// The visit whose time is over.
    late: AtomicU64,
    /// An interrupt is on its way.
    posted: AtomicBool,
    pub(crate) figures: Figures,
    learned: Mutex<HashMap<Arc<Name>, Learner>>,
}

struct Interpreter(*mut ffi::PyInterpreterState);

// SAFETY: the pointer is used by the holder of the gate, which is closed before the interpreter ends.
unsafe impl Send for Interpreter {}

impl Inline {
    /// What a context with these settings needs for it; `None` where it is not to be had.
    pub(super) fn new(settings: &Settings) -> Option<Box<Self>> {
        let eligible = settings.mode == Mode::OwnGil
            && is_supported()
            && *settings.policy == Policy::DEFAULT
            && settings.memory_limit == usize::MAX;
        eligible.then(|| {
            Box::new(Self {
                door: Door::new(),
                wanted: AtomicBool::new(false),
                prepared: AtomicBool::new(false),
                owner: AtomicPtr::default(),
                gate: Mutex::default(),
                seats: Seats::default(),
                limit: AtomicU64::new(u64::MAX),
                unwanted: AtomicU64::new(0),
                late: AtomicU64::new(0),
                posted: AtomicBool::new(false),
                figures: Figures::default(),
                learned: Mutex::default(),
            })
        })
    }

    /// Whether somebody calls inline here, and may.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && ALLOWED.load(Ordering::Relaxed)
    }

    /// Whether a scheduler is inside.
    pub(crate) fn is_visited(&self) -> bool {
        self.door.visit().is_some()
    }

    /// Interrupts the visit that goes on; `false` when there is none.
    pub(super) fn interrupt(&self, context: &Arc<Context>) -> bool {
        let Some(visit) = self.door.visit() else {
            return false;
        };
        self.unwanted.store(visit, Ordering::SeqCst);
        watchdog::post(context, self);
        true
    }

    /// A call of a function that is being learned about has taken this long in the mailbox's thread.
    pub(super) fn learn(&self, name: Name, time: std::time::Duration) {
        let mut learned = self.learned.lock();
        if learned.len() < MOST_LEARNED || learned.contains_key(&name) {
            learned.entry(Arc::new(name)).or_default().took(time);
        }
    }

    /// What was learned: the function, whether it is trusted, short calls in a row, how many are needed, and how often
    /// it was trusted in vain.
    pub(crate) fn learned(&self) -> Vec<(Arc<Name>, Learner)> {
        // Schedulers want the lock as well: nothing is copied under it but pointers and numbers.
        let learned = self.learned.lock();
        learned
            .iter()
            .map(|(name, learner)| (name.clone(), learner.clone()))
            .collect()
    }
}

/// Whether this Python can be entered by threads with small stacks.
pub(crate) fn is_supported() -> bool {
    !FREE_THREADED && memory::COUNTED && facts().version >= STACK_IS_MEASURED
}

/// The owner thread.
impl Inline {
    /// It begins to serve the context.
    pub(super) fn begin(&self, _py: Python<'_>) {
        self.door.own_here();
        // SAFETY: attached.
        let interpreter = unsafe { ffi::PyInterpreterState_Get() };
        *self.gate.lock() = Some(Interpreter(interpreter));
        self.seats.begin(interpreter);
    }

    /// All that calls may need is there.
    pub(super) fn is_prepared(&self) {
        self.prepared.store(true, Ordering::Relaxed);
    }

    /// Lends the owner's means to visitors until the guard is dropped, if anybody wants to visit, and all is there.
    pub(super) fn open(&self, owner: *mut Owner) -> Option<Opened<'_>> {
        if !self.prepared.load(Ordering::Relaxed) || !self.is_wanted() {
            return None;
        }
        self.owner.store(owner, Ordering::Relaxed);
        self.door.open();
        Some(Opened(self))
    }

    /// It serves no more, and the door is shut: no interrupt touches the interpreter from now on.
    pub(super) fn end(&self) {
        *self.gate.lock() = None;
    }

    /// The thread states of visitors give up what they hold. Runs code of users.
    pub(super) fn clear_seats(&self, py: Python<'_>) {
        self.seats.clear(py);
    }

    /// They go. `false`: they could not.
    pub(super) fn remove_seats(&self) -> bool {
        self.seats.remove()
    }
}

/// The door is open. Shut again, the visitor inside has left.
pub(super) struct Opened<'i>(&'i Inline);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.door.shut();
        self.0.owner.store(std::ptr::null_mut(), Ordering::Relaxed);
    }
}
