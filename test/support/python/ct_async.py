"""Coroutines that call Erlang."""

import asyncio

import ct_signals
import erlang
from ct_threads import Caller, attempt

#: Loops that were closed with a call outstanding.
_kept = []


async def _one(name, *arguments):
    return await erlang.async_call(name, *arguments)


async def _attempt(name, *arguments, **named):
    try:
        return "ok", await erlang.async_call(name, *arguments, **named)
    except erlang.ErlangError as error:
        return error.kind, error.reason
    except Exception as error:
        return type(error).__name__, str(error)


def one(name, *arguments):
    return asyncio.run(_one(name, *arguments))


def outcome(name, *arguments):
    return asyncio.run(_attempt(name, *arguments))


def named_outcome(name, **named):
    return asyncio.run(_attempt(name, **named))


async def _many(count, name):
    return await asyncio.gather(*[_one(name, i) for i in range(1, count + 1)])


def many(count, name):
    return asyncio.run(_many(count, name))


def many_outcomes(count, name):
    async def main():
        return await asyncio.gather(*[_attempt(name, i) for i in range(1, count + 1)])

    return asyncio.run(main())


def one_after_another(loops, count, name):
    """Run as many loops; give their answers."""
    return [many(count, name) for _ in range(loops)]


def in_threads(threads, count, name):
    """Run a loop in each of as many threads."""
    callers = [Caller(many, count, name) for _ in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return [caller.outcome for caller in callers]


def beside(port, *names):
    """Call all of them, each with its own name; give the answers in the order in which they come."""
    answers = []

    async def call(name):
        answers.append(await erlang.async_call(name, name))
        ct_signals.signal(port, name)

    async def main():
        await asyncio.gather(*map(call, names))

    asyncio.run(main())
    return answers


def ticks(name):
    """Count the rounds of another coroutine while a call is outstanding."""

    async def main():
        task = asyncio.create_task(_one(name))
        count = 0
        while not task.done():
            count += 1
            await asyncio.sleep(0.001)
        return count, task.result()

    return asyncio.run(main())


def cancelled(name, begun, later):
    """Cancel the wait for a call once another says that it has begun, and call on."""

    async def main():
        task = asyncio.create_task(_one(name, "cancelled"))
        await erlang.async_call(begun, "begun")
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled", await erlang.async_call(later, 1)

    return asyncio.run(main())


def cancelled_at_once(count, name):
    """Cancel calls before the loop has had a turn, and after one turn."""

    async def main():
        tasks = [asyncio.create_task(_one(name, i)) for i in range(count)]
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0)
        for task in tasks[1::4]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [x if isinstance(x, int) else type(x).__name__ for x in results]

    return asyncio.run(main())


def too_late(name, seconds, later):
    """Give up waiting after some time, and call on."""

    async def main():
        try:
            await asyncio.wait_for(_one(name, "late"), seconds)
        except TimeoutError:
            return "late", await erlang.async_call(later, 1)

    return asyncio.run(main())


def abandoned(name, begun):
    """Close a loop with a call outstanding."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(_one(name, "abandoned"))
    loop.run_until_complete(_one(begun, "begun"))
    loop.close()
    _kept.append((loop, task))
    return task.done()


def forget_abandoned():
    """Let go of the loops; nobody is told of their tasks."""
    for loop, _ in _kept:
        loop.set_exception_handler(lambda *_: None)
    _kept.clear()


def without_loop(name):
    """Await a call where no loop runs."""
    coroutine = _one(name)
    try:
        return attempt(coroutine.send, None)
    finally:
        coroutine.close()


def caught(name, failing):
    """Give the outcomes of one that fails beside others."""

    async def main():
        return await asyncio.gather(_attempt(failing, 1), _attempt(name, 2), _attempt(failing, 3))

    return asyncio.run(main())


def from_executor(name, count):
    """Call from the loop's own threads and from the loop."""

    async def main():
        loop = asyncio.get_running_loop()
        blocking = [loop.run_in_executor(None, erlang.call, name, i) for i in range(count)]
        waiting = [_one(name, i) for i in range(count)]
        return await asyncio.gather(*blocking, *waiting)

    return asyncio.run(main())
