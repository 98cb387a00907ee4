"""ASGI 3: requests become calls of a coroutine function of scope, receive and send."""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from http import HTTPStatus
from urllib.parse import unquote

from _erlang import Interrupted

from ._http import Head, Response
from ._web_service import Limits, Service

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from ._web_connection import Connection, Exchange

    Message = dict[str, Any]
    Asgi = Callable[..., Coroutine[Any, Any, Any]]

#: How much of a response is written before others have their turn.
_AT_ONCE = 1 << 20

VERSION = {"version": "3.0", "spec_version": "2.4"}


class AsgiService(Service):
    """An ASGI application, and the connections that it serves on one loop."""

    def __init__(
        self,
        app: Asgi,
        loop: asyncio.AbstractEventLoop,
        limits: Limits | None = None,
        root_path: str = "",
        max_message: int | None = 16 << 20,
    ) -> None:
        super().__init__(loop, limits)
        self.max_message = max_message
        self.app = app
        self.root_path = root_path
        self.state: dict[str, Any] = {}
        self._lifespan: _Lifespan | None = None
        self._tasks: set[Task[None]] = set()

    def exchange(self, connection: Connection, head: Head) -> Exchange:
        """Make what answers a request."""
        if head.upgrade == b"websocket" and head.method == "GET":
            from ._web_socket import WebSocket

            return WebSocket(self, connection, head)
        return _Exchange(self, connection, head)

    def run(self, connection: Connection, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the application for a request; what needs no waiting is done at once."""
        loop = self.loop
        # Not in the context of the request before, which may just be ending.
        context = connection.context.copy()
        if loop.get_task_factory() is None:
            task = Task(coroutine, loop=loop, eager_start=True, context=context)
        else:
            task = loop.create_task(coroutine, context=context)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def scope(self, connection: Connection, head: Head, kind: str) -> Message:
        """Describe a request to the application."""
        path, _, query = head.target.partition(b"?")
        if not path.startswith(b"/") and b"://" in path:
            # The absolute form, as for a proxy.
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        text = path.decode("ascii")
        return {
            "type": kind,
            "asgi": VERSION,
            "http_version": "1.1" if head.is_1_1 else "1.0",
            "scheme": "https" if connection.secure else "http",
            "path": self.root_path + (unquote(text) if "%" in text else text),
            "raw_path": path,
            "query_string": query,
            "root_path": self.root_path,
            "headers": head.headers,
            "client": connection.peer,
            "server": connection.local,
            "state": self.state.copy(),
        }

    async def startup(self) -> None:
        """Let the application start; an exception says that it could not."""
        self._lifespan = _Lifespan(self)
        await self._lifespan.startup()

    async def shutdown(self) -> None:
        """Let the application clean up."""
        self.cancel()
        if self._lifespan is not None:
            await self._lifespan.shutdown()


class Waiters:
    """Coroutines that wait for something to change, each for itself: one may be cancelled."""

    __slots__ = ("_futures", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._futures: list[Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next change."""
        future = self._loop.create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            if future in self._futures:
                self._futures.remove(future)

    def wake(self) -> None:
        """Tell all of a change."""
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)


class _Exchange:
    """A request and its response."""

    __slots__ = (
        "_connection",
        "_head",
        "_is_told",
        "_owes_continue",
        "_service",
        "_waiters",
        "_written",
        "response",
    )

    def __init__(
        self, service: AsgiService, connection: Connection, head: Head
    ) -> None:
        self._service = service
        self._connection = connection
        self._head = head
        self.response = Response(head)
        # Of the end of the body, and later of the end of the connection.
        self._is_told = False
        self._owes_continue = head.expects_continue and head.has_body
        self._waiters: Waiters | None = None
        self._written = 0

    def start(self) -> None:
        """Run the application."""
        self._service.run(self._connection, self._run())

    def body_came(self) -> None:
        """Tell who waits for it."""
        if self._waiters is not None:
            self._waiters.wake()

    def disconnected(self) -> None:
        """Tell who waits for that."""
        if self._waiters is not None:
            self._waiters.wake()

    async def _run(self) -> None:
        connection, response = self._connection, self.response
        scope = self._service.scope(connection, self._head, "http")
        scope["method"] = self._head.method
        try:
            await self._service.app(scope, self._receive, self._send)
            if not response.done and not self._is_over():
                raise RuntimeError("the ASGI application ended before its response")
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection ends alone
            if not (self._is_over() and isinstance(error, OSError)):
                self._service.report(
                    f"{self._head.method} {scope['path']}: the ASGI application failed",
                    error,
                )
            if not response.begun and connection.serves(self):
                connection.refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
                connection.answered(self, False)
            elif response.done:
                connection.answered(self, response.keep_alive)
            else:
                connection.reset(self)
        except Interrupted as error:
            self._service.report(
                f"{self._head.method} {scope['path']}: the request was interrupted",
                error,
            )
            connection.reset(self)
        except BaseException:
            connection.reset(self)
            raise
        else:
            if response.done:
                connection.answered(self, response.keep_alive)
            else:
                # It was told that nobody listens, and may leave then.
                connection.reset(self)
        finally:
            self.disconnected()

    def _is_over(self) -> bool:
        """Whether the application was told, or could have been, that nobody listens."""
        return self._connection.is_ended or not self._connection.serves(self)

    async def _receive(self) -> Message:
        connection = self._connection
        while not self._is_told and connection.serves(self):
            data, is_read = connection.take_body(), connection.body_is_read()
            if data or is_read:
                self._owes_continue = False
                self._is_told = is_read
                return {"type": "http.request", "body": data, "more_body": not is_read}
            if connection.is_ended:
                break
            if self._owes_continue:
                self._owes_continue = False
                if not self.response.begun:
                    connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.want_body()
            await self._wait()
        self._is_told = True
        while (
            connection.serves(self)
            and not connection.is_ended
            and not self.response.done
        ):
            await self._wait()
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        if self._waiters is None:
            self._waiters = Waiters(self._service.loop)
        await self._waiters.wait()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        response = self.response
        if kind == "http.response.body" and response.started and not response.done:
            data, more = message.get("body", b""), bool(message.get("more_body", False))
            self._write(data, more)
            if self._connection.choked:
                self._written = 0
                await self._connection.drain()
            elif more:
                # The peer takes all of it; others have their turn nevertheless.
                self._written += len(data)
                if self._written > _AT_ONCE:
                    self._written = 0
                    await asyncio.sleep(0)
        elif kind == "http.response.start" and not response.started:
            response.start(int(message["status"]), message.get("headers", ()))
        else:
            raise RuntimeError(f"an ASGI application may not send {kind!r} now")

    def _write(self, data: bytes, more: bool) -> None:
        connection, response = self._connection, self.response
        if not connection.serves(self):
            raise ConnectionResetError("nobody reads the response any more")
        if type(data) is not bytes:
            data = bytes(data)
        if not response.begun and (
            self._owes_continue
            or self._service.stopping
            or not connection.is_skippable()
        ):
            # Who was not told to go on with the body may send it or not.
            response.keep_alive = False
        connection.send(response.body(data, more))
        if response.done:
            self.disconnected()


class _Lifespan:
    """Tells the application when serving begins and ends. One that does not want to know raises, and is left alone."""

    def __init__(self, service: AsgiService) -> None:
        self._service = service
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._told = asyncio.Event()
        self._is_started = False
        self._is_ending = False
        self._error: str | None = None
        self._task = service.loop.create_task(self._run())

    async def startup(self) -> None:
        await self._tell("lifespan.startup")
        self._is_started = True
        if self._error is not None:
            raise RuntimeError(f"the ASGI application did not start: {self._error}")

    async def shutdown(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            await self._tell("lifespan.shutdown")
        if self._error is not None:
            self._service.report(
                f"the ASGI application did not shut down: {self._error}"
            )

    async def _tell(self, event: str) -> None:
        self._told.clear()
        self._inbox.put_nowait({"type": event})
        waiting = self._service.loop.create_task(self._told.wait())
        try:
            await asyncio.wait(
                (waiting, self._task), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": VERSION, "state": self._service.state}
        try:
            await self._service.app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - it may not know of lifespans
            if self._is_started:
                self._service.report("the ASGI application failed", error)

    async def _receive(self) -> Message:
        try:
            return await self._inbox.get()
        except asyncio.CancelledError:
            # The end of the context comes so. It leaves time to clean up, which applications do when they are told.
            if not self._is_started or self._is_ending:
                raise
            self._is_ending = True
            self._task.uncancel()
            return {"type": "lifespan.shutdown"}

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
