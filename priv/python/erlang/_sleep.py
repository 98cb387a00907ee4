"""Sleeping, in coroutines and elsewhere."""

from __future__ import annotations

import sys

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable


def sleep(seconds: float, /) -> Awaitable[None] | None:
    """Sleep. Where an event loop runs this gives an awaitable, and the loop goes on; elsewhere the thread waits."""
    if "asyncio" in sys.modules:
        import asyncio

        if asyncio._get_running_loop() is not None:
            return asyncio.sleep(seconds)
    _erlang.sleep(seconds)
    return None
