"""Streams, plain and encrypted, and their transports."""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
import threading
from contextlib import asynccontextmanager

from ct_loops import Handled, Recorder, case, raises

#: More than the buffers of the kernel take.
BIG = bytes(range(256)) * (32 << 10)


async def echo(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def serving(handler=echo, **options):
    """Run a server; give its port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **options)
    # Where a case has failed, its connections may stay for ever.
    try:
        yield server.sockets[0].getsockname()[1]
    except BaseException:
        server.close()
        raise
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def connected(port, **options):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(reader, writer, data):
    """Send data to a server that echoes; give what comes back."""

    async def send():
        writer.write(data)
        await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        return await reader.readexactly(len(data))


# ----------------------------------------------------------------------------------------------------------------------
# Plain


@case
async def data_of_any_size_comes_back_whole():
    async with serving() as port, connected(port) as (reader, writer):
        for size in (1, 1000, 1 << 16, len(BIG)):
            assert await exchange(reader, writer, BIG[:size]) == BIG[:size]


@case
async def many_connections_do_not_mix():
    async def client(port, i):
        data = b"%d," % i * 1000
        async with connected(port) as (reader, writer):
            return await exchange(reader, writer, data) == data

    async with serving(backlog=200) as port:
        assert all(await asyncio.gather(*[client(port, i) for i in range(200)]))


@case
async def half_closed_connection_still_answers():
    async def count(reader, writer):
        writer.write(b"%d" % len(await reader.read()))
        writer.close()

    async with serving(count) as port, connected(port) as (reader, writer):
        writer.write(b"x" * 12345)
        assert writer.can_write_eof()
        writer.write_eof()
        assert await reader.read() == b"12345"


@case
async def drain_waits_for_a_slow_reader():
    gate = asyncio.Event()
    read = asyncio.get_running_loop().create_future()

    async def slow(reader, writer):
        await gate.wait()
        read.set_result(len(await reader.readexactly(len(BIG))))
        writer.close()

    async with serving(slow) as port, connected(port) as (reader, writer):
        writer.write(BIG)
        drained = asyncio.ensure_future(writer.drain())
        # The server says when it may go on; until then nothing can have been drained.
        await asyncio.sleep(0)
        assert not drained.done()
        assert writer.transport.get_write_buffer_size() > 0
        gate.set()
        await drained
        assert await read == len(BIG)
        assert await reader.read() == b""


@case
async def protocol_is_paused_and_resumed_at_its_limits():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.set_write_buffer_limits(high=4096, low=1024)
    assert transport.get_write_buffer_limits() == (1024, 4096)
    transport.write(BIG)
    assert protocol.events == ["made", "pause"]
    got = 0
    with theirs:
        while got < len(BIG):
            got += len(await loop.sock_recv(theirs, 1 << 20))
        await protocol.until(lambda: protocol.events[-1] == "resume")
        transport.close()
        assert await protocol.lost is None
    assert protocol.events == ["made", "pause", "resume", "lost"]


@case
async def paused_reading_keeps_data_back():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    with theirs:
        await loop.sock_sendall(theirs, b"1")
        await protocol.until(lambda: protocol.received == b"1")
        transport.pause_reading()
        assert not transport.is_reading()
        await loop.sock_sendall(theirs, b"2")
        # What is readable is looked at in each round.
        for _ in range(10):
            await asyncio.sleep(0)
        assert protocol.received == b"1"
        transport.resume_reading()
        await protocol.until(lambda: protocol.received == b"12")
        transport.abort()
        await protocol.lost


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, size):
        self.buffer = bytearray(size)
        self.received = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, _hint):
        return self.buffer

    def buffer_updated(self, count):
        self.received += self.buffer[:count]

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@case
async def buffered_protocol_reads_into_its_own_buffer():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, protocol = await loop.create_connection(lambda: Buffered(1000), sock=ours)
    with theirs:
        await loop.sock_sendall(theirs, BIG[:100_001])
    assert await protocol.lost is None
    assert protocol.received == BIG[:100_001]


@case
async def protocol_may_be_changed_between_two_messages():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, first = await loop.create_connection(Recorder, sock=ours)
    with theirs:
        await loop.sock_sendall(theirs, b"first")
        await first.until(lambda: first.received == b"first")
        second, third = Buffered(10), Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        await loop.sock_sendall(theirs, b"second")
        while second.received != b"second":
            await asyncio.sleep(0)
        transport.set_protocol(third)
        await loop.sock_sendall(theirs, b"third")
        await third.until(lambda: third.received == b"third")
    await third.until(lambda: "eof" in third.events)
    transport.close()
    assert await third.lost is None
    assert first.received == b"first"


@case
async def writes_of_every_kind_arrive_in_order():
    parts = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"-memoryview-")[1:-1],
        b"",
        BIG,
        b"end",
    ]
    async with serving() as port, connected(port) as (reader, writer):
        for part in parts:
            writer.write(part)
        writer.writelines(parts)
        writer.writelines(iter([b"of", b"an", b"iterator"]))
        expected = b"".join(parts) * 2 + b"ofaniterator"
        assert await reader.readexactly(len(expected)) == expected


@case
async def lines_and_limits():
    async def lines(_, writer):
        writer.write(b"one\ntwo;three\nno end")
        writer.close()

    async with serving(lines) as port, connected(port) as (reader, _):
        assert await reader.readline() == b"one\n"
        assert await reader.readuntil(b";") == b"two;"
        assert await reader.readline() == b"three\n"
        error = await raises(asyncio.IncompleteReadError, reader.readuntil(b"!"))
        assert error.partial == b"no end"
    async with serving(lines) as port, connected(port, limit=2) as (reader, _):
        await raises(asyncio.LimitOverrunError, reader.readuntil(b"!"))
        assert await reader.read() == b"one\ntwo;three\nno end"


@case
async def close_sends_what_was_written_before():
    async def write_and_close(_, writer):
        writer.write(BIG)
        writer.close()

    async with serving(write_and_close) as port, connected(port) as (reader, _):
        assert await reader.read() == BIG


@case
async def abort_drops_what_was_written_before():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.write(BIG)
    transport.abort()
    assert await protocol.lost is None
    got = 0
    with theirs:
        while data := await loop.sock_recv(theirs, 1 << 20):
            got += len(data)
    assert got < len(BIG)


@case
async def reset_by_the_peer_is_told():
    async def reset(reader, writer):
        await reader.readexactly(1)
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        writer.transport.abort()

    async with serving(reset) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        await raises(ConnectionResetError, reader.read())
        await raises(ConnectionResetError, writer.drain())
        writer.close()
        await raises(ConnectionResetError, writer.wait_closed())


@case
async def exception_of_a_protocol_closes_its_connection_alone():
    class Failing(Recorder):
        def data_received(self, data):
            raise ZeroDivisionError("of the protocol")

    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(2)]
    protocols = []
    for (ours, theirs), factory in zip(pairs, (Failing, Recorder), strict=True):
        theirs.setblocking(False)
        protocols.append((await loop.create_connection(factory, sock=ours))[1])
    failing, good = protocols
    with Handled() as contexts:
        for _, theirs in pairs:
            await loop.sock_sendall(theirs, b"x")
        error = await failing.lost
        await good.until(lambda: good.received == b"x")
    assert type(error) is ZeroDivisionError, error
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]
    good.transport.close()
    await good.lost
    for _, theirs in pairs:
        theirs.close()


@case
async def refused_connection_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    await raises(ConnectionRefusedError, asyncio.open_connection("127.0.0.1", port))


@case
async def the_address_that_answers_is_taken():
    """Names with several addresses: the first refuses."""
    loop = asyncio.get_running_loop()

    async def addresses(_host, port, **_):
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]

    async with serving() as port:
        resolve, loop.getaddrinfo = loop.getaddrinfo, addresses
        try:
            for options in (
                {},
                {"happy_eyeballs_delay": 0.01},
                {"happy_eyeballs_delay": 10},
            ):
                reader, writer = await asyncio.open_connection(
                    "several", port, **options
                )
                assert writer.get_extra_info("peername") == ("127.0.0.1", port)
                assert await exchange(reader, writer, b"x") == b"x"
                writer.close()
                await writer.wait_closed()
        finally:
            loop.getaddrinfo = resolve


@case
async def closed_server_takes_no_more_but_its_connections_go_on():
    async with serving() as port:
        pass
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connected(port) as (reader, writer):
        assert await exchange(reader, writer, b"before") == b"before"
        server.close()
        assert not server.is_serving()
        await raises(ConnectionRefusedError, asyncio.open_connection("127.0.0.1", port))
        assert await exchange(reader, writer, b"after") == b"after"
    await server.wait_closed()


@case
async def sockets_by_hand():
    """The methods of the loop for sockets without transports."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        server.setblocking(False)
        client.setblocking(False)
        (accepted, _), _ = await asyncio.gather(
            loop.sock_accept(server), loop.sock_connect(client, server.getsockname())
        )
        with accepted:
            buffer = bytearray(len(BIG))

            async def fill():
                view, count = memoryview(buffer), 0
                while count < len(BIG):
                    count += await loop.sock_recv_into(accepted, view[count:])

            await asyncio.gather(loop.sock_sendall(client, BIG), fill())
            assert buffer == BIG
            waiting = asyncio.ensure_future(loop.sock_recv(client, 10))
            await asyncio.sleep(0)
            waiting.cancel()
            await raises(asyncio.CancelledError, waiting)
            await loop.sock_sendall(accepted, b"later")
            assert await loop.sock_recv(client, 10) == b"later"


async def _send_file(writer, **options):
    with tempfile.TemporaryFile() as file:
        file.write(BIG)
        file.seek(0)
        writer.write(b"before")
        await writer.drain()
        loop = asyncio.get_running_loop()
        assert (
            await loop.sendfile(writer.transport, file, 1, len(BIG) - 2, **options)
            == len(BIG) - 2
        )
        assert file.tell() == len(BIG) - 1
        writer.write(b"after")


_SENT = b"before" + BIG[1:-1] + b"after"


async def _take_file(reader, writer):
    """Answer with the whole when all has come: who sends a file reads nothing meanwhile."""
    writer.write(await reader.readexactly(len(_SENT)))
    writer.close()


@case
async def files_are_sent():
    async with serving(_take_file) as port, connected(port) as (reader, writer):
        _, got = await asyncio.gather(
            _send_file(writer, fallback=False), reader.readexactly(len(_SENT))
        )
        assert got == _SENT


# ----------------------------------------------------------------------------------------------------------------------
# Encrypted. The certificate in the folder is one for localhost, by an authority of its own.


def server_context(folder, **attributes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    )
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def client_context(folder, **attributes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(os.path.join(folder, "cacerts.pem"))
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def secured(folder, **options):
    return connected_options(client_context(folder), **options)


def connected_options(context, **options):
    return {"ssl": context, "server_hostname": "localhost", **options}


@case
async def tls_data_of_any_size_comes_back_whole(folder):
    async with (
        serving(ssl=server_context(folder)) as port,
        connected(port, **secured(folder)) as (reader, writer),
    ):
        for size in (1, 1000, 1 << 16, len(BIG)):
            assert await exchange(reader, writer, BIG[:size]) == BIG[:size]


@case
async def tls_many_connections_do_not_mix(folder):
    options = secured(folder)

    async def client(port, i):
        data = b"%d," % i * 1000
        async with connected(port, **options) as (reader, writer):
            return await exchange(reader, writer, data) == data

    async with serving(ssl=server_context(folder), backlog=100) as port:
        assert all(await asyncio.gather(*[client(port, i) for i in range(50)]))


@case
async def tls_versions_are_agreed_upon(folder):
    for version, name in (
        (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ):
        async with (
            serving(
                ssl=server_context(
                    folder, minimum_version=version, maximum_version=version
                )
            ) as port,
            connected(port, **secured(folder)) as (reader, writer),
        ):
            assert writer.get_extra_info("ssl_object").version() == name
            assert writer.get_extra_info("peercert")["subjectAltName"]
            assert await exchange(reader, writer, b"x") == b"x"


@case
async def tls_unknown_authority_is_refused(folder):
    options = connected_options(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with Handled():
        async with serving(ssl=server_context(folder)) as port:
            await raises(
                ssl.SSLCertVerificationError,
                asyncio.open_connection("127.0.0.1", port, **options),
            )


@case
async def tls_wrong_name_is_refused(folder):
    options = secured(folder, server_hostname="elsewhere.example")
    with Handled():
        async with serving(ssl=server_context(folder)) as port:
            await raises(
                ssl.SSLCertVerificationError,
                asyncio.open_connection("127.0.0.1", port, **options),
            )


@case
async def tls_protocol_is_negotiated(folder):
    server, client = server_context(folder), client_context(folder)
    server.set_alpn_protocols(["two", "three"])
    client.set_alpn_protocols(["one", "two"])
    async with (
        serving(ssl=server) as port,
        connected(port, **connected_options(client)) as (_, writer),
    ):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "two"


@case
async def tls_begins_in_mid_stream(folder):
    async def upgrading(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(server_context(folder))
        await echo(reader, writer)

    async with serving(upgrading) as port, connected(port) as (reader, writer):
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context(folder), server_hostname="localhost")
        assert writer.get_extra_info("sslcontext") is not None
        assert await exchange(reader, writer, BIG) == BIG


@case
async def tls_end_is_told_to_both(folder):
    ended = asyncio.get_running_loop().create_future()

    async def greeting(reader, writer):
        writer.write(b"hello")
        await writer.drain()
        ended.set_result(await reader.read())
        writer.close()

    async with serving(greeting, ssl=server_context(folder)) as port:
        async with connected(port, **secured(folder)) as (reader, writer):
            assert await reader.readexactly(5) == b"hello"
            assert not writer.can_write_eof()
            writer.write(b"bye")
        assert await ended == b"bye"
        assert await reader.read() == b""


@case
async def tls_handshake_has_a_time_limit(folder):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with serving(silent) as port:
        options = secured(folder, ssl_handshake_timeout=0.05)
        await raises(
            ConnectionAbortedError,
            asyncio.open_connection("127.0.0.1", port, **options),
            "handshake",
        )


@case
async def tls_server_gives_up_on_a_silent_client(folder):
    with Handled() as contexts:
        async with (
            serving(ssl=server_context(folder), ssl_handshake_timeout=0.05) as port,
            connected(port) as (reader, _),
        ):
            assert await reader.read() == b""
    assert all(
        isinstance(context["exception"], ConnectionAbortedError) for context in contexts
    ), contexts


@case
async def tls_shutdown_has_a_time_limit(folder):
    """The server neither answers nor closes."""
    loop = asyncio.get_running_loop()
    sent, given_up = asyncio.Event(), threading.Event()

    def serve_silently():
        accepted, _ = listener.accept()
        with server_context(folder).wrap_socket(accepted, server_side=True) as secure:
            secure.send(b"x")
            loop.call_soon_threadsafe(sent.set)
            given_up.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_silently)
        thread.start()
        try:
            port = listener.getsockname()[1]
            options = secured(folder, ssl_shutdown_timeout=0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
            assert await reader.readexactly(1) == b"x"
            await sent.wait()
            writer.close()
            await raises(TimeoutError, writer.wait_closed(), "shutdown")
        finally:
            given_up.set()
            thread.join()


@case
async def tls_broken_off_handshake_is_an_error(folder):
    async def rude(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async with serving(rude) as port:
        await raises(
            (ConnectionError, ssl.SSLError),
            asyncio.open_connection("127.0.0.1", port, **secured(folder)),
        )


@case
async def tls_plain_text_is_no_handshake(folder):
    async def plain(_, writer):
        writer.write(b"220 no encryption here\r\n")
        writer.close()

    async with serving(plain) as port:
        await raises(
            (ssl.SSLError, ConnectionError),
            asyncio.open_connection("127.0.0.1", port, **secured(folder)),
        )


@case
async def tls_drain_waits_for_a_slow_reader(folder):
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    read = loop.create_future()

    async def slow(reader, writer):
        writer.transport.pause_reading()
        await gate.wait()
        writer.transport.resume_reading()
        read.set_result(len(await reader.read()))
        writer.close()

    async with serving(slow, ssl=server_context(folder), limit=1 << 30) as port:
        async with connected(port, **secured(folder)) as (_, writer):
            written = 0
            while True:
                writer.write(BIG)
                written += len(BIG)
                drained = asyncio.ensure_future(writer.drain())
                for _ in range(5):
                    await asyncio.sleep(0)
                if not drained.done():
                    break
                assert written < 10 * len(BIG)
            gate.set()
            await drained
        assert await read == written


@case
async def tls_files_are_sent(folder):
    async with (
        serving(_take_file, ssl=server_context(folder)) as port,
        connected(port, **secured(folder)) as (reader, writer),
    ):
        _, got = await asyncio.gather(
            _send_file(writer), reader.readexactly(len(_SENT))
        )
        assert got == _SENT


@case
async def tls_within_tls(folder):
    async def inner(reader, writer):
        await writer.start_tls(server_context(folder))
        await echo(reader, writer)

    async with (
        serving(inner, ssl=server_context(folder)) as port,
        connected(port, **secured(folder)) as (reader, writer),
    ):
        await writer.start_tls(client_context(folder), server_hostname="localhost")
        assert await exchange(reader, writer, BIG[:100_000]) == BIG[:100_000]


# ----------------------------------------------------------------------------------------------------------------------
# With Erlang at the other end


@case
async def echo_until_told(folder, port):
    """Echo, encrypted if there is a folder, until a connection has sent `end`; give how many came. Tells its port by a
    datagram."""
    ended, count = asyncio.Event(), 0

    async def until_end(reader, writer):
        nonlocal count
        count += 1
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
            if data == b"end":
                ended.set()
        writer.close()

    import ct_signals

    async with serving(
        until_end, ssl=server_context(folder) if folder else None
    ) as own:
        ct_signals.signal(port, str(own))
        await ended.wait()
    return count


@case
async def ask(port, folder, question):
    """Send something to a server; give all that it answers."""
    async with connected(port, **(secured(folder) if folder else {})) as (
        reader,
        writer,
    ):
        writer.write(question.encode())
        return await reader.read()
