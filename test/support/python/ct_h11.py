"""The server's reader of requests beside h11's: what it takes, h11 takes, and finds the same in it."""

import random

import h11
from erlang._http import BadRequest, Body, Head

_LINES = [
    b"GET / HTTP/1.1",
    b"POST /a?b=c HTTP/1.1",
    b"HEAD /%20 HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"GET http://here/there HTTP/1.1",
    b"M-SEARCH / HTTP/1.1",
]
_FIELDS = [
    b"Host: here",
    b"Host:there:80",
    b"Accept: a, b;q=0.5",
    b"X-Empty:",
    b"X-Blank: \t ",
    b"X-Bytes: \xc3\xbc\xff",
    b"x-lower:  many   blanks  ",
    b"Content-Length: 5",
    b"Content-Length: 05",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Expect: 100-continue",
    b"folded: line\r\n and more",
    b"X-Control: a\x01b",
    b"bad name: x",
    b": x",
]
_CHUNKED = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;name=value\r\nhello\r\n3\r\nyou\r\n0\r\nTrailer: x\r\n\r\n",
    b"a \r\n0123456789\r\n000\r\n\r\n",
    b"A\r\n0123456789\r\n0\r\n\r\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
    b"-1\r\n\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
]


def _request(source):
    fields = source.choices(_FIELDS, k=source.randrange(6))
    if source.random() < 0.8:
        fields = [field for field in fields if not field.startswith(b"Host")] + [b"Host: here"]
    source.shuffle(fields)
    joined = b"\r\n".join([source.choice(_LINES), *fields]) + b"\r\n\r\n"
    if b"chunked" in joined.lower():
        return joined + source.choice(_CHUNKED)
    return joined + (b"hello" if b"Content-Length: 5" in joined or b"Content-Length: 05" in joined else b"")


def _damaged(source, data):
    changed = bytearray(data)
    for _ in range(source.choice((0, 0, 1, 1, 2))):
        at = source.randrange(len(changed))
        match source.randrange(4):
            case 0:
                changed[at] = source.randrange(256)
            case 1:
                del changed[at]
            case 2:
                changed.insert(at, source.choice(b"\r\n\t :;,\x00\x7f0aZ"))
            case 3:
                other = source.randrange(len(changed))
                changed[at:at] = changed[other : other + source.randrange(8)]
    return bytes(changed)


def ours(data):
    """Give the requests that are whole, and whether what follows was refused."""
    found = []
    while True:
        # Empty lines before a request, which h11 refuses, are skipped before a head is read.
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return found, False
        try:
            head = Head(data[:end])
            body = Body(head, None, 65536)
            text, data = body.take(data[end + 4 :])
        except BadRequest:
            return found, True
        if not body.done:
            return found, False
        found.append((head.method.encode(), head.target, _as_h11_tells(head.headers), text))
        # h11 ends every connection with a request of the old version.
        if not (head.keep_alive and head.is_1_1):
            return found, False


def _as_h11_tells(headers):
    """Leave out lengths that come again, and have codings in small letters."""
    told = []
    for name, value in headers:
        if name == b"content-length" and name in dict(told):
            continue
        told.append((name, value.lower() if name == b"transfer-encoding" else value))
    return told


def theirs(data):
    """Give the same by h11."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found = []
    request, text = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, text = event, b""
            elif isinstance(event, h11.Data):
                text += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((request.method, request.target, list(request.headers), text))
                connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return found, False
                connection.start_next_cycle()
            else:
                return found, False
    except h11.RemoteProtocolError:
        return found, True


def in_pieces(data, source):
    """Read a body bit by bit, which must not change what is found."""
    end = data.find(b"\r\n\r\n")
    try:
        head = Head(data[:end])
        body = Body(head, None, 65536)
        text, rest = b"", data[end + 4 :]
        waiting = b""
        while rest and not body.done:
            step = source.randrange(1, 8)
            piece, waiting = body.take(waiting + rest[:step])
            rest = rest[step:]
            text += piece
    except BadRequest:
        return None
    return text if body.done else None


def compare(count):
    """Give what differs, of so many streams of requests."""
    source = random.Random(42)
    both, wrong = 0, []
    for _ in range(count):
        data = _damaged(source, b"".join(_request(source) for _ in range(source.randrange(1, 4))))
        (mine, _), (known, refused) = ours(data), theirs(data)
        both += len(mine)
        # What is refused here may be good for h11, which is more patient; what is taken must be the same there.
        if mine != known[: len(mine)]:
            wrong.append((data, mine, known, refused))
        if mine:
            pieces = in_pieces(data, source)
            if pieces != mine[0][3]:
                wrong.append((data, pieces, mine, False))
    return [both, wrong[:5]]
