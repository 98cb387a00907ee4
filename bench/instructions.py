"""The Python side of counting instructions: loops that call Erlang, and echoes on event loops."""

import asyncio
import socket
from typing import cast

import erlang


def callbacks(count: int) -> None:
    """Call a registered function."""
    for i in range(count):
        erlang.call("bench_identity", i)


def messages(pid: erlang.Pid, count: int) -> None:
    """Send integers."""
    for i in range(count):
        erlang.send(pid, i)


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(Echo):
    """Sends so many messages, each when the one before is back."""

    def __init__(self, count: int, message: bytes) -> None:
        self.left = count
        self.message = message
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left > 0:
            self.transport.write(self.message)
        elif not self.done.done():
            self.done.set_result(None)


async def echo(count: int) -> None:
    """Have so many messages of 1 KiB echoed over a pair of sockets, both ends on this loop."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    for end in (here, there):
        end.setblocking(False)
    server, _ = await loop.create_connection(Echo, sock=there)
    client, protocol = await loop.create_connection(
        lambda: Client(count, b"x" * 1024), sock=here
    )
    await protocol.done
    client.close()
    server.close()


def echoes(count: int) -> None:
    """On the loop of the context."""
    erlang.run(echo(count))


standard: list[asyncio.AbstractEventLoop] = []


def standard_echoes(count: int) -> None:
    """On the standard library's loop."""
    if not standard:
        standard.append(asyncio.SelectorEventLoop())
    standard[0].run_until_complete(echo(count))
