"""Protocols and an application for clients that behave badly, and for tools that behave well.

The first tell the process ``reactor_clients`` what happens to them.
"""

import asyncio
import threading
from typing import Any

import erlang
from erlang import reactor


def tell(*message: object) -> None:
    """Send the message to the test."""
    erlang.send(erlang.whereis("reactor_clients"), message)


def thread() -> int:
    """Say on which thread the context runs."""
    return threading.get_ident()


class Told(reactor.Protocol):
    """Tells of its begin and its end."""

    most = 0

    def connection_made(self, fd: int, client_info: Any) -> None:
        tell("made", threading.get_ident(), fd)

    def connection_lost(self) -> None:
        tell("lost", threading.get_ident(), self.fd, self.most)


class Echo(Told):
    """Sends back what it gets."""

    def data_received(self, data: bytes) -> str:
        self.write_buffer += data
        self.most = max(self.most, len(self.write_buffer))
        return "write_pending"


class Flood(Told):
    """Sends as much as it may, whoever reads it."""

    paused = False

    def data_received(self, data: bytes) -> str:
        self.task = asyncio.create_task(self.flood())
        return "async_pending"

    async def flood(self) -> None:
        """Write until the peer takes no more."""
        while not self.paused:
            self.write_buffer += bytes(16384)
            self.most = max(self.most, len(self.write_buffer))
            reactor.signal_write_ready(self.fd)
            await asyncio.sleep(0)
        tell("paused", self.most)

    def pause_writing(self) -> None:
        self.paused = True


class Http(reactor.Protocol):
    """Answers each request with a line, whatever it asks for."""

    unread = b""

    def data_received(self, data: bytes) -> str:
        *requests, self.unread = (self.unread + data).split(b"\r\n\r\n")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
        self.write_buffer += answer * len(requests)
        return "write_pending"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer requests of the web with a line."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello\n"})
