"""Descriptors that are closed, whose numbers are used again, or that several loops watch."""

import asyncio
import contextlib
import gc
import os
import socket
import threading
import warnings

import erlang
from ct_loops import Recorder, case, raises
from ct_streams import serving


@contextlib.contextmanager
def pair():
    """Two connected sockets that do not block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def replace(sock):
    """Let the number of a socket become that of another file, as if it had been closed; give that one's peer.

    Nobody else can get the number in between.
    """
    ours, theirs = socket.socketpair()
    with ours:
        os.dup2(ours.fileno(), sock.fileno(), inheritable=False)
    sock.setblocking(False)
    theirs.setblocking(False)
    return theirs


class Calls:
    """A callback for readiness that reads; keeps what it got, and lets others wait for it."""

    def __init__(self, sock=None, loop=None):
        self._sock = sock
        self.got = []
        self._called = asyncio.Event()

    def __call__(self):
        if self._sock is None:
            self.got.append(None)
        else:
            try:
                self.got.append(self._sock.recv(100))
            except BlockingIOError:
                self.got.append("nothing")
        self._called.set()

    async def next(self):
        while not self.got:
            self._called.clear()
            await self._called.wait()
        return self.got.pop(0)


async def rounds():
    """Let the loop look at its descriptors some times."""
    for _ in range(10):
        await asyncio.sleep(0)


# ----------------------------------------------------------------------------------------------------------------------
# Numbers that are used again


@case
async def number_of_another_file_is_watched_anew():
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        old, new = Calls(ours), Calls(ours)
        loop.add_reader(ours, old)
        await rounds()
        with replace(ours) as theirs:
            loop.add_reader(ours, new)
            theirs.send(b"for the new one")
            assert await new.next() == b"for the new one"
            assert old.got == []
            assert loop.remove_reader(ours)
            assert not loop.remove_reader(ours)


@case
async def reader_of_a_closed_file_is_not_called_for_the_next_one():
    """The next one is only written to."""
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        old, writable = Calls(ours), Calls()
        loop.add_reader(ours, old)
        await rounds()
        with replace(ours) as theirs:
            loop.add_writer(ours, writable)
            theirs.send(b"not for the old one")
            await writable.next()
            await rounds()
            assert old.got == []
            new = Calls(ours)
            loop.add_reader(ours, new)
            assert await new.next() == b"not for the old one"
            assert loop.remove_reader(ours)
            assert loop.remove_writer(ours)


@case
async def both_directions_are_told_apart():
    loop = asyncio.get_running_loop()
    with pair() as (ours, theirs):
        readable, writable = Calls(ours), Calls()
        loop.add_reader(ours, readable)
        loop.add_writer(ours, writable)
        await writable.next()
        assert readable.got == []
        assert loop.remove_writer(ours)
        theirs.send(b"1")
        assert await readable.next() == b"1"
        writable.got.clear()
        await rounds()
        assert writable.got == []
        loop.add_writer(ours, writable)
        assert loop.remove_reader(ours)
        theirs.send(b"2")
        await writable.next()
        assert readable.got == []
        assert loop.remove_writer(ours)


@case
async def stale_watch_is_removed_without_an_error():
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        loop.add_reader(ours, Calls())
        loop.add_writer(ours, Calls())
        with replace(ours) as theirs:
            # The loop may find out with the first that the other is gone, too.
            assert loop.remove_writer(ours)
            loop.remove_reader(ours)
            assert not loop.remove_reader(ours)
            new = Calls(ours)
            loop.add_reader(ours, new)
            theirs.send(b"x")
            assert await new.next() == b"x"
            loop.remove_reader(ours)


@case
async def closed_socket_is_removed_without_an_error():
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        fd = ours.fileno()
        loop.add_reader(ours, Calls())
        ours.close()
        assert loop.remove_reader(ours)
        assert not loop.remove_reader(fd)


@case
async def closed_descriptor_is_refused():
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        ours.close()
        for add in (loop.add_reader, loop.add_writer):
            try:
                add(ours, int)
            except ValueError as error:
                assert "file descriptor" in str(error), error
            else:
                raise AssertionError("a closed socket")
            try:
                # Far beyond what is open.
                add(1_000_000, int)
            except OSError as error:
                assert error.errno == 9, error
            else:
                raise AssertionError("a descriptor that is not open")


@case
async def waiter_for_a_closed_socket_takes_nothing_from_the_next_one():
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        old = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await rounds()
        with replace(ours) as theirs:
            new = asyncio.ensure_future(loop.sock_recv(ours, 100))
            await rounds()
            old.cancel()
            await raises(asyncio.CancelledError, old)
            theirs.send(b"for the new one")
            assert await new == b"for the new one"


@case
async def file_that_is_closed_while_others_are_ready_is_left_alone():
    """Of two that are ready at once the first called closes the other, whose number is used again at once."""
    loop = asyncio.get_running_loop()
    with pair() as (one, to_one), pair() as (two, to_two):
        called = []
        new = Calls()
        peers = []

        def first(mine, other):
            called.append(mine)
            for sock in (mine, other):
                loop.remove_reader(sock)
            peers.append(replace(other))
            loop.add_reader(other, new)

        loop.add_reader(one, first, one, two)
        loop.add_reader(two, first, two, one)
        to_one.send(b"x")
        to_two.send(b"x")
        await rounds()
        assert len(called) == 1
        assert new.got == []
        with peers[0] as theirs:
            theirs.send(b"x")
            await new.next()
            loop.remove_reader(one)
            loop.remove_reader(two)


@case
async def duplicate_is_watched_for_itself():
    loop = asyncio.get_running_loop()
    with pair() as (ours, theirs), ours.dup() as duplicate:
        duplicate.setblocking(False)
        one, two = Calls(), Calls(duplicate)
        loop.add_reader(ours, one)
        loop.add_reader(duplicate, two)
        theirs.send(b"x")
        assert await two.next() == b"x"
        assert loop.remove_reader(ours)
        ours.close()
        one.got.clear()
        theirs.send(b"y")
        assert await two.next() == b"y"
        assert one.got == []
        loop.remove_reader(duplicate)


@case
async def closed_file_that_lives_on_elsewhere_does_not_wake_its_successor():
    """A duplicate keeps the old file in the system's set, under a number that is another file's by now."""
    loop = asyncio.get_running_loop()
    with pair() as (ours, to_old), ours.dup():
        loop.add_reader(ours, Calls())
        await rounds()
        with replace(ours) as theirs:
            new = Calls(ours)
            loop.add_reader(ours, new)
            to_old.send(b"for nobody")
            await rounds()
            assert new.got == [], new.got
            theirs.send(b"for the new one")
            assert await new.next() == b"for the new one"
            loop.remove_reader(ours)


@case
async def socket_of_a_transport_is_refused():
    loop = asyncio.get_running_loop()
    with pair() as (ours, theirs):
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        fd = ours.fileno()
        for use in (
            lambda: loop.add_reader(fd, int),
            lambda: loop.add_writer(fd, int),
            lambda: loop.remove_reader(fd),
            lambda: loop.remove_writer(fd),
        ):
            try:
                use()
            except RuntimeError as error:
                assert "used by transport" in str(error), error
            else:
                raise AssertionError("a socket of a transport")
        await raises(RuntimeError, loop.sock_recv(ours, 1), "used by transport")
        transport.abort()
        await protocol.lost
        assert await loop.sock_recv(theirs, 1) == b""


@case
async def number_is_free_when_its_transport_has_closed():
    loop = asyncio.get_running_loop()
    for _ in range(20):
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        fd = ours.fileno()
        with theirs:
            transport.abort()
            await protocol.lost
        # Most likely one of these has the number.
        with pair() as (one, two), pair() as (three, four):
            for sock, peer in ((one, two), (two, one), (three, four), (four, three)):
                calls = Calls(sock)
                loop.add_reader(sock, calls)
                peer.send(b"x")
                assert await calls.next() == b"x", fd
                loop.remove_reader(sock)


# ----------------------------------------------------------------------------------------------------------------------
# Readiness


@case
async def what_is_ready_before_it_is_watched_is_told():
    loop = asyncio.get_running_loop()
    with pair() as (ours, theirs):
        theirs.send(b"early")
        calls = Calls(ours)
        loop.add_reader(ours, calls)
        assert await calls.next() == b"early"
        loop.remove_reader(ours)
        theirs.send(b"while nobody watches")
        await rounds()
        assert calls.got == []
        loop.add_reader(ours, calls)
        assert await calls.next() == b"while nobody watches"
        loop.remove_reader(ours)


@case
async def what_is_left_unread_is_told_again():
    loop = asyncio.get_running_loop()
    with pair() as (ours, theirs):
        theirs.send(b"abc")
        got, done = [], loop.create_future()

        def one_byte():
            got.append(ours.recv(1))
            if len(got) == 3:
                done.set_result(None)

        loop.add_reader(ours, one_byte)
        await done
        assert got == [b"a", b"b", b"c"]
        loop.remove_reader(ours)


@case
async def many_that_are_ready_at_once_are_all_told():
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair()) for _ in range(150)]
        watched = []
        for ours, _ in pairs:
            calls = Calls(ours)
            loop.add_reader(ours, calls)
            watched.append(calls)
        for turn in range(3):
            for _, theirs in pairs:
                theirs.send(b"%d" % turn)
            assert [await calls.next() for calls in watched] == [b"%d" % turn] * len(
                pairs
            )
        for ours, _ in pairs:
            assert loop.remove_reader(ours)
        assert not any(calls.got for calls in watched)


# ----------------------------------------------------------------------------------------------------------------------
# Several loops


class Threaded:
    """A loop in a thread of its own."""

    def __enter__(self):
        self.loop = erlang.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self):
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    async def do(self, function, *arguments):
        """Call a function in that loop; give its result."""

        async def call():
            return function(*arguments)

        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(call(), self.loop)
        )

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


def _teller():
    """A callback for another thread, and what the running loop can wait for: its first call."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    return told, lambda: loop.call_soon_threadsafe(told.set)


@case
async def two_loops_that_watch_the_same_are_both_told():
    loop = asyncio.get_running_loop()
    with Threaded() as other, pair() as (ours, theirs):
        here = Calls()
        told, tell = _teller()
        for _ in range(5):
            loop.add_reader(ours, here)
            await other.do(other.loop.add_reader, ours, tell)
            theirs.send(b"x")
            await here.next()
            await told.wait()
            assert await other.do(other.loop.remove_reader, ours)
            assert loop.remove_reader(ours)
            ours.recv(1)
            here.got.clear()
            told.clear()


@case
async def loop_that_lets_go_of_a_number_takes_it_from_no_other():
    """One loop still knows the number of a closed file, which another one watches as a new file's."""
    loop = asyncio.get_running_loop()
    with Threaded() as other, pair() as (ours, _):
        told, tell = _teller()
        await other.do(other.loop.add_reader, ours, tell)
        with replace(ours) as theirs:
            here = Calls(ours)
            loop.add_reader(ours, here)
            assert await other.do(other.loop.remove_reader, ours)
            theirs.send(b"x")
            assert await here.next() == b"x"
            assert loop.remove_reader(ours)
        assert not told.is_set()


@case
async def socket_moves_from_loop_to_loop():
    loop = asyncio.get_running_loop()
    with Threaded() as other, pair() as (ours, theirs):
        for i in range(5):
            await loop.sock_sendall(theirs, b"%d" % i)
            assert await loop.sock_recv(ours, 10) == b"%d" % i
            waiting = asyncio.run_coroutine_threadsafe(
                other.loop.sock_recv(ours, 10), other.loop
            )
            await loop.sock_sendall(theirs, b"other %d" % i)
            assert await asyncio.wrap_future(waiting) == b"other %d" % i


@case
async def file_that_a_thread_closes_leaves_the_sleeping_loop_in_peace():
    """While the loop sleeps another thread closes what it watches, and hands it the next file of that number."""
    loop = asyncio.get_running_loop()
    with pair() as (ours, _):
        old, new = Calls(ours), Calls(ours)
        loop.add_reader(ours, old)

        def close_and_go_on():
            theirs = replace(ours)
            loop.call_soon_threadsafe(loop.add_reader, ours, new)
            theirs.send(b"for the new one")
            return theirs

        closing = asyncio.to_thread(close_and_go_on)
        with await closing:
            assert await new.next() == b"for the new one"
            assert old.got == []
            loop.remove_reader(ours)


@case
async def closed_loop_leaves_what_it_watched_to_others():
    loop = asyncio.get_running_loop()
    with pair() as (ours, theirs):
        other = erlang.new_event_loop()
        other.add_reader(ours, int)
        other.close()
        theirs.send(b"x")
        assert await loop.sock_recv(ours, 1) == b"x"
        for use in (lambda: other.add_reader(ours, int), lambda: other.call_soon(int)):
            try:
                use()
            except RuntimeError as error:
                assert "closed" in str(error), error
            else:
                raise AssertionError("a loop that is closed")


# ----------------------------------------------------------------------------------------------------------------------
# For Erlang, which counts descriptors


def make_and_close_loops(count):
    """Loops that have run, and loops that have not."""
    for i in range(count):
        loop = erlang.new_event_loop()
        if i % 2:
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        loop.close()


def make_and_drop_loops(count):
    """Loops that nobody closes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(count):
            loop = erlang.new_event_loop()
            ours, theirs = socket.socketpair()
            loop.add_reader(ours, int)
            loop.run_until_complete(asyncio.sleep(0))
            del loop, ours, theirs
        gc.collect()


def sleep_with_descriptors(port, count, cleans_up):
    """Wait for ever, with a server, transports and readers, which are closed only by code that cleans up."""
    import ct_signals

    async def main():
        loop = asyncio.get_running_loop()
        kept = []
        try:
            async with serving():
                for _ in range(count):
                    ours, theirs = socket.socketpair()
                    kept.append(
                        (await loop.create_connection(Recorder, sock=ours), theirs)
                    )
                    one, two = socket.socketpair()
                    loop.add_reader(one, int)
                    kept.append((one, two))
                ct_signals.signal(port, "sleeps")
                await asyncio.Event().wait()
        finally:
            if cleans_up:
                for one, two in kept:
                    if isinstance(one, tuple):
                        one[0].abort()
                    else:
                        loop.remove_reader(one)
                        one.close()
                    two.close()

    erlang.run(main())


def connect_and_close(connections, at_once):
    """Open and close so many connections, some at once, to a server of the same loop; give how many it has seen."""

    async def main():
        seen = 0

        async def answer(reader, writer):
            nonlocal seen
            seen += 1
            writer.write(await reader.read(100))
            writer.close()

        async def connect(port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            writer.close()

        async with serving(answer, backlog=at_once) as port:
            for _ in range(connections // at_once):
                await asyncio.gather(*[connect(port) for _ in range(at_once)])
        return seen

    return erlang.run(main())


_kept = {}


def watch(name):
    """Watch a new socket with the context's loop; give its number."""

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        _kept[name] = ours, theirs
        asyncio.get_running_loop().add_reader(ours, int)
        return ours.fileno()

    return erlang.run(main())


def close_watched(name):
    """Close it without a word to the loop."""
    for sock in _kept.pop(name):
        sock.close()


def receive_at(number):
    """Open sockets until one has that number, and let the loop wait for it; then all the others are closed.

    None if it is taken by somebody else.
    """
    pairs = []
    try:
        while True:
            pairs.append(socket.socketpair())
            numbers = [sock.fileno() for sock in pairs[-1]]
            if number in numbers:
                ours, theirs = pairs.pop()[:: 1 if numbers[0] == number else -1]
                break
            if min(numbers) > number:
                return None
    finally:
        for sockets in pairs:
            for sock in sockets:
                sock.close()
    ours.setblocking(False)
    _kept["received"] = ours, theirs

    async def main():
        _kept["task"] = erlang.spawn_task(
            asyncio.get_running_loop().sock_recv(ours, 10)
        )

    erlang.run(main())
    return number


def let_go(number):
    """Forget a number that was watched."""

    async def main():
        return asyncio.get_running_loop().remove_reader(number)

    return erlang.run(main())


def send_and_receive():
    """Give what the loop receives that waits since `receive_at`."""
    _, theirs = _kept["received"]

    async def main():
        theirs.send(b"arrived")
        return await _kept["task"]

    got = erlang.run(main())
    close_watched("received")
    _kept.clear()
    return got.decode()
