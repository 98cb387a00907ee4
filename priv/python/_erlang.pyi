"""Types of the native half of the package erlang, made by the NIF in every interpreter."""

from typing import final

class Interrupted(BaseException):
    """The call was interrupted from Erlang: it timed out, was cancelled, or its caller died."""

class StaleReference(ReferenceError):
    """The object that this reference of Erlang's stood for is gone."""

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
    """An Erlang function."""

def from_external(data: bytes, /) -> Pid | Ref | Port: ...
def interpreter_id() -> int: ...
def putenv(name: str | bytes, value: str | bytes, /) -> None: ...
def sleep(seconds: float, /) -> None: ...
def trace_memory(on: bool, /) -> bool: ...
def unsetenv(name: str | bytes, /) -> None: ...
