//! Which levels Erlang's logger lets through, as far as that is known here, and how Python's logging is set up.
//!
//! Erlang tells nobody when its levels change. So what is refused here is asked for again, at most once in [`FRESH`]; what
//! is let through is looked at once more in Erlang.

use crate::beam::{Pid, TermEnv, atoms};
use crate::py::Python;
use crate::sandbox::is_on_scheduler;
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For so long a refusal holds.
const FRESH: Duration = Duration::from_millis(10);

/// So long is an answer waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Erlang's numbers: 0 is `emergency`, 7 `debug`; -1 lets nothing through, 10 everything.
static PRIMARY: AtomicI64 = AtomicI64::new(10);

/// Levels of their own, by the names of modules, and so of Python's loggers.
static MODULES: RwLock<Vec<(String, i64)>> = RwLock::new(Vec::new());

/// Who knows the levels.
static SERVER: RwLock<Option<Pid>> = RwLock::new(None);

/// When was asked, and how often was answered.
static ASKED: Mutex<Option<Instant>> = Mutex::new(None);
static ANSWERS: Mutex<u64> = Mutex::new(0);
static ANSWERED: Condvar = Condvar::new();

/// How often logging was set up, and how: Python's number of the level, and a format.
static SETUPS: AtomicU64 = AtomicU64::new(0);
static SETUP: Mutex<Option<(i64, Option<String>)>> = Mutex::new(None);

/// The process that is asked from now on.
pub(crate) fn open(server: Pid) {
    *SERVER.write() = Some(server);
}

/// The application stops. The main interpreter, and those that wait for other contexts, outlive it.
pub(crate) fn close() {
    *SERVER.write() = None;
    *SETUP.lock() = None;
    SETUPS.fetch_add(1, Ordering::Release);
}

/// What the levels are.
pub(crate) fn set(primary: i64, modules: Vec<(String, i64)>) {
    PRIMARY.store(primary, Ordering::Relaxed);
    *MODULES.write() = modules;
    *ANSWERS.lock() += 1;
    ANSWERED.notify_all();
}

/// Logging is to be set up like that, everywhere.
pub(crate) fn set_up(level: i64, format: Option<String>) {
    *SETUP.lock() = Some((level, format));
    SETUPS.fetch_add(1, Ordering::Release);
}

pub(super) fn setups() -> u64 {
    SETUPS.load(Ordering::Acquire)
}

pub(super) fn setup() -> Option<(i64, Option<String>)> {
    SETUP.lock().clone()
}

/// Erlang's number for a level of Python's.
fn number(level: i64) -> i64 {
    match level {
        ..20 => 7,
        20..25 => 6,
        25..30 => 5,
        30..40 => 4,
        40..50 => 3,
        50..60 => 2,
        60..70 => 1,
        70.. => 0,
    }
}

fn known_to_allow(level: i64, name: &str) -> bool {
    let modules = MODULES.read();
    let mut most = PRIMARY.load(Ordering::Relaxed);
    if !modules.is_empty() {
        let mut part = Some(name);
        while let Some(text) = part {
            if let Some((_, own)) = modules.iter().find(|(module, _)| module == text) {
                most = *own;
                break;
            }
            part = text.rsplit_once('.').map(|(above, _)| above);
        }
    }
    number(level) <= most
}

/// Whether Erlang's logger lets a record through; `level` is Python's.
pub(super) fn allows(py: Python<'_>, level: i64, name: &str) -> bool {
    if known_to_allow(level, name) {
        return true;
    }
    if !is_stale() {
        return false;
    }
    if is_on_scheduler() {
        // Which does not wait: the answer is for the next record.
        let _somebody_is_asked = put_question();
        return false;
    }
    py.detached(ask);
    known_to_allow(level, name)
}

/// Says so once in a while.
fn is_stale() -> bool {
    let now = Instant::now();
    let mut asked = ASKED.lock();
    let stale = asked.is_none_or(|at| now.saturating_duration_since(at) >= FRESH);
    if stale {
        *asked = Some(now);
    }
    stale
}

/// `false`: there is nobody who knows.
fn put_question() -> bool {
    let server = *SERVER.read();
    server.is_some_and(|server| TermEnv::new().try_send(&server, atoms().py_levels))
}

fn ask() {
    let before = *ANSWERS.lock();
    if !put_question() {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    let mut answers = ANSWERS.lock();
    while *answers == before && !ANSWERED.wait_until(&mut answers, deadline).timed_out() {}
}
