"""Cases that are coroutines: each runs on the loop of the context and on a loop of its own."""

import asyncio
import functools
import gc
import socket

import erlang


def _on_context_loop(main):
    return erlang.run(main)


def _on_own_loop(main):
    with asyncio.Runner(loop_factory=erlang.new_event_loop) as runner:
        return runner.run(main)


async def _watched(function, arguments):
    """Fail also when the loop had to handle an exception that nobody else did."""
    loop = asyncio.get_running_loop()
    unhandled = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    try:
        result = await function(*arguments)
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert not unhandled, unhandled
    return result


def case(function):
    """Let Erlang call a coroutine function; gives the results, which must be the same on both loops."""

    @functools.wraps(function)
    def call(*arguments):
        first = _on_context_loop(_watched(function, arguments))
        second = _on_own_loop(_watched(function, arguments))
        assert first == second, (first, second)
        return first

    return call


def warm_up():
    """Make what stays: the context's loop, a thread of its executor, what a context that sleeps has."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, int)
            await asyncio.sleep(0.1)
            loop.remove_reader(ours)
        await asyncio.to_thread(int)

    erlang.run(main())


async def raises(expected, awaitable, contains=""):
    """Await what must raise; give the exception."""
    try:
        await awaitable
    except expected as error:
        assert contains in str(error), error
        return error
    raise AssertionError(f"no {expected}")


class Handled:
    """The contexts of the exceptions that the running loop handles, expected ones, meanwhile."""

    def __enter__(self):
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_exception_handler()
        contexts = []
        self._loop.set_exception_handler(
            lambda _loop, context: contexts.append(context)
        )
        return contexts

    def __exit__(self, *_):
        self._loop.set_exception_handler(self._before)


class Recorder(asyncio.Protocol):
    """Keeps what happens to a connection, and lets others wait for it."""

    def __init__(self):
        self.events = []
        self.received = bytearray()
        self.transport = None
        self.lost = asyncio.get_running_loop().create_future()
        self.made = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self._note("made")
        self.made.set_result(transport)

    def data_received(self, data):
        self.received += data
        self._changed.set()

    def eof_received(self):
        self._note("eof")
        return True

    def pause_writing(self):
        self._note("pause")

    def resume_writing(self):
        self._note("resume")

    def connection_lost(self, exc):
        self._note("lost")
        self.lost.set_result(exc)

    def _note(self, event):
        self.events.append(event)
        self._changed.set()

    async def until(self, condition):
        """Wait until the condition holds; it is looked at whenever something happens."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()
