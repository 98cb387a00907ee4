"""One iteration of an event loop, with what runs for every callback in native code.

Replaced, checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``BaseEventLoop._run_once``, ``call_soon`` and
``call_soon_threadsafe``, which stay what runs in debug mode. Relied on: the slots of ``events.Handle``, and ``_ready``,
``_scheduled``, ``_stopping``, ``_timer_cancelled_count`` and ``_clock_resolution`` of the loop, and
``format_helpers._format_callback_source``.
"""

from __future__ import annotations

from asyncio import SelectorEventLoop, base_events, events, format_helpers
from heapq import heapify, heappop, heappush

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Handle, TimerHandle
    from collections import deque
    from collections.abc import Callable
    from contextvars import Context
    from selectors import BaseSelector
    from typing import Any, TypeVarTuple

    _Ts = TypeVarTuple("_Ts")

# From 3.14 on a class of its own.
_THREADSAFE: type[Handle] = getattr(events, "_ThreadSafeHandle", events.Handle)

#: With so many timers, of which so many were cancelled, the heap is made anew.
_MANY: int = base_events._MIN_SCHEDULED_TIMER_HANDLES  # type: ignore[attr-defined]
_MOSTLY: float = base_events._MIN_CANCELLED_TIMER_HANDLES_FRACTION  # type: ignore[attr-defined]
_LONGEST: int = base_events.MAXIMUM_SELECT_TIMEOUT  # type: ignore[attr-defined]

_source: Callable[[Any, Any], str] = format_helpers._format_callback_source


class IteratingLoop(SelectorEventLoop):
    """A selector loop whose own work is done natively."""

    _selector: BaseSelector
    _clock_resolution: float
    _debug: bool
    _ready: deque[Handle]
    _scheduled: list[TimerHandle]
    _stopping: bool
    _timer_cancelled_count: int

    _callbacks: _erlang.Ready | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Leave alone what goes through a method that a derived class has replaced."""
        super().__init_subclass__(**kwargs)
        if "call_at" in cls.__dict__ and "call_later" not in cls.__dict__:
            cls.call_later = SelectorEventLoop.call_later  # type: ignore[method-assign]

    def __init__(
        self, selector: BaseSelector, wake: Callable[[int], object], poll: int
    ) -> None:
        super().__init__(selector)
        self._callbacks = _erlang.Ready(
            self,
            events.Handle,
            events.TimerHandle,
            _THREADSAFE,
            self._ready,
            self.call_soon,
            self.call_soon_threadsafe,
            _report,
            wake,
            poll,
        )
        self._choose()

    def _choose(self) -> None:
        """Leave it to the standard library where there is more to it."""
        callbacks = self._callbacks
        if callbacks is None:
            return
        callbacks.open = not (self._debug or self.is_closed())
        # Never through __dict__: an object whose dictionary was seen is slower from then on.
        for name in ("call_soon", "call_soon_threadsafe"):
            if getattr(type(self), name) is not getattr(SelectorEventLoop, name):
                continue
            if callbacks.open:
                setattr(self, name, getattr(callbacks, name))
            elif getattr(self, name) == getattr(callbacks, name):
                delattr(self, name)

    def set_debug(self, enabled: bool) -> None:
        """Look closely at what is called, or no longer."""
        super().set_debug(enabled)
        self._choose()

    def close(self) -> None:
        """Close the loop; it cannot be closed while it runs."""
        super().close()
        self._choose()

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Call something after so many seconds."""
        callbacks = self._callbacks
        if callbacks is None or not callbacks.open or delay is None:
            timer = super().call_later(delay, callback, *args, context=context)
            if timer._source_traceback:  # type: ignore[attr-defined]
                # This function is not where it was asked for.
                del timer._source_traceback[-1]  # type: ignore[attr-defined]
            return timer
        timer = callbacks.timer(self.time() + delay, callback, args, context)
        heappush(self._scheduled, timer)
        return timer

    def _run_once(self) -> None:
        callbacks = self._callbacks
        if self._debug or callbacks is None:
            super()._run_once()  # type: ignore[misc]
            return
        timeout: float | None = None
        if self._scheduled:
            self._drop_cancelled()
        if self._ready or self._stopping:
            timeout = 0
        elif self._scheduled:
            timeout = self._scheduled[0].when() - self.time()
            timeout = min(max(0, timeout), _LONGEST)
        found = self._selector.select(timeout)
        if found:
            callbacks.add_events(found)
            del found
        # What was served meanwhile may have made the heap anew.
        scheduled = self._scheduled
        if scheduled:
            due = self.time() + self._clock_resolution
            while scheduled and scheduled[0].when() < due:
                timer = heappop(scheduled)
                timer._scheduled = False  # type: ignore[attr-defined]
                self._ready.append(timer)
                del timer
        callbacks.run()

    def _drop_cancelled(self) -> None:
        scheduled = self._scheduled
        count = len(scheduled)
        if count > _MANY and self._timer_cancelled_count / count > _MOSTLY:
            kept = []
            for timer in scheduled:
                if timer._cancelled:
                    timer._scheduled = False  # type: ignore[attr-defined]
                else:
                    kept.append(timer)
            heapify(kept)
            self._scheduled = kept
            self._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]


def _report(handle: Handle, error: BaseException) -> None:
    """Tell the loop of an exception, as a handle does that runs its callback itself."""
    source = _source(handle._callback, handle._args)  # type: ignore[attr-defined]
    handle._loop.call_exception_handler(  # type: ignore[attr-defined]
        {
            "message": f"Exception in callback {source}",
            "exception": error,
            "handle": handle,
        }
    )
