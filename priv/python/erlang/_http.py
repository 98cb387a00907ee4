"""HTTP/1.1 without a connection: what is read and written, as bytes.

What two readers could read in two ways is refused: the one in front of this server may be the other one.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus
from time import time

# Not from typing: that would be imported for names that only checkers read.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[^\x00-\x08\x0a-\x1f\x7f]*"

#: What peers send: there are cookies with control characters. Those that could end a line are never good.
_PEERS_VALUE = rb"[^\x00\x0a-\x0d\x7f]*"

_request_line = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/(\d\.\d)").fullmatch
_field = re.compile(rb"(" + _TOKEN + rb"):[ \t]*(" + _PEERS_VALUE + rb")").fullmatch
_is_token = re.compile(_TOKEN).fullmatch
_is_value = re.compile(_VALUE).fullmatch
_chunk_size = re.compile(
    rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?"
).fullmatch

#: The largest line between chunks of a body.
_MAX_LINE = 4096

#: Headers come again and again, so those that were found good are kept, up to a number and a length. Not those that
#: are secret: they are gone with their request.
_MAX_KNOWN = 1024
_MAX_KNOWN_LENGTH = 160
_SECRET = (b"authorization", b"cookie", b"proxy-authorization")

_known_fields: dict[bytes, tuple[bytes, bytes]] = {}
_known_lines: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
_known_statuses: dict[int, bytes] = {}


class BadRequest(Exception):
    """The peer does not keep to the protocol, or to the limits."""

    def __init__(self, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(status)
        self.status = status


class Head:
    """The request line and the headers."""

    __slots__ = (
        "chunked",
        "expects_continue",
        "has_body",
        "headers",
        "is_1_1",
        "keep_alive",
        "length",
        "method",
        "target",
        "upgrade",
    )

    def __init__(self, data: bytes) -> None:
        """Read a head, without the empty line that ends it."""
        line, *fields = data.split(b"\r\n")
        match = _request_line(line)
        if match is None:
            raise BadRequest
        method, self.target, version = match.groups()
        if version not in (b"1.1", b"1.0"):
            raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        self.method = method.decode("ascii")
        self.is_1_1 = is_1_1 = version == b"1.1"
        self.headers: Headers = []
        self.length = 0
        self.chunked = self.expects_continue = False
        self.upgrade: bytes | None = None
        self.keep_alive = is_1_1
        hosts = 0
        length: bytes | None = None
        codings: list[bytes] = []
        options = b""
        for field in fields:
            found = _known_fields.get(field) or _read_field(field)
            self.headers.append(found)
            name = found[0]
            if name not in _MATTERS:
                continue
            value = found[1]
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                if not value.isdigit() or length not in (None, value):
                    raise BadRequest
                length = value
            elif name == b"transfer-encoding":
                codings.append(value.lower())
            elif name == b"connection":
                options += value.lower() + b","
            elif name == b"upgrade":
                self.upgrade = value.lower()
            elif is_1_1 and value.lower() == b"100-continue":
                self.expects_continue = True
        if hosts > 1 or (is_1_1 and not hosts):
            raise BadRequest
        if codings:
            if length is not None or not is_1_1:
                raise BadRequest
            if codings != [b"chunked"]:
                raise BadRequest(HTTPStatus.NOT_IMPLEMENTED)
            self.chunked = True
        elif length is not None:
            if len(length) > 18:
                raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            self.length = int(length)
        self.has_body = self.chunked or self.length > 0
        if options or self.upgrade is not None:
            self._connection({option.strip() for option in options.split(b",")})

    def _connection(self, options: set[bytes]) -> None:
        if b"close" in options:
            self.keep_alive = False
        elif b"keep-alive" in options:
            self.keep_alive = True
        if b"upgrade" not in options or not self.is_1_1:
            self.upgrade = None


_MATTERS = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"expect",
    )
)


def _read_field(line: bytes) -> tuple[bytes, bytes]:
    match = _field(line)
    if match is None:
        raise BadRequest
    name, value = match.groups()
    name, value = name.lower(), value.rstrip(b" \t")
    if len(line) <= _MAX_KNOWN_LENGTH and name not in _SECRET:
        if len(_known_fields) >= _MAX_KNOWN:
            _known_fields.clear()
        _known_fields[line] = name, value
    return name, value


class Body:
    """The body of a request, as it comes in."""

    __slots__ = ("_chunked", "_left", "_limit", "_room", "_state", "done")

    #: What comes next of a chunked body, where nothing is left of a chunk.
    _SIZE, _END_OF_CHUNK, _TRAILERS = range(3)

    def __init__(self, head: Head, limit: int | None, max_trailers: int) -> None:
        if limit is not None and head.length > limit:
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._left = head.length
        self._chunked = head.chunked
        self._limit = limit
        self._state = self._SIZE
        self._room = max_trailers
        self.done = not head.has_body

    @property
    def left(self) -> int | None:
        """How much is still to come; None if that is not known."""
        return None if self._chunked and not self.done else self._left

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what of the data is body, and what is left, to be given again with more behind it."""
        if self._chunked:
            return self._take_chunks(data)
        taken = data[: self._left]
        self._left -= len(taken)
        self.done = self._left == 0
        return taken, data[len(taken) :]

    def _take_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        pieces = []
        at = 0
        while not self.done:
            if self._left:
                piece = data[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = self._END_OF_CHUNK
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > _MAX_LINE:
                    raise BadRequest
                break
            self._read_line(data[at:end])
            at = end + 2
        return b"".join(pieces), data[at:]

    def _read_line(self, line: bytes) -> None:
        if self._state == self._SIZE:
            match = _chunk_size(line)
            if match is None or len(line) > _MAX_LINE:
                raise BadRequest
            self._left = int(match.group(1), 16)
            if self._limit is not None:
                self._limit -= self._left
                if self._limit < 0:
                    raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if self._left == 0:
                self._state = self._TRAILERS
        elif self._state == self._END_OF_CHUNK:
            if line:
                raise BadRequest
            self._state = self._SIZE
        elif line:
            self._room -= len(line)
            if self._room < 0:
                raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            if _field(line) is None:
                raise BadRequest
        else:
            self.done = True


class Response:
    """The answer to a request: its head is written with the first piece of its body."""

    __slots__ = (
        "_chunked",
        "_has_body",
        "_head",
        "_headers",
        "_status",
        "_to_write",
        "begun",
        "done",
        "keep_alive",
    )

    def __init__(self, head: Head) -> None:
        self._head = head
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._to_write: int | None = None
        self._chunked = False
        self._has_body = head.method != "HEAD"
        self.keep_alive = head.keep_alive
        self.begun = False
        self.done = False

    @property
    def started(self) -> bool:
        """Whether its status is known."""
        return self._status != 0

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Set the status and the headers, with which nothing is written yet."""
        if not 200 <= status <= 999:
            raise ValueError(f"no status of a response: {status}")
        self._status = status
        self._headers = headers

    def body(self, data: bytes, more: bool) -> bytes:
        """Give what is to be written for a piece of the body, the last one if there are no more."""
        head = b"" if self.begun else self._begin(len(data), more)
        if not self._has_body:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if not more:
                data += b"0\r\n\r\n"
        elif self._to_write is not None:
            self._to_write -= len(data)
            if self._to_write < 0 or (self._to_write and not more):
                raise RuntimeError("the body is not as long as content-length says")
        self.begun = True
        self.done = not more
        return head + data if head else data

    def _begin(self, length: int, more: bool) -> bytes:
        status = self._status
        lines = [_known_statuses.get(status) or _status_line(status)]
        dated = False
        for pair in self._headers:
            name, line = _known_lines.get(_key(pair)) or _header_line(pair)
            if name in _DECIDES:
                value = line[len(name) + 2 : -2]
                if name == b"date":
                    dated = True
                elif name == b"content-length":
                    if not value.isdigit() or self._to_write not in (None, int(value)):
                        raise ValueError(f"no length of a body: {value!r}")
                    self._to_write = int(value)
                else:
                    # How the body is delimited, and what becomes of the connection, is decided below.
                    if name == b"connection" and b"close" in value.lower():
                        self.keep_alive = False
                    continue
            lines.append(line)
        if status in (204, 304):
            self._has_body = False
        elif self._to_write is None and not more and self._has_body:
            self._to_write = length
            lines.append(b"content-length: %d\r\n" % length)
        elif self._to_write is None and self._head.is_1_1:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        elif self._to_write is None:
            self.keep_alive = False
        if not dated:
            lines.append(_date_line())
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        elif not self._head.is_1_1:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)


_DECIDES = frozenset((b"date", b"content-length", b"connection", b"transfer-encoding"))


def _key(pair: Iterable[bytes]) -> tuple[bytes, bytes]:
    # Applications give lists, too, and other kinds of bytes.
    name, value = pair
    return (
        name if type(name) is bytes else bytes(name),
        value if type(value) is bytes else bytes(value),
    )


def _header_line(pair: Iterable[bytes]) -> tuple[bytes, bytes]:
    name, value = key = _key(pair)
    if _is_token(name) is None or _is_value(value) is None:
        raise ValueError(f"no header: {name!r}: {value!r}")
    lower = name.lower()
    found = lower, lower + b": " + value + b"\r\n"
    if len(name) + len(value) <= _MAX_KNOWN_LENGTH and lower != b"set-cookie":
        if len(_known_lines) >= _MAX_KNOWN:
            _known_lines.clear()
        _known_lines[key] = found
    return found


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Give the lines of headers, checked."""
    return b"".join([_header_line(pair)[1] for pair in headers])


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    line = b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode("ascii"))
    _known_statuses[status] = line
    return line


_dated = (0, b"")


def _date_line() -> bytes:
    global _dated
    second, line = _dated
    now = int(time())
    if now != second:
        line = b"date: " + formatdate(now, usegmt=True).encode("ascii") + b"\r\n"
        _dated = now, line
    return line


def refusal(status: HTTPStatus) -> bytes:
    """Give a whole response that says no more than its status, and ends the connection."""
    phrase = status.phrase.encode("ascii")
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b\n"
        % (status, phrase, len(phrase) + 1, _date_line(), phrase)
    )
