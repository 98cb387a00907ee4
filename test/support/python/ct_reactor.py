"""Protocols that the suites of the reactor play with."""

import asyncio
import contextvars
import os

import erlang
import erlang.reactor as reactor

_who = contextvars.ContextVar("who", default="nobody")


def tell(protocol, *what):
    """Tell the process that handed the connection over."""
    to = (protocol.client_info or {}).get("tell")
    if to is not None:
        erlang.send(to, what)


class Told(reactor.Protocol):
    """Tells of its beginning and its end."""

    def connection_made(self, fd, client_info):
        assert (fd, client_info) == (self.fd, self.client_info)
        tell(self, "made", fd)

    def connection_lost(self):
        assert self.closed
        tell(self, "lost", self.fd)

    def answer(self, data):
        self.write_buffer += data
        return "write_pending"


class Echo(Told):
    """Sends back what comes; some of it is an order."""

    def data_received(self, data):
        match bytes(data):
            case b"fail":
                raise ValueError("told to fail")
            case b"close":
                self.write_buffer += b"bye"
                return "close"
            case b"spin":
                tell(self, "spinning")
                while True:
                    pass
            case b"info":
                return self.answer(repr(sorted(self.client_info)).encode())
            case b"silence":
                return None
            case order if order.startswith(b"give "):
                return self.answer(b"x" * int(order[5:]))
            case _:
                return self.answer(data)


class Listening(Told):
    """Tells what it hears, and says nothing."""

    def data_received(self, data):
        tell(self, "data", bytes(data))

    def eof_received(self):
        tell(self, "eof")


class FailingStart(Told):
    def connection_made(self, fd, client_info):
        super().connection_made(fd, client_info)
        raise ValueError("failed to begin")


class FailingEnd(Echo):
    def connection_lost(self):
        super().connection_lost()
        raise ValueError("failed to end")


class Wrong(Told):
    """Answers what is no action."""

    def data_received(self, data):
        return "onwards"


class Later(Told):
    """Answers from a task, and is given nothing before."""

    def data_received(self, data):
        tell(self, "data", bytes(data))
        asyncio.create_task(self.reply(bytes(data)))
        return "async_pending"

    async def reply(self, data):
        await asyncio.sleep(0.001)
        tell(self, "replying")
        self.write_buffer += data.upper()
        reactor.signal_write_ready(self.fd)


class Waiting(Told):
    """Answers when somebody says so."""

    def data_received(self, data):
        self.write_buffer += bytes(data)
        tell(self, "data", bytes(data))
        return "async_pending"


class Flooding(Told):
    """Gives as much as is asked for, a large piece whenever the peer has taken the one before."""

    left = 0

    def data_received(self, data):
        self.left += int(data)
        self.fill()
        return "write_pending"

    def fill(self):
        piece = min(self.left, 1_000_000)
        self.left -= piece
        self.write_buffer += b"x" * piece
        reactor.signal_write_ready(self)

    def pause_writing(self):
        tell(self, "paused", len(self.write_buffer))

    def resume_writing(self):
        tell(self, "resumed", len(self.write_buffer))
        self.fill()


class ByHand(Told):
    """Writes itself, in small pieces."""

    def data_received(self, data):
        self.write_buffer += data
        self.turns = 0
        return "write_pending"

    def write_ready(self):
        self.turns += 1
        piece = bytes(self.write_buffer[:7])
        del self.write_buffer[: self.write(piece)]
        if self.write_buffer:
            return "continue"
        tell(self, "turns", self.turns)
        return "read_pending"


class Reading(Told):
    """Reads on in the handler."""

    def data_received(self, data):
        rest = self.read(100)
        assert self.write(b"%b|%b" % (bytes(data), rest)) == len(data) + len(rest) + 1


class HalfOpen(Told):
    """Goes on when the peer has said its last."""

    def data_received(self, data):
        self.write_buffer += data

    def eof_received(self):
        asyncio.get_running_loop().call_later(0.001, self.finish)
        return "continue"

    def finish(self):
        self.write_buffer += b", and goodbye"
        reactor.signal_write_ready(self.fd)
        self.close()


class Datagrams(Told):
    def data_received(self, data):
        self.write_buffer += b"%s: %b" % (self.sender[0].encode(), data)
        return "write_pending"


class Scoped(Told):
    """Each connection has context variables of its own."""

    def data_received(self, data):
        before = _who.get()
        _who.set(bytes(data).decode())
        return self.answer(before.encode())


class Tasks(Told):
    """The loop of the context runs in handlers."""

    def data_received(self, data):
        assert asyncio.get_running_loop().is_running()
        assert asyncio.current_task() is None
        asyncio.create_task(self.reply(bytes(data)))

    async def reply(self, data):
        await asyncio.sleep(0)
        self.write_buffer += data
        reactor.signal_write_ready(self)


def signal(fd):
    """Let a waiting connection answer."""
    return reactor.signal_write_ready(fd)


def buffered(fd):
    return len(reactor.get_protocol(fd).write_buffer)


def is_known(fd):
    return reactor.get_protocol(fd) is not None


def pipe():
    return os.pipe()


def put(fd, data):
    os.write(fd, data.encode())
    os.close(fd)


def close(fd):
    os.close(fd)


started = []


async def start(to, name):
    await asyncio.sleep(0)
    started.append(name)
    erlang.send(to, ("started", name))


async def never(to):
    erlang.send(to, ("starting",))
    await asyncio.Event().wait()


async def stop(to, name):
    await asyncio.sleep(0)
    erlang.send(to, ("stopped", name, name in started))


async def fail():
    await asyncio.sleep(0)
    raise RuntimeError("no database")


class Info(Told):
    """Tells what Erlang says of the connection."""

    def data_received(self, data):
        return self.answer(repr(self.client_info.get(bytes(data).decode())).encode())
