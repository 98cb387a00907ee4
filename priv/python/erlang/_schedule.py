"""What a function returns so that its call goes on elsewhere, while other requests of the context get their turn."""

from __future__ import annotations

import _erlang
from _erlang import Continuation

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def schedule(name: str, /, *args: Any) -> Continuation:
    """Return this from a call to go on with a registered Erlang function: what it gives is the call's result."""
    _check(name, "the name of an Erlang function")
    return Continuation((None, name, args, {}))


def schedule_py(
    module: str,
    func: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Continuation:
    """Return this from a call to go on with a Python function: what it returns is the call's result.

    It may return a continuation in its turn, any number of times. The module ``"__main__"`` is the namespace of the
    process that made the call.
    """
    _check(module, "the name of a module")
    _check(func, "the name of a function")
    if isinstance(args, (str, bytes)) or not hasattr(args, "__iter__"):
        raise TypeError(f"args is a sequence of arguments, not {type(args).__name__}")
    if kwargs is None:
        kwargs = {}
    elif not hasattr(kwargs, "keys"):
        raise TypeError(f"kwargs is a mapping, not {type(kwargs).__name__}")
    for name in kwargs:
        _check(name, "a key of kwargs")
    return Continuation((module, func, tuple(args), dict(kwargs)))


def schedule_inline(
    module: str,
    func: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Continuation:
    """Do what ``schedule_py`` does."""
    return schedule_py(module, func, args, kwargs)


def consume_time_slice(percent: int, /) -> bool:
    """Say how much of its turn the call has used since it last said so, in percent of a turn, 1 to 100.

    True: the turn is over. Return a continuation, and other requests of the context get theirs.
    """
    if not isinstance(percent, int):
        raise TypeError(f"percent is an int, not {type(percent).__name__}")
    if not 1 <= percent <= 100:
        raise ValueError("percent is 1 to 100")
    return _erlang.consume_time_slice(percent)


def _check(name: object, what: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} is a str, not {type(name).__name__}")
