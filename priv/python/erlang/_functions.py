"""Erlang functions as attributes of the package."""

from __future__ import annotations

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Function:
    """The Erlang function that is registered under a name at the time of each call."""

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError(
                f"erlang.{self.__name__}() takes no keyword arguments: Erlang functions have none"
            )
        return _erlang.call(self.__name__, *args)

    def __repr__(self) -> str:
        return f"<Erlang function {self.__name__}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Function):
            return NotImplemented
        return self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((Function, self.__name__))


def find(name: str) -> Function:
    """Return the function that is registered under a name now."""
    # Nothing is remembered: what is missing now may be registered later, and the other way round. Names of Python's
    # own protocols are asked for by the import system, and are no functions of anybody's.
    is_protocol = name[:2] == name[-2:] == "__"
    if not is_protocol and _erlang.is_registered(name):
        return Function(name)
    text = f"module 'erlang' has no attribute {name!r}"
    if not is_protocol:
        text += ", and no Erlang function is registered under that name"
    raise AttributeError(text, name=name)
