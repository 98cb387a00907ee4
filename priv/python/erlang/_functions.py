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
