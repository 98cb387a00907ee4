"""Types of the native half of the package erlang, made by the NIF in every interpreter."""

from typing import final

class Interrupted(BaseException):
    """The call was interrupted from Erlang: it timed out, was cancelled, or its caller died."""

@final
class Pid:
    """A process identifier."""

@final
class Ref:
    """A reference."""

def interpreter_id() -> int: ...
def putenv(name: str | bytes, value: str | bytes, /) -> None: ...
def sleep(seconds: float, /) -> None: ...
def unsetenv(name: str | bytes, /) -> None: ...
