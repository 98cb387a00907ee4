"""WSGI: requests become calls of a function, in threads of the context."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from threading import Condition
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from ._http import Head, Response
from ._web_service import Limits, Service

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable, Iterable
    from typing import Any

    from ._web_connection import Connection, Exchange

    Environ = dict[str, Any]
    Wsgi = Callable[..., Iterable[bytes]]

#: How much of a body is read before the application is called, and how much is kept for it.
_MAX_UNREAD = 64 << 10

#: How much of a response may wait for the loop before the application waits.
_MAX_UNWRITTEN = 64 << 10


class WsgiService(Service):
    """A WSGI application, and the connections that it serves on one loop."""

    def __init__(
        self,
        app: Wsgi,
        loop: AbstractEventLoop,
        limits: Limits | None = None,
        root_path: str = "",
        threads: int = 4,
    ) -> None:
        super().__init__(loop, limits)
        self.app = app
        self.root_path = root_path
        self.is_threaded = threads > 1
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="wsgi")
        self.draining: set[Task[None]] = set()

    def exchange(self, connection: Connection, head: Head) -> Exchange:
        """Make what answers a request."""
        return _Exchange(self, connection, head)

    async def startup(self) -> None:
        """Begin, for which there is nothing to be done."""

    async def shutdown(self) -> None:
        """Begin with no more requests."""
        self.cancel()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def environ(
        self, connection: Connection, head: Head, body: io.BufferedIOBase
    ) -> Environ:
        """Describe a request to the application."""
        target, _, query = head.target.partition(b"?")
        if not target.startswith(b"/") and b"://" in target:
            # The absolute form, as for a proxy.
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        path = unquote_to_bytes(target).decode("latin-1")
        if self.root_path and path.startswith(self.root_path):
            path = path[len(self.root_path) :]
        host, port = connection.local or ("", None)
        environ: Environ = {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": self.root_path,
            "PATH_INFO": path,
            "QUERY_STRING": query.decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": "" if port is None else str(port),
            "SERVER_PROTOCOL": "HTTP/1.1" if head.is_1_1 else "HTTP/1.0",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if connection.secure else "http",
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.is_threaded,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
        }
        if connection.peer is not None:
            environ["REMOTE_ADDR"] = connection.peer[0]
            environ["REMOTE_PORT"] = str(connection.peer[1] or "")
        for name, value in head.headers:
            if b"_" in name:
                # It would be taken for the one with a dash.
                continue
            key = name.decode("ascii").upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = "HTTP_" + key
            text = value.decode("latin-1")
            if key in environ:
                text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
            environ[key] = text
        return environ


class _Exchange:
    """A request and its response. Methods are the loop's, but for those that say otherwise."""

    def __init__(
        self, service: WsgiService, connection: Connection, head: Head
    ) -> None:
        self._service = service
        self._connection = connection
        self._head = head
        self.response = Response(head)
        self._is_submitted = False
        self._is_started = False
        # Between the loop and the thread.
        self._changed = Condition()
        self._body = bytearray()
        self._body_is_read = False
        self._is_cut = False
        self._is_gone = False
        self._unwritten = 0

    # ------------------------------------------------------------------------------------------------
    # The loop's

    def start(self) -> None:
        """Call the application as soon as it will not have to wait for a slow peer."""
        if self._head.expects_continue and not self._connection.body_is_read():
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.body_came()

    def body_came(self) -> None:
        """Move what is there to where the thread reads."""
        connection = self._connection
        if not connection.serves(self):
            return
        with self._changed:
            if len(self._body) < _MAX_UNREAD:
                self._body += connection.take_body()
                self._body_is_read = connection.body_is_read()
                self._changed.notify_all()
            enough = self._body_is_read or len(self._body) >= _MAX_UNREAD
        if not self._body_is_read and len(self._body) < _MAX_UNREAD:
            connection.want_body()
        if enough and not self._is_submitted:
            self._is_submitted = True
            self._service.executor.submit(self._work)

    def disconnected(self) -> None:
        """Let the thread wait no longer."""
        with self._changed:
            self._is_gone = not self._connection.serves(self)
            self._is_cut = not self._body_is_read
            self._changed.notify_all()
        if not self._is_submitted:
            self._connection.reset(self)

    def _deliver(self, data: bytes, is_last: bool) -> None:
        connection = self._connection
        if not connection.serves(self):
            return
        connection.send(data)
        if is_last:
            connection.answered(self, self.response.keep_alive)
        elif connection.choked:
            task = self._service.loop.create_task(self._drain(len(data)))
            self._service.draining.add(task)
            task.add_done_callback(self._service.draining.discard)
        else:
            self._written(len(data))

    async def _drain(self, count: int) -> None:
        await self._connection.drain()
        self._written(count)

    def _written(self, count: int) -> None:
        with self._changed:
            self._unwritten -= count
            self._changed.notify_all()

    def _failed(self) -> None:
        connection = self._connection
        if not self.response.begun and connection.serves(self):
            connection.refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
            connection.answered(self, False)
        else:
            connection.reset(self)

    # ------------------------------------------------------------------------------------------------
    # The thread's

    def _work(self) -> None:
        service = self._service
        try:
            self._answer()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the connection ends alone
            self._call(self._failed)
            if not (self._is_gone and isinstance(error, OSError)):
                path = self._head.target.partition(b"?")[0].decode("ascii")
                self._call(
                    service.report,
                    f"{self._head.method} {path}: the WSGI application failed",
                    error,
                )

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._service.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop has ended, and its connections with it.
            pass

    def _answer(self) -> None:
        with self._changed:
            if self._body_is_read and not self._is_cut:
                body: io.BufferedIOBase = io.BytesIO(self._body)
            else:
                body = io.BufferedReader(_Input(self), _MAX_UNREAD)
        environ = self._service.environ(self._connection, self._head, body)
        result = self._service.app(environ, self._start_response)
        try:
            if type(result) in (list, tuple):
                self._write(b"".join(result), False)
            else:
                for piece in result:
                    if piece:
                        self._write(piece, True)
                self._write(b"", False)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self.response.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._is_started:
            raise AssertionError("start_response() was called already")
        self.response.start(
            int(status[:3]),
            [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in headers
            ],
        )
        self._is_started = True
        return lambda data: self._write(data, True)

    def _write(self, data: bytes, more: bool) -> None:
        response = self.response
        if not self._is_started:
            raise RuntimeError(
                "the WSGI application has a body, but did not call start_response()"
            )
        if more and not data:
            return
        if not response.begun and (
            self._service.stopping or not self._connection.is_skippable()
        ):
            response.keep_alive = False
        wire = response.body(bytes(data), more)
        with self._changed:
            while self._unwritten > _MAX_UNWRITTEN and not self._is_gone:
                self._changed.wait()
            if self._is_gone:
                raise ConnectionResetError("nobody reads the response any more")
            self._unwritten += len(wire)
        self._call(self._deliver, wire, not more)

    def read_into(self, buffer: memoryview) -> int:
        """Wait for some of the body."""
        with self._changed:
            while not self._body and not self._body_is_read:
                if self._is_cut:
                    raise ConnectionResetError("the rest of the request never came")
                self._changed.wait()
            count = min(len(buffer), len(self._body))
            buffer[:count] = self._body[:count]
            del self._body[:count]
        if not self._body_is_read:
            self._call(self.body_came)
        return count


class _Input(io.RawIOBase):
    """The body of a request that is still coming in."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what is there, once there is something."""
        return self._exchange.read_into(memoryview(buffer).cast("B"))
