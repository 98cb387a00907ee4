"""Which loops asyncio makes by itself: the package's, so that whatever they wait for, an interrupt reaches them.

Checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``asyncio.run`` takes its loop from the policy unless it is given a
factory. From 3.14 policies are deprecated, and the names without a warning are private.
"""

from __future__ import annotations

import sys
import warnings
from asyncio import events, unix_events

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._loop import ErlangEventLoop

_Base: Any = getattr(unix_events, "_DefaultEventLoopPolicy", None)
if _Base is None:
    _Base = unix_events.DefaultEventLoopPolicy


class EventLoopPolicy(_Base):  # type: ignore[misc]
    """asyncio's own policy, with other loops."""

    def new_event_loop(self) -> ErlangEventLoop:
        """Make a loop."""
        # Not before: this may be running because the module of loops imports asyncio.
        from ._loop import new_event_loop

        return new_event_loop()


def get_event_loop_policy() -> EventLoopPolicy:
    """Make a policy."""
    return EventLoopPolicy()


def install() -> None:
    """Make it asyncio's policy, as it is from the beginning.

    Deprecated like policies themselves; from 3.14 a RuntimeError.
    """
    if sys.version_info >= (3, 14):
        raise RuntimeError(
            "erlang.install() is no more from Python 3.14 on, where policies are deprecated: use erlang.run(), or "
            "asyncio.run() with loop_factory=erlang.new_event_loop"
        )
    warnings.warn(
        "erlang.install() is deprecated as policies are: use erlang.run(), or asyncio.Runner with "
        "loop_factory=erlang.new_event_loop",
        DeprecationWarning,
        stacklevel=2,
    )
    set_policy()


def set_policy() -> None:
    """Let asyncio make such loops in this interpreter."""
    setter: Any = getattr(events, "_set_event_loop_policy", None)
    if setter is None:
        setter = events.set_event_loop_policy
    setter(EventLoopPolicy())


# Whoever imports asyncio first imports this module, too: see _boot.
set_policy()
