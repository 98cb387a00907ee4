"""A key-value store that speaks the protocol of Redis, RESP. All of it runs on one event loop, so commands are atomic."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import erlang
import erlang.server

MAX_ARGUMENTS = 1024
MAX_BYTES = 1 << 20
"""What one command may have, and how much of an unfinished one is kept."""


class ProtocolError(Exception):
    """What the client sends is no RESP: nothing that follows can be understood."""


class Refused(Exception):
    """The command is understood, and wrong."""


class Store:
    """The data, and who listens to which channel."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.timers: dict[bytes, asyncio.TimerHandle] = {}
        self.channels: defaultdict[bytes, set[Connection]] = defaultdict(set)

    def put(self, key: bytes, value: bytes) -> None:
        self.values[key] = value
        self.persist(key)

    def drop(self, key: bytes) -> bool:
        self.persist(key)
        return self.values.pop(key, None) is not None

    def expire(self, key: bytes, milliseconds: int) -> bool:
        """Let the loop drop the key when its time has come."""
        if key not in self.values:
            return False
        self.persist(key)
        loop = asyncio.get_running_loop()
        self.timers[key] = loop.call_later(milliseconds / 1000, self.drop, key)
        return True

    def persist(self, key: bytes) -> None:
        timer = self.timers.pop(key, None)
        if timer is not None:
            timer.cancel()


class Connection(asyncio.Protocol):
    """A client. Each command is answered before the next one is looked at."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.buffer = bytearray()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        for listeners in self.store.channels.values():
            listeners.discard(self)

    # A client that does not read its answers is not read from.
    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        answers = []
        try:
            while (command := self.next_command()) is not None:
                answers.append(self.answer(command))
        except ProtocolError as error:
            answers.append(b"-ERR Protocol error: %b\r\n" % str(error).encode())
            self.transport.write(b"".join(answers))
            self.transport.close()
        else:
            self.transport.write(b"".join(answers))

    def next_command(self) -> list[bytes] | None:
        """Take a command, an array of strings, from the buffer, if it is there as a whole."""
        if len(self.buffer) > MAX_BYTES:
            raise ProtocolError("too big a command")
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return None
        count = number_after(b"*", self.buffer[:end])
        if not 0 < count <= MAX_ARGUMENTS:
            raise ProtocolError("invalid multibulk length")
        words, at = [], end + 2
        for _ in range(count):
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                return None
            start = end + 2
            at = start + number_after(b"$", self.buffer[at:end]) + 2
            if at > len(self.buffer):
                return None
            words.append(bytes(self.buffer[start : at - 2]))
        del self.buffer[:at]
        return words

    def answer(self, command: list[bytes]) -> bytes:
        name, *arguments = command
        function = COMMANDS.get(name.upper())
        try:
            if function is None:
                raise Refused(f"unknown command '{name.decode(errors='replace')}'")
            return encode(function(self, *arguments))
        except Refused as error:
            return b"-ERR %b\r\n" % str(error).encode()
        except TypeError:
            return b"-ERR wrong number of arguments\r\n"


def number_after(sign: bytes, line: bytes | bytearray) -> int:
    if line[:1] != sign or not line[1:].isdigit() or len(line) > 9:
        raise ProtocolError(f"expected '{sign.decode()}' and a number")
    return int(line[1:])


def encode(value: Any) -> bytes:
    match value:
        case None:
            return b"$-1\r\n"
        case str():
            return b"+%b\r\n" % value.encode()
        case int():
            return b":%d\r\n" % value
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case list():
            return b"*%d\r\n%b" % (len(value), b"".join(map(encode, value)))
    raise TypeError(type(value).__name__)


def integer(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refused("value is not an integer") from None


# The commands. A wrong number of arguments is Python's TypeError.


def ping(_client: Connection) -> str:
    return "PONG"


def get(client: Connection, key: bytes) -> bytes | None:
    return client.store.values.get(key)


def put(client: Connection, key: bytes, value: bytes) -> str:
    client.store.put(key, value)
    return "OK"


def delete(client: Connection, *keys: bytes) -> int:
    return sum(client.store.drop(key) for key in keys)


def increment(client: Connection, key: bytes) -> int:
    value = integer(client.store.values.get(key, b"0")) + 1
    client.store.values[key] = b"%d" % value
    return value


def expire(client: Connection, key: bytes, milliseconds: bytes) -> int:
    return int(client.store.expire(key, integer(milliseconds)))


def subscribe(client: Connection, channel: bytes) -> list[Any]:
    client.store.channels[channel].add(client)
    return [b"subscribe", channel, 1]


def publish(client: Connection, channel: bytes, message: bytes) -> int:
    return deliver(client.store, channel, message)


COMMANDS: dict[bytes, Callable[..., Any]] = {
    b"PING": ping,
    b"GET": get,
    b"SET": put,
    b"DEL": delete,
    b"INCR": increment,
    b"PEXPIRE": expire,
    b"SUBSCRIBE": subscribe,
    b"PUBLISH": publish,
}


def deliver(store: Store, channel: bytes, message: bytes) -> int:
    listeners = store.channels[channel]
    for listener in listeners:
        listener.transport.write(encode([b"message", channel, message]))
    return len(listeners)


# What Erlang calls. Modules of contexts of mode worker are shared, so the store is the context's own object.


def new() -> Store:
    return Store()


async def adopt(store: Store, fd: int) -> None:
    """Serve a connection that Erlang has accepted."""
    await erlang.server.adopt(fd, lambda: Connection(store))


def tell(store: Store, channel: str, message: str) -> int:
    """Tell all who listen to the channel; how many there are."""
    return deliver(store, channel.encode(), message.encode())


def keys(store: Store) -> list[bytes]:
    return sorted(store.values)
