//! The life of the whole: CPython is started once, the application any number of times.

mod cpython;
mod exit;
mod libraries;

use crate::beam::{Pid, TermEnv, Word, atoms};
use crate::interp::output::levels;
use crate::interp::{Closing, registry, start_reaper};
use parking_lot::Mutex;
use py_core::lifecycle::Lifecycle;

pub(crate) use cpython::Settings;
pub(crate) use exit::{hear_of_halt, may_end_here};
pub(crate) use libraries::pin_this_library;

static LIFECYCLE: Lifecycle = Lifecycle::new();

/// Whether CPython lives, once its start was tried.
static CPYTHON: Mutex<Option<Result<(), String>>> = Mutex::new(None);

/// The guard of every entry.
pub(crate) fn is_running() -> bool {
    LIFECYCLE.is_running()
}

/// Starts the runtime; the outcome goes to `owner` as `{py_runtime, ok | {error, Text}}`. `false` when it is
/// started or starting already.
pub(crate) fn start(owner: Pid, settings: Settings) -> bool {
    if !LIFECYCLE.begin_start() {
        return false;
    }
    let started = start_reaper()
        .and_then(|()| cpython::on_main_thread(settings, move |outcome| settle(&owner, outcome)));
    if let Err(error) = started {
        let _was_initing = LIFECYCLE.failed();
        // The caller is a scheduler, so the answer comes from a thread; if none can be had, the caller's
        // own time limit tells.
        let text = format!("no thread could be started: {error}");
        drop(std::thread::Builder::new().spawn(move || tell(&owner, Err(&text))));
    }
    true
}

/// CPython has started, now or earlier, or cannot be.
fn settle(owner: &Pid, outcome: Result<(), String>) {
    let _was_initing = if outcome.is_ok() {
        LIFECYCLE.started()
    } else {
        LIFECYCLE.failed()
    };
    tell(
        owner,
        outcome.as_ref().map(|&()| ()).map_err(String::as_str),
    );
}

fn tell(owner: &Pid, outcome: Result<(), &str>) {
    let known = atoms();
    let mut env = TermEnv::new();
    let what: Word = match outcome {
        Ok(()) => known.ok,
        Err(text) => env.tuple(&[known.error, env.binary(text.as_bytes())]),
    };
    let message = env.tuple(&[known.py_runtime, what]);
    env.send(owner, message);
}

/// Stops the runtime: contexts that still live are closed, and nothing new is accepted.
pub(crate) fn stop() -> bool {
    if !LIFECYCLE.begin_stop() {
        return false;
    }
    for context in registry().all() {
        context.close(Closing::Answer(atoms().not_running));
    }
    levels::close();
    LIFECYCLE.stopped()
}

/// The Erlang module was deleted, and is loaded again: what it was used for ends, as after the death of each context.
/// May be called on a scheduler.
pub(crate) fn module_was_unloaded() {
    for context in registry().all() {
        context.close(Closing::Answer(atoms().unloaded));
    }
}
