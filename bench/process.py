"""A Python process of its own, to compare with. It answers each line of its input with one line.

work N      works and answers with the result
create N    makes N interpreters with their own GILs, keeps them, and answers with the nanoseconds that
            each took and the memory that they hold together, in bytes
"""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from workload import work

if sys.version_info >= (3, 13):
    from _interpreters import create
else:
    from _xxsubinterpreters import create


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def create_many(count: int) -> list[int]:
    before = resident()
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        # Isolated, with a GIL of its own, is the default of every version.
        create()
        times.append(time.perf_counter_ns() - start)
    return [*times, resident() - before]


for line in sys.stdin:
    command, number = line.split()
    answer = create_many(int(number)) if command == "create" else [work(int(number))]
    print(*answer, flush=True)

# Ending interpreters is not what is measured, and crashes some versions.
os._exit(0)
