"""A chat for people with line-based clients, who need not be connected to the same context.

Whatever is said goes to an Erlang process, the room, which tells all contexts.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import erlang
import erlang.reactor

MAX_LINE = 1000


class Member(erlang.reactor.Protocol):
    """Someone in the chat. The first line is the name."""

    name: str | None = None

    def connection_made(self, fd: int, client_info: dict) -> None:
        self.unread = bytearray()

    def data_received(self, data: bytes) -> str | None:
        self.unread += data
        *lines, rest = self.unread.split(b"\n")
        self.unread = rest
        for line in lines:
            self.line(line.decode(errors="replace").strip())
        if len(rest) > MAX_LINE:
            self.write_buffer += b"* that is too long for a line\n"
            return "close"
        return None

    def line(self, text: str) -> None:
        if self.name is None:
            self.name = text
            here().add(self)
            tell("joined", self.name)
        elif text:
            tell("said", self.name, text)

    def connection_lost(self) -> None:
        if self.name is not None:
            here().discard(self)
            tell("left", self.name)


def tell(*what: str) -> None:
    """Tell the room, if there is one still."""
    if room := erlang.whereis("chat_room"):
        erlang.send(room, what)


#: The members of each context: in mode worker contexts share this module.
_members: WeakKeyDictionary[asyncio.AbstractEventLoop, set[Member]] = (
    WeakKeyDictionary()
)


def here() -> set[Member]:
    """Give the members of the context whose loop runs."""
    return _members.setdefault(asyncio.get_running_loop(), set())


def deliver(text: str) -> int:
    """Send a line to all members of this context. The room calls this, as a task."""
    line = text.encode() + b"\n"
    for member in here():
        member.write_buffer += line
        erlang.reactor.signal_write_ready(member)
    return len(here())
