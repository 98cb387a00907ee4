"""Where an interpreter finds modules, as the node says. Called by the native side, through ``_boot``.

What holds is told as a whole, with a number that grows: whatever is older than what came before is out of date.
"""

from __future__ import annotations

import os
import site
import sys
import threading

from . import _boot

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

type Text = str | bytes


class _Environment:
    """A virtual environment, and what it has changed in the interpreter."""

    def __init__(self, root: str, has_system_packages: bool, sites: list[str]) -> None:
        self.root = root
        self.has_system_packages = has_system_packages
        self.sites = sites
        self._added: list[str] = []
        self._hidden: list[str] = []
        self._finders: list[Any] = []
        self._hooks: list[Any] = []
        self._prefixes = (sys.prefix, sys.exec_prefix)
        self._variable = os.environ.get("VIRTUAL_ENV")

    def is_like(self, root: str, has_system_packages: bool, sites: list[str]) -> bool:
        """Tell whether it is the one that is meant."""
        return (self.root, self.has_system_packages, self.sites) == (
            root,
            has_system_packages,
            sites,
        )

    def enter(self) -> None:
        """Let its packages be found, after the standard library and before those of the installation."""
        path, finders, hooks = list(sys.path), list(sys.meta_path), list(sys.path_hooks)
        of_installation = [
            entry for entry in path if entry in _boot.installed_packages()
        ]
        if not self.has_system_packages:
            self._hidden = of_installation
        sys.path[:] = [entry for entry in path if entry not in of_installation]
        before = len(sys.path)
        sys.prefix = sys.exec_prefix = self.root
        os.environ["VIRTUAL_ENV"] = self.root
        try:
            for folder in self.sites:
                # Runs the code in ``.pth`` files.
                site.addsitedir(folder)
        finally:
            self._added = [entry for entry in sys.path[before:] if entry not in path]
            self._finders = _others(sys.meta_path, finders)
            self._hooks = _others(sys.path_hooks, hooks)
            if self.has_system_packages:
                sys.path += of_installation

    def leave(self) -> None:
        """Take everything back."""
        sys.path[:] = [entry for entry in sys.path if entry not in self._added]
        sys.path += [entry for entry in self._hidden if entry not in sys.path]
        sys.meta_path[:] = _others(sys.meta_path, self._finders)
        sys.path_hooks[:] = _others(sys.path_hooks, self._hooks)
        for entry in self._added:
            sys.path_importer_cache.pop(entry, None)
        sys.prefix, sys.exec_prefix = self._prefixes
        if os.environ.get("VIRTUAL_ENV") == self.root:
            if self._variable is None:
                del os.environ["VIRTUAL_ENV"]
            else:
                os.environ["VIRTUAL_ENV"] = self._variable


def _others(items: list[Any], known: list[Any]) -> list[Any]:
    return [item for item in items if not any(item is other for other in known)]


class _Settled:
    """What this interpreter was told last."""

    def __init__(self) -> None:
        #: Contexts of the main interpreter are told at the same time.
        self.lock = threading.Lock()
        self.version: int | None = None
        self.environment: _Environment | None = None
        self.paths: list[str] = []
        #: A package with a native part is loaded that would be found elsewhere now, or nowhere.
        self.has_strangers = False


_settled = _Settled()


def settle(
    version: int,
    root: Text,
    has_system_packages: bool,
    sites: list[Text],
    paths: list[Text],
) -> None:
    """Let modules be found where the node says: in a virtual environment, unless ``root`` is empty, and in paths."""
    with _settled.lock:
        if _settled.version is not None and version < _settled.version:
            return
        _take_environment(
            os.fsdecode(root),
            has_system_packages,
            [os.fsdecode(folder) for folder in sites],
        )
        _take_paths([os.fsdecode(path) for path in paths])
        _settled.version = version


def _take_paths(paths: list[str]) -> None:
    if paths == _settled.paths:
        return
    others = [entry for entry in sys.path if entry not in _settled.paths]
    _settled.paths = [path for path in paths if path not in others]
    sys.path[:] = _settled.paths + others
    _look_again()


def _take_environment(root: str, has_system_packages: bool, sites: list[str]) -> None:
    before = _settled.environment
    if before is None and not root:
        return
    if before is not None:
        if before.is_like(root, has_system_packages, sites):
            return
        before.leave()
    after = _Environment(root, has_system_packages, sites) if root else None
    try:
        if after is not None:
            after.enter()
        _settled.environment = after
    except BaseException:
        if after is not None:
            after.leave()
        if before is not None:
            before.enter()
        raise
    finally:
        _look_again()
        _forget_strangers()


def _look_again() -> None:
    """Let finders forget what they know of folders.

    ``importlib.invalidate_caches`` would import ``importlib.metadata``, and much with it, at each start of a context.
    """
    for entry, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[entry]
        elif hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()
    metadata: Any = sys.modules.get("importlib.metadata")
    if metadata is not None:
        # No class method before Python 3.13.
        metadata.MetadataPathFinder().invalidate_caches()


def _forget_strangers() -> None:
    """Forget packages that would be found elsewhere now, or nowhere: their next import finds what there is.

    Those with a native part stay, since importing them twice leaks or crashes.
    """
    _settled.has_strangers = False
    for top, names in _boot.third_party_packages():
        if _is_stranger(top, names):
            if _boot.is_pure(names):
                _boot.forget(names)
            else:
                _settled.has_strangers = True


def _is_stranger(top: str, names: list[str]) -> bool:
    module = sys.modules.get(top)
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    if module is None or spec is None:
        # Made by code, of nothing that could be found.
        return False
    found = _found(top)
    if found is None:
        return True
    if found.origin is not None or spec.origin is not None:
        return found.origin != spec.origin
    # A namespace package: what is in it may come from several places.
    places = [
        os.path.join(place, "") for place in found.submodule_search_locations or ()
    ]
    files = [_file(sys.modules.get(name)) for name in names]
    return any(file and not file.startswith(tuple(places)) for file in files)


def _file(module: ModuleType | None) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _found(name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec and find_spec(name, None)
        if spec is not None:
            return spec
    return None


def forget() -> bool:
    """Take everything back, for the next context of this interpreter; ``False`` when something stays that cannot."""
    environment, _settled.environment = _settled.environment, None
    if environment is not None:
        environment.leave()
    _settled.paths = []
    return not _settled.has_strangers


def info() -> dict[str, object]:
    """Tell what is active here."""
    environment = _settled.environment
    if environment is None:
        return {"active": False}
    return {
        "active": True,
        "venv_path": environment.root,
        "site_packages": environment.sites[0],
        "sys_path": list(sys.path),
    }
