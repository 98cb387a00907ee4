"""asyncio servers on sockets that Erlang opened.

Erlang listens, or accepts, and gives the number of the socket's descriptor. Each function here takes a duplicate of it:
the descriptor itself stays with Erlang, which closes it when it likes, before or after Python closes its own.

Whoever answers on the connections is, everywhere, one of

- a protocol factory, as ``loop.create_server`` takes it;
- a coroutine function of two arguments, reader and writer, as ``asyncio.start_server`` takes it;
- an ASGI application, a coroutine function of three arguments, which is served by HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import _erlang

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl as ssl_module
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any, Protocol, Self

    from ._web_asgi import AsgiService

    class HasFileno(Protocol):
        """What knows the number of its descriptor."""

        def fileno(self) -> int:
            """Return the number."""
            ...

    Descriptor = int | HasFileno
    Serving = asyncio.Server | asyncio.DatagramTransport
    #: See the top of the module.
    Handler = Callable[..., Any]

__all__ = ["adopt", "serve", "stop_serving"]

#: How many connections are accepted at once, when the length of the queue is left as Erlang has set it.
_ACCEPT_AT_ONCE = 100


async def serve(
    fd: Descriptor,
    factory: Handler,
    *,
    udp: bool = False,
    backlog: int | None = None,
    ssl: ssl_module.SSLContext | None = None,
) -> Serving:
    """Accept connections on a socket that listens, or receive on a datagram socket with ``udp=True``.

    Returns the ``asyncio.Server``, or the transport of the datagrams. The loop that runs now serves until
    ``stop_serving``, ``close()`` of what was returned, or the end of the loop.

    A socket that listens already keeps the length of its queue, unless ``backlog`` sets another one. Several loops may
    serve the same socket: the system gives each connection to one of them.
    """
    loop = asyncio.get_running_loop()
    if udp:
        if ssl is not None or backlog is not None:
            raise ValueError("a datagram socket has neither backlog nor ssl")
        if inspect.iscoroutinefunction(factory):
            raise TypeError(
                "datagrams need a protocol factory, not a coroutine function"
            )
        datagrams = _Datagrams.of(fd)
        with _closed_on_error(datagrams):
            transport, _ = await loop.create_datagram_endpoint(factory, sock=datagrams)
        _note(loop, transport, _Ending(datagrams.gone.wait))
        return transport
    make, application = _protocol_factory(factory, loop)
    listener = _Listener.of(fd)
    listener.keep_queue = backlog is None
    with _closed_on_error(listener):
        if application is not None:
            await application.startup()
        server = await loop.create_server(
            make, sock=listener, backlog=backlog or _ACCEPT_AT_ONCE, ssl=ssl
        )
    _note(loop, server, _Ending(server.wait_closed, application))
    return server


async def adopt(
    fd: Descriptor,
    factory: Handler,
    *,
    ssl: ssl_module.SSLContext | None = None,
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    """Serve one connection that Erlang has accepted; returns its transport and its protocol.

    Erlang must not have read ahead: the socket is passive, and should be closed in Erlang once this returns. When
    Python ends the connection the peer sees that at once, even if Erlang has not closed its side yet.
    """
    loop = asyncio.get_running_loop()
    make, _ = _protocol_factory(factory, loop)
    connection = _Adopted.of(fd)
    with _closed_on_error(connection):
        if _listens(connection):
            raise ValueError(
                "the socket listens: serve() takes such a one, not adopt()"
            )
        connection.is_ours = True
        return await loop.connect_accepted_socket(make, connection, ssl=ssl)


async def stop_serving(
    server: Serving | None = None, *, wait_closed: bool = True
) -> None:
    """Accept no more connections; without an argument, on everything that the running loop serves.

    Connections that are open go on. With ``wait_closed`` this returns when they have ended, and at once otherwise.
    HTTP connections that wait for their next request are closed.
    """
    known = _serving.get(asyncio.get_running_loop(), {})
    stopped = list(known) if server is None else [server]
    endings = [known.pop(one, None) for one in stopped]
    for one, ending in zip(stopped, endings, strict=True):
        one.close()
        if ending is not None and ending.application is not None:
            ending.application.stop()
    if wait_closed:
        for one, ending in zip(stopped, endings, strict=True):
            if ending is not None:
                await ending.wait()
            elif isinstance(one, asyncio.Server):
                await one.wait_closed()
    else:
        for ending in endings:
            if ending is not None and ending.application is not None:
                _in_background(ending.wait())


class _Ending:
    """How to wait for the end of what is served."""

    def __init__(
        self, wait: Callable[[], Any], application: AsgiService | None = None
    ) -> None:
        self._wait = wait
        self.application = application

    async def wait(self) -> None:
        await self._wait()
        if self.application is not None:
            await self.application.shutdown()


#: Only the loop knows of a task otherwise, and it does so weakly.
_background: set[asyncio.Task[None]] = set()


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _background.add(task)
    task.add_done_callback(_background.discard)


#: What each loop serves.
_serving: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Serving, _Ending]] = (
    WeakKeyDictionary()
)


def _note(loop: asyncio.AbstractEventLoop, serving: Serving, ending: _Ending) -> None:
    known = _serving.setdefault(loop, {})
    # What was closed without us is forgotten here.
    for one in list(known):
        if (
            one.is_closing()
            if isinstance(one, asyncio.BaseTransport)
            else not one.sockets
        ):
            del known[one]
    known[serving] = ending


def _protocol_factory(
    handler: Handler, loop: asyncio.AbstractEventLoop
) -> tuple[Callable[[], asyncio.Protocol], AsgiService | None]:
    """Make a factory of what may stand in its place; the second is there for ASGI only."""
    if not callable(handler):
        raise TypeError(
            f"a protocol factory or a coroutine function serves connections, not {type(handler).__name__}"
        )
    is_coroutine_function = inspect.iscoroutinefunction(
        handler
    ) or inspect.iscoroutinefunction(type(handler).__call__)
    if inspect.isclass(handler) or not is_coroutine_function:
        return handler, None
    signature = inspect.signature(handler)
    if _takes(signature, 3):
        from ._web_asgi import AsgiService
        from ._web_stream import StreamConnection

        application = AsgiService(handler, loop)
        return lambda: StreamConnection(application), application
    if _takes(signature, 2):

        def make() -> asyncio.Protocol:
            reader = asyncio.StreamReader(loop=loop)
            return asyncio.StreamReaderProtocol(reader, handler, loop=loop)

        return make, None
    raise TypeError(
        "a coroutine function that serves connections takes (reader, writer), or (scope, receive, send)"
    )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


class _Duplicate(socket.socket):
    """A socket of our own, with a duplicate of the descriptor."""

    kind = socket.SOCK_STREAM

    @classmethod
    def of(cls, fd: Descriptor) -> Self:
        number = fd if isinstance(fd, int) else fd.fileno()
        copy = _erlang.duplicate_socket(number)
        try:
            made = cls(fileno=copy)
        except BaseException:
            os.close(copy)
            raise
        if made.type != cls.kind:
            made.close()
            kind = "streams" if cls.kind == socket.SOCK_STREAM else "datagrams"
            raise ValueError(f"the socket of descriptor {number} is not one for {kind}")
        made.setblocking(False)
        return made


class _Listener(_Duplicate):
    keep_queue = True

    def listen(self, backlog: int = 128, /) -> None:
        """Leave a socket that listens as it is, unless somebody wants another length for its queue."""
        if not (self.keep_queue and _listens(self)):
            super().listen(backlog)


class _Adopted(_Duplicate):
    #: A socket that is refused stays as it is, for Erlang.
    is_ours = False

    def close(self) -> None:
        """End the connection, even if Erlang has its descriptor still."""
        if self.is_ours:
            self.is_ours = False
            try:
                self.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It has ended already.
                pass
        super().close()


class _Datagrams(_Duplicate):
    kind = socket.SOCK_DGRAM

    def __init__(self, *, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._loop = asyncio.get_running_loop()
        self.gone = asyncio.Event()

    def close(self) -> None:
        """Close, and tell who waits for that."""
        super().close()
        if not self._loop.is_closed():
            self.gone.set()


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


@contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise
