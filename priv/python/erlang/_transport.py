"""The transport of stream sockets: the standard library's, with the simple case in native code.

Replaced, checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``_read_ready`` and ``write`` of
``_SelectorSocketTransport`` while nothing waits to be written; everything else goes through the methods that are
derived from. Also ``_make_ssl_transport`` of the loop, for its transports. Relied on: ``_make_socket_transport`` and
``_ensure_fd_no_transport`` of the loop, ``max_size`` and ``_app_transport`` of ``SSLProtocol``, and of the transport
``_read_ready__on_eof``, ``_fatal_error``, ``_buffer``, ``max_size``, ``_make_empty_waiter``, ``_reset_empty_waiter``,
``_force_close`` and ``_call_connection_lost``.
"""

from __future__ import annotations

from asyncio import BufferedProtocol, SelectorEventLoop, selector_events, sslproto
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


#: Blocks of memory that are much larger go back to the operating system when they are freed, and come anew for every
#: message: in a node the C library does not learn to keep them.
_LARGE = 64 * 1024


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
        if isinstance(protocol, sslproto.SSLProtocol):
            protocol.max_size = min(protocol.max_size, _LARGE)  # type: ignore[misc]
        if self._reader is not None:
            self._reader.deliver(protocol, isinstance(protocol, BufferedProtocol))

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

    def _make_ssl_transport(
        self,
        rawsock: socket,
        protocol: BaseProtocol,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: Any = None,
        ssl_shutdown_timeout: Any = None,
        **kwargs: Any,
    ) -> Any:
        # extra, server and, from 3.15 on, context are the transport's.
        self._ensure_fd_no_transport(rawsock)  # type: ignore[attr-defined]
        tls: Any = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(rawsock, tls, **kwargs)
        return tls._app_transport

    async def sock_recv(self, sock: socket, nbytes: int) -> bytes:
        """Read what a socket has, or will have."""
        if nbytes > _LARGE and _is_plain(type(sock)):
            return await super().sock_recv(_Sparing(sock), nbytes)  # type: ignore[arg-type]
        return await super().sock_recv(sock, nbytes)


class _Sparing:
    """A socket that is read without a block of memory of the size that is asked for."""

    __slots__ = ("fileno", "gettimeout")

    def __init__(self, sock: socket) -> None:
        self.fileno = sock.fileno
        self.gettimeout = sock.gettimeout

    def recv(self, nbytes: int) -> bytes:
        data = _erlang.receive(self.fileno(), nbytes)
        if data is None:
            raise BlockingIOError
        return data


def _is_plain(kind: type) -> bool:
    """Whether sockets of a class read and write as the operating system does."""
    return (
        issubclass(kind, socket)
        and kind.recv is socket.recv
        and kind.send is socket.send
    )
