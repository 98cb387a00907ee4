"""Attempts to run native code."""

import _imp
import importlib.machinery
import os
import sys

UNDER = ("strict", "no_native")

#: An extension module of the standard library's, and a copy of it in a folder that may be written.
NAME = "_queue"


def extension(name):
    return importlib.machinery.PathFinder.find_spec(name)


def attempt_ctypes():
    import ctypes

    return ctypes.CDLL(None).getpid()


def attempt_pythonapi():
    import ctypes

    return ctypes.pythonapi.Py_GetVersion()


def attempt_native_half():
    import _ctypes

    return _ctypes.dlopen(None, 0)


def attempt_native_half_by_another_name():
    spec = extension("_ctypes")
    other = importlib.machinery.ModuleSpec("x._ctypes", spec.loader, origin=spec.origin)
    module = _imp.create_dynamic(other)
    _imp.exec_dynamic(module)
    sys.modules["_ctypes"] = module
    try:
        import ctypes

        return ctypes.CDLL(None).getpid()
    finally:
        del sys.modules["_ctypes"]


def attempt_module_in_a_folder_of_mine():
    before = sys.modules.pop(NAME, None)
    sys.path.insert(0, COPIES)
    try:
        import _queue

        return _queue.__file__ if _queue.__file__.startswith(COPIES) else None
    finally:
        del sys.path[0]
        sys.modules[NAME] = before


def attempt_module_by_its_file():
    path = os.path.join(COPIES, os.path.basename(extension(NAME).origin))
    spec = importlib.machinery.ModuleSpec(NAME, None, origin=path)
    return _imp.create_dynamic(spec).__name__


def attempt_module_through_a_link():
    """A link into the standard library would be allowed, one out of it must not be."""
    library = os.path.dirname(extension(NAME).origin)
    path = os.path.join(library, os.path.relpath(COPIES, library), os.path.basename(extension(NAME).origin))
    return _imp.create_dynamic(importlib.machinery.ModuleSpec(NAME, None, origin=path)).__name__


def attempt_module_by_a_descriptor():
    path = os.path.join(COPIES, os.path.basename(extension(NAME).origin))
    fd = os.open(path, os.O_RDONLY)
    return _imp.create_dynamic(
        importlib.machinery.ModuleSpec(NAME, None, origin=f"/proc/self/fd/{fd}")
    ).__name__


def attempt_module_in_memory():
    fd = os.memfd_create("module")
    with open(extension(NAME).origin, "rb") as file:
        os.write(fd, file.read())
    return _imp.create_dynamic(
        importlib.machinery.ModuleSpec(NAME, None, origin=f"/proc/self/fd/{fd}")
    ).__name__


def attempt_path_of_two_values():
    """CPython asks for the file, and so may whoever guards."""
    mine = os.path.join(COPIES, os.path.basename(extension(NAME).origin))

    for order in ((extension(NAME).origin, mine), (mine, extension(NAME).origin)):
        asked = []

        class Spec:
            name = NAME
            loader = None
            parent = ""
            submodule_search_locations = None

            @property
            def origin(self):
                asked.append(None)
                return order[min(len(asked), 2) - 1]

        try:
            module = _imp.create_dynamic(Spec())
        except ImportError:
            continue
        # Which of them it is, the dynamic linker knows.
        with open("/proc/self/maps") as maps:
            if mine in maps.read():
                return f"{module.__name__} from {mine}"


def attempt_extension_of_a_database():
    import sqlite3

    connection = sqlite3.connect(":memory:")
    if not hasattr(connection, "enable_load_extension"):
        return None
    connection.enable_load_extension(True)
    return "enabled"
