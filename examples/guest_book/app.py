"""A guest book: Starlette talks to the visitors, and Erlang keeps what they wrote."""

import erlang
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def show(request: Request) -> Response:
    """Give all entries, the latest first."""
    entries = await erlang.async_call("entries")
    return JSONResponse([{"number": number, "name": name, "text": text} for number, name, text in entries])


async def sign(request: Request) -> Response:
    """Write an entry, if it is one."""
    entry = await request.json()
    match entry:
        case {"name": str(name), "text": str(text)} if name and text:
            number = await erlang.async_call("sign", name, text)
            return JSONResponse({"number": number}, status_code=201)
    return JSONResponse({"error": "an entry has a name and a text"}, status_code=422)


app = Starlette(routes=[Route("/entries", show), Route("/entries", sign, methods=["POST"])])
