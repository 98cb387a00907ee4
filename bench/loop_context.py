"""The work and the servers in a context, on the standard library's loop or on that of the context."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import erlang
import loop_servers
import loop_work

own: list[asyncio.AbstractEventLoop] = []


def run(kind: str, main: Coroutine[Any, Any, Any]) -> Any:
    """Run it to its end."""
    if kind == "erlang":
        return erlang.run(main)
    if not own:
        own.append(asyncio.SelectorEventLoop())
    return own[0].run_until_complete(main)


def work(kind: str, name: str, *args: object) -> Any:
    """Do some of the work."""
    return run(kind, getattr(loop_work, name)(*args))


def serve(kind: str, certificate: str, owner: erlang.Pid) -> None:
    """Serve until the client ends it."""
    run(
        kind,
        loop_servers.serve(certificate, lambda ports: erlang.send(owner, ports)),
    )


async def serve_echo(owner: erlang.Pid) -> None:
    """Serve by a protocol alone, until the task is cancelled."""
    await loop_servers.serve_echo(lambda ports: erlang.send(owner, ports))
