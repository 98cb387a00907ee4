"""HTTP connections on asyncio's transports, for ``erlang.server``."""

from __future__ import annotations

import asyncio

from ._web_connection import HIGH_WATER, Connection

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._web_connection import Address
    from ._web_service import Service


class StreamConnection(Connection, asyncio.Protocol):
    """A connection whose bytes an asyncio transport moves."""

    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self.service = service

    # For the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport = transport
        self.secure = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.opened()

    def data_received(self, data: bytes) -> None:
        """Read."""
        self.received(data)

    def eof_received(self) -> bool:
        """Take note of the end, after which there may be something to write."""
        self.ended()
        return not self.secure

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.lost()

    def pause_writing(self) -> None:
        """Let who writes wait."""
        self.choked = True

    def resume_writing(self) -> None:
        """Let them go on."""
        self.may_write()

    # For the connection

    def send(self, data: bytes) -> None:
        """Write."""
        self._transport.write(data)

    def end(self) -> None:
        """Close, when everything is written."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def end_writing(self) -> None:
        """Say that nothing more comes."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self.finish()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def addresses(self) -> tuple[Address | None, Address | None]:
        """Give the addresses of the peer, and of this side."""
        info = self._transport.get_extra_info
        return _address(info("peername")), _address(info("sockname"))


def _address(address: Any) -> Address | None:
    if isinstance(address, tuple):
        return address[0], address[1]
    return (address, None) if isinstance(address, str) and address else None
