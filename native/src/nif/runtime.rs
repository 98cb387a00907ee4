//! Starting and stopping, and what there is to know about the whole.

use super::word;
use crate::beam::{Pid, atoms, bound_atoms};
use crate::facts::{BUILT_EXECUTABLE, BUILT_FOR, FREE_THREADED};
use crate::interp::COUNTERS;
use crate::runtime::{self, Settings};
use rustler::{Encoder, Env, Term};
use std::sync::atomic::Ordering;

/// `runtime_start(PackagePath, Home | undefined, Executable | undefined) -> boolean()`; the calling process
/// gets `{py_runtime, ok | {error, Text}}`. `false` when the runtime is started or starting already.
#[rustler::nif(schedule = "DirtyIo")]
fn runtime_start(env: Env, package_path: String, home: Term, executable: Term) -> bool {
    let settings = Settings {
        package_path,
        home: home.decode().ok(),
        executable: executable.decode().ok(),
    };
    runtime::start(Pid::new(env.pid()), settings)
}

/// `runtime_stop() -> boolean()`; `false` when it does not run.
#[rustler::nif(schedule = "DirtyIo")]
fn runtime_stop() -> bool {
    runtime::stop()
}

/// `python() -> {Version, DefaultMode} | {error, not_running}`: the version of libpython, and the safest mode that gives parallelism.
#[rustler::nif]
fn python(env: Env<'_>) -> Term<'_> {
    runtime::may_end_here();
    if !runtime::is_running() {
        return super::not_running(env);
    }
    // SAFETY: callable at any time; a static text.
    let version = unsafe { std::ffi::CStr::from_ptr(pyo3_ffi::Py_GetVersion()) }.to_string_lossy();
    let version = version.split_whitespace().next().unwrap_or(BUILT_FOR);
    // Without a GIL the threads of the main interpreter run in parallel, and extension modules load there.
    let mode = if FREE_THREADED {
        atoms().worker
    } else {
        atoms().owngil
    };
    (version, word(env, mode)).encode(env)
}

/// `built_for() -> {Version, Executable}`: the Python that the library was built for, such as `3.14`, with a `t` behind
/// where it has no GIL, and its program. There is no need for it to run.
#[rustler::nif]
fn built_for(env: Env<'_>) -> Term<'_> {
    let kind = if FREE_THREADED { "t" } else { "" };
    (format!("{BUILT_FOR}{kind}"), BUILT_EXECUTABLE).encode(env)
}

/// `atoms_max(Max) -> Created`: names that come from Python code may become so many new atoms in the life of the node; so
/// many have become some.
#[rustler::nif]
fn atoms_max(most: usize) -> usize {
    bound_atoms(most)
}

/// `counters() -> {Threads, Spares, Stuck, SetAside}`.
#[rustler::nif]
fn counters() -> (usize, usize, usize, usize) {
    let read = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
    (
        read(&COUNTERS.threads),
        read(&COUNTERS.spares),
        read(&COUNTERS.stuck),
        read(&COUNTERS.set_aside),
    )
}
