"""A connection with HTTP/1.1, whatever moves its bytes: requests in, one after another, and out come responses.

Nothing is read that nobody asks for, and nothing is written faster than the peer takes it, so both sides are bounded.
A request is answered before the next one is looked at.
"""

from __future__ import annotations

from asyncio import Future
from contextvars import copy_context
from http import HTTPStatus

from ._http import BadRequest, Body, Head, Response, refusal

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Protocol

    from ._web_service import Service

    Address = tuple[str, int | None]

    class Exchange(Protocol):
        """A request that is being answered."""

        response: Response

        def start(self) -> None:
            """Begin with it."""

        def body_came(self) -> None:
            """Take note that there is more of the body, or all of it."""

        def disconnected(self) -> None:
            """Take note that the peer has said its last, or has gone."""

    class Upgraded(Protocol):
        """What has taken the connection over."""

        def received(self, data: bytes) -> None:
            """Read what comes in."""

        def disconnected(self) -> None:
            """Take note that the peer has said its last, or has gone."""

        def stop(self) -> None:
            """End, since the server does."""

        def is_silent(self) -> None:
            """Take note that it is time to ask the peer whether it is there."""


#: How much of a body is kept for an application that does not read it.
_MAX_UNREAD = 64 << 10

#: How much of a body that the application did not want is read, so that the connection can go on.
_MAX_SKIPPED = 64 << 10

#: How much of it is read so that the peer reads why the connection ends.
_MAX_LINGER = 16 << 20

#: How many requests that came together are answered before others have their turn.
_AT_ONCE = 16

#: How much may wait to be written before an application waits, too.
HIGH_WATER = 64 << 10


class Link:
    """What moves the bytes of a connection; each kind of link defines all of these."""

    #: Whether more waits to be written than should.
    choked = False

    def send(self, data: bytes) -> None:
        """Write, after all that was to be written before."""
        raise NotImplementedError

    def end(self) -> None:
        """Close, when everything is written."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close, and let the peer see that something is missing."""
        raise NotImplementedError

    def end_writing(self) -> None:
        """Say that nothing more comes, and read on."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Read no more for now."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Read again."""
        raise NotImplementedError

    def addresses(self) -> tuple[Address | None, Address | None]:
        """Give the addresses of the peer, and of this side."""
        raise NotImplementedError


class Connection(Link):
    """The state of a connection. Links call ``opened``, ``received``, ``ended``, ``lost`` and ``may_write``."""

    service: Service
    #: The variables with which each request begins.
    context: Context
    secure = False
    #: The peer has said its last.
    is_ended = False
    is_lost = False

    #: No request has come yet.
    _is_new = True
    _input = b""
    _exchange: Exchange | None = None
    _upgraded: Upgraded | None = None
    _body: Body | None = None
    _unread = b""
    _skipped = 0
    _linger_left = 0
    _is_paused = False
    _is_closing = False
    #: ``_next`` runs, or will run soon.
    _is_busy = False
    _waiting: list[Future[None]] | None = None
    _addresses: tuple[Address | None, Address | None] | None = None

    # ------------------------------------------------------------------------------------------------
    # For links

    def opened(self) -> None:
        """Begin to wait for a request."""
        self.context = copy_context()
        self.service.connections.add(self)
        self.service.heads.set(self)
        if self.service.stopping:
            self.stop()

    def received(self, data: bytes) -> None:
        """Read what has come in."""
        if self._upgraded is not None:
            self._upgraded.received(data)
        elif self._linger_left:
            self._linger_left -= len(data)
            if self._linger_left <= 0:
                self.finish()
        elif not self._is_closing:
            self._input = self._input + data if self._input else data
            if self._exchange is not None:
                self._go_on()
            elif not self._is_busy:
                self._next()
            else:
                self.hold_reading(len(self._input) > self.service.limits.max_head)

    def ended(self) -> None:
        """Take note that the peer has said its last."""
        self.is_ended = True
        if self._upgraded is not None:
            self._upgraded.disconnected()
        elif self._exchange is not None:
            self._exchange.disconnected()
        elif not self._is_busy and not self.choked:
            self.finish()

    def lost(self) -> None:
        """Take note that there is no connection any more."""
        self.is_ended = self.is_lost = self._is_closing = True
        self.service.forget(self)
        if self._upgraded is not None:
            self._upgraded.disconnected()
        elif self._exchange is not None:
            self._exchange.disconnected()
        self.may_write()

    def may_write(self) -> None:
        """Take note that what was written is on its way, or never will be."""
        self.choked = False
        waiting, self._waiting = self._waiting, None
        for future in waiting or ():
            if not future.done():
                future.set_result(None)
        if self._exchange is None and not self._is_closing and not self._is_busy:
            self._next()

    # ------------------------------------------------------------------------------------------------
    # For the service and its deadlines

    def stop(self) -> None:
        """End with the request that is being answered."""
        if self._upgraded is not None:
            self._upgraded.stop()
        elif self._exchange is None and self._is_new:
            # Its request may be on its way.
            self.service.lingering.set(self)
        elif self._exchange is None:
            self.finish()

    def head_is_late(self) -> None:
        """Wait no longer for a head; a peer that sent nothing hears nothing."""
        if self._input:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT)
        self.finish()

    def body_is_late(self) -> None:
        """Wait no longer for a body."""
        if self._exchange is not None:
            self._give_up(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.finish()

    def is_silent(self) -> None:
        """Ask a peer of which nothing was heard."""
        if self._upgraded is not None:
            self._upgraded.is_silent()

    # ------------------------------------------------------------------------------------------------
    # For exchanges

    @property
    def peer(self) -> Address | None:
        """Where the peer is."""
        if self._addresses is None:
            self._addresses = self.addresses()
        return self._addresses[0]

    @property
    def local(self) -> Address | None:
        """Where this side is."""
        if self._addresses is None:
            self._addresses = self.addresses()
        return self._addresses[1]

    def serves(self, exchange: Exchange | Upgraded) -> bool:
        """Whether somebody would still read what that one writes."""
        return not self.is_lost and (
            exchange is self._exchange or exchange is self._upgraded
        )

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written."""
        while self.choked and not self.is_lost:
            future = self.service.loop.create_future()
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(future)
            await future

    def take_body(self) -> bytes:
        """Give what is there of the body."""
        data, self._unread = self._unread, b""
        self.continue_reading()
        return data

    def body_is_read(self) -> bool:
        """Whether nothing more of the body will come in."""
        return self._body is None or self._body.done

    def want_body(self) -> None:
        """Take note that somebody waits for more of the body, which the peer has so long to send."""
        self.continue_reading()
        if not self.body_is_read() and not self._is_closing:
            self.service.bodies.begin(self)

    def hold_reading(self, hold: bool) -> None:
        """Read no more for now, if there is a reason."""
        if hold and not self._is_paused:
            self._is_paused = True
            self.pause_reading()

    def continue_reading(self) -> None:
        """Read again, if nothing was read for a while."""
        if self._is_paused:
            self._is_paused = False
            self.resume_reading()

    def is_skippable(self) -> bool:
        """Whether the rest of the body is short enough to be read for nothing."""
        if self._body is None or self._body.done:
            return True
        left = self._body.left
        return left is None or left <= _MAX_SKIPPED

    def refuse(self, status: HTTPStatus) -> None:
        """Answer with no more than a status."""
        if not self.is_lost:
            self.send(refusal(status))

    def upgrade(self, upgraded: Upgraded) -> bytes:
        """Let something else read from now on; gives what has come in already."""
        self._upgraded = upgraded
        self._exchange = None
        # Nothing here begins with a request any more.
        self._is_busy = True
        data, self._input = self._input, b""
        self.continue_reading()
        return data

    def answered(self, exchange: Exchange, keep_alive: bool) -> None:
        """Go on with the next request, or end."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        self._unread = b""
        self._skipped = 0
        if self._is_closing:
            return
        if not keep_alive or self.service.stopping:
            if self.body_is_read() and not self._input:
                self.finish()
            else:
                self._linger()
        elif not self._is_busy:
            self._next()

    def reset(self, exchange: Exchange | Upgraded) -> None:
        """End in the middle of a response."""
        if self.serves(exchange):
            self._exchange = self._upgraded = None
            self._is_closing = True
            self.abort()
            exchange.disconnected()

    def expect_end(self) -> None:
        """Give the peer a moment to end the connection."""
        self._is_closing = True
        self.continue_reading()
        self.service.lingering.set(self)

    def finish(self) -> None:
        """End when everything is written."""
        self._is_closing = True
        self._linger_left = 0
        self._input = b""
        if not self.is_lost:
            self.end()

    # ------------------------------------------------------------------------------------------------
    # Requests

    def _next(self) -> None:
        """Begin with the requests that are there."""
        service = self.service
        limit = service.limits.max_head
        count = 0
        self._is_busy = True
        try:
            while self._exchange is None and not self._is_closing and not self.choked:
                if self._body is not None and not self._skip_body():
                    break
                data = self._input
                if data.startswith(b"\r\n"):
                    self._input = data = data.lstrip(b"\r\n")
                end = data.find(b"\r\n\r\n")
                if end < 0 and len(data) <= limit:
                    self._wait()
                    break
                if end < 0 or end > limit:
                    raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                if count == _AT_ONCE:
                    service.loop.call_soon(self._resume)
                    self.hold_reading(len(data) > limit)
                    return
                count += 1
                head = Head(data[:end])
                self._input = data[end + 4 :]
                service.heads.clear(self)
                service.idle.clear(self)
                self._begin(head)
        except BadRequest as error:
            self._body = None
            self.refuse(error.status)
            self._linger()
        if self._upgraded is None:
            self._is_busy = False
        if self.choked:
            self.hold_reading(len(self._input) > limit)

    def _resume(self) -> None:
        self._is_busy = False
        if self._exchange is None and not self._is_closing:
            self._next()

    def _wait(self) -> None:
        """Wait for a head."""
        if self.is_ended:
            self.finish()
            return
        if self._input:
            self.service.idle.clear(self)
            self.service.heads.begin(self)
        elif self not in self.service.heads:
            self.service.idle.set(self)
        self.continue_reading()

    def _begin(self, head: Head) -> None:
        if self._is_new:
            self._is_new = False
            self.service.lingering.clear(self)
        if head.has_body:
            limits = self.service.limits
            self._body = Body(head, limits.max_body, limits.max_head)
            if self._input:
                self._read_body()
            if not self._body.done:
                self.continue_reading()
        self._exchange = exchange = self.service.exchange(self, head)
        exchange.start()

    def _go_on(self) -> None:
        """Read on while a request is being answered."""
        assert self._exchange is not None
        if self._body is None or self._body.done:
            # The next one waits for the response to this one.
            self.hold_reading(len(self._input) > self.service.limits.max_head)
            return
        try:
            self._read_body()
        except BadRequest as error:
            self._give_up(error.status)
            return
        self.hold_reading(len(self._unread) > _MAX_UNREAD)
        if self._unread or self._body.done:
            self.service.bodies.clear(self)
            self._exchange.body_came()

    def _read_body(self) -> None:
        assert self._body is not None
        data, self._input = self._body.take(self._input)
        self._unread = self._unread + data if self._unread else data

    def _skip_body(self) -> bool:
        """Read what nobody wants of a body that is not long; says whether all of it has been."""
        body = self._body
        assert body is not None
        if not body.done:
            try:
                self._read_body()
            except BadRequest:
                # The request was answered already.
                self._linger()
                return False
            self._skipped += len(self._unread)
            self._unread = b""
            if self._skipped > _MAX_SKIPPED:
                self._linger()
                return False
            if not body.done:
                if self.is_ended:
                    self.finish()
                else:
                    self.want_body()
                return False
        self.service.bodies.clear(self)
        self._body = None
        return True

    def _give_up(self, status: HTTPStatus) -> None:
        """End with a request that does not come in as it should."""
        exchange, self._exchange = self._exchange, None
        self._body = None
        assert exchange is not None
        if exchange.response.begun:
            self._is_closing = True
            self.abort()
        else:
            self.refuse(status)
            self._linger()
        exchange.disconnected()

    def _linger(self) -> None:
        """Wait for the end of a request that is not wanted.

        The system resets a connection that is closed with something unread, and the peer would lose the answer.
        """
        service = self.service
        for deadlines in (service.heads, service.bodies, service.idle):
            deadlines.clear(self)
        if self.is_ended or service.stopping:
            self.finish()
            return
        self._input = b""
        self._is_closing = True
        self._linger_left = _MAX_LINGER
        service.lingering.set(self)
        self.end_writing()
        self.continue_reading()
