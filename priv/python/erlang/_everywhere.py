"""What Erlang has done in every interpreter."""

from __future__ import annotations

import importlib
import sys

from . import _memory

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: How many of the last tokens are known. Those of one request come shortly after one another.
_KNOWN = 256

#: What was begun, and by whom.
_tokens: dict[int, object] = {}


def once(token: int, name: str, args: list[Any]) -> tuple[Any] | None:
    """Do something, unless it was begun under the same token, by way of another context of the interpreter."""
    mine = object()
    if _tokens.setdefault(token, mine) is not mine:
        return None
    while len(_tokens) > _KNOWN:
        del _tokens[next(iter(_tokens))]
    return (_WORK[name](*args),)


def reload(name: str) -> bool:
    """Load a module anew that is loaded; say whether it was."""
    module = sys.modules.get(name)
    if module is None:
        return False
    importlib.reload(module)
    return True


_WORK: dict[str, Callable[..., Any]] = {
    "collect": _memory.collect,
    "reload": reload,
    "stats": _memory.stats,
}
