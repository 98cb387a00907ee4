"""What the connections of a web server have in common: limits, and the timers that see to them."""

from __future__ import annotations

from ._scope import internals
from ._web_connection import Connection

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable
    from typing import Any

    from ._http import Head
    from ._web_connection import Exchange

#: How long a peer may take to end a connection that is over.
_LINGER_SECONDS = 2.0


class Limits:
    """What a peer may send, and how long it may take: bytes and seconds, None where there is no limit."""

    def __init__(
        self,
        *,
        max_head: int = 64 << 10,
        max_body: int | None = None,
        head_timeout: float | None = 10.0,
        body_timeout: float | None = 60.0,
        idle_timeout: float | None = 75.0,
        ping_interval: float | None = 30.0,
    ) -> None:
        self.max_head = max_head
        self.max_body = max_body
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.idle_timeout = idle_timeout
        self.ping_interval = ping_interval


class Deadlines:
    """Connections that wait for their peer, all for the same time: one timer watches the oldest."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        seconds: float | None,
        expired: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._expired = expired
        self._due: dict[Connection, float] = {}
        self._timer: TimerHandle | None = None

    def set(self, connection: Connection) -> None:
        """Give it the whole time, from now on."""
        if self._seconds is None:
            return
        self._due.pop(connection, None)
        self._due[connection] = due = self._loop.time() + self._seconds
        if self._timer is None:
            self._arm(due)

    def begin(self, connection: Connection) -> None:
        """Give it the whole time, unless it has a part of it left."""
        if connection not in self._due:
            self.set(connection)

    def clear(self, connection: Connection) -> None:
        """Let it take its time."""
        self._due.pop(connection, None)

    def __contains__(self, connection: Connection) -> bool:
        """Whether it has to hurry."""
        return connection in self._due

    def cancel(self) -> None:
        """Watch no more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._look, context=internals())

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due:
            connection, due = next(iter(self._due.items()))
            if due > now:
                self._arm(due)
                return
            del self._due[connection]
            self._expired(connection)


class Service:
    """What answers the requests of many connections, on one loop."""

    def __init__(self, loop: AbstractEventLoop, limits: Limits | None = None) -> None:
        self.loop = loop
        self.limits = limits = limits or Limits()
        self.stopping = False
        self.connections: set[Connection] = set()
        self.heads = Deadlines(loop, limits.head_timeout, Connection.head_is_late)
        self.bodies = Deadlines(loop, limits.body_timeout, Connection.body_is_late)
        self.idle = Deadlines(loop, limits.idle_timeout, Connection.finish)
        self.lingering = Deadlines(loop, _LINGER_SECONDS, Connection.finish)
        self.silent = Deadlines(loop, limits.ping_interval, Connection.is_silent)
        self._deadlines = (
            self.heads,
            self.bodies,
            self.idle,
            self.lingering,
            self.silent,
        )

    def exchange(self, connection: Connection, head: Head) -> Exchange:
        """Make what answers a request."""
        raise NotImplementedError

    def forget(self, connection: Connection) -> None:
        """Have nothing more to do with a connection."""
        self.connections.discard(connection)
        for deadlines in self._deadlines:
            deadlines.clear(connection)

    def stop(self) -> None:
        """Let connections end with the request that they are at."""
        self.stopping = True
        for connection in list(self.connections):
            connection.stop()

    def cancel(self) -> None:
        """Forget the timers."""
        for deadlines in self._deadlines:
            deadlines.cancel()

    def report(self, message: str, error: BaseException | None = None) -> None:
        """Hand a failure to the exception handler of the loop."""
        context: dict[str, Any] = {"message": message}
        if error is not None:
            context["exception"] = error
        self.loop.call_exception_handler(context)
