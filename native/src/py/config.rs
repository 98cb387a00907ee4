//! Starting CPython, and making interpreters.

use super::{ThreadState, ffi};
use std::ffi::{CStr, CString};

/// Why CPython did not start.
pub(crate) struct StartError(pub(crate) String);

/// The message of a failed status, or nothing.
fn failure(status: ffi::PyStatus) -> Option<String> {
    // SAFETY: a status by value; its message is a static text.
    unsafe {
        if ffi::PyStatus_Exception(status) == 0 {
            return None;
        }
        if status.err_msg.is_null() {
            return Some(format!("exit code {}", status.exitcode));
        }
        Some(
            CStr::from_ptr(status.err_msg)
                .to_string_lossy()
                .into_owned(),
        )
    }
}

/// Initialises CPython on the calling thread, which becomes its main thread for ever: isolated from
/// environment variables and the user's site directory, UTF-8 everywhere, no signal handlers, no
/// `site` yet (it runs user code, so it is run later, outside any lock). Leaves the thread attached.
pub(crate) fn start_main(home: &str, executable: &str) -> Result<(), StartError> {
    let home = CString::new(home).map_err(|_| StartError("python_home has a zero byte".into()))?;
    let executable = CString::new(executable)
        .map_err(|_| StartError("python_executable has a zero byte".into()))?;
    // SAFETY: the documented order: preconfiguration, configuration, initialisation; the structs are
    // filled by their Init functions, and the configuration is cleared on every way out.
    unsafe {
        let mut pre = std::mem::zeroed::<ffi::PyPreConfig>();
        ffi::PyPreConfig_InitIsolatedConfig(&mut pre);
        pre.utf8_mode = 1;
        if let Some(text) = failure(ffi::Py_PreInitialize(&pre)) {
            return Err(StartError(text));
        }
        let mut config = std::mem::zeroed::<ffi::PyConfig>();
        ffi::PyConfig_InitIsolatedConfig(&mut config);
        config.install_signal_handlers = 0;
        config.parse_argv = 0;
        config.site_import = 0;
        config.pathconfig_warnings = 0;
        config.write_bytecode = 1;
        let place: *mut ffi::PyConfig = &mut config;
        let mut result = failure(ffi::PyConfig_SetBytesString(
            place,
            &raw mut (*place).home,
            home.as_ptr(),
        ));
        if result.is_none() {
            result = failure(ffi::PyConfig_SetBytesString(
                place,
                &raw mut (*place).executable,
                executable.as_ptr(),
            ));
        }
        if result.is_none() {
            result = failure(ffi::Py_InitializeFromConfig(place));
        }
        ffi::PyConfig_Clear(place);
        result.map_or(Ok(()), |text| Err(StartError(text)))
    }
}

/// Makes an interpreter with its own GIL. The caller is attached to the main interpreter; on success it
/// is attached to the new one, whose thread state is returned, and its main thread state is detached.
///
/// # Safety
/// Attached to the main interpreter; no other interpreter is being made.
unsafe fn create_own_gil() -> Result<*mut ffi::PyThreadState, StartError> {
    let config = ffi::PyInterpreterConfig {
        use_main_obmalloc: 0,
        allow_fork: 0,
        allow_exec: 0,
        allow_threads: 1,
        allow_daemon_threads: 1,
        check_multi_interp_extensions: 1,
        gil: ffi::PyInterpreterConfig_OWN_GIL,
    };
    let mut state = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    match failure(unsafe { ffi::Py_NewInterpreterFromConfig(&mut state, &config) }) {
        None => Ok(state),
        Some(text) => Err(StartError(text)),
    }
}

impl ThreadState {
    /// Makes an interpreter with its own GIL through this thread state of the main interpreter, which is
    /// used up. Returns the new interpreter's thread state, not attached.
    ///
    /// `exclusive` is taken while the main GIL is held, and it is held while the interpreter is made. It is
    /// only ever tried for, since its holder may need the main GIL to go on.
    pub(crate) fn into_own_gil<G>(
        mut self,
        mut exclusive: impl FnMut() -> Option<G>,
        mut wait: impl FnMut(),
        given_up: impl Fn() -> bool,
    ) -> Result<Self, StartError> {
        loop {
            let attached = self.attach();
            if given_up() {
                drop(attached);
                self.delete();
                return Err(StartError("given up".into()));
            }
            let Some(lock) = exclusive() else {
                drop(attached);
                wait();
                continue;
            };
            // Creation replaces the attachment, so it is not this guard that ends it.
            std::mem::forget(attached);
            // SAFETY: attached to the main interpreter by the guard, alone by the lock.
            let made = unsafe { create_own_gil() };
            let made = made.map(|state| {
                // SAFETY: creation left this thread attached through the new thread state.
                unsafe { Self::detach_current(state) }
            });
            drop(lock);
            match made {
                Ok(state) => {
                    self.delete();
                    return Ok(state);
                }
                Err(error) => {
                    // SAFETY: a failed creation leaves the thread attached to the main interpreter.
                    unsafe { ffi::PyEval_SaveThread() };
                    self.delete();
                    return Err(error);
                }
            }
        }
    }
}
