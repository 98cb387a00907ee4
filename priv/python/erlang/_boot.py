"""The beginning and the end of an interpreter. Called by the native side only."""

from __future__ import annotations

import atexit
import gc
import io
import os
import posix
import site
import sys
import threading
import time

import _erlang

from . import _hooks, _output, _sources

# Not from typing: importing that would take longer than all the rest of a start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any

#: Modules that corrupt memory on Python 3.12 when several interpreters use them at the same time.
#: Their pure-Python twins serve instead.
_UNSAFE_ON_3_12 = ("_datetime", "_decimal", "_zoneinfo")

#: CPython below 3.14 needs this much stack for the C recursion that it allows.
_THREAD_STACK = 16 << 20

#: Extension modules below the standard library's most common ones. The first import of each takes the main GIL from 3.13 on,
#: which a busy context of mode worker may keep. They bring no other modules.
_AHEAD = (
    "_bisect",
    "_contextvars",
    "_csv",
    "_datetime",
    "_functools",
    "_heapq",
    "_json",
    "_operator",
    "_queue",
    "_random",
    "_socket",
    "_sre",
    "_string",
    "_struct",
    "binascii",
    "errno",
    "fcntl",
    "math",
    "select",
    "unicodedata",
    "zlib",
)

#: How long threads may take to end, in seconds.
_JOIN_SECONDS = 1.0


def prepare() -> None:
    """Make a new interpreter ready for user code. Runs before any of it."""
    if sys.version_info < (3, 13) and not _is_main_interpreter():
        for name in _UNSAFE_ON_3_12:
            sys.modules[name] = None  # type: ignore[assignment]
    _replace_process_wide_functions()
    if _is_main_interpreter():
        _guard_tracing()
    sys.stdin = io.TextIOWrapper(
        io.BytesIO(), encoding="utf-8"
    )  # the node's own input is not ours to read
    if not _is_main_interpreter():
        _output.install()
    sys.breakpointhook = _refuse_breakpoint
    _hooks.install()
    threading.stack_size(_THREAD_STACK)
    _adopt_thread()
    sys.meta_path.insert(0, _Finder())
    # Which are made absolute.
    before = {os.path.abspath(entry) for entry in sys.path}
    site.main()
    _birth.installed = [entry for entry in sys.path if entry not in before]
    _sources.show_lines()
    if _is_main_interpreter():
        # Until here nobody would have taken what is printed.
        _output.install()
    _birth.remember()


def breathe() -> None:
    """Be bytecode, where CPython gives the GIL to others and does whatever else is due."""


def load_ahead() -> None:
    """Load what much of the standard library needs, in an interpreter that waits for a context."""
    for name in _AHEAD:
        try:
            __import__(name)
        except ImportError:
            # A build of Python need not have all of them.
            continue


def environment() -> list[bytes]:
    """Give what ``os.environ`` says as the system has it, for programs that are started."""
    return [name + b"=" + value for name, value in os.environb.items()]


def limit_environment(*names: bytes) -> None:
    """Leave these variables of the node's environment, and no other."""
    for variables, keep in (
        (os.environ, {os.fsdecode(name) for name in names}),
        (posix.environ, set(names)),
    ):
        environment: Any = variables
        for name in set(environment) - keep:
            del environment[name]
    _birth.environ = dict(os.environ)


def write_no_bytecode() -> None:
    """Compile modules without trying to write what comes out."""
    sys.dont_write_bytecode = True


#: What is loaded with a module of the standard library, at its first import: asyncio's loops can be interrupted, and what
#: is logged finds Erlang, from the beginning.
_LOADED_WITH = {"asyncio": "_policy", "logging": "_logging"}


class _Finder:
    """Finds those modules, once."""

    def __init__(self) -> None:
        self.waits_for = set(_LOADED_WITH)

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        """Find what the import system's own finder finds, with a loader that does more."""
        if name not in self.waits_for:
            return None
        machinery: Any = sys.modules["_frozen_importlib_external"]
        spec = machinery.PathFinder.find_spec(name)
        if spec is not None and type(spec.loader) is machinery.SourceFileLoader:
            spec.loader = _loader(machinery.SourceFileLoader, spec, self)
        return spec

    def loaded(self, name: str) -> None:
        """Wait for it no more."""
        self.waits_for.discard(name)
        if not self.waits_for and self in sys.meta_path:
            sys.meta_path.remove(self)


def _loader(base: Any, spec: Any, finder: _Finder) -> Any:
    class Loader(base):  # type: ignore[misc]
        def exec_module(self, module: ModuleType) -> None:
            from ._scope import internals

            # Interrupted, it would leave half of the package behind, and that for good.
            internals().run(self._load, module)

        def _load(self, module: ModuleType) -> None:
            super().exec_module(module)
            __import__(f"erlang.{_LOADED_WITH[module.__name__]}")
            finder.loaded(module.__name__)

    return Loader(spec.loader.name, spec.loader.path)


def _refuse_breakpoint(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError(
        "breakpoint() waits for a terminal, and a context has none; raise an exception and ask "
        "py:last_error/0, or set sys.breakpointhook to a debugger of your own, such as a remote one"
    )


def _is_main_interpreter() -> bool:
    return bool(_erlang.interpreter_id() == 0)


def _replace_process_wide_functions() -> None:
    """Replace what would change the node's process, or block the context beyond the reach of interrupts."""
    replacements: list[tuple[Any, str]] = [
        (os, "putenv"),
        (posix, "putenv"),
        (os, "unsetenv"),
        (posix, "unsetenv"),
        (time, "sleep"),
    ]
    for module, name in replacements:
        setattr(module, name, getattr(_erlang, name))


def _guard_tracing() -> None:
    """Keep tracing of memory and interpreters with their own GILs apart, which together corrupt memory.

    All other interpreters refuse ``_tracemalloc``. Called once for each context of the main interpreter.
    """
    import _tracemalloc

    if hasattr(_tracemalloc, "_unguarded"):
        return
    start, stop, is_tracing = (
        _tracemalloc.start,
        _tracemalloc.stop,
        _tracemalloc.is_tracing,
    )
    lock = threading.Lock()

    def guarded_start(nframe: int = 1, /) -> None:
        with lock:
            if not _erlang.trace_memory(True):
                raise RuntimeError(
                    "memory cannot be traced while there are contexts of mode owngil: it takes a node "
                    "that has none, with context_mode set to worker"
                )
            try:
                start(nframe)
            finally:
                if not is_tracing():
                    _erlang.trace_memory(False)

    def guarded_stop() -> None:
        with lock:
            stop()
            _erlang.trace_memory(False)

    guarded: Any = _tracemalloc
    guarded.start, guarded.stop, guarded._unguarded = (
        guarded_start,
        guarded_stop,
        (start, stop),
    )


def _adopt_thread() -> None:
    """Make the calling thread the one that ``threading.main_thread()`` names.

    From 3.13, ``threading`` takes the process's first thread for the main one in every interpreter, and
    any other for a daemon; threads started by a daemon are daemons, for which ending does not wait.
    Checked against 3.12.1, 3.13.0, 3.14 and 3.15: ``threading._MainThread`` and ``threading._active``.
    """
    current = threading.current_thread()
    main = threading.main_thread()
    if current is main:
        return
    with threading._active_limbo_lock:  # type: ignore[attr-defined]
        active = threading._active  # type: ignore[attr-defined]
        active.pop(main._ident, None)  # type: ignore[attr-defined]
        main._ident = threading.get_ident()  # type: ignore[attr-defined]
        handle = getattr(threading, "_make_thread_handle", None)
        if handle is not None:
            main._handle = handle(main._ident)  # type: ignore[attr-defined]
        if hasattr(main, "_native_id"):
            main._native_id = threading.get_native_id()
        active[main._ident] = main  # type: ignore[attr-defined]


class _Birth:
    """What a recycled interpreter is put back to."""

    def __init__(self) -> None:
        self.path: list[str] = []
        #: What ``site`` has added to it.
        self.installed: list[str] = []
        self.environ: dict[str, str] = {}
        self.has_audit_hooks = False

    def remember(self) -> None:
        """Note how things are before any user code runs."""
        self.path = list(sys.path)
        self.environ = dict(os.environ)
        add_audit_hook = sys.addaudithook

        def addaudithook(hook: Any, /) -> None:
            self.has_audit_hooks = True
            add_audit_hook(hook)

        sys.addaudithook = addaudithook  # type: ignore[assignment]

    def restore(self) -> bool:
        """Put back what can be put back; ``False`` when something stays that cannot."""
        traced = sys.gettrace() is not None or sys.getprofile() is not None
        sys.path[:] = self.path
        os.environ.clear()
        os.environ.update(self.environ)
        _output.install()
        logs: Any = sys.modules.get("erlang._logging")
        if logs is not None:
            logs.restore()
        # After logging, which may have taken the warnings.
        _hooks.install()
        if "asyncio" in sys.modules:
            from . import _policy

            _policy.set_policy()
        return not (traced or self.has_audit_hooks)


_birth = _Birth()


def settle(*where: Any) -> None:
    """Let modules be found where the node says; see ``_birth.settle``."""
    from . import _birth as birth

    birth.settle(*where)


def installed_packages() -> list[str]:
    """Give the entries of ``sys.path`` for packages that the Python installation itself has."""
    return _birth.installed


def finish(recycle: bool) -> bool:
    """Run exit handlers and let threads end, within bounds; with ``recycle``, clean up for the next user.

    Says whether the interpreter may be handed out again.
    """
    _end_loop()
    _dismiss_executors()
    _join(time.monotonic() + _JOIN_SECONDS)
    atexit._run_exitfuncs()
    if not recycle:
        return False
    _revive_finalizers()
    _forget_packages()
    _sources.forget()
    settled: Any = sys.modules.get("erlang._birth")
    reusable = settled is None or settled.forget()
    # What tasks left in cycles may hold descriptors, which would stay open for as long as the interpreter waits.
    gc.collect()
    return _birth.restore() and reusable


def _end_loop() -> None:
    tasks: Any = sys.modules.get("erlang._tasks")
    if tasks is not None:
        tasks.shutdown()


def _join(deadline: float) -> None:
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _dismiss_executors() -> None:
    """Tell idle workers of thread pools to end, which ``threading._shutdown`` would do without a bound."""
    executors: Any = sys.modules.get("concurrent.futures.thread")
    if executors is None:
        return
    with executors._global_shutdown_lock:
        executors._shutdown = True
    for queue in list(executors._threads_queues.values()):
        queue.put(None)


def _revive_finalizers() -> None:
    """Let ``weakref.finalize`` work for the next user: its exit handler ran, and stopped it for good.

    Checked against 3.12.1 and 3.13.0: ``weakref.finalize._shutdown`` and ``_registered_with_atexit``.
    """
    weakref: Any = sys.modules.get("weakref")
    if weakref is not None:
        weakref.finalize._shutdown = False
        weakref.finalize._registered_with_atexit = False


def _forget_packages() -> None:
    """Forget third-party packages that are pure Python, so that the next user imports them anew.

    The standard library stays, and so does every package with a native module somewhere in it: importing
    those twice leaks.
    """
    executors: Any = sys.modules.get("concurrent.futures.thread")
    if executors is not None:
        executors._shutdown = False
    for _top, names in third_party_packages():
        if is_pure(names):
            forget(names)


def third_party_packages() -> list[tuple[str, list[str]]]:
    """Give packages and modules that are loaded and not the standard library's, with the names of what is in them."""
    packages: dict[str, list[str]] = {}
    for name in list(sys.modules):
        packages.setdefault(name.partition(".")[0], []).append(name)
    ours = ("erlang", "_erlang", "__main__")
    return [
        (top, names)
        for top, names in packages.items()
        if top not in ours and top not in sys.stdlib_module_names
    ]


def is_pure(names: list[str]) -> bool:
    """Tell whether all these modules are third-party ones in Python, or packages that are but folders."""
    stdlib = os.path.dirname(os.__file__)
    return all(_is_pure_third_party(sys.modules.get(name), stdlib) for name in names)


def _is_pure_third_party(module: ModuleType | None, stdlib: str) -> bool:
    file = getattr(module, "__file__", None)
    if file is None and hasattr(module, "__path__"):
        return True
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    in_stdlib = file.startswith(stdlib + os.sep)
    return not in_stdlib or (os.sep + "site-packages" + os.sep) in file


def forget(names: Iterable[str]) -> None:
    """Let modules be imported anew."""
    for name in names:
        sys.modules.pop(name, None)


#: What ``traceback`` imports when it is used.
_USED_BY_TRACEBACK = (
    "traceback",
    "_suggestions",
    "ast",
    "codeop",
    "difflib",
    "inspect",
    "linecache",
    "textwrap",
    "unicodedata",
    *(("importlib.resources.readers",) if sys.version_info >= (3, 15) else ()),
)

#: Their modules.
_COMMON_CODECS = tuple(
    f"encodings.{name}"
    for name in (
        "ascii",
        "cp1252",
        "idna",
        "latin_1",
        "utf_8_sig",
        "utf_16",
        "utf_16_be",
        "utf_16_le",
        "utf_32",
    )
)


def load_for_schedulers() -> None:
    """Import what converting values and telling of exceptions may need, and common codecs.

    Nothing is imported on schedulers.
    """
    from . import _values

    for part in (*_USED_BY_TRACEBACK, *_COMMON_CODECS):
        try:
            __import__(part)
        except ImportError:
            # Not in this version, or not in an interpreter like this one. Whoever can do without it learns that at once.
            sys.modules[part] = None  # type: ignore[assignment]
    del _values


def garbage_is_due() -> bool:
    """Whether CPython would collect garbage now, if that were not put off."""
    young, *_ = gc.get_count()
    threshold, *_ = gc.get_threshold()
    return 0 < threshold < young


def collect_garbage() -> None:
    """Have CPython collect what it thinks right: it looks when it takes memory for something that may be in a circle."""
    for _ in range(2):
        _ = set()
