"""Attempts with values that say one thing to whoever guards, and another to CPython."""

import _io
import os
import sys

UNDER = ("default", "strict")


class Number:
    """Another number each time."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def __index__(self):
        return self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]

    __int__ = __index__


class PathOf:
    """Another path each time."""

    def __init__(self, *paths):
        self.paths = list(paths)

    def __fspath__(self):
        return self.paths.pop(0) if len(self.paths) > 1 else self.paths[0]


def attempt_recursion():
    before = sys.getrecursionlimit()
    for numbers in ((1000, 2**31 - 1), (2**31 - 1, 1000)):
        try:
            sys.setrecursionlimit(Number(*numbers))
        except (RuntimeError, TypeError):
            pass
        reached = sys.getrecursionlimit()
        sys.setrecursionlimit(before)
        if reached > 1_000_000:
            return reached


def attempt_recursion_by_a_number_of_my_own():
    class Big(int):
        def __int__(self):
            return 1000

        __index__ = __int__

        def __gt__(self, other):
            return False

    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(Big(2**31 - 1))
    except RuntimeError:
        return None
    reached = sys.getrecursionlimit()
    sys.setrecursionlimit(before)
    return reached > 1_000_000


def attempt_wait_for_anybody():
    """To wait for -1 would take the exit status from the node."""
    for numbers in ((2**22 + 7, -1), (-1, 2**22 + 7)):
        try:
            os.waitpid(Number(*numbers), os.WNOHANG)
        except (RuntimeError, TypeError):
            continue
        except ChildProcessError:
            return "asked the system"


def attempt_open_two_paths():
    """What is asked about is in the folder, what is opened is not."""
    found = []
    for opener in (
        lambda path: os.read(os.open(path, os.O_RDONLY), 100),
        lambda path: _io.FileIO(path).read(),
        lambda path: open(path, "rb").read(),
        lambda path: os.listdir(path),
    ):
        for order in ((INSIDE_FILE, SECRET), (SECRET, INSIDE_FILE), (INSIDE_FILE, INSIDE_FILE, SECRET)):
            try:
                what = opener(PathOf(*order))
            except (OSError, TypeError):
                continue
            if what == b"secret":
                found.append(order)
    return found if POLICY in ("strict", "files") else None


def attempt_remove_two_paths():
    for order in ((INSIDE_FILE + ".none", TARGET), (TARGET, INSIDE_FILE + ".none")):
        try:
            os.remove(PathOf(*order))
        except OSError:
            pass
    return not os.path.exists(TARGET) if POLICY in ("strict", "files") else None


def attempt_str_of_my_own():
    class Path(str):
        def __str__(self):
            return INSIDE_FILE

        def startswith(self, *_):
            return True

        def encode(self, *_):
            return INSIDE_FILE.encode()

    if POLICY not in ("strict", "files"):
        return None
    with open(Path(SECRET)) as file:
        return file.read()
