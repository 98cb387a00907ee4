"""The event loop: the standard library's selector loop with a native selector and a native wake-up.

Replaced, checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``_make_self_pipe``, ``_close_self_pipe`` and
``_write_to_self`` of ``BaseSelectorEventLoop``, and ``run_forever``, which ``run_until_complete`` calls.
"""

from __future__ import annotations

import _erlang

from ._iteration import IteratingLoop
from ._scope import INTERNAL, in_scope
from ._selector import Selector
from ._transport import StreamLoop

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Handle, Task, TimerHandle
    from collections import deque
    from collections.abc import AsyncGenerator, Callable
    from typing import Any, TypeVarTuple
    from weakref import WeakSet, WeakValueDictionary

    _Ts = TypeVarTuple("_Ts")

_NO_SIGNALS = (
    "signals belong to the Erlang node: handle them there with os:set_signal/2 and a handler of erl_signal_server, "
    "which may send on what it gets to Python"
)


class ErlangEventLoop(IteratingLoop, StreamLoop):
    """An asyncio event loop whose waiting is the node's."""

    _selector: Selector

    # Private names that are relied on, here and in _host.
    if TYPE_CHECKING:
        _asyncgens: WeakSet[AsyncGenerator[Any, Any]]
        _asyncgens_shutdown_called: bool
        _closed: bool
        _debug: bool
        _default_executor: Any
        _executor_shutdown_called: bool
        _internal_fds: int
        _ready: deque[Handle]
        _scheduled: list[TimerHandle]
        _task_factory: Any
        _thread_id: int | None
        _transports: WeakValueDictionary[int, Any]

        def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...
        def _check_signal(self, sig: int) -> None: ...
        def _run_once(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _start_serving(self, *args: Any, **kwargs: Any) -> None: ...

    def __init__(self) -> None:
        selector = self._make_selector()
        self._wake_handle = selector.handle
        super().__init__(selector, _erlang.loop_wake, selector.handle)
        selector.loop = self
        #: Tasks that nobody else refers to.
        self.spawned: set[Task[Any]] = set()

    def _make_selector(self) -> Selector:
        return Selector()

    # The poll set is what the loop has a descriptor for: there is no pair of sockets.

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        self._wake_handle = 0
        self._internal_fds -= 1

    def _write_to_self(self) -> None:
        handle = self._wake_handle
        if handle:
            _erlang.loop_wake(handle)

    def run_forever(self) -> None:
        """Run until ``stop()``. An interrupt ends the waiting, or a callback, but nothing in between."""
        in_scope(INTERNAL).run(super().run_forever)

    # NotImplementedError is what programs expect of a loop without signals, and a RuntimeError.

    def add_signal_handler(
        self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts
    ) -> None:
        """Raise: a context receives no signals."""
        self._check_signal(sig)
        raise NotImplementedError(f"add_signal_handler(): {_NO_SIGNALS}")


def new_event_loop() -> ErlangEventLoop:
    """Make a loop, which depends on no other."""
    return ErlangEventLoop()
