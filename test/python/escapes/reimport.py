"""Attempts to have modules made anew, without what was replaced in them."""

import _imp
import importlib
import importlib.machinery
import importlib.util
import os
import sys

UNDER = ("default", "strict")

BUILTIN = type(len)


def escaped(module, name):
    """Whether a module has a function as CPython has made it."""
    return isinstance(getattr(module, name, None), BUILTIN)


def restoring(name, attempt):
    """What an attempt gives that may change what is imported under a name."""
    before = sys.modules[name]
    try:
        return attempt()
    finally:
        sys.modules[name] = before


def builtin_spec(name):
    return importlib.machinery.ModuleSpec(name, importlib.machinery.BuiltinImporter)


def attempt_import_again():
    def attempt():
        del sys.modules["posix"]
        import posix

        return escaped(posix, "_exit")

    return restoring("posix", attempt)


def attempt_reload():
    posix, signal = importlib.import_module("posix"), importlib.import_module("_signal")
    importlib.reload(posix)
    importlib.reload(signal)
    return escaped(posix, "_exit") or escaped(signal, "raise_signal")


def attempt_reload_of_sys():
    importlib.reload(sys)
    return escaped(sys, "setrecursionlimit")


def attempt_reload_of_os():
    return escaped(importlib.reload(os), "_exit")


def attempt_importer():
    if not hasattr(importlib.machinery.BuiltinImporter, "load_module"):
        return None

    def attempt():
        del sys.modules["posix"]
        module = importlib.machinery.BuiltinImporter.load_module("posix")
        return escaped(module, "_exit")

    return restoring("posix", attempt)


def attempt_module_from_spec():
    module = importlib.util.module_from_spec(builtin_spec("posix"))
    module.__spec__.loader.exec_module(module)
    return escaped(module, "_exit")


def attempt_unexecuted_module():
    return escaped(_imp.create_builtin(builtin_spec("posix")), "_exit")


def attempt_renamed_module():
    module = _imp.create_builtin(builtin_spec("posix"))
    module.__name__ = "json"
    _imp.exec_builtin(module)
    return escaped(module, "_exit")


def attempt_spec_of_two_names():
    """CPython asks for the name, and so may whoever guards; both need not hear the same."""

    for first in range(4):
        asked = []

        class Spec:
            loader = importlib.machinery.BuiltinImporter
            origin = "built-in"
            parent = ""
            submodule_search_locations = None

            @property
            def name(self):
                asked.append(None)
                return "posix" if len(asked) - 1 == first or first == 3 else "json"

        try:
            module = _imp.create_builtin(Spec())
        except (ImportError, RuntimeError, TypeError):
            continue
        if module is not None and escaped(module, "_exit"):
            return f"asked {len(asked)} times"


def attempt_spec_with_a_name_that_lies():
    class Name(str):
        def __eq__(self, other):
            return False

        def __hash__(self):
            return 0

        def __str__(self):
            return "json"

    spec = builtin_spec("posix")
    spec.name = Name("posix")
    module = _imp.create_builtin(spec)
    return module is not None and escaped(module, "_exit")


def attempt_builtin_sys():
    """A module that is initialised in one step has its functions put back when it is made again."""
    module = _imp.create_builtin(builtin_spec("sys"))
    return escaped(module, "setrecursionlimit") or escaped(sys, "setrecursionlimit")


def attempt_builtin_imp():
    module = _imp.create_builtin(builtin_spec("_imp"))
    _imp.exec_builtin(module)
    return escaped(module, "create_builtin")


def attempt_frozen():
    """`os` made of its frozen code takes what `posix` has now."""
    code = _imp.get_frozen_object("os")
    names = {"__name__": "os"}
    exec(code, names)
    return isinstance(names["_exit"], BUILTIN)


def attempt_bootstrap():
    module = importlib._bootstrap._builtin_from_name
    return restoring("posix", lambda: (sys.modules.pop("posix"), escaped(module("posix"), "_exit"))[1])


def attempt_another_dict_of_modules():
    before = sys.modules
    sys.modules = {}
    try:
        return escaped(__import__("posix"), "_exit")
    finally:
        sys.modules = before


def attempt_another_finder():
    """A finder and a loader of one's own have nothing else to make modules with."""

    class Loader:
        @staticmethod
        def create_module(spec):
            return _imp.create_builtin(builtin_spec("_signal"))

        @staticmethod
        def exec_module(module):
            _imp.exec_builtin(module)

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "a_module_of_mine":
                return importlib.machinery.ModuleSpec(name, Loader)

    sys.meta_path.insert(0, Finder)
    try:
        import a_module_of_mine
    finally:
        sys.meta_path.remove(Finder)
        sys.modules.pop("a_module_of_mine", None)
    return escaped(a_module_of_mine, "raise_signal")


def attempt_runpy():
    import runpy

    return isinstance(runpy.run_module("os").get("_exit"), BUILTIN)


def attempt_dynamic_by_another_name():
    """The name of the function that initialises a module is only the last part of its name."""
    spec = importlib.machinery.PathFinder.find_spec("resource")
    if spec is None:
        return None
    other = importlib.machinery.ModuleSpec("x.resource", spec.loader, origin=spec.origin)
    try:
        module = _imp.create_dynamic(other)
        _imp.exec_dynamic(module)
        module.setrlimit(3, (-1, -1))
    except (RuntimeError, ImportError):
        return None
    return "changed a limit"


def attempt_interpreters():
    for name in ("_interpreters", "_xxsubinterpreters"):
        for known_as in (name, f"x.{name}"):
            try:
                if name in sys.builtin_module_names:
                    module = _imp.create_builtin(builtin_spec(known_as))
                else:
                    origin = importlib.machinery.PathFinder.find_spec(name).origin
                    module = _imp.create_dynamic(
                        importlib.machinery.ModuleSpec(known_as, None, origin=origin)
                    )
                if module is None:
                    continue
            except (ImportError, AttributeError, RuntimeError):
                continue
            return f"made {known_as}"


def attempt_module_left_behind():
    """No module that the standard library has imported for itself has an original."""
    import subprocess

    return escaped(subprocess, "_fork_exec") or escaped(subprocess, "_waitpid")
