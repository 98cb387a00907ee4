//! The thread states of schedulers: one for each scheduler and interpreter, made at its first visit.
//!
//! CPython remembers for each thread the thread state that it used last (for `PyGILState_Ensure`), and writes into that
//! one when the thread uses another. So when an interpreter ends, the memory of a state that some scheduler used last
//! must stay until that scheduler has used another one: it is *kept* ([`memory::kept`]), a block of some kilobytes for
//! each scheduler at most. States are removed on a thread that has never used any, since CPython forgets what the
//! removing thread used last.

use crate::memory::kept;
use crate::py::{Python, ffi};
use parking_lot::Mutex;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

type State = ffi::PyThreadState;

/// As many schedulers as an emulator can have.
const MOST: usize = 1024;

/// The state that each scheduler used last.
static LAST: [AtomicPtr<State>; MOST] = [const { AtomicPtr::new(null_mut()) }; MOST];

/// No number yet.
const NONE: usize = usize::MAX;

thread_local! {
    /// The number of the calling scheduler.
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
}

/// The number of the calling thread; `None` where it is no normal scheduler.
fn number() -> Option<usize> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let known = NUMBER.get();
    if known < MOST {
        return Some(known);
    }
    // SAFETY: no precondition.
    let kind = unsafe { rustler::sys::enif_thread_type() };
    if known != NONE || kind != rustler::sys::ERL_NIF_THR_NORMAL_SCHEDULER {
        return None;
    }
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(next);
    (next < MOST).then_some(next)
}

/// The states of one interpreter.
#[derive(Default)]
pub(super) struct Seats {
    /// No other one of this node has it.
    serial: AtomicU64,
    interpreter: AtomicPtr<ffi::PyInterpreterState>,
    /// By scheduler; made when the first one comes. Only touched inside, or by the owner thread.
    states: Mutex<Vec<(usize, Seat)>>,
    /// The state that the interpreter's list begins with. Another one there is a thread of somebody else.
    newest: AtomicPtr<State>,
}

#[derive(Clone, Copy)]
struct Seat(*mut State);

// SAFETY: attached by its own scheduler only; cleared and removed when no visitor comes any more.
unsafe impl Send for Seat {}

/// Interpreters whose states a scheduler finds without a look into the list.
const NEAR: usize = 16;

thread_local! {
    /// The states of the calling scheduler, with the serials of their interpreters; 0 is none.
    static NEARBY: [Cell<(u64, *mut State)>; NEAR] = const { [const { Cell::new((0, null_mut())) }; NEAR] };
}

fn nearby(serial: u64) -> Option<*mut State> {
    NEARBY.with(|nearby| {
        let (of, state) = nearby[serial as usize % NEAR].get();
        (of == serial).then_some(state)
    })
}

fn keep_near(serial: u64, state: *mut State) {
    NEARBY.with(|nearby| {
        nearby[serial as usize % NEAR].set((serial, state));
    });
}

/// A thread state of the calling scheduler's, to be attached through.
pub(super) struct Place {
    number: usize,
    pub(super) state: *mut State,
}

impl Seats {
    /// The interpreter is there. On its owner thread, attached.
    pub(super) fn begin(&self, interpreter: *mut ffi::PyInterpreterState) {
        static LAST_SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = LAST_SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
        self.serial.store(serial, Ordering::Relaxed);
        self.interpreter.store(interpreter, Ordering::Relaxed);
        // SAFETY: attached, so that no state of this interpreter goes. Threads that exist already are strangers.
        let newest = unsafe {
            let head = ffi::PyInterpreterState_ThreadHead(interpreter);
            if ffi::PyThreadState_Next(head).is_null() {
                head
            } else {
                null_mut()
            }
        };
        self.newest.store(newest, Ordering::Relaxed);
    }

    /// For the visitor inside: whether the interpreter has threads of others.
    pub(super) fn has_strangers(&self) -> bool {
        // SAFETY: the owner thread is alive and idle, and with it the interpreter; reads one pointer.
        let head =
            unsafe { ffi::PyInterpreterState_ThreadHead(self.interpreter.load(Ordering::Relaxed)) };
        head != self.newest.load(Ordering::Relaxed)
    }

    /// For the visitor inside, where there are no strangers. `None`: not on this thread, or there is no memory.
    pub(super) fn place(&self) -> Option<Place> {
        let number = number()?;
        let serial = self.serial.load(Ordering::Relaxed);
        if let Some(state) = nearby(serial) {
            return Some(Place { number, state });
        }
        let mut states = self.states.lock();
        let known = states.iter().find(|(of, _)| *of == number);
        let state = match known {
            Some((_, Seat(state))) => *state,
            None => {
                // SAFETY: as in `has_strangers`; a state for the calling thread.
                let state =
                    unsafe { ffi::PyThreadState_New(self.interpreter.load(Ordering::Relaxed)) };
                if state.is_null() {
                    return None;
                }
                states.push((number, Seat(state)));
                self.newest.store(state, Ordering::Relaxed);
                if LAST[number].load(Ordering::Relaxed).is_null() {
                    // CPython remembers the first one at once.
                    LAST[number].store(state, Ordering::SeqCst);
                }
                state
            }
        };
        keep_near(serial, state);
        Some(Place { number, state })
    }

    /// The owner thread, attached: what the states hold goes. Runs code of users.
    pub(super) fn clear(&self, _py: Python<'_>) {
        for (_, Seat(state)) in &*self.states.lock() {
            // SAFETY: attached; a state of this interpreter that nobody is attached through, as the door is shut.
            unsafe { ffi::PyThreadState_Clear(*state) };
        }
    }

    /// The states go, after [`Self::clear`]. `false`: no thread could be had for that.
    pub(super) fn remove(&self) -> bool {
        let states = std::mem::take(&mut *self.states.lock());
        if states.is_empty() {
            return true;
        }
        let holder = crate::memory::held();
        let removing = std::thread::Builder::new()
            .name("py-seats".into())
            .spawn(move || {
                let _counted = holder.map(crate::memory::Holding::beside_owner);
                for (number, seat) in states {
                    remove(number, seat);
                }
            });
        removing.is_ok_and(|thread| thread.join().is_ok())
    }
}

fn remove(number: usize, Seat(state): Seat) {
    let is_last = || LAST[number].load(Ordering::SeqCst) == state;
    let keeping = kept::begin(state.cast(), is_last);
    // SAFETY: it was cleared, and nobody is attached through it.
    unsafe { ffi::PyThreadState_Delete(state) };
    drop(keeping);
}

impl Place {
    /// The calling scheduler has attached through it: what it used before is not touched again.
    #[inline]
    pub(super) fn attached(&self) {
        let last = &LAST[self.number];
        let before = last.load(Ordering::Relaxed);
        if before != self.state {
            last.store(self.state, Ordering::SeqCst);
            kept::let_go(before.cast());
        }
    }
}
