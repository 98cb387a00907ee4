"""Applications for web servers. What happens to them is told to the process that is registered as web_test."""

import asyncio
import contextvars
import threading

import erlang


def tell(what, value):
    """Send to the test; nobody hears of it otherwise."""
    test = erlang.whereis("web_test")
    if test is not None:
        erlang.send(test, (erlang.atom(what), value))


async def _read(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def _answer(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})


async def app(scope, receive, send):
    """Do what the path says."""
    if scope["type"] == "lifespan":
        return await _lifespan(scope, receive, send)
    if scope["type"] == "websocket":
        return await _websocket(scope, receive, send)
    path = scope["path"].removeprefix(scope["root_path"])
    await globals()["at_" + path.strip("/")](scope, receive, send)


async def _lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["began"] = "with this"
    tell("lifespan", "startup")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    tell("lifespan", "shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def at_echo(scope, receive, send):
    body = await _read(receive)
    if body is None:
        tell("body", "cut")
        return
    await _answer(send, body)


_variable = contextvars.ContextVar("variable", default="unset")


async def at_variable(scope, receive, send):
    """Set a variable, late enough for the next request to begin when this one ends."""
    await asyncio.sleep(0)
    before = _variable.get()
    _variable.set("set")
    await _answer(send, before.encode())


async def at_scope(scope, receive, send):
    shown = {name: scope[name] for name in ("method", "http_version", "scheme", "path", "root_path")}
    shown["query"] = scope["query_string"].decode()
    shown["client"] = list(scope["client"] or ())
    shown["server"] = list(scope["server"] or ())
    shown["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    shown["state"] = scope["state"]
    tell("scope", shown)
    await _answer(send, b"told")


async def at_pieces(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    for piece in (b"one", b"two"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"three"})


async def at_unread(scope, receive, send):
    await _answer(send, b"too much", 413)


async def at_length(scope, receive, send):
    await _answer(send, b"five", headers=[(b"content-length", b"5")])


async def at_fail(scope, receive, send):
    raise ValueError("a secret of the application")


async def at_half(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ValueError("a secret of the application")


async def at_wait(scope, receive, send):
    await receive()
    tell("waiting", "for the end")
    tell("then", (await receive())["type"])


async def at_spin(scope, receive, send):
    tell("spinning", "without an end")
    while True:
        pass


async def at_ask(scope, receive, send):
    await _answer(send, str(await erlang.async_call("web_answer")).encode())


async def at_flood(scope, receive, send):
    """Send without an end, and tell how much was accepted when the peer is gone."""
    await send({"type": "http.response.start", "status": 200})
    sent = 0
    piece = b"x" * 65536
    tell("flood", "begins")
    try:
        while True:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += 1
    except OSError:
        tell("flooded", sent)


async def at_slow(scope, receive, send):
    """Take one piece of the body at each word from Erlang."""
    taken = 0
    while True:
        await erlang.async_call("web_answer")
        message = await receive()
        taken += len(message.get("body", b""))
        tell("taken", taken)
        if not message.get("more_body"):
            break
    await _answer(send, str(taken).encode())


async def _websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    subprotocol = "chat" if "chat" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            tell("websocket", message["code"])
            return
        text = message.get("text")
        if text == "end":
            await send({"type": "websocket.close", "code": 4000, "reason": "told to"})
            return
        if text == "fail":
            raise ValueError("a secret of the application")
        del message["type"]
        await send({"type": "websocket.send", **message})


async def not_starting(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await _answer(send, b"none")


def make():
    """Make an application."""
    return app


no_application = 42


# ------------------------------------------------------------------------------------------------
# WSGI

_together = threading.Barrier(4)


class _Closing:
    def __init__(self, pieces):
        self._pieces = pieces

    def __iter__(self):
        return iter(self._pieces)

    def close(self):
        tell("closed", "result")


def wsgi(environ, start_response):
    """Do what the path says."""
    headers = [("Content-Type", "text/plain")]
    match environ["PATH_INFO"]:
        case "/echo":
            body = environ["wsgi.input"].read()
            start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
            return [body]
        case "/lines":
            start_response("200 OK", headers)
            return [line.upper() for line in environ["wsgi.input"]]
        case "/environ":
            tell("environ", {name: value for name, value in environ.items() if isinstance(value, str)})
            start_response("200 OK", headers)
            return [b"told"]
        case "/pieces":
            start_response("200 OK", headers)
            return _Closing([b"one", b"", b"two"])
        case "/write":
            write = start_response("200 OK", headers)
            write(b"one")
            return [b"two"]
        case "/together":
            _together.wait(30)
            start_response("200 OK", headers)
            return [b"together"]
        case "/unread":
            start_response("413 Too Large", headers)
            return [b"too much"]
        case "/ask":
            answer = erlang.call("web_answer")
            start_response("200 OK", headers)
            return [str(answer).encode()]
        case "/half":
            start_response("200 OK", headers)
            return _failing()
        case "/flood":
            start_response("200 OK", headers)
            return _flood()
    raise ValueError("a secret of the application")


def _failing():
    yield b"half"
    raise ValueError("a secret of the application")


def _flood():
    sent = 0
    tell("flood", "begins")
    try:
        while True:
            yield b"x" * 65536
            sent += 1
    finally:
        tell("flooded", sent)


# ------------------------------------------------------------------------------------------------
# Clients and frameworks, from PyPI


async def websocket_client(port):
    """Exchange messages of all kinds with the server, by the package websockets."""
    import websockets

    async with websockets.connect(f"ws://127.0.0.1:{port}/", subprotocols=["chat"]) as client:
        for message in ("text", "ü" * 100_000, b"\x00\xff" * 100_000, ""):
            await client.send(message)
            if await client.recv() != message:
                return "another message"
        await client.ping()
        await client.send("end")
        try:
            await client.recv()
        except websockets.ConnectionClosed as closed:
            return [client.subprotocol, closed.rcvd.code, closed.rcvd.reason]


def without_websockets():
    """Make an application, in a context whose server has to use wsproto."""
    import erlang._web_frames as frames

    def missing(self, max_size):
        raise ImportError("not here, for once")

    frames._Websockets.__init__ = missing
    return app


def without_any():
    """Make an application, in a context that has nothing for WebSockets."""
    import erlang._web_frames as frames

    without_websockets()
    frames._Wsproto.__init__ = frames._Websockets.__init__
    return app


async def httpx_client(port):
    """Use one connection for several requests, at the same time for others."""
    import httpx

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        one = await client.post("/echo", content=b"x" * 1_000_000)
        pieces = await client.get("/pieces")
        many = await asyncio.gather(*[client.post("/echo", content=str(n).encode()) for n in range(50)])
        return [len(one.content), pieces.text, [int(response.text) for response in many] == list(range(50))]


def starlette():
    """Make an application of Starlette's."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute

    async def item(request):
        return JSONResponse({"item": request.path_params["number"], "body": (await request.body()).decode()})

    local = threading.local()

    def blocking(request):
        local.calls = getattr(local, "calls", 0) + 1
        return PlainTextResponse(str(local.calls))

    async def stream(request):
        async def numbers():
            for number in range(3):
                yield f"{number} "

        return StreamingResponse(numbers())

    async def socket(websocket):
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    return Starlette(
        routes=[
            Route("/items/{number:int}", item, methods=["POST"]),
            Route("/blocking", blocking),
            Route("/stream", stream),
            WebSocketRoute("/socket", socket),
        ]
    )


def flask():
    """Make an application of Flask's."""
    from flask import Flask, request

    made = Flask("ct_web")

    @made.route("/hello/<name>", methods=["GET", "POST"])
    def hello(name):
        return f"{name} {request.form.get('field')}"

    return made


def fastapi():
    """Make an application of FastAPI's."""
    from fastapi import FastAPI

    made = FastAPI()

    @made.get("/double/{number}")
    async def double(number: int) -> int:
        return 2 * number

    return made
