"""Coroutines for the loop of a context."""

import asyncio
import contextlib
import logging
import socket
import sys
import threading
import warnings

import ct_signals
import erlang

#: Events and other things that one request leaves for the next.
kept = {}

#: What has ended, in its order.
ended = []


async def reset():
    """Forget the case before, and end what it has left."""
    tasks = [thing for thing in kept.values() if isinstance(thing, asyncio.Task)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    kept.clear()
    ended.clear()


def name_of_loop():
    return type(asyncio.get_running_loop()).__name__


async def give(value):
    await asyncio.sleep(0)
    return value


async def fail():
    await asyncio.sleep(0)
    raise ValueError("failed")


def end(tag, port):
    """Note an end, and say so. On a slow machine another interrupt may come meanwhile."""
    told = []
    while not told:
        try:
            if tag not in ended:
                ended.append(tag)
            if port is not None:
                ct_signals.signal(port, "ended " + tag)
            told.append(tag)
        except BaseException:
            pass


async def forever(tag, port=None):
    try:
        await asyncio.Event().wait()
    finally:
        end(tag, port)


async def until(tag, port=None):
    """Wait until another request lets this one go on; say so if there is somebody to tell."""
    event = kept[tag] = asyncio.Event()
    try:
        if port is not None:
            ct_signals.signal(port, tag)
        await event.wait()
    finally:
        try:
            end(tag, port)
        except BaseException:
            end(tag, port)
    return tag


def release(tag):
    kept.pop(tag).set()


async def generate(tag):
    try:
        while True:
            yield tag
    finally:
        ended.append(tag)


# ---------------------------------------------------------------------------------------------------
# erlang.run


def run(function, *arguments, **options):
    return erlang.run(globals()[function](*arguments), **options)


def run_future():
    """Run what is awaitable and no coroutine."""

    class Three:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return 3

    return erlang.run(Three())


def outcome_of_run(what):
    try:
        return erlang.run(what)
    except Exception as error:
        return type(error).__name__


def run_within():
    async def main():
        coroutine = give(1)
        try:
            erlang.run(coroutine)
        except RuntimeError as error:
            return str(error)
        finally:
            coroutine.close()

    return erlang.run(main())


async def keep_loop():
    before = kept.get("loop")
    kept["loop"] = asyncio.get_running_loop()
    return before is kept["loop"]


async def leave_behind():
    """End with a task and a generator under way."""
    kept["task"] = asyncio.create_task(forever("task"))
    kept["generator"] = generate("generator")
    await anext(kept["generator"])
    await asyncio.sleep(0)
    return "left"


def leave_what_fails():
    """Give what the loop's exception handler is told of what fails on its way out."""
    told = []

    async def late():
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on the way out")

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append((context["message"], str(context["exception"])))
        )
        kept["late"] = asyncio.create_task(late())
        await asyncio.sleep(0)

    async def forget():
        asyncio.get_running_loop().set_exception_handler(None)

    erlang.run(main())
    erlang.run(forget())
    return told


async def spawn(tag, port):
    kept["spawned"] = erlang.spawn_task(until(tag, port), name=tag)
    return kept["spawned"].get_name()


def spawn_outside(tag, port):
    kept["spawned"] = erlang.spawn_task(until(tag, port))
    return type(kept["spawned"].get_loop()).__name__


async def settled(tag):
    """Wait until what was spawned has ended."""
    await kept[tag]
    return list(ended)


async def step(name):
    """Call Erlang from a step, and look whether all is as before."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    answer = erlang.call(name)
    await asyncio.sleep(0)
    return [answer, asyncio.get_running_loop() is loop, asyncio.current_task() is task]


async def tell_loop():
    await asyncio.sleep(0)
    return name_of_loop()


def in_thread(function):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(run(function)))
    thread.start()
    thread.join()
    return answers[0]


async def stop_loop():
    asyncio.get_running_loop().stop()
    await forever("stopped")


async def debug():
    return asyncio.get_running_loop().get_debug()


def refused(how):
    """Do to the loop of the context what only loops of one's own allow."""

    async def main():
        return asyncio.get_running_loop()

    loop = erlang.run(main())
    coroutine = give(1)
    try:
        if how == "run_until_complete":
            loop.run_until_complete(coroutine)
        else:
            getattr(loop, how)()
    except RuntimeError as error:
        return str(error)
    finally:
        coroutine.close()


async def shut_down_and_go_on():
    """Shut the loop's executor and generators down, and use both."""
    loop = asyncio.get_running_loop()
    first = await asyncio.to_thread(int, "1")
    await loop.shutdown_default_executor()
    await loop.shutdown_asyncgens()
    second = await asyncio.to_thread(int, "2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = generate("after")
        await anext(generator)
        await generator.aclose()
    return first, second


# ---------------------------------------------------------------------------------------------------
# Errors of tasks


async def raising(name):
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[name](name)


async def beside(name):
    """Let a task raise what would end a program, beside others."""
    other = asyncio.create_task(give("other"))
    task = erlang.spawn_task(raising(name))
    await asyncio.wait([task])
    return type(task.exception()).__name__, await other


async def in_callback(name):
    def callback():
        raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[name](name)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return await give("still here")


async def stubborn(port, tag):
    """Take a cancellation for no reason to give anything else."""
    try:
        await until(tag, port)
    except asyncio.CancelledError:
        return "stubborn"


async def spinning(port, tag):
    child = asyncio.create_task(forever("child", port))
    await asyncio.sleep(0)
    try:
        ct_signals.signal(port, tag)
        while not child.done():
            pass
    finally:
        kept[tag] = None


# ---------------------------------------------------------------------------------------------------
# Loops of one's own


def own_loop():
    loop = erlang.new_event_loop()
    try:
        return loop.run_until_complete(tell_loop())
    finally:
        loop.close()


def runner():
    with asyncio.Runner(loop_factory=erlang.new_event_loop) as it:
        return it.run(tell_loop())


def stock():
    return asyncio.run(tell_loop())


def two_loops(count):
    """Let a loop in another thread and one here send numbers back and forth."""
    both, places = threading.Barrier(2), {}

    async def main(name, other):
        queue = asyncio.Queue()
        places[name] = asyncio.get_running_loop(), queue
        await asyncio.to_thread(both.wait)
        loop, away = places[other]
        got = []
        for i in range(count):
            if name == "here":
                loop.call_soon_threadsafe(away.put_nowait, i)
            got.append(await queue.get())
            if name == "there":
                loop.call_soon_threadsafe(away.put_nowait, i)
        return got

    def there():
        with asyncio.Runner(loop_factory=erlang.new_event_loop) as it:
            it.run(main("there", "here"))

    thread = threading.Thread(target=there)
    thread.start()
    got = erlang.run(main("here", "there"))
    thread.join()
    return got == list(range(count))


def closed_loops(count):
    for _ in range(count):
        loop = erlang.new_event_loop()
        loop.run_until_complete(give(1))
        loop.close()
    unclosed = erlang.new_event_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del unclosed


def policy():
    made = erlang.get_event_loop_policy()
    loop = made.new_event_loop()
    loop.close()
    return isinstance(made, erlang.EventLoopPolicy), isinstance(loop, erlang.ErlangEventLoop)


def install():
    """Give what the function does on this version."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            erlang.install()
        except RuntimeError as error:
            assert sys.version_info >= (3, 14)
            return "refused", str(error)
    assert sys.version_info < (3, 14)
    return told[0].category.__name__, stock()


def signals():
    loop = erlang.new_event_loop()
    with contextlib.closing(loop):
        try:
            loop.add_signal_handler(15, print)
        except NotImplementedError as error:
            return str(error), loop.remove_signal_handler(15)


def bad_signal():
    loop = erlang.new_event_loop()
    with contextlib.closing(loop):
        try:
            loop.add_signal_handler(1000, print)
        except ValueError as error:
            return str(error)


async def program():
    """Let a program say what it is told."""
    # That the status is lost is said in the log.
    logging.disable()
    try:
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        out, _ = await process.communicate(b"told")
        return out, process.returncode is not None
    finally:
        logging.disable(logging.NOTSET)


# ---------------------------------------------------------------------------------------------------
# sleep, threads


async def naps():
    order = []

    async def nap():
        await erlang.sleep(0)
        order.append("nap")

    task = asyncio.create_task(nap())
    order.append("main")
    await erlang.sleep(0)
    await task
    return order


async def from_threads(count):
    """Count what threads hand to the loop."""
    loop, got, done = asyncio.get_running_loop(), [], asyncio.Event()

    def take(i):
        got.append(i)
        if len(got) == 4 * count:
            done.set()

    def give_all():
        for i in range(count):
            loop.call_soon_threadsafe(take, i)

    threads = [threading.Thread(target=give_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    await done.wait()
    for thread in threads:
        thread.join()
    return len(got)


def spawn_in_thread():
    answers = []

    def there():
        coroutine = give(1)
        try:
            erlang.spawn_task(coroutine)
        except RuntimeError as error:
            answers.append(str(error))
        finally:
            coroutine.close()

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    return answers[0]


# ---------------------------------------------------------------------------------------------------
# The end of a context


async def saying(port, tag):
    """Say on the way out that it is."""
    ct_signals.signal(port, "begun " + tag)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        ct_signals.signal(port, "ended " + tag)


def begin_all(port):
    """Begin what the end of the context has to end: a task, a generator, a connection, a thread of the executor."""

    async def serve():
        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                ct_signals.signal(port, "begun transport")

            def connection_lost(self, error):
                theirs.close()
                ct_signals.signal(port, "ended transport")

        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        await loop.create_connection(Protocol, sock=ours)
        kept["saying"] = say_generated(port)
        await anext(kept["saying"])
        await asyncio.to_thread(int, "1")
        await saying(port, "task")

    return type(erlang.spawn_task(serve())).__name__


async def say_generated(port):
    ct_signals.signal(port, "begun generator")
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        ct_signals.signal(port, "ended generator")


async def unwilling(port):
    """Go on whatever comes."""
    ct_signals.signal(port, "begun unwilling")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def spawn_named(function, *arguments):
    erlang.spawn_task(globals()[function](*arguments))
