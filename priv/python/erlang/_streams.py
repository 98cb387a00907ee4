"""Asynchronous iterators on their way to Erlang. The native side takes the items of all others itself."""

from __future__ import annotations

from asyncio import get_running_loop
from time import monotonic
from types import coroutine as coroutine_of_generator

import _erlang

from . import _tasks

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import AsyncIterable, Generator
    from typing import Any

#: How long one goes on whose generator never waits, in seconds, before others have their turn.
_TURN = 0.0002

#: What waits for items to be wanted, by stream.
_waiting: dict[int, Future[None]] = {}


async def drain(stream: int, source: AsyncIterable[Any]) -> None:
    """Send the items of an asynchronous iterator, as they are wanted, and close it in the end."""
    items = aiter(source)
    close = getattr(items, "aclose", None)
    try:
        wanted = _erlang.stream_wanted(stream)
        end = monotonic() + _TURN
        while wanted >= 0:
            if wanted == 0:
                await _until_wanted(stream)
                wanted = _erlang.stream_wanted(stream)
                end = monotonic() + _TURN
                continue
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            wanted = _erlang.stream_send(stream, item)
            del item
            if monotonic() >= end:
                await _turn_of_others()
                end = monotonic() + _TURN
    finally:
        if close is not None:
            await close()


async def _until_wanted(stream: int) -> None:
    future = _waiting[stream] = get_running_loop().create_future()
    try:
        if _erlang.stream_park(stream):
            await future
    finally:
        del _waiting[stream]


@coroutine_of_generator
def _turn_of_others() -> Generator[None]:
    yield


def wake(stream: int) -> None:
    """Let a stream look whether items are wanted."""
    future = _waiting.get(stream)
    if future is not None and not future.done():
        future.set_result(None)


def collect(source: AsyncIterable[Any]) -> list[Any]:
    """Give all items of an asynchronous iterator."""
    items: list[Any] = _tasks.run(_collect(source))
    return items


async def _collect(source: AsyncIterable[Any]) -> list[Any]:
    items = aiter(source)
    close = getattr(items, "aclose", None)
    try:
        return [item async for item in items]
    finally:
        if close is not None:
            await close()
