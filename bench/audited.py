"""What raises audit events, repeated; for contexts, and for Python processes to compare them with.

As a program, `audited.py FOLDER none|empty` answers each line `WHAT COUNT` of its input with the nanoseconds that
`measure` has taken; with `empty` under an audit hook in C that does nothing.
"""

import os
import socket
import sys
import time
from collections.abc import Callable


class Work:
    """Operations on files of a folder, and on a socket."""

    def __init__(self, folder: str) -> None:
        self.file = os.path.join(folder, "audited.txt")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with open(self.file, "w", encoding="ascii") as file:
            file.write("x")
        with open(os.path.join(folder, "audited_module.py"), "w", encoding="ascii") as file:
            file.write("x = 1\n")
        sys.path.append(folder)

    def event(self, count: int) -> None:
        """An event that concerns nobody."""
        function = sys._getframe
        for _ in range(count):
            function()

    def plain(self, count: int) -> None:
        """A call without an event."""
        function = os.getpid
        for _ in range(count):
            function()

    def open(self, count: int) -> None:
        for _ in range(count):
            open(self.file, encoding="ascii").close()

    def connect(self, count: int) -> None:
        connect = self.socket.connect
        for _ in range(count):
            connect(("127.0.0.1", 9))

    def load(self, count: int) -> None:
        """An import of a module that is not loaded yet, but compiled."""
        for _ in range(count):
            import audited_module  # noqa: F401

            del sys.modules["audited_module"]

    def close(self, count: int) -> None:
        """A pair of guarded functions."""
        for _ in range(count):
            os.close(os.dup(self.socket.fileno()))


_work: Work | None = None


def prepare(folder: str) -> None:
    global _work
    _work = Work(folder)
    # The first import compiles.
    _work.load(1)


def measure(what: str, count: int) -> int:
    """Nanoseconds of processor time that `count` operations take."""
    operation: Callable[[int], None] = getattr(_work, what)
    start = time.thread_time_ns()
    operation(count)
    return time.thread_time_ns() - start


def _add_empty_hook() -> None:
    import ctypes

    python = ctypes.pythonapi
    # Any function that gives no negative number will do.
    function = ctypes.cast(python.Py_IsInitialized, ctypes.c_void_p)
    python.PySys_AddAuditHook.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    if python.PySys_AddAuditHook(function, None) != 0:
        raise RuntimeError("the hook was not accepted")


if __name__ == "__main__":
    if sys.argv[2] == "empty":
        _add_empty_hook()
    prepare(sys.argv[1])
    for line in sys.stdin:
        name, number = line.split()
        print(measure(name, int(number)), flush=True)
