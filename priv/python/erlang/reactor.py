"""Protocols for connections that Erlang has accepted and handed over to a context.

The native side reads, writes and closes; a :class:`Protocol` sees what was read and says what there is to write. Its
methods run on the context's thread, one at a time, with the event loop of the context as the running one: so they may
make tasks and timers, and must not block.
"""

from __future__ import annotations

import asyncio

import _erlang

from ._tasks import _made

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer, Callable
    from typing import Any, Self

    from ._reactor_tls import TLS

__all__ = [
    "TLS",
    "Protocol",
    "drained",
    "get_protocol",
    "set_protocol_factory",
    "signal_write_ready",
]


class Protocol:
    """One connection. Derive from it, and say in :meth:`data_received` what is to be done.

    ``fd`` is the number of its descriptor, ``client_info`` what Erlang says about it, and ``closed`` whether it has
    ended. What ``write_buffer`` holds is written when a method asks for that.
    """

    fd: int = -1
    client_info: Any = None
    write_buffer: bytearray
    closed: bool = False
    #: Where the last datagram came from, as (host, port); what is written goes there.
    sender: tuple[str, int] | None = None

    #: What the native side knows the connection by; unlike descriptors, never given out again.
    _number: int = 0

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make it with an empty buffer, whether or not ``__init__`` calls this one's."""
        self = super().__new__(cls)
        self.write_buffer = bytearray()
        return self

    def connection_made(self, fd: int, client_info: Any) -> None:
        """Begin with the connection."""

    def data_received(self, data: bytes) -> str | None:
        """Take what the peer has sent, and answer with what is to be done.

        - ``"continue"`` or None: read on;
        - ``"write_pending"``: write ``write_buffer``, and read on when that is done;
        - ``"async_pending"``: read nothing until :func:`signal_write_ready` was called, and its output is written;
        - ``"close"``: write ``write_buffer``, and end the connection.
        """
        raise NotImplementedError

    def write_ready(self) -> str | None:
        """Write; answer ``"continue"`` if there is more, ``"read_pending"`` if not, or ``"close"``.

        As it is here the native side does it without calling Python. One that takes its place is called whenever the
        connection can be written, as long as it answers that there is more.
        """
        if self.write_buffer:
            del self.write_buffer[: self.write(self.write_buffer)]
        return "continue" if self.write_buffer else "read_pending"

    def eof_received(self) -> str | None:
        """The peer sends no more. None or ``"close"`` ends the connection, once everything is written.

        With ``"continue"``, ``"write_pending"`` or ``"async_pending"`` it stays until :meth:`close` is called.
        """
        return None

    def pause_writing(self) -> None:
        """More than ``high_water`` waits to be written: the peer is slower than this."""

    def resume_writing(self) -> None:
        """Hardly anything waits to be written any more."""

    def stopping(self) -> str | None:
        """The context takes no more connections, and this one waits for input: None or ``"close"`` ends it.

        ``"continue"`` keeps it, for what is under way; then it is for :meth:`close` to end it.
        """
        return None

    def connection_lost(self) -> None:
        """The connection has ended, for whatever reason. Called once."""

    def read(self, n: int) -> bytes:
        """Give what there is to read now, at most ``n`` bytes. Empty: nothing, or nothing any more."""
        return _erlang.reactor_read(self._number, n)

    def write(self, data: Buffer) -> int:
        """Write now what goes at once, past ``write_buffer``; give how many bytes that was."""
        return _erlang.reactor_write(self._number, data)

    def pause_reading(self) -> None:
        """Read nothing until :meth:`resume_reading`, whatever the methods answer. May be called again."""
        _erlang.reactor_hold(self._number, True)

    def resume_reading(self) -> None:
        """Read again, unless an answer of a method says otherwise."""
        _erlang.reactor_hold(self._number, False)

    def write_eof(self) -> None:
        """Let the peer see the end of the output once ``write_buffer`` is written; reading goes on."""
        _erlang.reactor_end_output(self._number)

    def close(self) -> None:
        """End the connection once ``write_buffer`` is written."""
        _erlang.reactor_close(self._number)

    def _signal(self) -> bool:
        return _erlang.reactor_signal_number(self._number)


def set_protocol_factory(factory: Callable[[], Protocol]) -> None:
    """Say what makes the protocols of this context: it is called without arguments for each connection."""
    if not callable(factory):
        raise TypeError(
            f"a protocol factory is called for each connection; {type(factory).__name__} objects cannot be"
        )
    _erlang.reactor_factory(factory)


def get_protocol(fd: int) -> Protocol | None:
    """Give the protocol of a connection of this context that is open."""
    protocol: Protocol | None = _erlang.reactor_protocol(fd)
    return protocol


def signal_write_ready(connection: int | Protocol) -> bool:
    """Write what the protocol of a connection has in its buffer, and end its ``"async_pending"``.

    The connection is a descriptor or, better, the protocol: numbers of descriptors are used again. With a descriptor
    this may be called on any thread. False: there is no such connection any more.
    """
    if isinstance(connection, Protocol):
        return connection._signal()
    return _erlang.reactor_signal(connection)


async def drained() -> None:
    """Wait until the context has no connections any more."""
    empty = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not empty.done():
            empty.set_result(None)

    _erlang.reactor_when_empty(tell)
    await empty


def _open() -> tuple[int, type[Protocol]]:
    """Give what the native side works with; the context has a loop from now on."""
    return _made()._selector._handle, Protocol


def __getattr__(name: str) -> Any:
    # It needs the module ssl, which is large.
    if name == "TLS":
        from ._reactor_tls import TLS

        return TLS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
