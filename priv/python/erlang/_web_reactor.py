"""HTTP connections that Erlang has accepted, and whose bytes the native side moves."""

from __future__ import annotations

import socket
import struct

import _erlang

from ._web_connection import HIGH_WATER, Connection
from .reactor import Protocol

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._web_connection import Address
    from ._web_service import Service

#: Closing resets the connection.
_NO_LINGERING = struct.pack("ii", 1, 0)


class ReactorConnection(Connection, Protocol):
    """A connection of a reactor context."""

    #: One of its methods is running that the native side has called, and that says at its end what is to be done.
    _is_inside = False
    _is_ending = False
    _is_full = False

    def __init__(self, service: Service) -> None:
        self.service = service

    # For the native side

    def connection_made(self, fd: int, client_info: Any) -> None:
        """Begin."""
        self.secure = client_info.get("transport") == "ssl"
        self.opened()

    def data_received(self, data: bytes) -> str:
        """Read, and say whether to read on."""
        self._is_inside = True
        try:
            self.received(data)
        finally:
            self._is_inside = False
        if self._is_ending:
            return "close"
        if not self.write_buffer:
            return "continue"
        if self._exchange is None and self._upgraded is None:
            return "write_pending"
        # Whoever answers a request may want more of it meanwhile.
        _erlang.reactor_signal_number(self._number)
        return "continue"

    def eof_received(self) -> str:
        """Take note of the end, after which there may be something to write."""
        self._is_inside = True
        try:
            self.ended()
        finally:
            self._is_inside = False
        if self._is_ending:
            return "close"
        return "write_pending" if self.write_buffer else "continue"

    def stopping(self) -> str:
        """End, or let what is under way go on."""
        self.service.stopping = True
        self._is_inside = True
        try:
            self.stop()
        finally:
            self._is_inside = False
        return "close" if self._is_ending else "continue"

    def connection_lost(self) -> None:
        """End."""
        self.lost()

    def pause_writing(self) -> None:
        """Let who writes wait."""
        self.choked = self._is_full = True

    def resume_writing(self) -> None:
        """Let them go on."""
        self._is_full = False
        self.may_write()

    # For the connection

    def send(self, data: bytes) -> None:
        """Write."""
        buffer = self.write_buffer
        buffer += data
        if not self._is_inside:
            _erlang.reactor_signal_number(self._number)
        if len(buffer) > HIGH_WATER and not self.choked:
            self._write_now()
            if len(buffer) > HIGH_WATER:
                self.choked = True
                self.service.loop.call_soon(self._look)

    def _write_now(self) -> None:
        buffer = self.write_buffer
        try:
            del buffer[: self.write(buffer)]
        except OSError:
            # The native side will find that, too, and end the connection. Who writes shall know at once.
            buffer.clear()
            self.is_ended = self.is_lost = True
            self.close()

    def _look(self) -> None:
        """See whether the peer took what was too much; if it did not, the native side tells when it has."""
        if self.choked and not self._is_full:
            if len(self.write_buffer) > HIGH_WATER and not self.is_lost:
                _erlang.reactor_signal_number(self._number)
                self.service.loop.call_soon(self._look)
            else:
                self.may_write()

    def end(self) -> None:
        """Close, when everything is written."""
        self._is_ending = True
        if not self._is_inside:
            self.close()

    def abort(self) -> None:
        """Close at once, and not as if everything had been said."""
        self.write_buffer.clear()
        own = socket.socket(fileno=self.fd)
        try:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        except OSError:
            # It has ended already.
            pass
        finally:
            own.detach()
        self.end()

    def end_writing(self) -> None:
        """Say that nothing more comes."""
        self.write_eof()

    pause_reading = Protocol.pause_reading
    resume_reading = Protocol.resume_reading

    def addresses(self) -> tuple[Address | None, Address | None]:
        """Give the addresses of the peer, and of this side."""
        info = self.client_info
        return _address(info.get("peer")), _address(info.get("local"))


def _address(address: Any) -> Address | None:
    if isinstance(address, tuple):
        return address[0], address[1]
    return (address, None) if isinstance(address, str) and address else None
