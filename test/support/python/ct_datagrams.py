"""Datagrams, sockets of the Unix domain, and pipes."""

import asyncio
import contextlib
import os
import socket
import stat
import sys
import tempfile

from ct_loops import Handled, Recorder, case, raises
from ct_streams import BIG, client_context, echo, exchange, server_context


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what comes, and lets others wait for it."""

    def __init__(self, answer=None):
        self._answer = answer
        self.transport = None
        self.received = []
        self.errors = []
        self.events = []
        self.lost = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.received.append((data, addr))
        if self._answer is not None:
            self.transport.sendto(self._answer(data), addr)
        self._changed.set()

    def error_received(self, exc):
        self.errors.append(exc)
        self._changed.set()

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")
        self._changed.set()

    def connection_lost(self, exc):
        self.lost.set_result(exc)

    async def until(self, condition):
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def first(self):
        """Wait for a datagram, and give it."""
        await self.until(lambda: self.received)
        return self.received.pop(0)

    async def close(self):
        self.transport.close()
        await self.lost


async def endpoint(answer=None, **options):
    loop = asyncio.get_running_loop()
    if not options.keys() & {"remote_addr", "local_addr", "sock", "family"}:
        options["local_addr"] = ("127.0.0.1", 0)
    _, protocol = await loop.create_datagram_endpoint(
        lambda: Datagrams(answer), **options
    )
    return protocol


def address(protocol):
    return protocol.transport.get_extra_info("sockname")


# ----------------------------------------------------------------------------------------------------------------------
# Datagrams


@case
async def datagrams_are_answered():
    server = await endpoint(answer=bytes.upper)
    client = await endpoint(remote_addr=address(server))
    assert client.transport.get_extra_info("peername") == address(server)
    client.transport.sendto(b"question")
    assert await client.first() == (b"QUESTION", address(server))
    unconnected = await endpoint()
    unconnected.transport.sendto(b"other", address(server))
    assert await unconnected.first() == (b"OTHER", address(server))
    for protocol in (server, client, unconnected):
        await protocol.close()


@case
async def each_datagram_stays_one():
    """None is split, joined or skipped, the empty ones included, which asyncio sends from 3.13 on."""
    server, client = await endpoint(), await endpoint()
    sent = [bytes([i]) * (i * 37 % 1500) for i in range(200)] + [b"", BIG[:60_000], b""]
    if sys.version_info < (3, 13):
        sent = [data for data in sent if data]
    got = []
    for data in sent:
        client.transport.sendto(data, address(server))
        got.append((await server.first())[0])
    assert got == sent
    await client.close()
    await server.close()


@case
async def burst_is_taken_in_its_order():
    server, client = await endpoint(), await endpoint()
    for burst in range(20):
        sent = [b"%d.%d" % (burst, i) for i in range(50)]
        for data in sent:
            client.transport.sendto(data, address(server))
        await server.until(lambda: len(server.received) == 50)
        assert [data for data, _ in server.received] == sent
        server.received.clear()
    await client.close()
    await server.close()


@case
async def refused_datagram_is_told_to_the_protocol():
    with socket.socket(type=socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()
    client = await endpoint(remote_addr=nobody)
    client.transport.sendto(b"x")
    await client.until(lambda: client.errors)
    assert [type(error) for error in client.errors] == [ConnectionRefusedError]
    # It can be used on.
    server = await endpoint(local_addr=nobody)
    client.transport.sendto(b"y")
    assert (await server.first())[0] == b"y"
    await client.close()
    await server.close()


@case
async def too_large_datagram_is_told_to_the_protocol():
    server, client = await endpoint(), await endpoint()
    client.transport.sendto(bytes(1 << 17), address(server))
    await client.until(lambda: client.errors)
    client.transport.sendto(b"small", address(server))
    assert (await server.first())[0] == b"small"
    await client.close()
    await server.close()


@case
async def ipv6_datagrams_are_answered():
    if not socket.has_ipv6:
        return
    try:
        server = await endpoint(answer=bytes.upper, local_addr=("::1", 0))
    except OSError:
        return
    client = await endpoint(remote_addr=address(server)[:2])
    client.transport.sendto(b"six")
    assert (await client.first())[0] == b"SIX"
    await client.close()
    await server.close()


@contextlib.asynccontextmanager
async def slow_receiver():
    """A socket that is read by hand, and an endpoint whose datagrams wait for room there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        path = os.path.join(folder, "receiver")
        receiver.bind(path)
        receiver.setblocking(False)
        client = await endpoint(family=socket.AF_UNIX, remote_addr=path)
        client.transport.set_write_buffer_limits(high=10_000, low=1000)
        yield receiver, client


def send_until_paused(client):
    """Send numbered datagrams; give their count."""
    sent = 0
    while client.events != ["pause"]:
        client.transport.sendto(b"%d " % sent + bytes(1000))
        sent += 1
        assert sent < 100_000
    assert client.transport.get_write_buffer_size() > 10_000
    return sent


@case
async def closed_endpoint_sends_what_is_left():
    loop = asyncio.get_running_loop()
    async with slow_receiver() as (receiver, client):
        sent = send_until_paused(client)
        client.transport.close()
        for i in range(sent):
            data = await loop.sock_recv(receiver, 2000)
            assert data.startswith(b"%d " % i), (i, data[:10])
        assert await client.lost is None


@case
async def full_endpoint_is_paused_and_resumed():
    loop = asyncio.get_running_loop()
    async with slow_receiver() as (receiver, client):
        sent = send_until_paused(client)
        for _ in range(sent):
            await loop.sock_recv(receiver, 2000)
        await client.until(lambda: client.events == ["pause", "resume"])
        client.transport.abort()
        assert await client.lost is None


@case
async def exception_of_a_protocol_closes_its_endpoint_alone():
    class Failing(Datagrams):
        def datagram_received(self, data, addr):
            raise ZeroDivisionError("of the protocol")

    loop = asyncio.get_running_loop()
    good, client = await endpoint(), await endpoint()
    _, failing = await loop.create_datagram_endpoint(
        Failing, local_addr=("127.0.0.1", 0)
    )
    to = address(failing)
    with Handled() as contexts:
        client.transport.sendto(b"x", to)
        while not contexts:
            await asyncio.sleep(0)
        client.transport.sendto(b"x", address(good))
        assert (await good.first())[0] == b"x"
    assert {type(context["exception"]) for context in contexts} == {ZeroDivisionError}
    for protocol in (good, client, failing):
        await protocol.close()


@case
async def sockets_by_hand():
    """The methods of the loop for datagrams without transports."""
    loop = asyncio.get_running_loop()
    one, two = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    with one, two:
        for sock in (one, two):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        waiting = asyncio.ensure_future(loop.sock_recvfrom(two, 100))
        await asyncio.sleep(0)
        assert await loop.sock_sendto(one, b"hello", two.getsockname()) == 5
        assert await waiting == (b"hello", one.getsockname())
        buffer = bytearray(10)
        waiting = asyncio.ensure_future(loop.sock_recvfrom_into(one, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendto(two, b"back", one.getsockname())
        assert await waiting == (4, two.getsockname())
        assert buffer[:4] == b"back"


@case
async def echo_datagrams_until_told(port):
    """Answer datagrams until one says `end`; give how many came. Tells its port by a datagram."""
    import ct_signals

    server = await endpoint(answer=bytes)
    ct_signals.signal(port, str(address(server)[1]))
    await server.until(lambda: server.received and server.received[-1][0] == b"end")
    await server.close()
    return len(server.received)


# ----------------------------------------------------------------------------------------------------------------------
# The Unix domain


@contextlib.asynccontextmanager
async def unix_serving(path, handler=echo, **options):
    server = await asyncio.start_unix_server(handler, path, **options)
    try:
        yield server
    except BaseException:
        server.close()
        raise
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def unix_connected(path, **options):
    reader, writer = await asyncio.open_unix_connection(path, **options)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.contextmanager
def unix_path():
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "socket")


@case
async def unix_data_of_any_size_comes_back_whole():
    with unix_path() as path:
        async with unix_serving(path), unix_connected(path) as (reader, writer):
            for size in (1, 1000, 1 << 16, len(BIG)):
                assert await exchange(reader, writer, BIG[:size]) == BIG[:size]


@case
async def unix_many_connections_do_not_mix():
    async def client(path, i):
        data = b"%d," % i * 1000
        async with unix_connected(path) as (reader, writer):
            return await exchange(reader, writer, data) == data

    with unix_path() as path:
        async with unix_serving(path, backlog=100):
            assert all(await asyncio.gather(*[client(path, i) for i in range(100)]))


@case
async def unix_abstract_names_work():
    name = f"\0ct_datagrams.{os.getpid()}.{id(asyncio.get_running_loop())}"
    async with unix_serving(name), unix_connected(name) as (reader, writer):
        assert await exchange(reader, writer, b"abstract") == b"abstract"


@case
async def unix_socket_that_was_left_behind_is_replaced():
    with unix_path() as path:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        async with unix_serving(path), unix_connected(path) as (reader, writer):
            assert await exchange(reader, writer, b"new") == b"new"


@case
async def unix_path_of_a_file_is_refused():
    with unix_path() as path:
        with open(path, "w"):
            pass
        await raises(OSError, asyncio.start_unix_server(echo, path), path)
        await raises(OSError, asyncio.open_unix_connection(path))
        await raises(FileNotFoundError, asyncio.open_unix_connection(path + "2"))


@case
async def unix_tls_begins_at_once_or_later(folder):
    client = {"ssl": client_context(folder), "server_hostname": "localhost"}
    with unix_path() as path:
        async with (
            unix_serving(path, ssl=server_context(folder)),
            unix_connected(path, **client) as (reader, writer),
        ):
            assert await exchange(reader, writer, BIG) == BIG

        async def upgrading(reader, writer):
            writer.write(await reader.readexactly(1))
            await writer.start_tls(server_context(folder))
            await echo(reader, writer)

        async with (
            unix_serving(path, upgrading),
            unix_connected(path) as (reader, writer),
        ):
            assert await exchange(reader, writer, b"1") == b"1"
            await writer.start_tls(client["ssl"], server_hostname="localhost")
            assert await exchange(reader, writer, BIG) == BIG


@case
async def unix_datagrams_are_answered():
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("server", "client")]
        server = await endpoint(
            answer=bytes.upper, family=socket.AF_UNIX, local_addr=paths[0]
        )
        client = await endpoint(
            family=socket.AF_UNIX, local_addr=paths[1], remote_addr=paths[0]
        )
        client.transport.sendto(b"question")
        assert await client.first() == (b"QUESTION", paths[0])
        await client.close()
        await server.close()


@case
async def unix_descriptors_are_passed_on():
    """Beside the data, by hand."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    passed, kept = socket.socketpair()
    with ours, theirs, kept:
        with passed:
            socket.send_fds(ours, [b"x"], [passed.fileno()])
        theirs.setblocking(False)
        ready = loop.create_future()
        loop.add_reader(theirs, ready.set_result, None)
        await ready
        loop.remove_reader(theirs)
        _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
        with socket.socket(fileno=fd) as got:
            got.setblocking(False)
            kept.send(b"through the passed one")
            assert await loop.sock_recv(got, 100) == b"through the passed one"


@case
async def unix_echo_until_told(path, port):
    """Echo until a connection has sent `end`. Tells by a datagram that it serves."""
    import ct_signals

    ended = asyncio.Event()

    async def until_end(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
            if data == b"end":
                ended.set()
        writer.close()

    async with unix_serving(path, until_end):
        ct_signals.signal(port, "serves")
        await ended.wait()
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


# ----------------------------------------------------------------------------------------------------------------------
# Pipes and terminals


@contextlib.asynccontextmanager
async def pipes(read_fd, write_fd):
    """Both ends of a pipe as a pair of protocols."""
    loop = asyncio.get_running_loop()
    _, reading = await loop.connect_read_pipe(Recorder, os.fdopen(read_fd, "rb", 0))
    _, writing = await loop.connect_write_pipe(Recorder, os.fdopen(write_fd, "wb", 0))
    yield reading, writing
    for protocol in (reading, writing):
        protocol.transport.close()
        await protocol.lost


@case
async def pipe_carries_data_of_any_size():
    async with pipes(*os.pipe()) as (reading, writing):
        writing.transport.write(BIG)
        assert writing.events[-1] == "pause"
        await reading.until(lambda: len(reading.received) == len(BIG))
        assert reading.received == BIG
        await writing.until(lambda: writing.events[-1] == "resume")
        writing.transport.write_eof()
        await reading.until(lambda: "eof" in reading.events)


@case
async def pipe_without_a_reader_is_told():
    async with pipes(*os.pipe()) as (reading, writing):
        reading.transport.close()
        await reading.lost
        await writing.until(lambda: "lost" in writing.events)


@case
async def paused_pipe_keeps_data_back():
    async with pipes(*os.pipe()) as (reading, writing):
        reading.transport.pause_reading()
        writing.transport.write(b"x")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reading.received
        reading.transport.resume_reading()
        await reading.until(lambda: reading.received == b"x")


@case
async def terminal_is_read_and_written():
    ours, theirs = os.openpty()
    async with pipes(ours, theirs) as (reading, writing):
        writing.transport.write(b"output")
        await reading.until(lambda: reading.received == b"output")


@case
async def named_pipe_is_read_and_written():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fifo")
        os.mkfifo(path)
        read_fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write_fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        async with pipes(read_fd, write_fd) as (reading, writing):
            writing.transport.write(b"named")
            await reading.until(lambda: reading.received == b"named")


@case
async def regular_file_is_no_pipe():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as file:
        await raises(ValueError, loop.connect_read_pipe(Recorder, file))
        await raises(ValueError, loop.connect_write_pipe(Recorder, file))
        try:
            loop.add_reader(file, int)
        except PermissionError:
            pass
        else:
            raise AssertionError("a regular file cannot be waited for")
