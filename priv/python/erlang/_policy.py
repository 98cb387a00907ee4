"""Event loops that an interrupt of their request reaches while they wait.

asyncio's own loop waits for descriptors, in C, for as long as nothing happens: an interrupt that Python would raise at
its next instruction comes too late. So the loops that asyncio makes by itself watch one more descriptor, that of
the answers of Erlang, which every interrupt makes readable.

Checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``asyncio.run`` takes its loop from the policy unless it is given a
factory. From 3.14 policies are deprecated, and the names without a warning are private.
"""

from __future__ import annotations

from asyncio import SelectorEventLoop, events, unix_events

from ._async import watch

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any


def _new_loop() -> AbstractEventLoop:
    loop = SelectorEventLoop()
    watch(loop)
    return loop


def install() -> None:
    """Let asyncio make such loops in this interpreter."""
    base: Any = getattr(unix_events, "_DefaultEventLoopPolicy", None)
    if base is None:
        base = unix_events.DefaultEventLoopPolicy
    set_policy: Any = getattr(events, "_set_event_loop_policy", None)
    if set_policy is None:
        set_policy = events.set_event_loop_policy
    policy = type("Policy", (base,), {"_loop_factory": staticmethod(_new_loop)})
    set_policy(policy())
