"""Tasks from Erlang, coroutines that ordinary calls run, and calls that do neither, side by side in one context."""

import asyncio
import socket
from contextvars import ContextVar

import erlang

mark = ContextVar("mark", default="unset")

#: What was left by the way of `finally`.
left = []

#: Tasks that nobody waits for.
kept = set()


async def gate(name, value=None):
    """Wait until Erlang opens the gate."""
    try:
        await erlang.async_call("gate", name)
        return value
    finally:
        left.append(name)


async def telling_gate(name, pid):
    """The same; the process hears of it when the coroutine has ended."""
    await gate(name)
    erlang.send(pid, (erlang.atom("passed"), name))
    return name


def run_gate(name, value=None):
    return erlang.run(gate(name, value))


def run_private_gate(name):
    """Wait for the gate in a loop of its own, and give what that gives."""
    return asyncio.run(asks("gate", name))


def run_shared_gate(name):
    """The same in the loop of the context."""
    return erlang.run(asks("gate", name))


def blocking_gate(name):
    return erlang.call("gate", name)


def run_telling_gate(name, pid):
    return erlang.run(telling_gate(name, pid))


def all_left():
    """Tell what was left, and forget it."""
    names = sorted(left)
    left.clear()
    return names


async def quick(value):
    await asyncio.sleep(0)
    return value


def run_quick(value):
    return erlang.run(quick(value))


async def sleepers(count, name):
    """Let coroutines sleep until the gate opens; count those that were cancelled then."""
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0)
    await erlang.async_call("gate", name)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return sum(isinstance(result, asyncio.CancelledError) for result in results)


async def receivers(count, name):
    """Let coroutines wait for sockets; when the gate opens something is sent to each. Count what came."""
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(count)]
    try:
        for ours, _ in pairs:
            ours.setblocking(False)
        tasks = [asyncio.create_task(loop.sock_recv(ours, 10)) for ours, _ in pairs]
        await asyncio.sleep(0)
        await erlang.async_call("gate", name)
        for _, theirs in pairs:
            theirs.send(b"x")
        return len(b"".join(await asyncio.gather(*tasks)))
    finally:
        for pair in pairs:
            for each in pair:
                each.close()


async def marked(name, value):
    """Set the variable, and look at it again later."""
    mark.set(value)
    await erlang.async_call("gate", name)
    return mark.get()


def seen(value):
    """Tell what an ordinary call sees of the loop below, and leave a mark."""
    try:
        asyncio.get_running_loop()
        running = True
    except RuntimeError:
        running = False
    before = mark.get()
    mark.set(value)
    return running, before


def current_task_of(loop):
    return asyncio.current_task(loop)


async def running_loop():
    return asyncio.get_running_loop()


async def asks(name, *arguments):
    """Call Erlang without blocking the loop."""
    return await erlang.async_call(name, *arguments)


def run_asks(name, *arguments):
    return erlang.run(asks(name, *arguments))


async def asks_blocking(name, *arguments):
    """Call Erlang in the middle of a step."""
    return erlang.call(name, *arguments)


async def in_thread(value):
    """Run a loop in a thread of Python's own."""
    return await asyncio.to_thread(run_quick, value)


async def ends_by(what):
    await asyncio.sleep(0)
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "ValueError": ValueError}[what](what)


def end_by(what):
    erlang.run(ends_by(what))


async def forever():
    await asyncio.get_running_loop().create_future()


def run_forever():
    erlang.run(forever())


async def left_behind(name, own):
    """Leave a task behind that waits at one gate, once the other has opened."""
    task = asyncio.create_task(gate(name))
    await erlang.async_call("gate", own)
    kept.add(task)
    task.add_done_callback(kept.discard)


def run_left_behind(name, own):
    erlang.run(left_behind(name, own))
