"""What the sandbox refuses, called in every way in which code may come by a function.

The arguments are such that nothing happens where a function is not refused, as far as there are any like that.
"""

import _imp
import builtins
import importlib
import importlib.machinery
import os
import sys
import threading

#: There is no such process: numbers end below it.
NOBODY = 2**22 + 7

_MODULES = sys.modules


class Row:
    """A function of a native module, arguments for it, and the name under which it is refused."""

    def __init__(self, refusal, module, function, *arguments, raises=RuntimeError, call=None):
        self.refusal = refusal
        self.module = module
        self.function = function
        self.arguments = arguments
        self.raises = raises
        self.call = call

    def __str__(self):
        return f"{self.module}.{self.function}"

    def run(self, function):
        if self.call is None:
            return function(*self.arguments)
        return self.call(function)


def _fork_exec(function):
    """With the arguments that it has in this version, which the standard library's own caller knows."""
    from multiprocessing import util

    class Stub:
        fork_exec = staticmethod(function)

    before = _MODULES.get("_posixsubprocess")
    _MODULES["_posixsubprocess"] = Stub
    try:
        return util.spawnv_passfds(b"/nonexistent", [b"nothing"], [])
    finally:
        if before is None:
            del _MODULES["_posixsubprocess"]
        else:
            _MODULES["_posixsubprocess"] = before


def _posix(refusal, *rows):
    return [Row(refusal, "posix", name, *arguments) for name, *arguments in rows]


ROWS = {
    "ends": [
        *_posix("os._exit", ["_exit"]),
        *_posix("os.abort", ["abort", 1]),
    ],
    "forks": [
        *_posix("os.fork", ["fork"], ["fork1"]),
        *_posix("os.forkpty", ["forkpty"]),
    ],
    "execs": _posix(
        "os.exec",
        ["execv", "/nonexistent", ["nothing"]],
        ["execve", "/nonexistent", ["nothing"], {}],
    ),
    "spawns": [
        *_posix(
            "os.posix_spawn",
            ["posix_spawn", "/nonexistent", ["nothing"], {}],
            ["posix_spawnp", "/nonexistent", ["nothing"], {}],
        ),
        *_posix("os.system", ["system", "exit 0"]),
        Row("_posixsubprocess.fork_exec", "_posixsubprocess", "fork_exec", call=_fork_exec),
    ],
    "signals": [
        *_posix("os.kill", ["kill", NOBODY, 9]),
        *_posix("os.killpg", ["killpg", NOBODY, 9]),
        Row("signal.pthread_kill", "_signal", "pthread_kill", threading.get_ident(), 0),
        Row("signal.raise_signal", "_signal", "raise_signal"),
        Row("signal.pidfd_send_signal", "_signal", "pidfd_send_signal"),
    ],
    "timers": [
        Row("signal.alarm", "_signal", "alarm"),
        Row("signal.setitimer", "_signal", "setitimer"),
        Row("signal.siginterrupt", "_signal", "siginterrupt"),
    ],
    "signal_waits": [
        Row("signal.sigwait", "_signal", "sigwait", "no set"),
        Row("signal.sigwait", "_signal", "sigwaitinfo", "no set"),
        Row("signal.sigwait", "_signal", "sigtimedwait", "no set", 0),
    ],
    "clock": [
        Row("time.clock_settime", "time", "clock_settime", "no clock", 0),
        Row("time.clock_settime", "time", "clock_settime_ns", "no clock", 0),
    ],
    "waits": _posix(
        "os.wait",
        ["wait"],
        ["wait3", os.WNOHANG],
        ["wait4", -1, os.WNOHANG],
        ["waitpid", -1, os.WNOHANG],
        ["waitpid", 0, os.WNOHANG],
        ["waitid", os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT],
    ),
    "directory": [
        *_posix("os.chdir", ["chdir", "/nonexistent"], ["fchdir", 999_999]),
        *_posix("os.chroot", ["chroot", "/nonexistent"]),
    ],
    "umask": _posix("os.umask", ["umask", "no number"]),
    "identity": [
        *_posix("os.setuid", *([name, "no number"] for name in ("setuid", "seteuid"))),
        *_posix("os.setuid", *([name, "no", "number"] for name in ("setreuid",))),
        *_posix("os.setuid", ["setresuid", "no", "number", "at all"]),
        *_posix("os.setgid", *([name, "no number"] for name in ("setgid", "setegid"))),
        *_posix("os.setgid", ["setregid", "no", "number"]),
        *_posix("os.setgid", ["setresgid", "no", "number", "at all"]),
        *_posix("os.setgid", ["setgroups", 1], ["initgroups", "nobody"]),
    ],
    "session": _posix("os.setsid", ["setsid", 1], ["setpgid", "no", "number"], ["setpgrp", 1]),
    "priority": _posix("os.setpriority", ["nice", "no number"], ["setpriority", "no", "number", "at all"]),
    "scheduling": _posix(
        "os.sched_setscheduler",
        ["sched_setscheduler", NOBODY, 0, None],
        ["sched_setparam", NOBODY, None],
        ["sched_setaffinity", NOBODY, [0]],
    ),
    "namespaces": _posix("os.unshare", ["unshare", "no number"], ["setns", -1]),
    "terminal": _posix("os.tcsetpgrp", ["tcsetpgrp", -1, 1], ["login_tty", -1]),
    "limits": [
        Row("resource.setrlimit", "resource", "setrlimit", 3, (-1, -1)),
        Row("resource.setrlimit", "resource", "prlimit", NOBODY, 3, (-1, -1)),
    ],
    "hostname": [Row("socket.sethostname", "_socket", "sethostname", "x" * 5000)],
    "locale": [Row("locale.setlocale", "_locale", "setlocale", 6, "no_SUCH.locale")],
    "recursion": [Row("sys.setrecursionlimit", "sys", "setrecursionlimit", 2**31 - 1)],
    "remote": [Row("sys.remote_exec", "sys", "remote_exec", NOBODY, "/nonexistent")],
    "override": [
        Row(
            "_imp._override_multi_interp_extensions_check",
            "_imp",
            "_override_multi_interp_extensions_check",
            0,
        )
    ],
}


def _spec(name):
    if name in sys.builtin_module_names:
        return importlib.machinery.ModuleSpec(
            name, importlib.machinery.BuiltinImporter, origin="built-in"
        )
    return importlib.machinery.PathFinder.find_spec(name)


def fresh(name):
    """Make a native module as the import system does, without it."""
    spec = _spec(name)
    if name in sys.builtin_module_names:
        module = _imp.create_builtin(spec)
        _imp.exec_builtin(module)
    else:
        module = _imp.create_dynamic(spec)
        _imp.exec_dynamic(module)
    return module


def _again(name):
    """Forget a module and import it."""
    before = _MODULES.pop(name)
    try:
        return importlib.import_module(name)
    finally:
        _MODULES[name] = before


def _references(row):
    """Whatever other modules have under the name of the function that is no Python code."""
    for name, module in list(_MODULES.items()):
        if name == row.module or name.startswith("ct_"):
            continue
        found = getattr(module, "__dict__", {}).get(row.function)
        if callable(found) and not isinstance(found, type) and not hasattr(found, "__code__"):
            yield f"as {name}.{row.function}", found


def _ways(row):
    """By name, how one may come by the function, and the function that does."""
    yield "by import", lambda: getattr(importlib.import_module(row.module), row.function)
    for way, function in _references(row):
        yield way, lambda function=function: function
    yield "imported again", lambda: getattr(_again(row.module), row.function)
    yield "made anew", lambda: getattr(fresh(row.module), row.function)


def _wrong(row, way, get):
    """What is wrong with how it is refused; nothing if nothing is."""
    try:
        function = get()
    except ImportError:
        # There are modules that only the main interpreter makes anew.
        return []
    try:
        result = row.run(function)
    except BaseException as error:
        return wrong_with(error, row.refusal, row.raises, f"{row} {way}")
    return [f"{row} {way} gave {result!r}"]


def wrong_with(error, refusal, raises, what):
    """What is wrong with an exception for something that is refused under that name."""
    text = str(error)
    if type(error) is not raises:
        return [f"{what} raised {type(error).__name__}: {text}"]
    if raises is PermissionError:
        text = error.strerror or ""
    named, blocked, why = text.partition(" is blocked: ")
    if not named.startswith(refusal) or not blocked or not why:
        return [f"{what} is refused as {text!r}"]
    return []


def check(kind):
    """Try everything of a kind, on this thread and on another; give what was not refused as it should be."""
    importlib.import_module("subprocess")
    tried = []
    wrong = []

    def all_ways(where):
        for row in ROWS[kind]:
            module = importlib.import_module(row.module)
            if not hasattr(module, row.function):
                continue
            for way, get in _ways(row):
                tried.append(row)
                wrong.extend(_wrong(row, way + where, get))

    all_ways("")
    thread = threading.Thread(target=all_ways, args=(" on a thread",))
    thread.start()
    thread.join()
    return len(tried), wrong


def refused(refusal, raises, code, names):
    """What is wrong with how code, an expression, is refused; nothing if nothing is."""
    try:
        result = eval(code, {**names, **_LAZY})
    except BaseException as error:
        return wrong_with(error, refusal, getattr(builtins, raises), code)
    return [f"{code} gave {result!r}"]


def in_folder(path, function):
    """What a function gives for a descriptor of a folder, which is closed again."""
    folder = os.open(path, os.O_RDONLY)
    try:
        return function(folder)
    finally:
        os.close(folder)


def evaluate(code, names):
    """The value of an expression that may name some modules."""
    return eval(code, {**names, **_LAZY})


class _Lazy:
    """A module that is imported when something of it is wanted."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return getattr(importlib.import_module(self._name), name)


def imports(name):
    """Try to import a module in every way; give where that was not refused."""
    wrong = []
    if name not in sys.builtin_module_names and _spec(name) is None:
        return wrong
    ways = {
        "import": lambda: importlib.import_module(name),
        "__import__": lambda: __import__(name),
        "created": lambda: fresh(name),
        "frozen": lambda: importlib._bootstrap._load(_spec(name)),
    }
    # What another context of the same interpreter has loaded is there.
    loaded = name in _MODULES
    for way, attempt in ways.items():
        if loaded and way in ("import", "__import__"):
            continue
        try:
            attempt()
        except ImportError:
            pass
        except BaseException as error:
            wrong.append(f"{name} by {way} raised {type(error).__name__}: {error}")
        else:
            wrong.append(f"{name} by {way} was imported")
    return wrong


_LAZY = {"in_folder": in_folder} | {
    name: _Lazy(name)
    for name in (
        "_thread",
        "asyncio",
        "ctypes",
        "io",
        "os",
        "pathlib",
        "shutil",
        "socket",
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
    )
}
