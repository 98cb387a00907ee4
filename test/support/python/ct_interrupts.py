"""What runs while something else is interrupted."""

import asyncio
import hashlib
import os
import time

import erlang

#: What is shared between calls.
kept = {}


async def wait(pid, name, awaits=None):
    """Tell, and wait for ever."""
    try:
        # Where it can be interrupted already, on a busy machine.
        erlang.send(pid, ("waits", name))
        await (awaits or asyncio.get_running_loop().create_future())
    finally:
        erlang.send(pid, ("ended", name))


def run_wait(pid, name):
    erlang.run(wait(pid, name))


def call(function, *args):
    """Call Erlang, in the middle of a step if this is a task."""
    return erlang.call(function, *args)


def spin(pid, name, gate):
    """Run until the file is there."""
    erlang.send(pid, ("runs", name))
    while not os.path.exists(gate):
        pass
    return name


async def spin_in_a_task(pid, name, gate):
    return spin(pid, name, gate)


def spawn_spin(pid, name, gate):
    async def told():
        try:
            spin(pid, name, gate)
        except BaseException as error:
            erlang.send(pid, ("ended", name, type(error).__name__))
        else:
            erlang.send(pid, ("ended", name, "well"))

    erlang.spawn_task(told())


def hash_until(pid, name, gate):
    """Stay in C for long, time and again, as one call."""
    erlang.send(pid, ("runs", name))
    while not os.path.exists(gate):
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000)
    return name


def swallow(pid, name, gate):
    """Wait for ever, until the file is there, and ignore what ends that."""
    erlang.send(pid, ("runs", name))
    while not os.path.exists(gate):
        try:
            time.sleep(3600)
        except BaseException:
            kept[name] = "swallowed"


async def begin_and_wait(pid, name, gate):
    """Wait, while a task that nobody waits for takes the thread."""
    async def child():
        spin(pid, name, gate)

    kept[name] = asyncio.create_task(child())
    await wait(pid, name)


async def clean_up(pid, name):
    try:
        await wait(pid, name)
    finally:
        # The steps take as long as a collection of much garbage would.
        for _ in range(10):
            end = time.perf_counter() + 0.008
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)
        erlang.send(pid, ("clean", name))


def run_clean_up(pid, name):
    erlang.run(clean_up(pid, name))


def asyncio_clean_up(pid, name):
    asyncio.run(clean_up(pid, name))


def tasks():
    """Count the tasks of the context's loop."""
    from erlang import _tasks

    loop = _tasks._current()
    return 0 if loop is None else len(asyncio.all_tasks(loop))


async def nothing():
    pass


# A timer in the place of another one.


async def wait_for_a_timer(pid, name):
    loop = asyncio.get_running_loop()
    kept["loop"] = loop
    kept["done"] = done = loop.create_future()
    kept["timer"] = loop.call_later(3600, done.set_result, "late")
    erlang.send(pid, ("waits", name))
    return await done


def put_another_timer():
    """Without the loop's running, the heap is as it was but for its one element."""
    loop, done = kept["loop"], kept["done"]
    kept["timer"].cancel()
    loop._scheduled.clear()
    loop._timer_cancelled_count = 0
    loop.call_later(0.01, done.set_result, "in time")


# What belongs to a run, put off by a wait of one of its steps.


async def call_and_be_called(first, second):
    answer = asyncio.create_task(erlang.async_call(first))
    await asyncio.sleep(0)
    erlang.call(second)
    return await answer


def run_call_and_be_called(first, second):
    return erlang.run(call_and_be_called(first, second))


def run_async_call(function):
    return erlang.run(erlang.async_call(function))


def value(x):
    return x
