//! What may be refused, and the words for it.

use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::c_int;

/// Which exception code gets.
#[derive(Clone, Copy)]
enum Class {
    /// It would damage the node: a `RuntimeError`, under every policy.
    Damage,
    /// The policy does not allow it: a `RuntimeError`.
    Policy,
    /// The policy does not allow it, and libraries expect such things of a system: a `PermissionError`.
    Permission,
    /// An `ImportError`, which libraries that can do without the module expect.
    Import,
}

struct Entry {
    name: &'static str,
    class: Class,
    /// Why, and what to do instead.
    text: &'static str,
}

macro_rules! refusals {
    ($($id:ident: $class:ident $name:literal, $text:expr;)*) => {
        /// Everything that may be refused: an audit event, or a function that raises none.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Refusal { $($id),* }

        /// In the order of [`Refusal`].
        static ENTRIES: &[Entry] = &[$(Entry { name: $name, class: Class::$class, text: $text }),*];

        /// How many there are.
        pub(super) const KINDS: usize = [$(Refusal::$id),*].len();
    };
}

const PORT: &str = "start a program with erlang:open_port/2, or allow `subprocess` in the context's sandbox and use the module subprocess";
const ONLY_CHILDREN: &str =
    "only processes that this context started may be waited for; use subprocess or a port";
const IDENTITY: &str =
    "it would change the identity of the node's process; start the node as the user that it needs";
const SCHEDULING: &str =
    "it would change how the node's process is scheduled; start the node with what it needs";
const SIGNALS: &str =
    "it would take signals from the node; let Erlang handle them (os:set_signal/2)";
const NETWORK: &str = "the context's sandbox has no entry in `network` for this address";
const FILES: &str = "the context's sandbox has no folder of this file in `read` or `write`";

const DESCRIPTOR: &str = "it is not of this context, but of the node, another context, or C code, or was closed and is something else by now; use what open, os.open, os.pipe or socket gave here, and close that once, or erlang.adopt_descriptor for what C code opened here";

refusals! {
    Exit: Damage "os._exit", "it would end the node; raise an exception, or call erlang:halt/1 in Erlang";
    Abort: Damage "os.abort", "it would end the node; raise an exception, or call erlang:halt/1 in Erlang";
    Fork: Damage "os.fork", "it would copy one thread of the node's process and nothing else of it; start a program with erlang:open_port/2, or allow `subprocess` in the context's sandbox and use the module subprocess";
    Forkpty: Damage "os.forkpty", "it would copy one thread of the node's process and nothing else of it; start a program with erlang:open_port/2";
    Exec: Damage "os.exec", "it would replace the node's process; start a program with erlang:open_port/2, or allow `subprocess` in the context's sandbox and use the module subprocess";
    PosixSpawn: Policy "os.posix_spawn", PORT;
    System: Policy "os.system", PORT;
    Popen: Policy "subprocess.Popen", PORT;
    ForkExec: Policy "_posixsubprocess.fork_exec", PORT;
    PtySpawn: Policy "pty.spawn", "it copies the node's process; start a program with erlang:open_port/2";
    NodeEnvironment: Policy "a program with the node's environment", "the context's sandbox limits `environment`; use subprocess, and pass env";
    Kill: Damage "os.kill", "signals may end the node or what it needs; only processes that this context started may get them; call exit/2 or os:cmd/1 in Erlang";
    Killpg: Damage "os.killpg", "signals may end the node or what it needs; only processes that this context started may get them";
    PthreadKill: Damage "signal.pthread_kill", "a signal ends the node or disturbs its threads; interrupt a context with py:interrupt/1";
    RaiseSignal: Damage "signal.raise_signal", "a signal ends the node or disturbs it; raise an exception";
    PidfdSendSignal: Damage "signal.pidfd_send_signal", "signals may end the node or what it needs; use Popen.send_signal on a process of this context";
    Alarm: Damage "signal.alarm", "SIGALRM would end the node; give the call a time limit, or use loop.call_later";
    Setitimer: Damage "signal.setitimer", "its signal would end the node; give the call a time limit, or use loop.call_later";
    Siginterrupt: Damage "signal.siginterrupt", SIGNALS;
    Sigwait: Damage "signal.sigwait", SIGNALS;
    Faulthandler: Damage "faulthandler", "it would end the node or change its signal handlers; ask py:last_error/0 for tracebacks";
    Wait: Damage "os.wait", ONLY_CHILDREN;
    Close: Damage "os.close", DESCRIPTOR;
    Duplicate: Damage "os.dup", DESCRIPTOR;
    DescriptorFlags: Damage "os.set_blocking", DESCRIPTOR;
    ReadDescriptor: Damage "os.read", DESCRIPTOR;
    WriteDescriptor: Damage "os.write", DESCRIPTOR;
    Control: Damage "fcntl.fcntl", DESCRIPTOR;
    SignalsByDescriptor: Damage "fcntl.fcntl for signals", "a signal ends the node or disturbs it; wait for descriptors with loop.add_reader, or with select";
    AdoptFile: Damage "open of a descriptor", DESCRIPTOR;
    AdoptSocket: Damage "socket.socket of a descriptor", DESCRIPTOR;
    MapDescriptor: Damage "mmap.mmap", DESCRIPTOR;
    AdoptDescriptor: Damage "erlang.adopt_descriptor", "standard input and output and what another context opened are nobody else's, and where the context's sandbox has neither `ctypes` nor `native` there is no C code to open any";
    Chdir: Damage "os.chdir", "the working directory is the whole node's; use absolute paths, or dir_fd";
    Chroot: Damage "os.chroot", "the root directory is the whole node's; use absolute paths";
    Umask: Damage "os.umask", "the mask is the whole node's; pass a mode to os.open or os.chmod";
    SetUser: Damage "os.setuid", IDENTITY;
    SetGroup: Damage "os.setgid", IDENTITY;
    Setsid: Damage "os.setsid", "it would take the node's process out of its session; give `start_new_session` to subprocess";
    Priority: Damage "os.setpriority", SCHEDULING;
    Scheduling: Damage "os.sched_setscheduler", SCHEDULING;
    Namespaces: Damage "os.unshare", "the node's threads would no longer see the same system; start a program with erlang:open_port/2";
    Terminal: Damage "os.tcsetpgrp", "the terminal belongs to the node";
    Rlimit: Damage "resource.setrlimit", "limits hold for the whole node; start it with what it needs, or see the option memory_limit of contexts";
    Hostname: Damage "socket.sethostname", "the name is the whole machine's";
    Clock: Damage "time.clock_settime", "the clock is the whole machine's";
    Locale: Damage "locale.setlocale", "the locale is the whole node's, and its other threads use it meanwhile; format with the module that you need, or with Babel";
    RecursionLimit: Damage "sys.setrecursionlimit", "deeper recursion than 1000000 may overrun the stack of the thread; use a loop";
    RemoteExec: Damage "sys.remote_exec", "it would run code in the middle of whatever the process does; call into a context of it";
    Override: Damage "_imp._override_multi_interp_extensions_check", "modules that refuse subinterpreters share data between them without locks; use a context of mode worker";
    Interpreters: Import "_interpreters", "the node's contexts are its interpreters: start one with py_context:new/1, or a pool with py_context_router:start_pool/3";
    Internals: Import "_testcapi", "modules for tests of CPython itself can crash the node; run those in a Python outside of the node";
    Imports: Import "import", "the context's sandbox has it not in `imports`";
    Ctypes: Policy "ctypes", "foreign functions can do anything to the node; allow `ctypes` in the context's sandbox";
    CtypesModule: Import "import of _ctypes", "foreign functions can do anything to the node; allow `ctypes` in the context's sandbox";
    NativeModule: Import "import of an extension module", "native code can do anything to the node; allow `native` in the context's sandbox";
    NativeLibrary: Policy "sqlite3.load_extension", "native code can do anything to the node; allow `native` in the context's sandbox";
    Threads: Policy "threading", "the context's sandbox has `threads` off; use asyncio, or more contexts";
    Read: Permission "open", FILES;
    List: Permission "os.listdir", FILES;
    Write: Permission "open for writing", FILES;
    Change: Permission "os.rename", FILES;
    FileModule: Import "import of a module that opens files itself", "the context's sandbox limits `read` or `write`, which this module would not know of";
    Database: Permission "sqlite3.connect", "the context's sandbox limits `read` or `write`, and SQL can open any file; keep what is to be stored in Erlang";
    Connect: Permission "socket.connect", NETWORK;
    Bind: Permission "socket.bind", NETWORK;
    SendTo: Permission "socket.sendto", NETWORK;
    Resolve: Permission "socket.getaddrinfo", NETWORK;
    RawSocket: Permission "socket.socket", "the context's sandbox limits `network`, so there are sockets for TCP, UDP and of the family AF_UNIX only";
}

/// The names of all, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}

impl Refusal {
    pub(crate) fn name(self) -> &'static str {
        ENTRIES[self as usize].name
    }

    /// Sets the exception. `detail` says what exactly was asked for, and may be empty.
    pub(super) fn raise(self, py: Python<'_>, detail: &str) -> Raised {
        let entry = &ENTRIES[self as usize];
        let of = if detail.is_empty() {
            String::new()
        } else {
            format!(" ({detail})")
        };
        let text = format!("{}{of} is blocked: {}", entry.name, entry.text);
        match entry.class {
            Class::Damage | Class::Policy => Raised::runtime_error(py, &text),
            Class::Permission => permission_error(py, &text).unwrap_or_else(|raised| raised),
            // SAFETY: a static class.
            Class::Import => Raised::of_static_class(py, unsafe { ffi::PyExc_ImportError }, &text),
        }
    }
}

/// With its number, as the system's own have it.
fn permission_error(py: Python<'_>, text: &str) -> Result<Raised> {
    let number = Object::int(py, i64::from(libc::EPERM as c_int))?;
    let text = Object::str(py, text)?;
    // SAFETY: attached; a new tuple of two live objects, and a static class.
    unsafe {
        let arguments =
            Object::owned_or_raised(py, ffi::PyTuple_Pack(2, number.as_ptr(), text.as_ptr()))?;
        ffi::PyErr_SetObject(ffi::PyExc_PermissionError, arguments.as_ptr());
    }
    Ok(Raised::seen(py))
}
