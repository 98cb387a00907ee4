"""Calls of Erlang functions that an asyncio loop waits for while it does other things.

The native side collects the answers for a loop, and makes a descriptor readable when there are some. The loop watches
it from the first call on until it is closed; an interrupt of the request that runs the loop makes it readable, too,
for loops that are not the package's own.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

import _erlang

from ._scope import internals

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable
    from typing import Any


async def async_call(name: str | _erlang.Fun, /, *args: Any, **kwargs: Any) -> Any:
    """Call a registered Erlang function, or a Fun, without blocking the loop.

    The function runs in a process of its own. When the call is cancelled it runs to its end, and nobody hears of it.
    """
    # Whoever gets here has a loop running, and asyncio loaded.
    import asyncio

    if kwargs:
        raise TypeError(
            "async_call() takes no keyword arguments: Erlang functions have none"
        )
    if not isinstance(name, (str, _erlang.Fun)):
        raise TypeError(
            f"the name of an Erlang function is a str, not {type(name).__name__}"
        )
    answers = _answers_of(asyncio.get_running_loop())
    number, future = answers.submit(name, args)
    try:
        return await future
    except BaseException:
        # Cancelled, or dropped together with its loop. Of a call that was answered nothing is left to forget.
        answers.forget(number)
        raise
    finally:
        # The exception of a cancelled future refers to this frame: the descriptor would wait for the garbage
        # collector.
        del answers, future


class _Answers:
    """The calls of one loop. It is the loop's reader that keeps this alive, so it goes when the loop is closed."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: dict[int, Future[Any]] = {}
        self._come: list[tuple[int, bool, Any]] = []
        self._last = 0
        self._handle, fd = _erlang.answers_open()
        # As the loop's own code, and not that of the request that calls first.
        internals().run(loop.add_reader, fd, self._receive)

    def submit(
        self, name: str | _erlang.Fun, args: tuple[Any, ...]
    ) -> tuple[int, Future[Any]]:
        self._last = number = self._last + 1
        # First, for the answer may come at once.
        future = self._calls[number] = self.loop.create_future()
        try:
            _erlang.answers_submit(self._handle, number, name, args)
        except BaseException:
            del self._calls[number]
            raise
        return number, future

    def forget(self, number: int) -> None:
        if self._calls.pop(number, None) is not None:
            _erlang.answers_forget(self._handle, number)

    def _receive(self) -> None:
        # An interrupt may come between any two steps, and asyncio goes on after those of its callbacks. So nothing is
        # in local variables only, and everything can be done again.
        try:
            _erlang.answers_take(self._handle, self._come)
            for number, succeeded, value in self._come:
                future = self._calls.get(number)
                if future is not None and not future.done():
                    if succeeded:
                        future.set_result(value)
                    else:
                        future.set_exception(value)
                self._calls.pop(number, None)
            self._come.clear()
        except BaseException:
            self.loop.call_soon(self._receive)
            raise

    def __del__(self, _close: Callable[[int], None] = _erlang.answers_close) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            _close(handle)


#: By the identity of the loop, which is nobody else's as long as its answers are there.
_watching: WeakValueDictionary[int, _Answers] = WeakValueDictionary()


def _answers_of(loop: AbstractEventLoop) -> _Answers:
    answers = _watching.get(id(loop))
    if answers is None:
        answers = _watching[id(loop)] = _Answers(loop)
    return answers
