"""Functions that Erlang makes tasks of."""

import asyncio
import contextvars
import sys

import erlang

#: What waits, by name.
_gates = {}

#: What every task has of its own.
_own = contextvars.ContextVar("own", default=None)

#: Kept from the garbage collector.
_kept = []


async def value(x):
    return x


def plain(x):
    return x


async def later(x, turns=3):
    for _ in range(turns):
        await asyncio.sleep(0)
    return x


async def named(*positional, **keywords):
    return list(positional), keywords


def plain_named(*positional, **keywords):
    return list(positional), keywords


class Awaitable:
    def __init__(self, x):
        self.x = x

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.x


def future(x):
    made = asyncio.get_running_loop().create_future()
    made.get_loop().call_soon(made.set_result, x)
    return made


def task(x):
    return asyncio.get_running_loop().create_task(later(x))


def awaitable(x):
    return Awaitable(x)


class Callable:
    async def __call__(self, x):
        return x


#: An object that can be called, and whose calls are to be awaited.
called = Callable()


async def fail(kind, text):
    await asyncio.sleep(0)
    raise _exception(kind, text)


def fail_at_once(kind, text):
    raise _exception(kind, text)


def _exception(kind, text):
    import builtins

    return getattr(builtins, kind, getattr(asyncio, kind, None))(text)


async def leave(status):
    await asyncio.sleep(0)
    sys.exit(status)


def _tell_once_it_waits(pid, name):
    # Later, by the loop: by then the task has given the loop its turn.
    asyncio.get_running_loop().call_soon(erlang.send, pid, ("waits", name))


async def gate(pid, name, result=None):
    """Tell that it waits, and wait until it is released."""
    event = _gates[name] = asyncio.Event()
    _tell_once_it_waits(pid, name)
    try:
        await event.wait()
        return name if result is None else result
    except asyncio.CancelledError:
        erlang.send(pid, ("cancelled", name))
        raise
    finally:
        del _gates[name]
        erlang.send(pid, ("ended", name))


async def sleepers(pid, name, count):
    """Wait for so many timers; tell once all are set."""
    sleeping = [asyncio.ensure_future(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0)
    _tell_once_it_waits(pid, name)
    await asyncio.gather(*sleeping)


def release(name):
    _gates[name].set()
    return name


def waiting():
    return sorted(_gates)


async def release_async(name):
    return release(name)


async def slow_end(pid, name):
    """Wait, and await something in the finally block."""
    try:
        await gate(pid, name)
    finally:
        await asyncio.sleep(0.01)
        erlang.send(pid, ("slowly", name))


async def stubborn(pid, name):
    """Swallow every cancellation, and tell of each."""
    _tell_once_it_waits(pid, name)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            erlang.send(pid, ("again", name))


async def after_all(pid, name):
    """Make a value of a cancellation."""
    try:
        await gate(pid, name)
    except asyncio.CancelledError:
        return "after all"


async def spin(pid, name):
    """Never let the loop have its turn."""
    try:
        erlang.send(pid, ("waits", name))
        while True:
            pass
    finally:
        erlang.send(pid, ("ended", name))


async def meet(mine, other):
    """Wait until the other one is there, too."""
    event = _gates.setdefault((mine, other), asyncio.Event())
    _gates.setdefault((other, mine), asyncio.Event()).set()
    await event.wait()
    del _gates[mine, other]
    return mine


async def own(x):
    before = _own.get()
    _own.set(x)
    await asyncio.sleep(0)
    return before, _own.get()


async def where():
    """Which loop it runs on, and which thread."""
    import threading

    return id(asyncio.get_running_loop()), threading.get_ident()


def outside():
    """Whether no loop runs, and no task."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio._get_running_loop() is None
    return False


async def call(name, *arguments):
    """Call an Erlang function and wait for it without a turn for the others."""
    return erlang.call(name, *arguments)


async def async_call(name, *arguments):
    return await erlang.async_call(name, *arguments)


async def generate(pid, name):
    """Leave an asynchronous generator behind that has begun."""

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            erlang.send(pid, ("closed", name))

    generator = numbers()
    _kept.append(generator)
    return await anext(generator)


async def serve(pid, name):
    """Serve a port; tell of the ends of connections. Give the port."""

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            erlang.send(pid, ("connected", name))

        def connection_lost(self, error):
            erlang.send(pid, ("lost", name))

    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0)
    _kept.append(server)
    return server.sockets[0].getsockname()[1]


async def threaded(pid, name):
    """Have a thread of the loop's executor wait for ever."""
    import threading

    event = threading.Event()
    _kept.append(event)

    def wait():
        erlang.send(pid, ("waits", name))
        event.wait(30)

    await asyncio.to_thread(wait)


def let_threads_go():
    for kept in _kept:
        if hasattr(kept, "set"):
            kept.set()


#: Tasks that have begun, and that have ended.
_counts = [0, 0]


async def counted(turns):
    _counts[0] += 1
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
    finally:
        _counts[1] += 1


def unended():
    """Tell how many of those have begun and not ended."""
    return _counts[0] - _counts[1]


async def remember(x):
    _kept.append(x)


def remembered():
    """Give what was remembered since."""
    found = [x for x in _kept if isinstance(x, int)]
    _kept[:] = [x for x in _kept if not isinstance(x, int)]
    return found


def forget():
    """Let go of what was kept."""
    _kept.clear()
