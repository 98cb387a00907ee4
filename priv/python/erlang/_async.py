"""Calls of Erlang functions that an asyncio loop waits for while it does other things.

The native side collects the answers for a loop, and makes a descriptor readable when there are some. Loop and
descriptor belong together only while calls are outstanding: a loop without any has nothing of ours, and can be closed
or left behind like any other.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

import _erlang

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


class _Answers:
    """The calls of one loop. It is the loop's reader that keeps this alive, so it goes when the loop is closed."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: dict[int, Future[Any]] = {}
        self._last = 0
        self._handle, self._fd = _erlang.answers_open()
        self._is_open = True
        loop.add_reader(self._fd, self._receive)

    def submit(
        self, name: str | _erlang.Fun, args: tuple[Any, ...]
    ) -> tuple[int, Future[Any]]:
        self._last = number = self._last + 1
        try:
            _erlang.answers_submit(self._handle, number, name, args)
        except BaseException:
            self._close_if_idle()
            raise
        future = self._calls[number] = self.loop.create_future()
        return number, future

    def forget(self, number: int) -> None:
        if self._calls.pop(number, None) is not None and self._is_open:
            _erlang.answers_forget(self._handle, number)
            self._close_if_idle()

    def _receive(self) -> None:
        for number, succeeded, value in _erlang.answers_take(self._handle):
            future = self._calls.pop(number, None)
            if future is None or future.done():
                continue
            if succeeded:
                future.set_result(value)
            else:
                future.set_exception(value)
        if not self._calls:
            # After those who have just got their answers: they may call again.
            self.loop.call_soon(self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._calls or not self._is_open:
            return
        self._is_open = False
        if _watching.get(id(self.loop)) is self:
            del _watching[id(self.loop)]
        if not self.loop.is_closed():
            self.loop.remove_reader(self._fd)
        _erlang.answers_close(self._handle)

    def __del__(self, _close: Callable[[int], None] = _erlang.answers_close) -> None:
        # The loop was closed with calls outstanding.
        if getattr(self, "_is_open", False):
            self._is_open = False
            _close(self._handle)


#: By the identity of the loop, which is nobody else's as long as its answers are there.
_watching: WeakValueDictionary[int, _Answers] = WeakValueDictionary()


def _answers_of(loop: AbstractEventLoop) -> _Answers:
    answers = _watching.get(id(loop))
    if answers is None:
        answers = _watching[id(loop)] = _Answers(loop)
    return answers
