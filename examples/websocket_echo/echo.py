"""WebSockets by the package ``websockets``: a server that sends back what comes, and its clients."""

from typing import Any

import erlang
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve

READY = erlang.atom("ready")


async def echo(connection: ServerConnection) -> None:
    """Serve one connection, until the client closes it."""
    async for message in connection:
        await connection.send(message)


async def start() -> Server:
    """Listen, and go on doing so on the loop of the context after this has returned."""
    return await serve(echo, "127.0.0.1", 0)


def port(server: Server) -> int:
    return server.sockets[0].getsockname()[1]


async def announce(server: Server, text: str) -> int:
    """Send something to everybody; how many that are."""
    connections = server.connections
    broadcast(connections, text)
    return len(connections)


async def stop(server: Server) -> None:
    """Close the connections, and stop listening."""
    server.close()
    await server.wait_closed()


async def talk(url: str, messages: list[Any], owner: erlang.Pid) -> tuple[list[Any], str]:
    """Say all of it, and return what came back, with what was announced after that."""
    async with connect(url) as connection:
        echoed = []
        for message in messages:
            await connection.send(message)
            echoed.append(await connection.recv())
        erlang.send(owner, READY)
        return echoed, await connection.recv()
