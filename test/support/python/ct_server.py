"""What is served on sockets that Erlang opened."""

import asyncio
import ssl

import erlang
import erlang.server

#: Contexts, in mode owngil, or threads of one, that say who they are.
_names = {}


class Echo(asyncio.Protocol):
    """Sends back what comes; some of it is an order."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        match data:
            case b"fail":
                raise ValueError("told to fail")
            case b"close":
                self.transport.close()
            case b"abort":
                self.transport.abort()
            case b"who":
                self.transport.write(_names[asyncio.get_running_loop()])
            case _:
                self.transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def shout(reader, writer):
    """Lines, in capitals, until there are no more."""
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()
    writer.close()


class Shout:
    """The same as an object."""

    async def __call__(self, reader, writer):
        await shout(reader, writer)


async def web(scope, receive, send):
    """An application that knows nothing of lifespans."""
    assert scope["type"] == "http"
    if scope["path"] == "/unread":
        await send({"type": "http.response.start", "status": 413})
        await send({"type": "http.response.body", "body": b"too much"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    path = scope["path"]
    if path == "/fail":
        raise ValueError("told to fail")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/half":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("told to fail")
    if path == "/pieces":
        for piece in (b"one ", b"two "):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        body = b"three"
    query = scope["query_string"]
    await send({"type": "http.response.body", "body": b" ".join([scope["method"].encode(), path.encode(), query, body])})


def telling(pid):
    """Make an application that tells the process what happens to it."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for _ in range(2):
                event = (await receive())["type"]
                erlang.send(pid, (erlang.atom("lifespan"), event))
                scope["state"]["told"] = b"started"
                await send({"type": event + ".complete"})
            return
        await receive()
        if scope["path"] == "/wait":
            erlang.send(pid, erlang.atom("waiting"))
            erlang.send(pid, (erlang.atom("received"), (await receive())["type"]))
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["state"]["told"]})

    return app


async def failing_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def _handler(name):
    return Shout() if name == "Shout" else globals()[name]


async def serve(fd, name="Echo", **options):
    await erlang.server.serve(fd, _handler(name), **options)


async def serve_telling(fd, pid):
    await erlang.server.serve(fd, telling(pid))


async def serve_as(fd, who):
    _names[asyncio.get_running_loop()] = who.encode()
    await erlang.server.serve(fd, Echo)


async def adopt(fd, name="Echo", **options):
    await erlang.server.adopt(fd, _handler(name), **options)


def context(certificate, key):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    return made


async def serve_tls(fd, certificate, key):
    await erlang.server.serve(fd, Echo, ssl=context(certificate, key))


async def adopt_tls(fd, certificate, key):
    await erlang.server.adopt(fd, Echo, ssl=context(certificate, key))


async def stop(**options):
    await erlang.server.stop_serving(**options)


async def outcome(function, fd, name, **options):
    """Name the exception, with its text."""
    try:
        await getattr(erlang.server, function)(fd, _handler(name), **options)
    except Exception as error:
        return type(error).__name__, str(error)


async def serve_and_stop_one(kept, stopped):
    """Serve two sockets, and stop one of them."""
    await erlang.server.serve(kept, Echo)
    await erlang.server.stop_serving(await erlang.server.serve(stopped, Echo))


def run_serve(fd):
    """Serve from an ordinary call: the server outlives it."""
    erlang.run(serve(fd))
