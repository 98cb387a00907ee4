"""Cases of native_loop_SUITE: what runs natively does as the standard library does, where it leaves things to that, too."""

import asyncio
import contextvars
import gc
import socket
import threading
import weakref
from contextlib import asynccontextmanager

import erlang
from ct_loops import Handled, Recorder, case, raises


@asynccontextmanager
async def connection(protocol, kind=socket.socket):
    """Join a protocol to a socket whose other end is given, which blocks no more than the test does."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours = kind(fileno=ours.detach())
    ours.setblocking(False)
    theirs.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
    try:
        yield transport, theirs
    finally:
        theirs.close()
        transport.abort()
        await asyncio.sleep(0)


async def receive(sock, count):
    """Read exactly so many bytes."""
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        assert more, data
        data += more
    return data


# ----------------------------------------------------------------------------------------------------------------------
# Transports


@case
async def methods_are_looked_up_for_every_message():
    protocol = Recorder()
    seen = asyncio.Queue()
    async with connection(protocol) as (_, peer):
        peer.send(b"one")
        await protocol.until(lambda: protocol.received == b"one")
        protocol.data_received = seen.put_nowait
        peer.send(b"two")
        assert await seen.get() == b"two"
        assert type(await _next(peer, seen)) is bytes


async def _next(peer, seen):
    peer.send(b"three")
    return await seen.get()


class Buffered(asyncio.BufferedProtocol):
    """Reads into a buffer."""

    def __init__(self, buffer):
        self.buffer = buffer
        self.counts = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        assert sizehint == -1
        return self.buffer

    def buffer_updated(self, nbytes):
        self.counts.put_nowait(nbytes)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@case
async def kind_of_protocol_may_change_at_any_time():
    first, buffered = Recorder(), Buffered(bytearray(4))
    async with connection(first) as (transport, peer):
        peer.send(b"a")
        await first.until(lambda: first.received == b"a")
        transport.set_protocol(buffered)
        assert transport.get_protocol() is buffered
        peer.send(b"bcdef")
        assert await buffered.counts.get() == 4
        assert buffered.buffer == b"bcde"
        assert await buffered.counts.get() == 1
        assert buffered.buffer == b"fcde"
        transport.set_protocol(first)
        peer.send(b"g")
        await first.until(lambda: first.received == b"ag")


@case
async def buffers_that_do_not_serve_end_the_connection():
    for buffer, expected, text in [
        (bytearray(), RuntimeError, "get_buffer"),
        (b"read-only", BufferError, "read error"),
        (7, TypeError, "get_buffer"),
    ]:
        protocol = Buffered(buffer)
        with Handled() as contexts:
            async with connection(protocol) as (_, peer):
                peer.send(b"data")
                error = await protocol.lost
        assert len(contexts) == 1, contexts
        # What a buffer that cannot be written leads to has changed its class between versions.
        assert isinstance(error, (expected, TypeError)), error
        assert text in contexts[0]["message"], contexts
        assert contexts[0]["exception"] is error


@case
async def bytes_like_objects_of_every_kind_are_written():
    protocol = Recorder()
    async with connection(protocol) as (transport, peer):
        transport.write(b"bytes ")
        transport.write(bytearray(b"array "))
        transport.write(memoryview(b"__view_"[2:]))
        transport.write(memoryview(bytearray(b"items")).cast("B"))
        transport.write(data=b" named")
        transport.write(b"")
        assert await receive(peer, 28) == b"bytes array view_items named"
        for wrong in ("text", 7, [b"list"]):
            try:
                transport.write(wrong)
            except TypeError as error:
                assert type(wrong).__name__ in str(error)
            else:
                raise AssertionError(wrong)


@case
async def what_does_not_go_at_once_is_kept():
    protocol = Recorder()
    data = bytes(range(256)) * (16 << 10)
    async with connection(protocol) as (transport, peer):
        transport.write(data)
        assert 0 < transport.get_write_buffer_size() < len(data)
        transport.write(b"end")
        assert await receive(peer, len(data) + 3) == data + b"end"
        await protocol.until(lambda: "resume" in protocol.events)
        assert protocol.events == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() == 0
        transport.write(b"again")
        assert await receive(peer, 5) == b"again"


@case
async def method_that_was_kept_knows_of_the_end():
    protocol = Recorder()
    async with connection(protocol) as (transport, peer):
        write = transport.write
        transport.write_eof()
        try:
            write(b"late")
        except RuntimeError as error:
            assert "write_eof" in str(error)
        else:
            raise AssertionError
        assert await asyncio.get_running_loop().sock_recv(peer, 10) == b""
        transport.close()
        await protocol.lost

    protocol = Recorder()
    async with connection(protocol) as (transport, peer):
        write = transport.write
        transport.close()
        write(b"never")
        await protocol.lost
        write(b"never")
        transport.write(b"never")
        assert await asyncio.get_running_loop().sock_recv(peer, 10) == b""


@case
async def first_error_of_a_socket_is_told():
    protocol = Recorder()
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport, _ = await loop.create_connection(
            lambda: protocol, *listener.getsockname()
        )
        transport.pause_reading()
        peer, _ = listener.accept()
        # Unread data makes the end a reset.
        transport.write(b"unread")
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        transport.write(b"more")
        error = await protocol.lost
    assert type(error) is ConnectionResetError, error
    assert error.errno and error.strerror


class Shouting(socket.socket):
    """A socket that reads and writes in its own way."""

    def recv(self, *args):
        return super().recv(*args).upper()

    def send(self, data, *args):
        return super().send(bytes(data).upper(), *args)


@case
async def sockets_of_derived_classes_keep_their_ways():
    protocol = Recorder()
    async with connection(protocol, Shouting) as (transport, peer):
        peer.send(b"in")
        await protocol.until(lambda: protocol.received == b"IN")
        transport.write(b"out")
        assert await receive(peer, 3) == b"OUT"


@case
async def transport_is_freed_with_its_connection():
    protocol = Recorder()
    gc.disable()
    try:
        async with connection(protocol) as (transport, peer):
            transport.write(b"data")
            assert await receive(peer, 4) == b"data"
            gone = weakref.ref(transport)
            peer.close()
            await protocol.until(lambda: "eof" in protocol.events)
            transport.close()
            await protocol.lost
            protocol.transport = None
            del protocol.made
            transport = None
            await asyncio.sleep(0)
    finally:
        gc.enable()
    gc.collect()
    assert gone() is None


# ----------------------------------------------------------------------------------------------------------------------
# Callbacks

variable = contextvars.ContextVar("variable", default=0)


@case
async def callbacks_run_in_their_order_and_contexts():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    seen = []

    def note(name):
        seen.append((name, variable.get()))
        variable.set(99)

    other = contextvars.copy_context()
    other.run(variable.set, 1)
    token = variable.set(2)
    loop.call_soon(note, "ours")
    variable.reset(token)
    loop.call_soon(note, "other", context=other)
    loop.call_soon(note, "none", context=None)
    cancelled = loop.call_soon(note, "cancelled")
    cancelled.cancel()
    assert cancelled.cancelled()
    loop.call_soon(loop.call_soon, done.set_result, None)
    await done
    assert seen == [("ours", 2), ("other", 1), ("none", 0)], seen
    assert other[variable] == 99
    assert variable.get() == 0


@case
async def handles_are_those_of_the_library():
    loop = asyncio.get_running_loop()
    handle = loop.call_soon(print, 1, 2)
    assert isinstance(handle, asyncio.Handle)
    assert "print" in repr(handle) and isinstance(
        handle.get_context(), contextvars.Context
    )
    handle.cancel()
    threadsafe = loop.call_soon_threadsafe(print)
    assert isinstance(threadsafe, asyncio.Handle)
    threadsafe.cancel()
    timer = loop.call_later(1000, print)
    assert isinstance(timer, asyncio.TimerHandle)
    assert 999 < timer.when() - loop.time() <= 1000
    timer.cancel()
    assert timer.cancelled()
    for wrong in ({"contxt": None}, {"context": None, "more": 1}):
        try:
            loop.call_soon(print, **wrong)
        except TypeError:
            pass
        else:
            raise AssertionError(wrong)
    try:
        loop.call_soon()
    except TypeError:
        pass
    else:
        raise AssertionError


@case
async def exception_of_a_callback_is_told_with_its_handle():
    loop = asyncio.get_running_loop()

    def fail(text):
        raise ValueError(text)

    with Handled() as contexts:
        handle = loop.call_soon(fail, "broken")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    (context,) = contexts
    assert context["handle"] is handle
    assert str(context["exception"]) == "broken"
    assert context["message"].startswith("Exception in callback ")
    assert "fail" in context["message"]


@case
async def debug_mode_begins_and_ends_in_mid_run():
    loop = asyncio.get_running_loop()
    assert not loop.get_debug()
    loop.set_debug(True)
    try:
        await asyncio.sleep(0)
        handle = loop.call_soon(int)
        assert "created at" in repr(handle)
        await raises(TypeError, _soon(asyncio.sleep), "coroutines")
        failed = []

        def elsewhere():
            try:
                loop.call_soon(int)
            except RuntimeError as error:
                failed.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "Non-thread-safe" in str(failed[0])
    finally:
        loop.set_debug(False)
    await asyncio.sleep(0)
    handle = loop.call_soon(int)
    assert "created at" not in repr(handle)


async def _soon(callback):
    asyncio.get_running_loop().call_soon(callback)


@case
async def timers_come_in_their_order_and_cancelled_ones_never():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    seen = []
    loop.call_later(0.02, done.set_result, None)
    loop.call_later(0.01, seen.append, 2)
    loop.call_at(loop.time() + 0.015, seen.append, 3)
    loop.call_later(-1, seen.append, 1)
    for timer in [loop.call_later(0.012, seen.append, n) for n in range(500)]:
        timer.cancel()
    await done
    assert seen == [1, 2, 3], seen
    await raises(TypeError, _later(None))


async def _later(delay):
    asyncio.get_running_loop().call_later(delay, int)


# ----------------------------------------------------------------------------------------------------------------------
# Loops of one's own


class Counting(erlang.ErlangEventLoop):
    """Has its own ways."""

    def __init__(self):
        self.soon = self.at = 0
        super().__init__()

    def call_soon(self, callback, *args, context=None):
        self.soon += 1
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        self.at += 1
        return super().call_at(when, callback, *args, context=context)


def derived_loops_keep_their_ways():
    """Methods that a derived class replaces are called."""
    loop = Counting()
    try:
        loop.run_until_complete(asyncio.sleep(0.001))
        assert loop.soon >= 2, loop.soon
        assert loop.at == 1, loop.at
    finally:
        loop.close()


def closed_loop_refuses():
    """Methods that were kept know of the end."""
    loop = erlang.new_event_loop()
    kept = [loop.call_soon, loop.call_soon_threadsafe]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for refuse in [*kept, loop.call_soon, loop.call_soon_threadsafe]:
        try:
            refuse(int)
        except RuntimeError as error:
            assert str(error) == "Event loop is closed"
        else:
            raise AssertionError(refuse)
    try:
        loop.call_later(1, int)
    except RuntimeError as error:
        assert str(error) == "Event loop is closed"
    else:
        raise AssertionError


def exit_of_a_callback_ends_the_run_and_keeps_the_others():
    """SystemExit comes out of the loop, and what is ready behind it runs next time."""
    loop = erlang.new_event_loop()
    seen = []

    def leave():
        raise SystemExit(3)

    loop.call_soon(seen.append, 1)
    loop.call_soon(leave)
    loop.call_soon(seen.append, 2)
    try:
        loop.run_forever()
    except SystemExit as error:
        assert error.code == 3
    else:
        raise AssertionError
    assert seen == [1]
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [1, 2]
    loop.close()


def loop_is_freed():
    """Nothing keeps a loop that was closed."""
    loop = erlang.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    gone = weakref.ref(loop)
    del loop
    asyncio.set_event_loop(None)
    gc.collect()
    assert gone() is None
