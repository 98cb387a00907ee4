//! Guards: the policy of one context, and what was refused under it. Every thread that runs Python code for a context
//! finds its guard by itself; threads that its code starts inherit it.

use super::policy::Policy;
use super::refusal::{KINDS, Refusal};
use crate::py::{Python, Raised, ffi};
use parking_lot::{Mutex, RwLock};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Hears of a refusal by its name, and how many of that kind there were.
pub(crate) type Listener = Box<dyn Fn(&'static str, u64) + Send + Sync>;

/// See the module.
pub(crate) struct Guard {
    pub(crate) policy: Arc<Policy>,
    refused: [AtomicU64; KINDS],
    listener: Option<Listener>,
    /// Folders that code may read whatever the policy says: those that modules come from.
    pub(super) modules: OnceLock<Vec<PathBuf>>,
    /// Those that the node's operator has named since.
    named: RwLock<Vec<PathBuf>>,
    /// What the allowed names of hosts were found to mean.
    pub(super) resolved: Mutex<HashMap<IpAddr, HashSet<String>>>,
    /// The processes that code has started.
    pub(super) children: Mutex<HashSet<i64>>,
    /// Code has asked for a thread.
    threaded: AtomicBool,
}

/// Of the whole node.
static REFUSED: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

/// The guards of interpreters with GILs of their own, for threads that native code has made.
static BY_INTERPRETER: RwLock<Vec<(i64, Arc<Guard>)>> = RwLock::new(Vec::new());

thread_local! {
    /// That of the code which the calling thread runs; null when it has none of its own. Whoever has set it keeps it
    /// alive.
    static CURRENT: Cell<*const Guard> = const { Cell::new(std::ptr::null()) };
}

impl Guard {
    pub(crate) fn new(policy: Arc<Policy>, listener: Option<Listener>) -> Self {
        Self {
            policy,
            refused: [const { AtomicU64::new(0) }; KINDS],
            listener,
            modules: OnceLock::new(),
            named: RwLock::default(),
            resolved: Mutex::default(),
            children: Mutex::default(),
            threaded: AtomicBool::new(false),
        }
    }

    /// Modules come from these folders as well. They have no links in them.
    pub(crate) fn trust(&self, folders: Vec<PathBuf>) {
        *self.named.write() = folders;
    }

    /// Whether a file lies where modules come from.
    pub(super) fn is_of_modules(&self, path: &Path) -> bool {
        let is_in = |folders: &Vec<PathBuf>| folders.iter().any(|folder| path.starts_with(folder));
        self.modules.get().is_some_and(is_in) || is_in(&self.named.read())
    }

    /// Code asks for a thread.
    pub(super) fn note_thread(&self) {
        self.threaded.store(true, Ordering::Relaxed);
    }

    /// Whether code has ever asked for a thread.
    pub(crate) fn has_threads(&self) -> bool {
        self.threaded.load(Ordering::Relaxed)
    }

    /// Counts a refusal, and sets the exception for it.
    pub(crate) fn refuse(&self, py: Python<'_>, what: Refusal, detail: &str) -> Raised {
        REFUSED[what as usize].fetch_add(1, Ordering::Relaxed);
        let count = self.refused[what as usize].fetch_add(1, Ordering::Relaxed) + 1;
        // Code that tries again and again is not heard of again and again.
        if count.is_power_of_two()
            && let Some(listener) = &self.listener
        {
            listener(what.name(), count);
        }
        what.raise(py, detail)
    }

    /// What was refused here, by name.
    pub(crate) fn refused(&self) -> Vec<(&'static str, u64)> {
        counted(&self.refused)
    }
}

/// What was refused in the node, by name.
pub(crate) fn refused() -> Vec<(&'static str, u64)> {
    counted(&REFUSED)
}

fn counted(counts: &[AtomicU64; KINDS]) -> Vec<(&'static str, u64)> {
    super::refusal::names()
        .zip(counts)
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Runs `body` with the guard that holds for the calling thread: its own, else that of its interpreter, else one that
/// refuses what the default policy refuses.
pub(super) fn current<T>(body: impl FnOnce(&Guard) -> T) -> T {
    let own = CURRENT.get();
    if !own.is_null() {
        // SAFETY: whoever has set it keeps it alive until it is set back, on this thread.
        return body(unsafe { &*own });
    }
    // SAFETY: attached, as everything that asks for a guard is.
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    let found = BY_INTERPRETER
        .read()
        .iter()
        .find(|(id, _)| *id == interpreter)
        .map(|(_, guard)| guard.clone());
    match found {
        Some(guard) => body(&guard),
        None => body(nobody()),
    }
}

/// The guard of the calling thread, for a thread that it starts.
pub(super) fn inherited() -> Option<Arc<Guard>> {
    let own = CURRENT.get();
    if own.is_null() {
        return None;
    }
    // SAFETY: it came from an `Arc` that is alive, see `current`; this makes one more reference of it.
    unsafe {
        Arc::increment_strong_count(own);
        Some(Arc::from_raw(own))
    }
}

fn nobody() -> &'static Guard {
    static NOBODY: OnceLock<Guard> = OnceLock::new();
    NOBODY.get_or_init(|| Guard::new(Arc::new(Policy::DEFAULT), None))
}

/// The calling thread runs code of a context until this is dropped.
pub(crate) struct Guarding<G: Deref<Target = Guard> = Arc<Guard>> {
    guard: G,
    before: *const Guard,
}

impl Guarding {
    /// From now on the guard holds for the calling thread.
    pub(crate) fn thread(guard: Arc<Guard>) -> Self {
        let before = CURRENT.replace(Arc::as_ptr(&guard));
        Self { guard, before }
    }
}

impl<'g> Guarding<&'g Guard> {
    /// The same, for a moment.
    #[inline]
    pub(crate) fn borrowed(guard: &'g Arc<Guard>) -> Self {
        let before = CURRENT.replace(Arc::as_ptr(guard));
        Self { guard, before }
    }
}

impl<G: Deref<Target = Guard>> Drop for Guarding<G> {
    fn drop(&mut self) {
        debug_assert!(std::ptr::eq(CURRENT.get(), &raw const *self.guard));
        CURRENT.set(self.before);
    }
}

/// The guard holds for threads of an interpreter that have none until this is dropped.
pub(crate) struct GuardedInterpreter(i64);

impl GuardedInterpreter {
    pub(crate) fn new(interpreter: i64, guard: Arc<Guard>) -> Self {
        BY_INTERPRETER.write().push((interpreter, guard));
        Self(interpreter)
    }
}

impl Drop for GuardedInterpreter {
    fn drop(&mut self) {
        BY_INTERPRETER.write().retain(|(id, _)| *id != self.0);
    }
}
