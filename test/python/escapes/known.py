"""What is known to work, since a policy is a guard rail: against code that does this, only another process helps.

Each of these harms nobody here. One that does not work any more is to be taken from this list, and from the documents.
"""

import sys

UNDER = ("known",)


def attempt_ctypes():
    """With ctypes, which is allowed by default, every function of the C library can be called."""
    import ctypes

    return ctypes.CDLL(None).getpid()


def attempt_native_modules():
    """So it is with extension modules, which are allowed by default."""
    import _imp
    import importlib.machinery
    import os

    name = "_queue"
    origin = importlib.machinery.PathFinder.find_spec(name).origin
    path = os.path.join(COPIES, os.path.basename(origin))
    return _imp.create_dynamic(importlib.machinery.ModuleSpec(name, None, origin=path)).__name__


def attempt_memory_of_the_process():
    """A file like others, where all files may be written."""
    return open("/proc/self/mem", "r+b")


def attempt_bytecode():
    """Crafted bytecode reads and writes memory; this only puts a constant out of its place."""

    def function():
        return 1, 2

    code = function.__code__
    return code.replace(co_consts=tuple(reversed(code.co_consts)))


def attempt_attributes_of_other_modules():
    """A denied module is found wherever an allowed one has it."""
    import zipfile

    return zipfile.struct


def attempt_code_by_a_library_s_name():
    """A policy for imports takes code for a library's that was compiled under the name of one."""
    import contextlib

    code = compile("import json", contextlib.__file__, "exec")
    names = {}
    exec(code, names)
    return names["json"]


def attempt_library_that_imports_for_others():
    """Nor does such a policy know for whom a library imports."""
    import pkgutil

    return pkgutil.resolve_name("json:loads")


def attempt_reload():
    """Nor what a module that is loaded again has been before."""
    import importlib.machinery
    import types

    module = types.ModuleType("json")
    sys.modules["json"] = module
    try:
        module.__spec__ = importlib.machinery.PathFinder.find_spec("json")
        return importlib.reload(module)
    finally:
        sys.modules.pop("json", None)


def attempt_existence():
    """Whether there is a file, and how large it is, can be asked everywhere."""
    import posix

    return posix.stat(SECRET).st_size


def attempt_memory():
    """Without a limit for memory, code takes what there is; without one for time, too."""
    return len(bytearray(1 << 20))


def attempt_users():
    """The names of the system's users are read by the C library."""
    import pwd

    return pwd.getpwall()


def attempt_other_processes():
    """Whether a process is there can be asked."""
    import os

    os.kill(os.getppid(), 0)
    return "there"


def attempt_standard_output():
    """Output goes to where the node's goes."""
    return sys.stdout is not None
