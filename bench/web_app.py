"""The application that web servers are compared with."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]

DOCUMENT = {
    "message": "Hello, world!",
    "numbers": list(range(10)),
    "nested": {"name": "value", "true": True, "none": None},
}


async def app(
    scope: Event,
    receive: Callable[[], Awaitable[Event]],
    send: Callable[[Event], Awaitable[None]],
) -> None:
    """Answer with a line of text or, at ``/json``, with a document that is encoded anew each time."""
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    if scope["path"] == "/json":
        body, content = json.dumps(DOCUMENT).encode(), b"application/json"
    else:
        body, content = b"Hello, world!", b"text/plain"
    headers = [
        (b"content-type", content),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
