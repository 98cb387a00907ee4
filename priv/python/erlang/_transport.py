"""The transport of stream sockets: the standard library's, with the simple case in native code.

Replaced, checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``_read_ready`` and ``write`` of
``_SelectorSocketTransport`` while nothing waits to be written; everything else goes through the methods that are
derived from. Relied on: ``_make_socket_transport`` of the loop, and of the transport ``_read_ready_cb``,
``_read_ready__on_eof``, ``_fatal_error``, ``_buffer``, ``max_size``, ``_make_empty_waiter``, ``_reset_empty_waiter``,
``_force_close`` and ``_call_connection_lost``.
"""

from __future__ import annotations

from asyncio import BufferedProtocol, SelectorEventLoop, selector_events
from socket import socket

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import BaseProtocol, Future
    from typing import Any

    # What the standard library keeps to itself has no types.
    Base: Any = object
else:
    Base = selector_events._SelectorSocketTransport


class SocketTransport(Base):  # type: ignore[misc]
    """A transport that reads and writes natively as long as that is all there is to do."""

    _reader: _erlang.Reader | None = None
    _writer: _erlang.Writer | None = None

    def __init__(
        self, loop: Any, sock: socket, protocol: BaseProtocol, *args: Any, **kwargs: Any
    ) -> None:
        fd = sock.fileno()
        self._reader = self._read_ready = _erlang.Reader(fd, self.max_size, self)
        super().__init__(loop, sock, protocol, *args, **kwargs)
        self._writer = self.write = _erlang.Writer(
            fd, self, self._buffer, super().write
        )

    def set_protocol(self, protocol: BaseProtocol) -> None:
        """Read for another protocol from now on."""
        super().set_protocol(protocol)
        if self._reader is not None:
            buffered = isinstance(protocol, BufferedProtocol)
            self._reader.deliver(None if buffered else protocol)

    # Each of these ends the simple case.

    def write_eof(self) -> None:
        """Write nothing any more."""
        self._stop_writing()
        super().write_eof()

    def close(self) -> None:
        """Close the connection when everything is written."""
        self._stop_writing()
        super().close()

    def _force_close(self, exc: BaseException | None) -> None:
        self._stop_writing()
        super()._force_close(exc)

    def _make_empty_waiter(self) -> Future[None]:
        self._stop_writing()
        waiter: Future[None] = super()._make_empty_waiter()
        return waiter

    def _reset_empty_waiter(self) -> None:
        super()._reset_empty_waiter()
        if self._writer is not None and not (self._eof or self._closing):
            self._writer.open = True

    def _stop_writing(self) -> None:
        if self._writer is not None:
            self._writer.open = False

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            super()._call_connection_lost(exc)
        finally:
            # They hold the transport.
            if self._writer is not None:
                self._reader = self._writer = None
                del self._read_ready, self.write


class StreamLoop(SelectorEventLoop):
    """A selector loop with these transports."""

    def _make_socket_transport(
        self, sock: socket, protocol: BaseProtocol, *args: Any, **kwargs: Any
    ) -> Any:
        if not _is_plain(type(sock)):
            return super()._make_socket_transport(sock, protocol, *args, **kwargs)  # type: ignore[misc]
        self._ensure_fd_no_transport(sock)  # type: ignore[attr-defined]
        return SocketTransport(self, sock, protocol, *args, **kwargs)


def _is_plain(kind: type) -> bool:
    """Whether sockets of a class read and write as the operating system does."""
    return (
        issubclass(kind, socket)
        and kind.recv is socket.recv
        and kind.send is socket.send
    )
