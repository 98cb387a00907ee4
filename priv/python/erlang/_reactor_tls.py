"""TLS for the protocols of ``erlang.reactor``, in Python: between the connection and the protocol that it is for.

What comes in goes through an ``ssl.SSLObject``, which has no input and output of its own, to the inner protocol; what
that one has to say goes the other way. The methods that the inner protocol calls of itself are put in their place by
ones that do the same through TLS.
"""

from __future__ import annotations

import asyncio
import ssl

import _erlang

from .reactor import Protocol

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer, Callable
    from typing import Any

#: How much is decrypted at once.
_PIECE = 64 << 10

#: How much of what is encrypted may wait, and when it is little again.
_HIGH_WATER = 64 << 10
_LOW_WATER = 16 << 10


class TLS:
    """A protocol factory for connections with TLS, whose protocols another factory makes.

    ``context`` is the server's side, with its certificate. ``client_info`` of the protocols has ``tls``: a dict of
    ``protocol``, ``cipher``, ``server_name``, ``alpn`` and the peer's ``certificate``.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        factory: Callable[[], Protocol],
        *,
        handshake_timeout: float = 10.0,
    ) -> None:
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(
                f"TLS needs an ssl.SSLContext, not {type(context).__name__}"
            )
        if not callable(factory):
            raise TypeError(
                f"TLS needs a protocol factory, not {type(factory).__name__}"
            )
        self._context = context
        self._factory = factory
        self._handshake_timeout = handshake_timeout

    def __call__(self) -> Protocol:
        """Make the protocol of a connection."""
        return _Outer(self._context, self._factory, self._handshake_timeout)


class _Outer(Protocol):
    def __init__(
        self, context: ssl.SSLContext, factory: Callable[[], Protocol], timeout: float
    ) -> None:
        self._factory = factory
        self._timeout = timeout
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._inner: Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: The inner protocol is to get nothing for now: until what it has to write is written, or it says so.
        self._waits_for_output = False
        self._waits_for_signal = False
        self._is_held = False
        self._is_full = False
        #: Nothing is read any more, or nothing written.
        self._is_read = False
        self._is_shut = False
        self._is_closing = False
        #: Part of what is written waits for the peer; and the inner protocol has asked for more.
        self._is_writing = False
        self._was_signalled = False

    # ------------------------------------------------------------------------------------------------
    # For the native side

    def connection_made(self, fd: int, client_info: Any) -> None:
        """Wait for the peer to begin."""
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self._late)

    def data_received(self, data: bytes) -> str:
        """Decrypt, and have the inner protocol take it."""
        if self._is_shut:
            return "continue"
        self._incoming.write(data)
        return self._move()

    def eof_received(self) -> str:
        """End: TLS says so itself when it is over, and if it did not, something is missing."""
        self._is_read = True
        return "continue" if self._is_shut else "close"

    def write_ready(self) -> str:
        """Encrypt what there is, write, and go on with what waited for that."""
        inner = self._inner
        if self._waits_for_signal and self._is_answered():
            self._waits_for_signal = False
            self._waits_for_output = True
            if not self._is_held:
                super().resume_reading()
        self._was_signalled = False
        self._is_writing = False
        if inner is not None and not self._is_shut:
            if type(inner).write_ready is not Protocol.write_ready:
                if inner.write_ready() == "close":
                    self._end()
            else:
                self._encrypt(inner.write_buffer)
        done = self._flush()
        while done and self._waits_for_output and not self._is_closing:
            self._waits_for_output = False
            self._move()
            done = self._flush()
        self._is_writing = not done
        if self._is_writing:
            return "continue"
        return "close" if self._is_closing else "read_pending"

    def _is_answered(self) -> bool:
        """Whether this call is the answer that was to come later, and not one because there is room for output."""
        inner = self._inner
        return (
            self._was_signalled
            or not self._is_writing
            or (inner is not None and bool(inner.write_buffer))
        )

    def stopping(self) -> str | None:
        """Ask the inner protocol."""
        if self._inner is None:
            return None
        if self._inner.stopping() in (None, "close"):
            self._end()
            return "close"
        return "continue"

    def connection_lost(self) -> None:
        """Tell the inner protocol, if there is one."""
        self._stop_timer()
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.closed = True
            inner.connection_lost()

    # ------------------------------------------------------------------------------------------------
    # Handshake

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._stop_timer()
        inner = self._factory()
        if not isinstance(inner, Protocol):
            raise TypeError(
                f"a protocol factory gives an erlang.reactor.Protocol, not {type(inner).__name__}"
            )
        inner.fd = self.fd
        inner._number = self._number
        inner.client_info = info = {
            **self.client_info,
            "transport": "ssl",
            "tls": self._facts(),
        }
        vars(inner).update(
            read=self._read_inner,
            write=self._write_inner,
            close=self._close_inner,
            write_eof=self._end_inner,
            pause_reading=self._hold_inner,
            resume_reading=self._release_inner,
            _signal=self._signal_inner,
        )
        self._inner = inner
        inner.connection_made(self.fd, info)
        return True

    def _facts(self) -> dict[str, Any]:
        cipher = self._tls.cipher()
        return {
            "protocol": self._tls.version(),
            "cipher": None if cipher is None else cipher[0],
            "server_name": self._tls.server_hostname,
            "alpn": self._tls.selected_alpn_protocol(),
            "certificate": self._tls.getpeercert(binary_form=True),
        }

    def _late(self) -> None:
        self._timer = None
        super().close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------------------------------
    # Data

    def _move(self) -> str:
        """Have the inner protocol take what came; give what is to be done."""
        try:
            if self._inner is not None or self._shake_hands():
                self._deliver()
        except ssl.SSLError:
            # The peer is told by an alert, which is written before the connection ends.
            self._is_closing = self._is_shut = True
        inner = self._inner
        if inner is not None:
            self._encrypt(inner.write_buffer)
        self.write_buffer += self._outgoing.read()
        if self._is_closing:
            return "close"
        if self._waits_for_signal:
            super().pause_reading()
            if not self._flush():
                self._is_writing = True
                _erlang.reactor_signal_number(self._number)
            return "continue"
        return (
            "write_pending"
            if self.write_buffer or self._waits_for_output
            else "continue"
        )

    def _deliver(self) -> None:
        inner = self._inner
        assert inner is not None
        while not (
            self._is_held
            or self._waits_for_output
            or self._waits_for_signal
            or self._is_read
            or self._is_closing
            or self._is_shut
        ):
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            action = inner.data_received(data) if data else self._at_end(inner)
            if action == "close":
                self._end()
            elif action == "async_pending":
                self._waits_for_signal = bool(data)
            elif action == "write_pending":
                self._waits_for_output = bool(data)
            elif action not in (None, "continue"):
                raise ValueError(f"data_received() answered {action!r}")

    def _at_end(self, inner: Protocol) -> str:
        self._is_read = True
        return inner.eof_received() or "close"

    def _encrypt(self, data: bytearray) -> None:
        if data and not self._is_shut:
            self._tls.write(data)
            data.clear()

    def _flush(self) -> bool:
        """Write what goes; say whether that is all."""
        buffer = self.write_buffer
        buffer += self._outgoing.read()
        if buffer:
            del buffer[: super().write(buffer)]
        inner = self._inner
        if inner is not None and self._is_full != (
            len(buffer) > (_LOW_WATER if self._is_full else _HIGH_WATER)
        ):
            self._is_full = not self._is_full
            if self._is_full:
                inner.pause_writing()
            else:
                inner.resume_writing()
        return not buffer

    def _shut(self) -> None:
        """Say that nothing more comes."""
        if not self._is_shut:
            if self._inner is not None:
                self._encrypt(self._inner.write_buffer)
            self._is_shut = True
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                # It wants to hear the same from the peer, which nobody waits for.
                pass

    def _end(self) -> None:
        self._shut()
        self._is_closing = True

    # ------------------------------------------------------------------------------------------------
    # What the inner protocol calls of itself

    def _read_inner(self, n: int) -> bytes:
        self._incoming.write(super().read(n))
        try:
            return self._tls.read(n) if n > 0 else b""
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            return b""

    def _write_inner(self, data: Buffer) -> int:
        if self._is_shut or not self._flush():
            return 0
        piece = memoryview(data).cast("B")[:_PIECE]
        if piece:
            self._tls.write(piece)
            if not self._flush():
                _erlang.reactor_signal_number(self._number)
        return len(piece)

    def _close_inner(self) -> None:
        self._end()
        self.write_buffer += self._outgoing.read()
        super().close()

    def _end_inner(self) -> None:
        self._shut()
        self.write_buffer += self._outgoing.read()
        super().write_eof()

    def _hold_inner(self) -> None:
        self._is_held = True
        super().pause_reading()

    def _release_inner(self) -> None:
        if self._is_held:
            self._is_held = False
            # What has been decrypted, or could be, is as good as new.
            self._waits_for_output = True
            super().resume_reading()
            _erlang.reactor_signal_number(self._number)

    def _signal_inner(self) -> bool:
        self._was_signalled = True
        return super()._signal()
