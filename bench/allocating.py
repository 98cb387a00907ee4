"""Work that takes and gives back much memory; for contexts, and for Python processes to compare them with.

As a program it answers each line `WHAT COUNT` of its input with the nanoseconds that `measure` has taken.
"""

import json
import sys
import time
from collections.abc import Callable

_DOCUMENT = json.dumps([{"name": f"user {i}", "tags": ["a", "b", str(i)], "score": i / 3} for i in range(200)])


class Work:
    """Each repeats something so many times, and keeps nothing."""

    @staticmethod
    def small(count: int) -> None:
        """Objects of CPython's own arenas, some thousands at a time."""
        for _ in range(count):
            [(i, str(i), [i]) for i in range(2000)]

    @staticmethod
    def blocks(count: int) -> None:
        """One block of the system's at a time, as small as those are."""
        for _ in range(count):
            bytearray(1000)

    @staticmethod
    def buffers(count: int) -> None:
        """Lists and dicts that grow, and bytes of some kilobytes."""
        for _ in range(count):
            grown = []
            for i in range(400):
                grown.append(i)
            {i: i for i in grown}
            [bytes(4096) for _ in range(50)]

    @staticmethod
    def document(count: int) -> None:
        """A document of JSON, read and written."""
        for _ in range(count):
            json.dumps(json.loads(_DOCUMENT))


def measure(what: str, count: int) -> int:
    """Nanoseconds of processor time that `count` operations take."""
    operation: Callable[[int], None] = getattr(Work, what)
    start = time.thread_time_ns()
    operation(count)
    return time.thread_time_ns() - start


if __name__ == "__main__":
    for line in sys.stdin:
        name, number = line.split()
        print(measure(name, int(number)), flush=True)
