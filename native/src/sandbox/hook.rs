//! The audit hook: CPython asks it before what it does, in every interpreter.
//!
//! Events and their arguments: the table of audit events in Python's documentation, checked against 3.12.1, 3.13.0,
//! 3.14 and 3.15. What raises no event is replaced instead (see [`super::replaced`]).

use super::guard::{Guard, current};
use super::refusal::Refusal;
use super::{descriptors, files, imports, network, scheduler};
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Result, api, ffi};
use std::ffi::{CStr, c_char, c_int, c_void};

/// The arguments of an event.
pub(super) struct Event<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) guard: &'a Guard,
    arguments: *mut ffi::PyObject,
}

/// Installs the hook, before CPython starts.
pub(crate) fn install() -> std::result::Result<(), String> {
    // SAFETY: callable before initialisation; the function lives as long as the process, which this library never
    // leaves.
    match unsafe { api::PySys_AddAuditHook(hook, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err("CPython has not accepted the audit hook".into()),
    }
}

unsafe extern "C" fn hook(
    event: *const c_char,
    arguments: *mut ffi::PyObject,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: CPython passes a C text.
    let name = unsafe { CStr::from_ptr(event) }.to_bytes();
    if scheduler::is_on_scheduler() && scheduler::waits(name) {
        return trampoline::status(|py| scheduler::refuse_event(py, name));
    }
    let Some(check) = check(name) else {
        return 0;
    };
    trampoline::status(|py| {
        current(|guard| {
            check(&Event {
                py,
                guard,
                arguments,
            })
        })
    })
}

type Check = fn(&Event<'_, '_>) -> Result<()>;

/// What to do at an event. Most are nobody's concern.
fn check(event: &[u8]) -> Option<Check> {
    Some(match event {
        b"import" => imports::imported,
        b"open" => files::opened,
        b"os.listdir" | b"os.scandir" | b"os.getxattr" | b"os.listxattr" => files::listed,
        b"os.remove" | b"os.rmdir" => |event| files::changed(event, &[(0, 1)]),
        b"os.mkdir" | b"os.chmod" => |event| files::changed(event, &[(0, 2)]),
        b"os.chown" | b"os.utime" => |event| files::changed(event, &[(0, 3)]),
        b"os.truncate" | b"os.setxattr" | b"os.removexattr" | b"os.chflags" => {
            |event| files::changed(event, &[(0, files::NONE)])
        }
        b"os.rename" | b"os.link" => |event| files::changed(event, &[(0, 2), (1, 3)]),
        b"os.symlink" => |event| files::changed(event, &[(1, 2)]),
        b"mmap.__new__" => descriptors::mapped,
        b"sqlite3.connect" => files::database_opened,
        b"sqlite3.enable_load_extension" | b"sqlite3.load_extension" => {
            |event| event.unless(event.guard.policy.native, Refusal::NativeLibrary)
        }
        b"socket.connect" => |event| network::addressed(event, Refusal::Connect),
        b"socket.bind" => |event| network::addressed(event, Refusal::Bind),
        b"socket.sendto" | b"socket.sendmsg" => |event| network::addressed(event, Refusal::SendTo),
        b"socket.getaddrinfo" | b"socket.gethostbyname" => network::resolving,
        b"socket.gethostbyaddr" | b"socket.getnameinfo" => network::naming,
        b"socket.__new__" => network::made,
        b"socket.sethostname" => |event| event.refuse(Refusal::Hostname),
        b"os.fork" => |event| event.refuse(Refusal::Fork),
        b"os.forkpty" => |event| event.refuse(Refusal::Forkpty),
        b"os.exec" => |event| event.refuse(Refusal::Exec),
        b"os.kill" => |event| event.kill(Refusal::Kill),
        b"os.killpg" => |event| event.kill(Refusal::Killpg),
        b"signal.pthread_kill" => |event| event.refuse(Refusal::PthreadKill),
        b"os.system" => |event| event.unless(event.guard.policy.subprocess, Refusal::System),
        b"os.posix_spawn" => {
            |event| event.unless(event.guard.policy.subprocess, Refusal::PosixSpawn)
        }
        b"subprocess.Popen" => |event| event.unless(event.guard.policy.subprocess, Refusal::Popen),
        b"_posixsubprocess.fork_exec" => {
            |event| event.unless(event.guard.policy.subprocess, Refusal::ForkExec)
        }
        b"pty.spawn" => |event| event.refuse(Refusal::PtySpawn),
        b"os.chdir" => |event| event.refuse(Refusal::Chdir),
        b"resource.setrlimit" | b"resource.prlimit" => |event| event.refuse(Refusal::Rlimit),
        b"sys.remote_exec" => |event| event.refuse(Refusal::RemoteExec),
        b"_thread.start_new_thread" | b"_thread.start_joinable_thread" => |event| {
            event.guard.note_thread();
            event.unless(event.guard.policy.threads, Refusal::Threads)
        },
        _ if event.starts_with(b"ctypes.") => {
            |event| event.unless(event.guard.policy.ctypes, Refusal::Ctypes)
        }
        _ => return None,
    })
}

impl<'py> Event<'_, 'py> {
    /// An argument, if there are so many.
    pub(super) fn argument(&self, index: usize) -> Option<Object<'py>> {
        // SAFETY: attached; CPython passes a tuple, whose items it keeps alive.
        unsafe {
            let count = ffi::PyTuple_GET_SIZE(self.arguments).cast_unsigned();
            (index < count).then(|| {
                let item = ffi::PyTuple_GET_ITEM(self.arguments, index.cast_signed());
                Object::borrowed(self.py, item)
            })
        }
    }

    fn refuse(&self, what: Refusal) -> Result<()> {
        Err(self.guard.refuse(self.py, what, ""))
    }

    fn unless(&self, allowed: bool, what: Refusal) -> Result<()> {
        if allowed { Ok(()) } else { self.refuse(what) }
    }

    /// Signals go to processes that the context's code has started; signal 0 only asks whether there is one.
    fn kill(&self, what: Refusal) -> Result<()> {
        let number = |index| self.argument(index).map(|argument| argument.as_int());
        let (Some(process), Some(signal)) = (number(0).transpose()?, number(1).transpose()?) else {
            return self.refuse(what);
        };
        let own = self.guard.children.lock().contains(&process);
        self.unless(signal == 0 || own, what)
    }
}
