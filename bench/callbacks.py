"""The Python side of the callbacks: loops that call Erlang, by one thread and by many.

Each function repeats something ``count`` times. With ``timed`` it gives the nanoseconds of each.
"""

import asyncio
import threading
from collections.abc import Callable
from time import perf_counter_ns

import erlang


def repeat(operation: Callable[[int], object], count: int, timed: bool) -> list[int]:
    """Do it here and now."""
    times = []
    if timed:
        for i in range(count):
            start = perf_counter_ns()
            operation(i)
            times.append(perf_counter_ns() - start)
    else:
        for i in range(count):
            operation(i)
    return times


def calls(name: str, count: int, timed: bool) -> list[int]:
    """Call a registered function."""
    call = erlang.call
    return repeat(lambda i: call(name, i), count, timed)


def sends(pid: erlang.Pid, count: int, timed: bool) -> list[int]:
    """Send integers."""
    send = erlang.send
    return repeat(lambda i: send(pid, i), count, timed)


def awaits(name: str, count: int, timed: bool) -> list[int]:
    """Await one call after the other."""

    async def main() -> list[int]:
        times = []
        for i in range(count):
            start = perf_counter_ns()
            await erlang.async_call(name, i)
            times.append(perf_counter_ns() - start)
        return times if timed else []

    return asyncio.run(main())


class Threads:
    """So many threads, which share what there is to do and are there before it comes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.times: list[int] = []
        self.task: tuple[str, int, bool] | None = None
        self.threads = [threading.Thread(target=self.work) for _ in range(number)]
        for thread in self.threads:
            thread.start()
        every.append(self)

    def work(self) -> None:
        """Do the share of one thread, again and again."""
        while True:
            self.ready.acquire()
            if self.task is None:
                return
            self.times += calls(*self.task)
            self.done.release()

    def calls(self, name: str, count: int, timed: bool) -> list[int]:
        """Call a registered function, ``count`` times in all."""
        self.times = []
        self.task = name, count // self.number, timed
        self.ready.release(self.number)
        for _ in range(self.number):
            self.done.acquire()
        return self.times

    def end(self) -> None:
        """Let the threads end."""
        self.task = None
        self.ready.release(self.number)
        for thread in self.threads:
            thread.join()


every: list[Threads] = []


def end() -> None:
    """Let all threads end."""
    for threads in every:
        threads.end()
