"""Erlang's side of things, for Python code that runs inside an Erlang node.

Erlang functions that were registered with ``py:register_function`` are called by ``call("name", ...)``, or by their
names as attributes of this module: ``erlang.name(...)``.
"""

from _erlang import (
    Atom,
    ErlangError,
    Fun,
    Interrupted,
    Pid,
    Port,
    ProcessError,
    PythonError,
    Ref,
    StaleReference,
    Term,
    adopt_descriptor,
    call,
    send,
    state_clear,
    state_decr,
    state_delete,
    state_get,
    state_incr,
    state_keys,
    state_set,
    whereis,
)
from _erlang import is_registered as _is_registered

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import server as server
    from ._async import async_call
    from ._logging import ErlangHandler, setup_logging
    from ._loop import ErlangEventLoop, new_event_loop
    from ._policy import EventLoopPolicy, get_event_loop_policy, install
    from ._schedule import (
        consume_time_slice,
        schedule,
        schedule_inline,
        schedule_py,
    )
    from ._sleep import sleep
    from ._tasks import run, spawn_task
    from ._tracing import Span, trace, trace_headers, with_trace

__all__ = [
    "Atom",
    "ErlangError",
    "ErlangEventLoop",
    "ErlangHandler",
    "EventLoopPolicy",
    "Fun",
    "Interrupted",
    "Pid",
    "Port",
    "ProcessError",
    "PythonError",
    "Ref",
    "Span",
    "StaleReference",
    "Term",
    "adopt_descriptor",
    "async_call",
    "atom",
    "call",
    "consume_time_slice",
    "get_event_loop_policy",
    "install",
    "new_event_loop",
    "run",
    "schedule",
    "schedule_inline",
    "schedule_py",
    "send",
    "setup_logging",
    "sleep",
    "spawn_task",
    "state_clear",
    "state_decr",
    "state_delete",
    "state_get",
    "state_incr",
    "state_keys",
    "state_set",
    "trace",
    "trace_headers",
    "whereis",
    "with_trace",
]

#: What is loaded when somebody asks for it, so that contexts start without it.
_LATER = {
    "ErlangEventLoop": "_loop",
    "ErlangHandler": "_logging",
    "EventLoopPolicy": "_policy",
    "async_call": "_async",
    "consume_time_slice": "_schedule",
    "get_event_loop_policy": "_policy",
    "install": "_policy",
    "new_event_loop": "_loop",
    "Span": "_tracing",
    "run": "_tasks",
    "schedule": "_schedule",
    "schedule_inline": "_schedule",
    "schedule_py": "_schedule",
    "server": "server",
    "setup_logging": "_logging",
    "sleep": "_sleep",
    "spawn_task": "_tasks",
    "trace": "_tracing",
    "trace_headers": "_tracing",
    "with_trace": "_tracing",
}


def atom(name: str, /) -> Atom:
    """Return the Erlang atom of that name, which has at most 255 characters."""
    if not isinstance(name, str):
        raise TypeError(f"the name of an atom is a str, not {type(name).__name__}")
    if len(name) > 255:
        raise ValueError("the name of an atom has at most 255 characters")
    return Atom(name)


def __getattr__(name: str) -> "Any":
    home = _LATER.get(name)
    if home is not None:
        module = __import__(f"{__name__}.{home}", fromlist=(name,))
        value = globals()[name] = module if home == name else getattr(module, name)
        return value
    # Names of Python's own protocols are asked for by the import system, and are no functions of anybody's.
    is_protocol = name[:2] == name[-2:] == "__"
    # Nothing is remembered: what is missing now may be registered later, and the other way round.
    if not is_protocol and _is_registered(name):
        from erlang._functions import Function

        return Function(name)
    text = f"module 'erlang' has no attribute {name!r}"
    if not is_protocol:
        text += ", and no Erlang function is registered under that name"
    raise AttributeError(text, name=name)
