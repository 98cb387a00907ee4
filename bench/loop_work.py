"""What an event loop does itself, so many times: callbacks, timers, tasks.

Each coroutine repeats something ``count`` times. With ``timed`` it gives the nanoseconds of each.
"""

import asyncio
import threading
from time import perf_counter_ns


def nothing() -> None:
    """Be called."""


async def call_soon(count: int, timed: bool) -> list[int]:
    """Call each callback after the one before."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    times = []
    start = perf_counter_ns()

    def step() -> None:
        nonlocal start
        if timed:
            now = perf_counter_ns()
            times.append(now - start)
            start = now
        if len(times) < count:
            loop.call_soon(step)
        else:
            done.set_result(None)

    if timed:
        loop.call_soon(step)
    else:
        for _ in range(count):
            loop.call_soon(nothing)
        loop.call_soon(done.set_result, None)
    await done
    return times


async def call_soon_threadsafe(count: int, timed: bool) -> list[int]:
    """Have another thread post callbacks; timed, that is what it takes the thread."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    times = []

    def work() -> None:
        post = loop.call_soon_threadsafe
        if timed:
            for _ in range(count):
                start = perf_counter_ns()
                post(nothing)
                times.append(perf_counter_ns() - start)
        else:
            for _ in range(count):
                post(nothing)
        post(done.set_result, None)

    thread = threading.Thread(target=work)
    thread.start()
    await done
    thread.join()
    return times


async def timers(count: int, timed: bool) -> list[int]:
    """Set timers and cancel them at once."""
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(count):
        start = perf_counter_ns()
        loop.call_later(10, nothing).cancel()
        if timed:
            times.append(perf_counter_ns() - start)
    return times


async def sleep_zero(count: int, timed: bool) -> list[int]:
    """Give others their turn."""
    times = []
    for _ in range(count):
        start = perf_counter_ns()
        await asyncio.sleep(0)
        if timed:
            times.append(perf_counter_ns() - start)
    return times


async def tasks(count: int, timed: bool) -> list[int]:
    """Make tasks and await them, one after the other."""

    async def task() -> None:
        pass

    times = []
    for _ in range(count):
        start = perf_counter_ns()
        await asyncio.create_task(task())
        if timed:
            times.append(perf_counter_ns() - start)
    return times


async def late(count: int, seconds: float) -> list[int]:
    """So many tasks sleep at the same time: by how many nanoseconds each is late."""

    async def sleeper() -> int:
        start = perf_counter_ns()
        await asyncio.sleep(seconds)
        return perf_counter_ns() - start - round(seconds * 1e9)

    return await asyncio.gather(*(sleeper() for _ in range(count)))


async def answer(number: int) -> int:
    """Give it back."""
    return number


def answer_now(number: int) -> int:
    """Give it back."""
    return number
