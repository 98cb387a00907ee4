"""Protocols that do to the reactor what is rarely done.

Each tells the process ``reactor_native`` what happens to it.
"""

import asyncio
import os
import time
from typing import Any

import _erlang
import erlang
from erlang import _tasks, reactor

#: The protocols of the connections that were made, in order.
made: list[reactor.Protocol] = []


def tell(*message: object) -> None:
    """Send the message to the test."""
    erlang.send(erlang.whereis("reactor_native"), message)


def gate() -> str:
    """Wait until the test says go."""
    return str(erlang.call("reactor_native_gate"))


def serve(name: str) -> None:
    """Serve connections with a protocol of this module."""
    made.clear()
    reactor.set_protocol_factory(globals()[name])


class Echo(reactor.Protocol):
    """Sends back what it gets."""

    def connection_made(self, fd: int, client_info: Any) -> None:
        made.append(self)
        tell("made")

    def data_received(self, data: bytes) -> str:
        self.write_buffer += data
        return "write_pending"

    def connection_lost(self) -> None:
        tell("lost")


class Held(Echo):
    """Wants no input where it is told so."""

    def connection_made(self, fd: int, client_info: Any) -> None:
        if client_info["held"]:
            self.pause_reading()
        super().connection_made(fd, client_info)

    def stopping(self) -> str:
        tell("stopping")
        return "continue"


def resume() -> None:
    """Let the first connection read."""
    made[0].resume_reading()


class Stops(Echo):
    """Ends the loop that it runs in, by Erlang."""

    def data_received(self, data: bytes) -> str:
        tell("stopped", erlang.call("reactor_native_stop"))
        return "continue"


class StopsAtEnd(Echo):
    """The same when it is lost."""

    def data_received(self, data: bytes) -> str:
        return "close"

    def connection_lost(self) -> None:
        tell("stopped", erlang.call("reactor_native_stop"))
        tell("lost")


class Spins(Echo):
    """Does not come back."""

    def data_received(self, data: bytes) -> str:
        if data == b"spin":
            tell("spins")
            while True:
                pass
        if data == b"sleep":
            tell("spins")
            time.sleep(3600)
        return super().data_received(data)


_spun: list[bool] = []


def spinning() -> reactor.Protocol:
    """Do not come back the first time."""
    if not _spun:
        _spun.append(True)
        tell("spins")
        while True:
            pass
    _spun.clear()
    return Echo()


async def until_told() -> int:
    """Wait for the test."""
    _told.append(asyncio.get_running_loop().create_future())
    tell("runs")
    await _told[-1]
    return 5


_told: list[asyncio.Future[None]] = []


def run() -> int:
    """Run the loop of the context in a call."""
    result: int = erlang.run(until_told())
    return result


def tell_task() -> None:
    """End what runs there."""
    _told[-1].set_result(None)


class Running(Echo):
    """Says whether its handlers find the loop running."""

    def connection_lost(self) -> None:
        tell("lost", asyncio.get_running_loop().is_running())


def close() -> None:
    """End the first connection, in a call."""
    made[0].close()


_one = Echo()


def one() -> reactor.Protocol:
    """Give the same one again and again."""
    return _one


class Greets(Echo):
    """Has a task greet the peer."""

    def connection_made(self, fd: int, client_info: Any) -> None:
        super().connection_made(fd, client_info)
        self.task = asyncio.create_task(self.greet())

    async def greet(self) -> None:
        """Greet, some turns of the loop later."""
        for _ in range(5):
            await asyncio.sleep(0)
        self.write_buffer += b"hello"
        reactor.signal_write_ready(self)


def send_too_much() -> None:
    """Send a datagram that is larger than datagrams can be."""
    made[0].write_buffer += bytes(70_000)
    reactor.signal_write_ready(made[0])


def when_empty(times: int) -> None:
    """Tell so often that there are no connections."""

    def empty() -> None:
        tell("empty")
        when_empty(times - 1)

    if times:
        _erlang.reactor_when_empty(empty)


class Rigid(Echo):
    """Cannot be told which connection it has."""

    @property
    def fd(self) -> int:  # type: ignore[override]
        """Not to be set."""
        return -1


_doubles: list[int] = []


class Doubled(Echo):
    """Keeps a duplicate of its descriptor."""

    def connection_made(self, fd: int, client_info: Any) -> None:
        _doubles.append(os.dup(fd))
        self.close()

    def connection_lost(self) -> None:
        pass


def close_doubles() -> None:
    """Close the duplicates."""
    while _doubles:
        os.close(_doubles.pop())


class Gated(Echo):
    """Waits for the gate of a port, whoever interrupts it."""

    def data_received(self, data: bytes) -> str:
        import ct_signals  # type: ignore[import-not-found]

        ct_signals.gate(int(data), "deaf")
        return "continue"


class Ticks(Echo):
    """Writes, past its buffer, as long as the last connection is there."""

    def connection_made(self, fd: int, client_info: Any) -> None:
        super().connection_made(fd, client_info)
        if client_info["ticks"]:
            self.task = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        """Write now and then."""
        while made[-1] is self or not made[-1].closed:
            self.write(b".")
            await asyncio.sleep(0.01)
        tell("ticked", self.closed)


def close_all_but_last() -> None:
    """End connections that have ended, by their protocols."""
    for protocol in made[:-1]:
        protocol.close()
        assert not reactor.signal_write_ready(protocol)


class Floods(Echo):
    """Answers with more than a peer takes that does not read."""

    def data_received(self, data: bytes) -> str:
        self.write_buffer += bytes(50_000_000)
        return "write_pending"

    def pause_writing(self) -> None:
        tell("paused")


def break_loop() -> None:
    """Have the loop of the context fail, as it does when the system does."""
    loop = _tasks._current()
    assert loop is not None

    def fail() -> None:
        raise OSError("too many open files")

    loop._run_once = fail  # type: ignore[attr-defined]
    # It comes back from its wait.
    loop.call_soon(str)


class CleansUp(Echo):
    """Has a task clean up, which takes for ever."""

    def connection_lost(self) -> None:
        super().connection_lost()
        self.task = asyncio.create_task(self.clean_up())

    async def clean_up(self) -> None:
        """Wait, and tell of the end of that."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            tell("cleaned")
