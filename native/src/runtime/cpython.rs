//! Starting CPython: once, on a thread of its own that lives for ever.

use super::{CPYTHON, libraries};
use crate::facts::{BUILT_EXECUTABLE, BUILT_FOR, BUILT_HOME, Facts, settle};
use crate::interp::prepare_main;
use crate::interrupt::choose_signal;
use crate::memory;
use crate::py::{Python, StartError, api, ffi, start_main};
use crate::sandbox;
use py_core::spin::SpinBudget;
use std::ffi::CStr;
use std::path::Path;

/// What the application's environment says.
pub(crate) struct Settings {
    /// The folder of the Python package `erlang`.
    pub(crate) package_path: String,
    /// Instead of the installation that the library was built for.
    pub(crate) home: Option<String>,
    pub(crate) executable: Option<String>,
}

/// Starts CPython unless it lives already, and reports from a thread that is no scheduler.
pub(super) fn on_main_thread(
    settings: Settings,
    report: impl FnOnce(Result<(), String>) + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("py-main".into())
        .stack_size(crate::interp::STACK)
        .spawn(move || {
            let mut first = false;
            let outcome = CPYTHON
                .lock()
                .get_or_insert_with(|| {
                    let outcome = start(&settings);
                    first = outcome.is_ok();
                    outcome
                })
                .clone();
            report(outcome);
            // CPython's main thread must never end, and must not hold the main GIL while it waits.
            if first {
                loop {
                    std::thread::park();
                }
            }
        })
        .map(drop)
}

fn start(settings: &Settings) -> Result<(), String> {
    libraries::publish_libpython()?;
    let version = running_version()?;
    if api::add_pending_call().is_none() {
        return Err(format!(
            "this libpython {BUILT_FOR} does not export _PyEval_AddPendingCall, which interruption needs"
        ));
    }
    // SAFETY: callable at any time.
    if unsafe { ffi::Py_IsInitialized() } != 0 {
        return Err(
            "Python was started before in this OS process, by another library or by an earlier version of this one; \
             restart the node"
                .into(),
        );
    }
    let home = settings.home.as_deref().unwrap_or(BUILT_HOME);
    let executable = settings.executable.as_deref().unwrap_or(BUILT_EXECUTABLE);
    check_home(home)?;
    settle(Facts {
        package_path: settings.package_path.clone(),
        version,
        // Respects the process's CPU mask and, on Linux, its cgroup's quota.
        spin_budget: SpinBudget::for_cores(
            std::thread::available_parallelism().map_or(1, usize::from),
        ),
    });
    choose_signal();
    memory::install();
    sandbox::install()?;
    start_main(home, executable).map_err(|StartError(text)| {
        format!("Python {BUILT_FOR} did not start from {home}: {text}")
    })?;
    super::exit::python_lives();
    // SAFETY: initialisation leaves this thread attached.
    let py = unsafe { Python::assume_attached() };
    let prepared = prepare_main(py);
    // SAFETY: attached until here, by the thread state that initialisation made.
    unsafe { ffi::PyEval_SaveThread() };
    prepared.map_err(|text| format!("the main interpreter could not be prepared: {text}"))
}

/// The version of the libpython that the linker found, which must be of the minor version that this
/// library was built for: the layout of CPython's structures changes between minor versions.
fn running_version() -> Result<(u32, u32), String> {
    // SAFETY: callable before initialisation; a static text such as "3.13.0 (main, ...)".
    let text = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy();
    let number = text.split_whitespace().next().unwrap_or_default();
    let mut parts = number.split('.');
    let (major, minor, micro) = (parts.next(), parts.next(), parts.next());
    if format!(
        "{}.{}",
        major.unwrap_or_default(),
        minor.unwrap_or_default()
    ) != BUILT_FOR
    {
        return Err(format!(
            "libpython is of version {number}, but this library was built for {BUILT_FOR}; build it again"
        ));
    }
    // A pre-release has a micro such as "0rc1".
    let digits = |part: Option<&str>| {
        let part = part.unwrap_or_default();
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..end].parse().unwrap_or(0)
    };
    Ok((digits(minor), digits(micro)))
}

/// An installation without its standard library would be noticed only deep inside CPython.
fn check_home(home: &str) -> Result<(), String> {
    // An installation names its programs' folder and its libraries' folder, or one for both.
    let prefix = home.split(':').next().unwrap_or(home);
    let found = ["lib", "lib64"].iter().any(|lib| {
        Path::new(prefix)
            .join(lib)
            .join(format!("python{BUILT_FOR}/os.py"))
            .exists()
    });
    if found {
        return Ok(());
    }
    Err(format!(
        "there is no standard library of Python {BUILT_FOR} under {home} (lib/python{BUILT_FOR}/os.py is missing); \
         set python_home to the prefix of a Python {BUILT_FOR}"
    ))
}
