"""Spans, and the W3C trace context that they are parts of.

What is current lies in a context variable, so that it follows awaits, tasks and whatever else copies ``contextvars``. The
native side sets it for requests that come with a trace, and sends it along with calls to Erlang.
"""

from __future__ import annotations

import inspect
import os
import re
import time
from functools import wraps

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from types import TracebackType
    from typing import Any, Self

#: version, trace, parent, flags; later versions may have more.
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

#: So many attributes, and events, does a span have; so many characters a text.
_MOST = 128
_LONGEST = 4096

#: Who keeps spans, in Erlang.
_KEEPER = "py_traces"


def _parsed(parent: str) -> tuple[str, str, int] | None:
    """Give trace, span and flags of a ``traceparent``, if it is one."""
    found = _PARENT.fullmatch(parent)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace, span = found[2], found[3]
    if not int(trace, 16) or not int(span, 16):
        return None
    return trace, span, int(found[4], 16)


def _number(size: int) -> str:
    """Make an identifier, which is not zero."""
    while True:
        number = os.urandom(size)
        if any(number):
            return number.hex()


def _plain(value: Any, depth: int = 1) -> Any:
    """Give what a span keeps of a value, which may go with it at any time."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and value.bit_length() < 64:
        return int(value)
    if type(value) in (list, tuple) and depth:
        return [_plain(one, depth - 1) for one in value[:_MOST]]
    try:
        text = value if isinstance(value, str) else str(value)
        return text[:_LONGEST].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001
        # A span says what happens, and is no reason for anything else to happen.
        return f"<{type(value).__name__}>"


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _plain(values[name]) for name in list(values)[:_MOST]}


class Span:
    """A piece of work with a name: what it took, how it ended, and what happened meanwhile.

    Spans that begin inside are its children, also in other contexts and in Erlang functions. A span that is left by an
    exception has the status ``error``. Nothing is recorded while tracing is not enabled.
    """

    __slots__ = (
        "_begun",
        "_events",
        "_flags",
        "_parent",
        "_started",
        "_token",
        "attributes",
        "name",
        "span_id",
        "trace_id",
    )

    def __init__(self, name: str, /, **attributes: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a span is a str, not {type(name).__name__}")
        self.name = name
        self.attributes = attributes
        #: Empty while it is not recorded.
        self.trace_id = self.span_id = ""
        self._token: Token[tuple[str, str] | None] | None = None

    def _begin(self, current: bool) -> None:
        if self.span_id:
            raise RuntimeError(f"the span {self.name!r} has begun already")
        if not _erlang.is_recording():
            return
        headers = _erlang.trace_context.get()
        parent = None if headers is None else _parsed(headers[0])
        if parent is None:
            trace_id, self._parent, self._flags, state = _number(16), None, 1, ""
        else:
            trace_id, self._parent, self._flags = parent
            state = "" if headers is None else headers[1]
        if not self._flags & 1:
            # Whoever began with the trace wants it not to be recorded.
            return
        self.trace_id, self.span_id = trace_id, _number(8)
        self._events: list[tuple[str, dict[str, Any], int]] = []
        self._started = time.time_ns() // 1000
        self._begun = time.perf_counter_ns()
        if current:
            self._token = _erlang.trace_context.set((self.traceparent, state))

    @property
    def traceparent(self) -> str:
        """The header that names this span; empty while it is not recorded."""
        return (
            f"00-{self.trace_id}-{self.span_id}-{self._flags:02x}"
            if self.span_id
            else ""
        )

    def event(self, name: str, /, **attributes: Any) -> None:
        """Note that something has happened."""
        if self.span_id and len(self._events) < _MOST:
            now = self._started + (time.perf_counter_ns() - self._begun) // 1000
            self._events.append((str(name), _attributes(attributes), now))

    def _end(self, error: BaseException | None) -> None:
        if not self.span_id:
            return
        took = (time.perf_counter_ns() - self._begun) // 1000
        token, self._token = self._token, None
        if token is not None:
            try:
                _erlang.trace_context.reset(token)
            except ValueError:
                # It ends elsewhere than it began, as the body of an asynchronous generator may.
                pass
        ended = {}
        if error is not None:
            ended = {"exception": _plain(error), "exception.type": type(error).__name__}
        span = (
            _erlang.Atom("py_span"),
            self.name,
            self.trace_id,
            self.span_id,
            self._parent,
            self._started,
            took,
            error is None,
            list(_attributes(self.attributes).items()),
            list(ended.items()),
            [(name, list(values.items()), at) for name, values, at in self._events],
        )
        self.span_id = ""
        keeper = _erlang.whereis(_KEEPER)
        if keeper is not None:
            try:
                _erlang.send(keeper, span)
            except _erlang.ProcessError:
                # It has ended just now, and with it all that it kept.
                pass

    def __enter__(self) -> Self:
        self._begin(True)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


def trace(name: Any = None) -> Any:
    """Make each call of a function a span: ``@trace``, ``@trace()`` or ``@trace("name")``.

    Coroutines are followed to their end, and so are generators, but what begins between their items is no child of theirs.
    """
    if callable(name):
        return _traced(name, None)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a span is a str, not {type(name).__name__}")
    return lambda function: _traced(function, name)


def _traced(function: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    span_name = name or str(getattr(function, "__qualname__", type(function).__name__))
    if inspect.iscoroutinefunction(function):
        wrapper = _coroutine
    elif inspect.isasyncgenfunction(function):
        wrapper = _asynchronous_generator
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator
    else:
        wrapper = _plain_function
    return wraps(function)(wrapper(function, span_name))


def _plain_function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def traced(*args: Any, **kwargs: Any) -> Any:
        with Span(name):
            return function(*args, **kwargs)

    return traced


def _coroutine(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    async def traced(*args: Any, **kwargs: Any) -> Any:
        with Span(name):
            return await function(*args, **kwargs)

    return traced


def _generator(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def traced(*args: Any, **kwargs: Any) -> Any:
        with _Aside(name):
            return (yield from function(*args, **kwargs))

    return traced


def _asynchronous_generator(
    function: Callable[..., Any], name: str
) -> Callable[..., Any]:
    async def traced(*args: Any, **kwargs: Any) -> Any:
        with _Aside(name):
            async for item in function(*args, **kwargs):
                yield item

    return traced


class _Aside(Span):
    """A span that is nobody's parent: whoever takes the items of a generator does so in the same context."""

    __slots__ = ()

    def __enter__(self) -> Self:
        self._begin(False)
        return self


# ------------------------------------------------------------------------------------------------
# For other tools


def trace_headers() -> dict[str, str]:
    """Give the W3C headers of what is current: ``traceparent`` and, if there is one, ``tracestate``; or none."""
    headers = _erlang.trace_context.get()
    if headers is None:
        return {}
    parent, state = headers
    return (
        {"traceparent": parent, "tracestate": state}
        if state
        else {"traceparent": parent}
    )


class with_trace:
    """Make the code of a ``with`` block a part of the trace that these headers name, or of none."""

    __slots__ = ("_headers", "_tokens")

    def __init__(self, headers: Mapping[str, str] | None, /) -> None:
        self._headers: tuple[str, str] | None = None
        self._tokens: list[Token[tuple[str, str] | None]] = []
        if headers:
            lower = {str(name).lower(): value for name, value in headers.items()}
            parent = lower.get("traceparent", "")
            if not isinstance(parent, str) or _parsed(parent) is None:
                raise ValueError(f"this is no traceparent: {parent!r}")
            self._headers = (parent, str(lower.get("tracestate", "")))

    def __enter__(self) -> Self:
        # Calls to Erlang look for a trace from now on.
        _erlang.is_recording()
        self._tokens.append(_erlang.trace_context.set(self._headers))
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            _erlang.trace_context.reset(self._tokens.pop())
        except ValueError:
            pass
