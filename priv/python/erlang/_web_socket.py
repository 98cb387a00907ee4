"""WebSockets of ASGI applications."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import deque
from hashlib import sha1
from http import HTTPStatus

from _erlang import Interrupted

from ._http import Head, Response, header_lines
from ._web_asgi import AsgiService, Waiters
from ._web_frames import make_codec

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._web_asgi import Message
    from ._web_connection import Connection
    from ._web_frames import Codec, Event

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: How much of messages is kept for an application that does not read them.
_MAX_UNREAD = 64 << 10

_GOING_AWAY = 1001
_ABNORMAL = 1006
_INTERNAL_ERROR = 1011


class WebSocket:
    """A connection that becomes a WebSocket, once the application has accepted it."""

    def __init__(
        self, service: AsgiService, connection: Connection, head: Head
    ) -> None:
        self._service = service
        self._connection = connection
        self._head = head
        self.response = Response(head)
        # Whoever wanted a WebSocket has no use for the connection else.
        self.response.keep_alive = False
        self._codec: Codec | None = None
        self._is_told = False
        self._accepted = False
        self._closed: tuple[int, str] | None = None
        self._inbox: deque[str | bytes] = deque()
        self._size = 0
        self._is_heard = True
        self._waiters = Waiters(service.loop)

    # ------------------------------------------------------------------------------------------------
    # For the connection

    def start(self) -> None:
        """Run the application, unless the request is not what a WebSocket begins with."""
        key = _only(self._head, b"sec-websocket-key")
        if _only(self._head, b"sec-websocket-version") != b"13":
            self._refuse(
                HTTPStatus.UPGRADE_REQUIRED, [(b"sec-websocket-version", b"13")]
            )
        elif key is None or not _is_key(key) or self._head.has_body:
            self._refuse(HTTPStatus.BAD_REQUEST)
        else:
            self._codec = make_codec(self._service.max_message)
            if self._codec is None:
                self._service.report(
                    "WebSockets need the Python package websockets, or wsproto: one was refused"
                )
                self._refuse(HTTPStatus.NOT_IMPLEMENTED)
            else:
                self._service.run(self._connection, self._run())

    def body_came(self) -> None:
        """Nothing of it can."""

    def received(self, data: bytes) -> None:
        """Read frames."""
        if self._codec is None:
            return
        self._is_heard = True
        events, output = self._codec.receive(data)
        if self._closed is not None:
            # The peer's goodbye is all that matters now.
            if any(isinstance(event, tuple) for event in events):
                self._connection.finish()
            return
        if output and self._connection.serves(self):
            self._connection.send(output)
        for event in events:
            self._take(event)
        self._connection.hold_reading(self._size > _MAX_UNREAD)
        self._waiters.wake()

    def disconnected(self) -> None:
        """Tell the application, which has to end then."""
        if self._accepted and self._closed is None:
            self._closed = _ABNORMAL, ""
        if not self._connection.is_lost and self._accepted:
            self._connection.finish()
        self._waiters.wake()

    def stop(self) -> None:
        """Say goodbye."""
        self._close(_GOING_AWAY, "")
        self._waiters.wake()

    def is_silent(self) -> None:
        """Ask the peer whether it is there, or end if it has been asked before."""
        if self._is_heard and self._codec is not None and self._closed is None:
            self._is_heard = False
            self._connection.send(self._codec.ping())
            self._service.silent.set(self._connection)
        else:
            self.disconnected()

    def _take(self, event: Event) -> None:
        if isinstance(event, tuple):
            self._closed = event
            self._connection.finish()
        else:
            self._inbox.append(event)
            self._size += len(event)

    def _refuse(
        self, status: HTTPStatus, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        text = status.phrase.encode("ascii") + b"\n"
        self.response.start(
            status, [(b"content-type", b"text/plain"), *(headers or ())]
        )
        self._connection.send(self.response.body(text, False))
        self._connection.answered(self, False)

    # ------------------------------------------------------------------------------------------------
    # For the application

    async def _run(self) -> None:
        connection, service = self._connection, self._service
        scope = service.scope(connection, self._head, "websocket")
        scope["scheme"] = "wss" if connection.secure else "ws"
        scope["subprotocols"] = [
            protocol.strip().decode("ascii", "replace")
            for value in _all(self._head, b"sec-websocket-protocol")
            for protocol in value.split(b",")
        ]
        scope["extensions"] = {"websocket.http.response": {}}
        try:
            await service.app(scope, self._receive, self._send)
            if (
                not self._accepted
                and not self.response.done
                and not connection.is_ended
            ):
                raise RuntimeError(
                    "the ASGI application neither accepted the WebSocket nor closed it"
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection ends alone
            if not (self._is_over() and isinstance(error, OSError)):
                service.report(
                    f"WebSocket {scope['path']}: the ASGI application failed", error
                )
            if self._accepted:
                self._close(_INTERNAL_ERROR, "")
            elif not self.response.begun and connection.serves(self):
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
            else:
                connection.reset(self)
        except Interrupted as error:
            service.report(f"WebSocket {scope['path']}: it was interrupted", error)
            connection.reset(self)
        except BaseException:
            connection.reset(self)
            raise
        else:
            if self._accepted:
                self._close(1000, "")
            else:
                connection.reset(self)

    def _is_over(self) -> bool:
        return self._closed is not None or not self._connection.serves(self)

    async def _receive(self) -> Message:
        if not self._is_told:
            self._is_told = True
            return {"type": "websocket.connect"}
        while not self._inbox and not self._is_over():
            if self._connection.is_ended:
                break
            await self._waiters.wait()
        if not self._inbox:
            code, reason = self._closed or (_ABNORMAL, "")
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        message = self._inbox.popleft()
        self._size -= len(message)
        if self._size <= _MAX_UNREAD // 2:
            self._connection.continue_reading()
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        connection = self._connection
        if self._accepted:
            if kind == "websocket.close":
                code = message.get("code")
                self._close(1000 if code is None else code, message.get("reason") or "")
            elif kind == "websocket.send" and not self._is_over():
                assert self._codec is not None
                text = message.get("text")
                data = bytes(message["bytes"]) if text is None else text
                connection.send(self._codec.message(data))
                if connection.choked:
                    await connection.drain()
            elif kind == "websocket.send":
                raise ConnectionResetError("the WebSocket is closed")
            else:
                raise RuntimeError(f"an ASGI application may not send {kind!r} now")
        elif not connection.serves(self) or self.response.done:
            raise ConnectionResetError("the WebSocket is closed")
        elif kind == "websocket.http.response.body" and self.response.started:
            data = bytes(message.get("body", b""))
            connection.send(
                self.response.body(data, bool(message.get("more_body", False)))
            )
            if self.response.done:
                connection.answered(self, False)
            elif connection.choked:
                await connection.drain()
        elif self.response.started:
            raise RuntimeError(f"an ASGI application may not send {kind!r} now")
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._refuse(HTTPStatus.FORBIDDEN)
        elif kind == "websocket.http.response.start":
            self.response.start(int(message["status"]), message.get("headers", ()))
        else:
            raise RuntimeError(f"an ASGI application may not send {kind!r} now")

    def _accept(self, message: Message) -> None:
        assert self._codec is not None
        key = _only(self._head, b"sec-websocket-key")
        assert key is not None
        headers = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", b64encode(sha1(key + _GUID).digest())),
        ]
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            headers.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
        offered = _all(self._head, b"sec-websocket-extensions")
        agreed = self._codec.extensions([value.decode("latin-1") for value in offered])
        if agreed is not None:
            headers.append((b"sec-websocket-extensions", agreed.encode("ascii")))
        headers.extend(message.get("headers") or ())
        connection = self._connection
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\n" + header_lines(headers) + b"\r\n"
        )
        self._accepted = True
        early = connection.upgrade(self)
        self._service.silent.set(connection)
        if early:
            self.received(early)

    def _close(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = code, reason
            connection = self._connection
            if self._codec is not None and connection.serves(self):
                connection.send(self._codec.close(code, reason))
                connection.expect_end()


def _all(head: Head, name: bytes) -> list[bytes]:
    return [value for key, value in head.headers if key == name]


def _only(head: Head, name: bytes) -> bytes | None:
    values = _all(head, name)
    return values[0] if len(values) == 1 else None


def _is_key(key: bytes) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except Base64Error:
        return False
