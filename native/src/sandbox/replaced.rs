//! What is replaced in every interpreter: functions of CPython's that raise no audit event, though they end the node,
//! change what belongs to all of it, or open a way around the hook.

use super::guard::current;
use super::guarded::{Call, Kept, Rule, guard, is_guarded, make_type};
use super::policy::{Environment, Files};
use super::refusal::Refusal;
use super::{anew, copies, descriptors, files, imports, methods, network, scheduler};
use crate::py::{Object, Python, Raised, Result, ffi};
use std::collections::HashMap;
use std::ffi::CStr;

/// CPython below 3.14 overruns smaller stacks; the boot gives threads as much.
const LEAST_STACK: i64 = 16 << 20;

/// The deepest recursion that was tried on a stack of that size, on all versions.
const DEEPEST: i64 = 1_000_000;

macro_rules! rules {
    ($($module:literal { $($name:literal => $run:expr,)* })*) => {
        pub(super) static RULES: &[Rule] = &[$($(Rule { module: $module, name: $name, run: $run }),*),*];
    };
}

rules! {
    "posix" {
        "_exit" => |call| call.refuse(Refusal::Exit),
        "abort" => |call| call.refuse(Refusal::Abort),
        // Interpreters with GILs of their own refuse these before the event, in words that help nobody.
        "fork" => |call| call.refuse(Refusal::Fork),
        "fork1" => |call| call.refuse(Refusal::Fork),
        "forkpty" => |call| call.refuse(Refusal::Forkpty),
        "execv" => |call| call.refuse(Refusal::Exec),
        "execve" => |call| call.refuse(Refusal::Exec),
        "wait" => |call| call.refuse(Refusal::Wait),
        "wait3" => |call| call.refuse(Refusal::Wait),
        "wait4" => |call| wait(call, exact_int(call, 0, "pid")?),
        "waitpid" => |call| wait(call, exact_int(call, 0, "pid")?),
        "waitid" => waitid,
        "posix_spawn" => posix_spawn,
        "posix_spawnp" => posix_spawn,
        "system" => system,
        "chroot" => |call| call.refuse(Refusal::Chroot),
        "umask" => |call| call.refuse(Refusal::Umask),
        "setuid" => |call| call.refuse(Refusal::SetUser),
        "seteuid" => |call| call.refuse(Refusal::SetUser),
        "setreuid" => |call| call.refuse(Refusal::SetUser),
        "setresuid" => |call| call.refuse(Refusal::SetUser),
        "setgid" => |call| call.refuse(Refusal::SetGroup),
        "setegid" => |call| call.refuse(Refusal::SetGroup),
        "setregid" => |call| call.refuse(Refusal::SetGroup),
        "setresgid" => |call| call.refuse(Refusal::SetGroup),
        "setgroups" => |call| call.refuse(Refusal::SetGroup),
        "initgroups" => |call| call.refuse(Refusal::SetGroup),
        "setsid" => |call| call.refuse(Refusal::Setsid),
        "setpgid" => |call| call.refuse(Refusal::Setsid),
        "setpgrp" => |call| call.refuse(Refusal::Setsid),
        "nice" => |call| call.refuse(Refusal::Priority),
        "setpriority" => |call| call.refuse(Refusal::Priority),
        "sched_setscheduler" => own_thread,
        "sched_setparam" => own_thread,
        "sched_setaffinity" => own_thread,
        "unshare" => |call| call.refuse(Refusal::Namespaces),
        "setns" => |call| call.refuse(Refusal::Namespaces),
        "tcsetpgrp" => |call| call.refuse(Refusal::Terminal),
        "login_tty" => |call| call.refuse(Refusal::Terminal),
        "open" => open,
        "close" => descriptors::close,
        "closerange" => descriptors::close_range,
        "dup" => descriptors::duplicate,
        "dup2" => descriptors::duplicate_to,
        "pipe" => descriptors::made,
        "pipe2" => descriptors::made,
        "openpty" => descriptors::made,
        "posix_openpt" => descriptors::made,
        "memfd_create" => descriptors::made,
        "eventfd" => descriptors::made,
        "timerfd_create" => descriptors::made,
        "pidfd_open" => descriptors::made,
        "set_blocking" => descriptors::flagged,
        "set_inheritable" => descriptors::flagged,
        "read" => descriptors::reads,
        "readinto" => descriptors::reads,
        "readv" => descriptors::reads,
        "pread" => descriptors::reads,
        "preadv" => descriptors::reads,
        "lseek" => descriptors::reads,
        "eventfd_read" => descriptors::reads,
        "write" => descriptors::writes,
        "writev" => descriptors::writes,
        "pwrite" => descriptors::writes,
        "pwritev" => descriptors::writes,
        "eventfd_write" => descriptors::changes,
        "timerfd_settime" => descriptors::changes,
        "timerfd_settime_ns" => descriptors::changes,
        "ftruncate" => descriptors::changes,
        "posix_fallocate" => descriptors::changes,
        "lockf" => descriptors::changes,
        "truncate" => descriptors::truncate,
        "sendfile" => descriptors::send_file,
        "splice" => descriptors::copy,
        "copy_file_range" => descriptors::copy,
        "mkfifo" => make_file,
        "mknod" => make_file,
    }
    "_signal" {
        "raise_signal" => |call| call.refuse(Refusal::RaiseSignal),
        "pidfd_send_signal" => |call| call.refuse(Refusal::PidfdSendSignal),
        "alarm" => |call| call.refuse(Refusal::Alarm),
        "setitimer" => |call| call.refuse(Refusal::Setitimer),
        "siginterrupt" => |call| call.refuse(Refusal::Siginterrupt),
        "sigwait" => |call| call.refuse(Refusal::Sigwait),
        "sigwaitinfo" => |call| call.refuse(Refusal::Sigwait),
        "sigtimedwait" => |call| call.refuse(Refusal::Sigwait),
    }
    "faulthandler" {
        "enable" => |call| call.refuse(Refusal::Faulthandler),
        "disable" => |call| call.refuse(Refusal::Faulthandler),
        "register" => |call| call.refuse(Refusal::Faulthandler),
        "unregister" => |call| call.refuse(Refusal::Faulthandler),
        "dump_traceback_later" => |call| call.refuse(Refusal::Faulthandler),
        "_read_null" => |call| call.refuse(Refusal::Faulthandler),
        "_sigsegv" => |call| call.refuse(Refusal::Faulthandler),
        "_sigabrt" => |call| call.refuse(Refusal::Faulthandler),
        "_sigfpe" => |call| call.refuse(Refusal::Faulthandler),
        "_stack_overflow" => |call| call.refuse(Refusal::Faulthandler),
        "_fatal_error_c_thread" => |call| call.refuse(Refusal::Faulthandler),
    }
    "gc" {
        "get_referents" => referents,
    }
    "sys" {
        "setrecursionlimit" => set_recursion_limit,
        "activate_stack_trampoline" => write_anywhere,
    }
    "_thread" {
        "start_new_thread" => start_thread,
        "start_new" => start_thread,
        "start_joinable_thread" => start_thread,
        "stack_size" => stack_size,
    }
    "time" {
        // The environment of the node's process never changes, and with it its time zone.
        "tzset" => |call| Ok(Object::none(call.py).into_ptr()),
        "clock_settime" => |call| call.refuse(Refusal::Clock),
        "clock_settime_ns" => |call| call.refuse(Refusal::Clock),
    }
    "_locale" {
        "setlocale" => set_locale,
    }
    "_posixsubprocess" {
        "fork_exec" => fork_exec,
    }
    "fcntl" {
        "fcntl" => descriptors::control,
        "ioctl" => descriptors::device_control,
        "flock" => descriptors::controlled,
        "lockf" => descriptors::controlled,
    }
    "termios" {
        "tcsetattr" => descriptors::controlled,
        "tcsetwinsize" => descriptors::controlled,
        "tcsendbreak" => descriptors::controlled,
        "tcflow" => descriptors::controlled,
    }
    "_socket" {
        "close" => descriptors::close,
        "dup" => descriptors::duplicate,
        "getaddrinfo" => get_address_info,
    }
    // In the main interpreter contexts without limits may have loaded it.
    "_posixshmem" {
        "shm_open" => write_anywhere,
        "shm_unlink" => write_anywhere,
    }
    "_ssl" {
        "_test_decode_cert" => |call| {
            if let Some(path) = call.argument(0, "path") {
                files::may_be_read(call.py, &path)?;
            }
            Ok(call.proceed()?.into_ptr())
        },
    }
    "_imp" {
        "create_builtin" => anew::made,
        "create_dynamic" => anew::made,
        "exec_builtin" => anew::executed,
        "exec_dynamic" => anew::executed,
        "_override_multi_interp_extensions_check" => |call| call.refuse(Refusal::Override),
    }
}

/// What only contexts have that limit imports.
pub(super) static IMPORTS: &[Rule] = &[
    Rule {
        module: "builtins",
        name: "__import__",
        run: imports::import,
    },
    Rule {
        module: "_frozen_importlib",
        name: "_gcd_import",
        run: imports::import_module,
    },
];

/// What is called for modules that are not in `sys.modules`, however they are asked for; `importlib.import_module` raises
/// no event.
const LOADS: (&str, &str) = ("_frozen_importlib", "_find_and_load_unlocked");

/// What only interpreters have that schedulers enter.
static ON_SCHEDULERS: &[Rule] = &[
    Rule {
        module: LOADS.0,
        name: LOADS.1,
        run: |call| {
            scheduler::refuse_to_load(call.py)?;
            Ok(call.proceed()?.into_ptr())
        },
    },
    // Collecting is off while a scheduler is inside, and set back when it leaves.
    Rule {
        module: "gc",
        name: "enable",
        run: |call| sets_collecting(call, "gc.enable"),
    },
    Rule {
        module: "gc",
        name: "disable",
        run: |call| sets_collecting(call, "gc.disable"),
    },
];

fn sets_collecting(call: &Call<'_, '_>, what: &str) -> Result<Kept> {
    scheduler::refuse_to_set_collecting(call.py, what)?;
    Ok(call.proceed()?.into_ptr())
}

/// Replaces the functions in the attached interpreter, before it runs any code of users. `module` is `_erlang`.
pub(crate) fn replace_all(module: &Object<'_>) -> Result<()> {
    let class = make_type(module)?;
    replace_rules(&class, RULES)?;
    methods::replace_loaded(&class)
}

/// Has `import` ask for modules, too, that are loaded already.
pub(crate) fn replace_imports(module: &Object<'_>) -> Result<()> {
    replace_rules(&make_type(module)?, IMPORTS)
}

/// Has no module loaded on schedulers, and the collector not set there.
pub(crate) fn replace_for_schedulers(module: &Object<'_>) -> Result<()> {
    let py = module.py();
    let class = make_type(module)?;
    let mut replaced = HashMap::new();
    for name in [LOADS.0, "gc"] {
        let holder = Object::import(py, name)?;
        replace_in(&class, &holder, name, ON_SCHEDULERS, &mut replaced)?;
    }
    // A version that has no such function would load modules.
    Object::import(py, LOADS.0)?.getattr_str(LOADS.1)?;
    // SAFETY: attached; `sys.modules` is borrowed and a dict, and kept.
    let modules = unsafe { Object::borrowed(py, ffi::PyImport_GetModuleDict()) };
    everywhere(py, &modules, &replaced)
}

fn replace_rules(class: &Object<'_>, rules: &'static [Rule]) -> Result<()> {
    let py = class.py();
    let mut replaced = HashMap::new();
    // SAFETY: attached; `sys.modules` is borrowed and a dict; a module in it is borrowed, and kept.
    let modules = unsafe { Object::borrowed(py, ffi::PyImport_GetModuleDict()) };
    for name in descriptors::MODULES {
        if let Some(module) = item(&modules, name)? {
            descriptors::guard_types(&module, name)?;
        }
    }
    let mut done = "";
    for rule in rules {
        if rule.module == done {
            continue;
        }
        done = rule.module;
        if let Some(module) = item(&modules, done)? {
            replace_in(class, &module, done, rules, &mut replaced)?;
        }
    }
    copies::replace(py, &replaced)?;
    everywhere(py, &modules, &replaced)
}

/// What has taken the place of an object.
pub(super) type Replaced<'py> = HashMap<*mut ffi::PyObject, Object<'py>>;

/// Replaces what rules say of one module.
pub(super) fn replace_in<'py>(
    class: &Object<'py>,
    module: &Object<'py>,
    name: &str,
    rules: &'static [Rule],
    replaced: &mut Replaced<'py>,
) -> Result<()> {
    let py = class.py();
    // SAFETY: attached; a module has a dict, which is borrowed.
    let dict = unsafe {
        if ffi::PyModule_Check(module.as_ptr()) == 0 {
            return Ok(());
        }
        Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr()))
    };
    for rule in rules.iter().filter(|rule| rule.module == name) {
        let Some(original) = item(&dict, rule.name)? else {
            continue;
        };
        if is_guarded(original.as_ptr()) {
            continue;
        }
        anew::remember(&original, rule);
        let place = original.as_ptr();
        let guarded = guard(class, original, rule)?;
        let key = Object::str(py, rule.name)?;
        set_item(&dict, &key, &guarded)?;
        replaced.insert(place, guarded);
    }
    Ok(())
}

/// Replaces objects wherever loaded modules have them: by the same or another name, or in a set of functions, such as
/// `os.supports_fd`.
fn everywhere<'py>(py: Python<'py>, modules: &Object<'py>, replaced: &Replaced<'py>) -> Result<()> {
    for (_, module) in items(py, modules) {
        // SAFETY: attached; reads the type of a live object; the dict of a module is borrowed.
        let dict = unsafe {
            if ffi::PyModule_Check(module.as_ptr()) == 0 {
                continue;
            }
            Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr()))
        };
        for (key, value) in items(py, &dict) {
            if let Some(guarded) = replaced.get(&value.as_ptr()) {
                set_item(&dict, &key, guarded)?;
                continue;
            }
            // SAFETY: attached; reads the type of a live object.
            if unsafe { ffi::PySet_Check(value.as_ptr()) } != 0 {
                in_set(py, &value, replaced)?;
            }
        }
    }
    Ok(())
}

fn in_set<'py>(py: Python<'py>, set: &Object<'py>, replaced: &Replaced<'py>) -> Result<()> {
    for (original, guarded) in replaced {
        // SAFETY: attached; a live set, and the original, which the guarded function holds.
        unsafe {
            match ffi::PySet_Discard(set.as_ptr(), *original) {
                0 => {}
                1 if ffi::PySet_Add(set.as_ptr(), guarded.as_ptr()) == 0 => {}
                _ => return Err(Raised::seen(py)),
            }
        }
    }
    Ok(())
}

/// The items of a dict, each with references of its own.
pub(super) fn items<'py>(py: Python<'py>, dict: &Object<'py>) -> Vec<(Object<'py>, Object<'py>)> {
    let mut found = Vec::new();
    let (mut place, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: attached; a live dict that does not change meanwhile; what it gives is borrowed.
    unsafe {
        while ffi::PyDict_Next(dict.as_ptr(), &mut place, &mut key, &mut value) != 0 {
            found.push((Object::borrowed(py, key), Object::borrowed(py, value)));
        }
    }
    found
}

pub(super) fn item<'py>(dict: &Object<'py>, name: &str) -> Result<Option<Object<'py>>> {
    let py = dict.py();
    let key = Object::str(py, name)?;
    // SAFETY: attached; a live dict; what it gives is borrowed.
    unsafe {
        let found = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if !found.is_null() {
            return Ok(Some(Object::borrowed(py, found)));
        }
        if ffi::PyErr_Occurred().is_null() {
            Ok(None)
        } else {
            Err(Raised::seen(py))
        }
    }
}

pub(super) fn set_item(dict: &Object<'_>, key: &Object<'_>, value: &Object<'_>) -> Result<()> {
    // SAFETY: attached; live objects.
    match unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Raised::seen(dict.py())),
    }
}

/// An argument that is an int, as the original will see it: other objects might answer otherwise when they are asked
/// again.
pub(super) fn exact_int(call: &Call<'_, '_>, index: usize, name: &str) -> Result<Option<i64>> {
    let Some(value) = call.argument(index, name) else {
        return Ok(None);
    };
    // SAFETY: attached; reads the type of a live object.
    if unsafe { ffi::PyLong_Check(value.as_ptr()) } == 0 {
        let text = format!("{name} must be an int, not {}", value.type_name());
        return Err(Raised::type_error(call.py, &text));
    }
    value.as_int().map(Some)
}

fn fork_exec(call: &Call<'_, '_>) -> Result<Kept> {
    /// Where `env` lies among the arguments, in 3.12 to 3.15.
    const ENVIRONMENT: usize = 5;
    if !current(|guard| guard.policy.subprocess) {
        return call.refuse(Refusal::ForkExec);
    }
    let process = match call.argument(ENVIRONMENT, "") {
        // SAFETY: the address of an immortal object.
        Some(environment) if environment.as_ptr() == unsafe { ffi::Py_None() } => {
            // The node's environment is not what `os.environ` says.
            let variables = Object::import(call.py, "erlang._boot")?
                .getattr_str("environment")?
                .call(&[])?;
            call.proceed_with((ENVIRONMENT, ""), &variables)?
        }
        _ => call.proceed()?,
    };
    remember_child(&process)?;
    Ok(process.into_ptr())
}

/// `posix_spawn(path, argv, env, ...)`.
fn posix_spawn(call: &Call<'_, '_>) -> Result<Kept> {
    let process = match call.argument(2, "env") {
        // SAFETY: the address of an immortal object.
        Some(environment) if environment.as_ptr() == unsafe { ffi::Py_None() } => {
            let variables = Object::import(call.py, "os")?.getattr_str("environ")?;
            call.proceed_with((2, "env"), &variables)?
        }
        _ => call.proceed()?,
    };
    remember_child(&process)?;
    Ok(process.into_ptr())
}

fn remember_child(process: &Object<'_>) -> Result<()> {
    let number = process.as_int()?;
    current(|guard| guard.children.lock().insert(number));
    Ok(())
}

/// `system(command)`: the shell gets the node's environment.
fn system(call: &Call<'_, '_>) -> Result<Kept> {
    let limited = current(|guard| guard.policy.environment != Environment::All);
    call.unless(!limited, Refusal::NodeEnvironment)
}

/// Waits for a process that the context has started, and no other: the node has children of its own.
fn wait(call: &Call<'_, '_>, process: Option<i64>) -> Result<Kept> {
    let process = process.unwrap_or(-1);
    if !current(|guard| guard.children.lock().contains(&process)) {
        return call.refuse(Refusal::Wait);
    }
    let outcome = match call.proceed() {
        Ok(outcome) => outcome,
        Err(raised) => {
            // The system has forgotten it, since the node ignores SIGCHLD; its number may be another's.
            current(|guard| guard.children.lock().remove(&process));
            return Err(raised);
        }
    };
    // SAFETY: attached; the first item of a tuple is borrowed.
    let ended = unsafe {
        ffi::PyTuple_Check(outcome.as_ptr()) != 0
            && ffi::PyTuple_GET_SIZE(outcome.as_ptr()) > 0
            && Object::borrowed(call.py, ffi::PyTuple_GET_ITEM(outcome.as_ptr(), 0)).as_int()?
                == process
    };
    if ended {
        // The system may give its number to another process.
        current(|guard| guard.children.lock().remove(&process));
    }
    Ok(outcome.into_ptr())
}

fn waitid(call: &Call<'_, '_>) -> Result<Kept> {
    if exact_int(call, 0, "idtype")? != Some(i64::from(libc::P_PID)) {
        return call.refuse(Refusal::Wait);
    }
    wait(call, exact_int(call, 1, "id")?)
}

/// `get_referents(*objects)`. Below 3.13 the module `_asyncio` gives iterators that it keeps for later use, which have
/// ended already: whoever drops one ends it twice, and memory is corrupt. So it gives nothing there.
fn referents(call: &Call<'_, '_>) -> Result<Kept> {
    if cfg!(Py_3_13) {
        return Ok(call.proceed()?.into_ptr());
    }
    let nothing = Object::none(call.py);
    Ok(call.proceed_replacing(is_asyncio, &nothing)?.into_ptr())
}

fn is_asyncio(object: &Object<'_>) -> bool {
    // SAFETY: attached; a live object; the definition of a module, and its name, are static where there is one.
    unsafe {
        if ffi::PyModule_Check(object.as_ptr()) == 0 {
            return false;
        }
        let definition = ffi::PyModule_GetDef(object.as_ptr());
        if definition.is_null() {
            ffi::PyErr_Clear();
            return false;
        }
        CStr::from_ptr((*definition).m_name) == c"_asyncio"
    }
}

/// Scheduling of the calling thread is its own affair.
fn own_thread(call: &Call<'_, '_>) -> Result<Kept> {
    call.unless(exact_int(call, 0, "pid")? == Some(0), Refusal::Scheduling)
}

/// `open(path, flags, mode=511, *, dir_fd=None)`: the event does not tell the folder.
fn open(call: &Call<'_, '_>) -> Result<Kept> {
    let folder = folder(call)?;
    files::relative_to(folder, || descriptors::made(call))
}

fn folder(call: &Call<'_, '_>) -> Result<Option<i32>> {
    match call.named("dir_fd") {
        // SAFETY: the address of an immortal object.
        Some(folder) if folder.as_ptr() != unsafe { ffi::Py_None() } => {
            let number = exact_int(call, usize::MAX, "dir_fd")?;
            Ok(number.and_then(|number| number.try_into().ok()))
        }
        _ => Ok(None),
    }
}

/// `mkfifo(path, mode, *, dir_fd)`, `mknod(path, mode, device, *, dir_fd)`.
fn make_file(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(path) = call.argument(0, "path") {
        let folder = folder(call)?;
        current(|guard| files::may_make(call.py, guard, &path, folder))?;
    }
    Ok(call.proceed()?.into_ptr())
}

/// Writes files wherever the function chooses.
fn write_anywhere(call: &Call<'_, '_>) -> Result<Kept> {
    let allowed = current(|guard| guard.policy.write == Files::All);
    call.unless(allowed, Refusal::Write)
}

fn set_recursion_limit(call: &Call<'_, '_>) -> Result<Kept> {
    let deep = exact_int(call, 0, "limit")?.is_some_and(|limit| limit > DEEPEST);
    call.unless(!deep, Refusal::RecursionLimit)
}

/// `start_new_thread(function, args[, kwargs])`, `start_joinable_thread(function, handle=None, daemon=True)`.
fn start_thread(call: &Call<'_, '_>) -> Result<Kept> {
    let allowed = current(|guard| guard.policy.threads);
    if !allowed {
        return call.refuse(Refusal::Threads);
    }
    let function = call.argument(0, "function");
    // SAFETY: attached; reads the type of a live object.
    match function.filter(|function| unsafe { ffi::PyCallable_Check(function.as_ptr()) } != 0) {
        Some(function) => {
            let function = call.inheriting(function)?;
            Ok(call.proceed_with((0, "function"), &function)?.into_ptr())
        }
        // It says itself what is wrong.
        None => Ok(call.proceed()?.into_ptr()),
    }
}

/// `stack_size([size])`: at least what the version needs.
fn stack_size(call: &Call<'_, '_>) -> Result<Kept> {
    let Some(wanted) = exact_int(call, 0, "size")? else {
        return Ok(call.proceed()?.into_ptr());
    };
    if (1..LEAST_STACK).contains(&wanted) && cfg!(not(Py_3_14)) {
        let least = Object::int(call.py, LEAST_STACK)?;
        return Ok(call.proceed_with((0, "size"), &least)?.into_ptr());
    }
    if wanted == 0 {
        let usual = Object::int(call.py, LEAST_STACK)?;
        return Ok(call.proceed_with((0, "size"), &usual)?.into_ptr());
    }
    Ok(call.proceed()?.into_ptr())
}

/// `setlocale(category, locale=None)`: asking is free, and so is setting what holds already.
fn set_locale(call: &Call<'_, '_>) -> Result<Kept> {
    let Some(wanted) = call.argument(1, "locale") else {
        return Ok(call.proceed()?.into_ptr());
    };
    let category = exact_int(call, 0, "category")?;
    let category = category
        .and_then(|number| number.try_into().ok())
        .unwrap_or(-1);
    let holds = match wanted.str_of()? {
        Some(wanted) => {
            // SAFETY: asks only; the text is the library's, and read before anybody else asks under the GIL.
            let now = unsafe { libc::setlocale(category, std::ptr::null()) };
            // SAFETY: null for an unknown category, else a text.
            !now.is_null()
                && unsafe { std::ffi::CStr::from_ptr(now) }.to_bytes() == wanted.as_bytes()
        }
        None => true,
    };
    call.unless(holds, Refusal::Locale)
}

fn get_address_info(call: &Call<'_, '_>) -> Result<Kept> {
    let found = call.proceed()?;
    if let Some(host) = call.argument(0, "host")
        && let Some(host) = host.str_of()?
    {
        current(|guard| network::found(call.py, guard, &host, &found))?;
    }
    Ok(found.into_ptr())
}
