"""HTTP/1.1 for ASGI applications: what ``erlang.server`` puts between a socket and a function of scope, receive, send.

One coroutine for each connection reads requests, one after another, and runs the application for each. Nothing is read
that nobody asked for, and nothing is written faster than the peer takes it, so both sides are bounded.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    Message = dict[str, Any]
    Headers = list[tuple[bytes, bytes]]
    Asgi = Callable[..., Coroutine[Any, Any, Any]]

#: The largest head of a request, and the largest line of a chunked body.
_MAX_HEAD = 64 << 10

#: How much of a body that the application did not want is read, so that the connection can go on.
_MAX_SKIPPED = 64 << 10

#: How much of it is read so that the peer reads why the connection ends.
_MAX_LINGER = 16 << 20

_PIECE = 64 << 10

_TOKEN = frozenset(
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

_VERSION = {"version": "3.0", "spec_version": "2.4"}


class Application:
    """An ASGI application, and the connections that it serves on one listener."""

    def __init__(self, app: Asgi, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.loop = loop
        self.stopping = False
        self.state: dict[str, Any] = {}
        self._idle: set[asyncio.StreamWriter] = set()
        self._lifespan: _Lifespan | None = None

    def protocol(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        reader = _Reader(limit=_MAX_HEAD, loop=self.loop)
        return asyncio.StreamReaderProtocol(reader, self._serve, loop=self.loop)

    async def startup(self) -> None:
        """Let the application start; an exception says that it could not."""
        self._lifespan = _Lifespan(self)
        await self._lifespan.startup()

    def stop(self) -> None:
        """Let connections end with the request that they are at."""
        self.stopping = True
        for writer in self._idle:
            writer.close()

    def report(self, message: str, error: Exception | None = None) -> None:
        """Hand a failure to the exception handler of the loop."""
        context: dict[str, Any] = {"message": message}
        if error is not None:
            context["exception"] = error
        self.loop.call_exception_handler(context)

    async def shutdown(self) -> None:
        """Let the application clean up."""
        if self._lifespan is not None:
            await self._lifespan.shutdown()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert isinstance(reader, _Reader)
        try:
            while not self.stopping:
                head = await self._unhurried(reader.readuntil(b"\r\n\r\n"), writer)
                exchange = _Exchange(self, reader, writer, _Head(head))
                if not await exchange.run():
                    if exchange.is_unread():
                        await self._linger(reader, writer)
                    break
        except asyncio.LimitOverrunError:
            _refuse(writer, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            await self._linger(reader, writer)
        except _BadRequest as error:
            _refuse(writer, error.status)
            await self._linger(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            # The peer went away, which needs no answer.
            pass
        finally:
            writer.close()

    async def _unhurried(
        self, reading: Coroutine[Any, Any, bytes], writer: asyncio.StreamWriter
    ) -> bytes:
        """Read while no request is under way: ``stop`` closes the connection then."""
        self._idle.add(writer)
        try:
            return await reading
        finally:
            self._idle.discard(writer)

    async def _linger(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        """Wait for the end of a request that is not wanted.

        The system resets a connection that is closed with something unread, and the peer would lose the answer.
        """
        if self.stopping or writer.is_closing() or not writer.can_write_eof():
            return
        try:
            writer.write_eof()
            skipped = 0
            while skipped < _MAX_LINGER:
                data = await self._unhurried(reader.read(_PIECE), writer)
                if not data:
                    break
                skipped += len(data)
        except ConnectionError:
            pass


class _Reader(asyncio.StreamReader):
    """Tells when the peer has said its last."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


class _BadRequest(Exception):
    def __init__(self, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(status)
        self.status = status


class _Head:
    """The request line and the headers, checked: what two readers could read in two ways is refused."""

    def __init__(self, data: bytes) -> None:
        line, *fields = data[:-4].lstrip(b"\r\n").split(b"\r\n")
        parts = line.split(b" ")
        if len(parts) != 3 or not _is_token(parts[0]) or not _is_target(parts[1]):
            raise _BadRequest
        self.method = parts[0].decode("ascii")
        self.target = parts[1]
        if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise _BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        self.is_1_1 = parts[2] == b"HTTP/1.1"
        self.headers: Headers = [_field(field) for field in fields]
        hosts = self.all(b"host")
        if len(hosts) > 1 or (self.is_1_1 and not hosts):
            raise _BadRequest
        self.length, self.chunked = self._body()
        options = {
            option.strip().lower()
            for value in self.all(b"connection")
            for option in value.split(b",")
        }
        self.keep_alive = (
            b"close" not in options if self.is_1_1 else b"keep-alive" in options
        )
        self.expects_continue = self.is_1_1 and any(
            value.lower() == b"100-continue" for value in self.all(b"expect")
        )

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def _body(self) -> tuple[int, bool]:
        lengths = self.all(b"content-length")
        codings = self.all(b"transfer-encoding")
        if codings:
            if lengths or not self.is_1_1:
                raise _BadRequest
            if [coding.lower() for coding in codings] != [b"chunked"]:
                raise _BadRequest(HTTPStatus.NOT_IMPLEMENTED)
            return 0, True
        if len(set(lengths)) > 1 or (lengths and not lengths[0].isdigit()):
            raise _BadRequest
        if lengths and len(lengths[0]) > 18:
            raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return int(lengths[0]) if lengths else 0, False

    def scope(self, application: Application, writer: asyncio.StreamWriter) -> Message:
        path, _, query = self.target.partition(b"?")
        if not path.startswith(b"/") and b"://" in path:
            # The absolute form, as for a proxy.
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        over_tls = writer.get_extra_info("sslcontext") is not None
        return {
            "type": "http",
            "asgi": _VERSION,
            "http_version": "1.1" if self.is_1_1 else "1.0",
            "method": self.method,
            "scheme": "https" if over_tls else "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "client": _address(writer.get_extra_info("peername")),
            "server": _address(writer.get_extra_info("sockname")),
            "state": application.state.copy(),
        }


class _Exchange:
    """A request and its response."""

    def __init__(
        self,
        application: Application,
        reader: _Reader,
        writer: asyncio.StreamWriter,
        head: _Head,
    ) -> None:
        self._application = application
        self._reader = reader
        self._writer = writer
        self._head = head
        self._keep_alive = head.keep_alive
        # The body: how much of it, or of its current chunk, is still to be read.
        self._left = head.length
        self._is_read = head.length == 0 and not head.chunked
        self._is_told = False
        self._owes_continue = head.expects_continue and not self._is_read
        # The response. What is left of it is known when the application says so, or says all at once.
        self._start: Message | None = None
        self._is_begun = False
        self._is_chunked = False
        self._has_body = head.method != "HEAD"
        self._to_write: int | None = None
        self._is_done = asyncio.Event()

    async def run(self) -> bool:
        """Say whether the connection goes on."""
        scope = self._head.scope(self._application, self._writer)
        try:
            await self._application.app(scope, self._receive, self._send)
            if not self._is_done.is_set():
                if self._reader.ended.is_set():
                    # It was told so, and may leave then.
                    return False
                raise RuntimeError("the ASGI application ended before its response")
        except _BadRequest as error:
            self._fail(error.status)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection ends alone
            if not (self._reader.ended.is_set() and isinstance(error, OSError)):
                self._application.report(
                    f"{self._head.method} {scope['path']}: the ASGI application failed",
                    error,
                )
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR)
            return False
        # Who was not told to go on with the body may send it or not.
        if not self._keep_alive or self._owes_continue:
            return False
        return await self._skip()

    def is_unread(self) -> bool:
        """Tell whether the peer may still be sending its request."""
        return not self._is_read

    def _fail(self, status: HTTPStatus) -> None:
        if not self._is_begun:
            _refuse(self._writer, status)
        elif not self._is_done.is_set():
            # Half a response: only a connection that breaks says so.
            self._writer.transport.abort()

    async def _receive(self) -> Message:
        if not self._is_read:
            if self._owes_continue:
                self._owes_continue = False
                if not self._is_begun:
                    self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            try:
                body = await self._piece()
            except (asyncio.IncompleteReadError, ConnectionError):
                self._is_read = self._is_told = True
                self._keep_alive = False
                return {"type": "http.disconnect"}
            self._is_told = self._is_read
            return _body(body, more=not self._is_read)
        if not self._is_told:
            self._is_told = True
            return _body(b"", more=False)
        await _first(self._is_done.wait(), self._reader.ended.wait())
        return {"type": "http.disconnect"}

    async def _piece(self) -> bytes:
        if self._head.chunked and self._left == 0:
            self._left = await self._chunk_size()
            if self._left == 0:
                while await self._line():
                    pass
                self._is_read = True
                return b""
        data = await self._reader.read(min(self._left, _PIECE))
        if not data:
            raise asyncio.IncompleteReadError(data, self._left)
        self._left -= len(data)
        if self._left == 0:
            if not self._head.chunked:
                self._is_read = True
            elif await self._line():
                raise _BadRequest
        return data

    async def _chunk_size(self) -> int:
        digits = (await self._line()).partition(b";")[0].strip(b" \t")
        if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise _BadRequest
        return int(digits, 16)

    async def _line(self) -> bytes:
        try:
            return (await self._reader.readuntil(b"\r\n"))[:-2]
        except asyncio.LimitOverrunError:
            raise _BadRequest from None

    async def _skip(self) -> bool:
        skipped = 0
        try:
            while not self._is_read and skipped <= _MAX_SKIPPED:
                skipped += len(await self._piece())
        except _BadRequest:
            # It was answered already.
            return False
        return self._is_read

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = message
        elif (
            kind == "http.response.body" and self._start and not self._is_done.is_set()
        ):
            data = bytes(message.get("body", b""))
            await self._write(data, bool(message.get("more_body", False)))
        else:
            raise RuntimeError(f"an ASGI application may not send {kind!r} now")

    async def _write(self, data: bytes, more: bool) -> None:
        head = b"" if self._is_begun else self._response_head(len(data), more)
        if not self._has_body:
            data = b""
        elif self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data += b"" if more else b"0\r\n\r\n"
        elif self._to_write is not None:
            self._to_write -= len(data)
            if self._to_write < 0 or (self._to_write and not more):
                raise RuntimeError("the body is not as long as content-length says")
        self._is_begun = True
        self._writer.write(head + data)
        if not more:
            self._is_done.set()
        await self._writer.drain()

    def _response_head(self, length: int, more: bool) -> bytes:
        assert self._start is not None
        status = int(self._start["status"])
        lines = [b"HTTP/1.1 %d %b" % (status, _phrase(status))]
        names = set()
        for name, value in self._start.get("headers", ()):
            name, value = bytes(name).lower(), bytes(value)
            if not _is_token(name) or _is_control(value):
                raise ValueError(f"no header: {name!r}: {value!r}")
            if name == b"connection":
                self._keep_alive &= b"close" not in value.lower()
            elif name == b"content-length":
                self._to_write = int(value)
            # How the body is delimited is decided below.
            if name not in (b"connection", b"transfer-encoding"):
                names.add(name)
                lines.append(name + b": " + value)
        if status < 200 or status in (204, 304):
            self._has_body = False
        elif self._to_write is None and not more:
            self._to_write = length
            lines.append(b"content-length: %d" % length)
        elif self._to_write is None and self._head.is_1_1:
            self._is_chunked = True
            lines.append(b"transfer-encoding: chunked")
        elif self._to_write is None:
            self._keep_alive = False
        if b"date" not in names:
            lines.append(b"date: " + formatdate(usegmt=True).encode("ascii"))
        # A body that will not be read to its end is the end of the connection.
        is_skipped = not self._owes_continue and self._left <= _MAX_SKIPPED
        self._keep_alive &= is_skipped and not self._application.stopping
        if not self._keep_alive:
            lines.append(b"connection: close")
        elif not self._head.is_1_1:
            lines.append(b"connection: keep-alive")
        return b"\r\n".join(lines) + b"\r\n\r\n"


class _Lifespan:
    """Tells the application when serving begins and ends. One that does not want to know raises, and is left alone."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._told = asyncio.Event()
        self._is_started = False
        self._error: str | None = None
        self._task = application.loop.create_task(self._run())

    async def startup(self) -> None:
        await self._tell("lifespan.startup")
        self._is_started = True
        if self._error is not None:
            raise RuntimeError(f"the ASGI application did not start: {self._error}")

    async def shutdown(self) -> None:
        await self._tell("lifespan.shutdown")
        if self._error is not None:
            self._application.report(
                f"the ASGI application did not shut down: {self._error}"
            )

    async def _tell(self, event: str) -> None:
        self._told.clear()
        self._inbox.put_nowait({"type": event})
        await _first(self._told.wait(), self._task)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSION, "state": self._application.state}
        try:
            await self._application.app(scope, self._inbox.get, self._send)
        except Exception as error:  # noqa: BLE001 - it may not know of lifespans
            if self._is_started:
                self._application.report("the ASGI application failed", error)

    async def _send(self, message: Message) -> None:
        _, _, outcome = message["type"].rpartition(".")
        if message["type"] not in (
            "lifespan.startup.complete",
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        ):
            raise RuntimeError(
                f"an ASGI application may not send {message['type']!r} in its lifespan"
            )
        if outcome == "failed":
            self._error = message.get("message") or "it did not say why"
        self._told.set()


async def _first(one: Coroutine[Any, Any, Any], other: Any) -> None:
    """Wait until either has ended. What is a coroutine is cancelled then; a task goes on."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(c) for c in (one, other) if asyncio.iscoroutine(c)]
    try:
        await asyncio.wait(
            {*tasks, *(t for t in (other,) if isinstance(t, asyncio.Task))},
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        for task in tasks:
            task.cancel()


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def _refuse(writer: asyncio.StreamWriter, status: HTTPStatus) -> None:
    text = status.phrase.encode("ascii") + b"\n"
    writer.write(
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
        % (status, status.phrase.encode("ascii"), len(text), text)
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not _is_token(name) or _is_control(value):
        raise _BadRequest
    return name.lower(), value


def _is_token(name: bytes) -> bool:
    return bool(name) and _TOKEN.issuperset(name)


def _is_target(target: bytes) -> bool:
    return bool(target) and all(32 < byte < 127 for byte in target)


def _is_control(value: bytes) -> bool:
    return any(byte < 32 and byte != 9 or byte == 127 for byte in value)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def _address(address: Any) -> tuple[str, int | None] | None:
    if isinstance(address, tuple):
        return address[0], address[1]
    return (address, None) if isinstance(address, str) and address else None
