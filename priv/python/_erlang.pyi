"""Types of the native half of the package erlang, made by the NIF in every interpreter."""

from asyncio import AbstractEventLoop, BaseProtocol, Handle, TimerHandle
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from selectors import SelectorKey
from typing import Any, Self, final

class Interrupted(BaseException):
    """The call was interrupted from Erlang: it timed out, was cancelled, or its caller died."""

class StaleReference(ReferenceError):
    """The object that this reference of Erlang's stood for is gone."""

class ErlangError(RuntimeError):
    """An exception of an Erlang function, or a call of one that does not exist."""

    kind: str
    reason: Any
    stacktrace: list[Any]

class ProcessError(RuntimeError):
    """The process that a message was for is not there."""

class PythonError(RuntimeError):
    """What failed in Python inside the Erlang function: the cause of its ErlangError."""

    type: str
    module: str
    message: str
    traceback: str

@final
class Atom(str):
    """The name of an Erlang atom: a str that goes back to Erlang as that atom."""

@final
class Pid:
    """A process identifier."""

@final
class Ref:
    """A reference."""

@final
class Port:
    """A port identifier."""

@final
class Fun:
    """An Erlang function. Calling it runs it in Erlang."""

    def __call__(self, /, *args: Any) -> Any: ...

@final
class Term:
    """An Erlang term that no Python value stands for; it goes back as it was."""

class Continuation(tuple[str | None, str, tuple[Any, ...], dict[str, Any]]):
    """How the call goes on: module (None for Erlang), function, args, kwargs."""

    def __new__(
        cls, parts: tuple[str | None, str, tuple[Any, ...], dict[str, Any]], /
    ) -> Self: ...

#: The request whose code runs, in the sense of interrupts.
scope: ContextVar[int]

def answers_close(handle: int, /) -> None: ...
def answers_forget(handle: int, id: int, /) -> None: ...
def answers_open() -> tuple[int, int]: ...
def answers_submit(
    handle: int, id: int, function: str | Fun, args: tuple[Any, ...], /
) -> None: ...
def answers_take(handle: int, into: list[tuple[int, bool, Any]], /) -> None: ...
def call(name: str, /, *args: Any) -> Any: ...
def call_fun(fun: Fun, /, *args: Any) -> Any: ...
def consume_time_slice(percent: int, /) -> bool: ...
def current_request() -> int: ...
def drive_loop(on: bool, /) -> None: ...
def from_external(data: bytes, /) -> Pid | Ref | Port: ...
def interpreter_id() -> int: ...
def is_closing() -> bool: ...
def is_registered(name: str, /) -> bool: ...
def loop_add(handle: int, fd: int, events: int, /) -> None: ...
def loop_close(handle: int, /) -> None: ...
def loop_modify(handle: int, fd: int, events: int, /) -> bool: ...
def loop_open() -> int: ...
def loop_remove(handle: int, fd: int, /) -> None: ...
def loop_wait(
    handle: int,
    timeout: float | None,
    keys: dict[int, SelectorKey],
    loop: AbstractEventLoop | None,
    /,
) -> list[tuple[SelectorKey, int]]: ...
def loop_pumps(pumps: bool, /) -> bool: ...
def loop_wake(handle: int, /) -> None: ...
def putenv(name: str | bytes, value: str | bytes, /) -> None: ...
def send(to: Pid | tuple[str, str], term: Any, /) -> None: ...
def serves() -> bool: ...
def sleep(seconds: float, /) -> None: ...
def task_finish(request: int, succeeded: bool, value: Any, /) -> None: ...
def trace_memory(on: bool, /) -> bool: ...
def unsetenv(name: str | bytes, /) -> None: ...
def whereis(name: str, /) -> Pid | None: ...
def receive(fd: int, limit: int, /) -> bytes | None: ...

@final
class Reader:
    """Called when a socket is readable: reads it for the protocol of a transport."""

    def __new__(cls, fd: int, limit: int, transport: object, /) -> Self: ...
    def __call__(self) -> None: ...
    def deliver(self, protocol: BaseProtocol, buffered: bool, /) -> None: ...

@final
class Writer:
    """Called to write: sends bytes at once if none wait, and leaves all else to a method."""

    open: bool
    def __new__(
        cls,
        fd: int,
        transport: object,
        waiting: deque[Any],
        otherwise: Callable[[Any], None],
        /,
    ) -> Self: ...
    def __call__(self, data: Any, /) -> None: ...

@final
class Ready:
    """The callbacks of a loop that are to be called next."""

    open: bool
    def __new__(
        cls,
        loop: AbstractEventLoop,
        handle: type[Handle],
        timer_handle: type[TimerHandle],
        threadsafe_handle: type[Handle],
        queue: deque[Handle],
        call_soon: Callable[..., Handle],
        call_soon_threadsafe: Callable[..., Handle],
        failed: Callable[[Handle, BaseException], None],
        wake: Callable[[int], object],
        poll: int,
        /,
    ) -> Self: ...
    def call_soon(
        self, callback: Callable[..., object], /, *args: Any, context: Any = None
    ) -> Handle: ...
    def call_soon_threadsafe(
        self, callback: Callable[..., object], /, *args: Any, context: Any = None
    ) -> Handle: ...
    def timer(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Any,
        /,
    ) -> TimerHandle: ...
    def add_events(self, events: list[Any], /) -> None: ...
    def run(self) -> None: ...
