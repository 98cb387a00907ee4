"""WebSocket frames, by the package that there is: ``websockets`` or else ``wsproto``, without their input and output."""

from __future__ import annotations

from importlib import import_module

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    #: Of the peer: a text, bytes, or the code and the reason with which it closes.
    Event = str | bytes | tuple[int, str]

    class Codec(Protocol):
        """One side of a WebSocket connection: what is to be written is given, what was read is told of."""

        def extensions(self, offered: list[str]) -> str | None:
            """Agree on extensions; gives the header that says on which."""

        def receive(self, data: bytes) -> tuple[list[Event], bytes]:
            """Read."""

        def message(self, data: str | bytes) -> bytes:
            """Write a message."""

        def ping(self) -> bytes:
            """Write a ping."""

        def close(self, code: int, reason: str) -> bytes:
            """Write that the connection ends."""


NO_STATUS = 1005


def make_codec(max_size: int | None) -> Codec | None:
    """Make the state of a connection; None where there is no package for it."""
    for kind in (_Websockets, _Wsproto):
        try:
            return kind(max_size)
        except ImportError:
            pass
    return None


class _Websockets:
    def __init__(self, max_size: int | None) -> None:
        library = import_module("websockets.protocol")
        self._protocol = library.Protocol(
            library.Side.SERVER, state=library.State.OPEN, max_size=max_size
        )
        self._opcodes = import_module("websockets.frames").Opcode
        self._pieces: list[bytes] = []
        self._is_text = False

    def extensions(self, offered: list[str]) -> str | None:
        headers = import_module("websockets.headers")
        errors = import_module("websockets.exceptions")
        library = import_module("websockets.extensions.permessage_deflate")
        factory = library.ServerPerMessageDeflateFactory()
        for header in offered:
            try:
                extensions = headers.parse_extension(header)
            except errors.InvalidHeaderFormat:
                continue
            for name, parameters in extensions:
                if name == factory.name:
                    try:
                        agreed, extension = factory.process_request_params(
                            parameters, []
                        )
                    except errors.NegotiationError:
                        continue
                    self._protocol.extensions = [extension]
                    return str(headers.build_extension([(name, agreed)]))
        return None

    def receive(self, data: bytes) -> tuple[list[Event], bytes]:
        opcodes = self._opcodes
        self._protocol.receive_data(data)
        events: list[Event] = []
        for frame in self._protocol.events_received():
            if frame.opcode in (opcodes.TEXT, opcodes.BINARY, opcodes.CONT):
                if frame.opcode is not opcodes.CONT:
                    self._is_text = frame.opcode is opcodes.TEXT
                self._pieces.append(bytes(frame.data))
                if frame.fin:
                    message = b"".join(self._pieces)
                    self._pieces.clear()
                    if not self._is_text:
                        events.append(message)
                        continue
                    try:
                        events.append(message.decode())
                    except UnicodeDecodeError:
                        self._protocol.fail(1007, "a text that is not UTF-8")
                        break
        closed = self._protocol.close_rcvd
        if closed is not None:
            events.append((int(closed.code), closed.reason))
        elif self._protocol.close_expected() and self._protocol.close_sent is not None:
            # The library has found something that ends the connection.
            events.append(
                (int(self._protocol.close_sent.code), self._protocol.close_sent.reason)
            )
        return events, self._output()

    def message(self, data: str | bytes) -> bytes:
        if isinstance(data, str):
            self._protocol.send_text(data.encode())
        else:
            self._protocol.send_binary(data)
        return self._output()

    def ping(self) -> bytes:
        self._protocol.send_ping(b"")
        return self._output()

    def close(self, code: int, reason: str) -> bytes:
        if self._protocol.close_sent is None:
            if code == NO_STATUS:
                self._protocol.send_close()
            else:
                self._protocol.send_close(code, reason)
        return self._output()

    def _output(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


class _Wsproto:
    def __init__(self, max_size: int | None) -> None:
        self._library = {
            name: import_module(f"wsproto.{name}")
            for name in ("connection", "events", "extensions", "handshake", "utilities")
        }
        self._max_size = max_size
        self._pieces: list[Any] = []
        self._size = 0
        self._connection: Any = None
        self._agreed: list[Any] = []
        self._is_closed = False

    def extensions(self, offered: list[str]) -> str | None:
        extension = self._library["extensions"].PerMessageDeflate()
        offers = [offer.strip() for header in offered for offer in header.split(",")]
        agreed = self._library["handshake"].server_extensions_handshake(
            offers, [extension]
        )
        self._agreed = [extension] if agreed else []
        return agreed.decode("ascii") if agreed else None

    def _started(self) -> Any:
        if self._connection is None:
            connection = self._library["connection"]
            self._connection = connection.Connection(
                connection.ConnectionType.SERVER, self._agreed
            )
        return self._connection

    def receive(self, data: bytes) -> tuple[list[Event], bytes]:
        known, connection = self._library["events"], self._started()
        events: list[Event] = []
        output = b""
        if self._is_closed:
            return events, output
        try:
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, known.Message):
                    self._size += len(event.data)
                    if self._max_size is not None and self._size > self._max_size:
                        events.append((1009, ""))
                        return events, output + self.close(1009, "")
                    self._pieces.append(event.data)
                    if event.message_finished:
                        is_text = isinstance(event, known.TextMessage)
                        events.append(
                            "".join(self._pieces) if is_text else b"".join(self._pieces)
                        )
                        self._pieces.clear()
                        self._size = 0
                elif isinstance(event, known.Ping):
                    output += connection.send(event.response())
                elif isinstance(event, known.CloseConnection):
                    events.append((int(event.code), event.reason or ""))
                    output += self.close(int(event.code), event.reason or "")
        except self._library["utilities"].RemoteProtocolError as error:
            code = 1002 if error.event_hint is None else int(error.event_hint.code)
            events.append((code, ""))
            output += self.close(code, "")
        return events, output

    def message(self, data: str | bytes) -> bytes:
        known = self._library["events"]
        kind = known.TextMessage if isinstance(data, str) else known.BytesMessage
        return bytes(self._started().send(kind(data=data)))

    def ping(self) -> bytes:
        return bytes(self._started().send(self._library["events"].Ping()))

    def close(self, code: int, reason: str) -> bytes:
        if self._is_closed:
            return b""
        self._is_closed = True
        event = self._library["events"].CloseConnection(
            code=code, reason=reason or None
        )
        return bytes(self._started().send(event))
