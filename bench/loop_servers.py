"""Echo servers on one event loop, for each way that asyncio has of using a socket."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import cast

LIMIT = 256 * 1024
HOST = "127.0.0.1"


class Echo(asyncio.Protocol):
    """Is given bytes."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Is read for into a buffer of its own."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(LIMIT))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the buffer is read into again before all may have gone.
        self.transport.write(bytes(self.buffer[:nbytes]))


class Control(Echo):
    """Answers each byte with the processor time that the process and the thread have used; ``q`` ends the servers."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.ended = ended

    def data_received(self, data: bytes) -> None:
        if data == b"q":
            self.ended.set()
        else:
            times = f"{time.process_time_ns()} {time.thread_time_ns()}\n"
            self.transport.write(times.encode())


async def streams_echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection by streams."""
    while data := await reader.read(LIMIT):
        writer.write(data)
        await writer.drain()
    writer.close()


async def sock_serve(listener: socket.socket) -> None:
    """Serve by the loop's own operations on sockets."""
    loop = asyncio.get_running_loop()
    tasks = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.create_task(sock_echo(loop, client))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def sock_echo(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    """Serve one connection so."""
    with client:
        while data := await loop.sock_recv(client, LIMIT):
            await loop.sock_sendall(client, data)


async def serve(certificate: str, announce: Callable[[list[int]], object]) -> None:
    """Serve until the control connection ends it; the file holds a certificate and its key.

    The ports are announced in the order of what they are for: control, protocol, buffered, streams, sock, tls.
    """
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    ended = asyncio.Event()
    servers = [
        await loop.create_server(lambda: Control(ended), HOST, 0),
        await loop.create_server(Echo, HOST, 0, backlog=200),
        await loop.create_server(BufferedEcho, HOST, 0, backlog=200),
        await asyncio.start_server(streams_echo, HOST, 0, limit=LIMIT, backlog=200),
        await loop.create_server(Echo, HOST, 0, ssl=context, backlog=200),
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    with socket.create_server((HOST, 0), backlog=200) as listener:
        listener.setblocking(False)
        ports.insert(4, listener.getsockname()[1])
        serving = asyncio.create_task(sock_serve(listener))
        announce(ports)
        await ended.wait()
        serving.cancel()
    for server in servers:
        server.close()


async def serve_echo(announce: Callable[[list[int]], object]) -> None:
    """Serve by a protocol, and that alone, for good; the port is announced."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, HOST, 0, backlog=1024)
    announce([server.sockets[0].getsockname()[1]])
    await server.serve_forever()
