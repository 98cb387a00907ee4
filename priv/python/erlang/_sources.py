"""The texts that ``py:eval`` and ``py:exec`` compiled, for whoever shows their lines.

The native side enters them, and reads them for tracebacks in Erlang. In Python ``linecache`` finds them here, and
with it ``traceback``, ``warnings`` and ``inspect``. A text is kept as long as code of it lives, within bounds.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

#: Name of the file to that name and the text. The name is the object that all code of the text refers to.
texts: dict[str, tuple[str, str]] = {}

#: Beyond these the oldest texts go, whether their code lives or not.
_MOST_TEXTS = 4096
_MOST_CHARACTERS = 16 << 20

#: An entry that nobody refers to: how many references its name has tells which others are dead.
_probe = {name: (name, "") for name in [repr(object())]}


def trim() -> None:
    """Forget the texts of which no code is left; the oldest half of the rest if there are still too many."""
    dead: list[str] = []
    least = 0
    for entries in (_probe, texts):
        for name in list(entries):
            references = sys.getrefcount(name)
            if entries is _probe:
                least = references
            elif references <= least:
                dead.append(name)
    _forget(dead)
    size = sum(len(text) for _, text in list(texts.values()))
    if len(texts) > _MOST_TEXTS // 2 or size > _MOST_CHARACTERS // 2:
        _forget_oldest(size)


def _forget_oldest(size: int) -> None:
    oldest: list[str] = []
    for name, (_, text) in list(texts.items()):
        if (
            len(texts) - len(oldest) <= _MOST_TEXTS // 2
            and size <= _MOST_CHARACTERS // 2
        ):
            break
        oldest.append(name)
        size -= len(text)
    _forget(oldest)


def forget() -> None:
    """Forget all texts: the next user of this interpreter has nothing to do with them."""
    _forget(list(texts))


def _forget(names: list[str]) -> None:
    linecache = sys.modules.get("linecache")
    cache: Any = getattr(linecache, "cache", {})
    for name in names:
        texts.pop(name, None)
        cache.pop(name, None)


def show_lines() -> None:
    """Let ``linecache`` find the texts. It is not imported for that: it gets to know them when somebody does."""
    linecache = sys.modules.get("linecache")
    if linecache is not None:
        _extend(linecache)
    else:
        sys.meta_path.insert(0, _Finder)


def _extend(linecache: ModuleType) -> None:
    """Replace ``linecache.updatecache``, which looks for what is not cached yet.

    Checked against 3.12.1, 3.13.0, 3.14 and 3.15: ``getlines`` calls it by its name in the module.
    """
    module: Any = linecache
    update = module.updatecache

    def updatecache(
        filename: str, module_globals: dict[str, Any] | None = None
    ) -> list[str]:
        entry = texts.get(filename)
        if entry is None:
            return update(filename, module_globals)  # type: ignore[no-any-return]
        text = entry[1]
        # Lines end as they do for the compiler; splitlines() would know more ends.
        unified = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = [line + "\n" for line in unified.removesuffix("\n").split("\n")]
        # Under a name of its own: a reference to the other would count as living code.
        name = filename[:1] + filename[1:]
        module.cache[name] = (len(text), None, lines, name)
        return lines

    module.updatecache = updatecache


class _Finder:
    """Finds ``linecache`` once, as the others would, to extend it when it is there."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "linecache":
            return None
        if cls in sys.meta_path:
            sys.meta_path.remove(cls)
        for finder in list(sys.meta_path):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads as another loader does."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _extend(module)
