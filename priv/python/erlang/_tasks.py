"""The context's loop, as the native side and users' code ask for it: tasks from Erlang, and ``erlang.run``.

In mode ``worker`` several contexts share an interpreter, so what belongs to a context belongs to its thread.
"""

from __future__ import annotations

import inspect
import threading
from asyncio import CancelledError, Runner, Task, events, iscoroutine
from types import CoroutineType
from types import coroutine as coroutine_of_generator

import _erlang

from ._host import ContextLoop
from ._loop import ErlangEventLoop, new_event_loop
from ._scope import NOBODY, in_scope

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from typing import Any

#: How long tasks may take to end when their context does, in seconds.
_GRACE = 2.0


class _Local(threading.local):
    loop: ContextLoop | None = None


_local = _Local()


def _current() -> ContextLoop | None:
    """Give the loop of the context whose thread this is, if it has one."""
    loop = _local.loop
    return None if loop is None or loop.is_closed() else loop


def _made() -> ContextLoop:
    """Give the loop of the context whose thread this is."""
    loop = _current()
    if loop is None:
        loop = _local.loop = ContextLoop()
        _erlang.drive_loop(True)
    return loop


# ------------------------------------------------------------------------------------------------
# For the native side


def start(
    request: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Begin with a task from Erlang."""
    loop = _made()
    coroutine = _answer(loop, request, function, args, kwargs)
    # Nothing of a coroutine runs that is cancelled before it has begun; so this one has.
    coroutine.send(None)
    loop.requests[request] = loop.start(coroutine, in_scope(request))


@coroutine_of_generator
def _first_step() -> Generator[None]:
    yield


async def _answer(
    loop: ContextLoop,
    request: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    try:
        await _first_step()
        value = function(*args, **kwargs)
        if type(value) is CoroutineType or inspect.isawaitable(value):
            value = await value
    except BaseException as error:  # noqa: BLE001
        # Whatever it is, it is the caller's, and no reason to end the loop. A coroutine that is closed may end so, too.
        # Its story begins with the function.
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        _finish(loop, request, False, error)
    else:
        _finish(loop, request, True, value)


def _finish(loop: ContextLoop, request: int, succeeded: bool, value: Any) -> None:
    if loop.requests.pop(request, None) is not None:
        _erlang.task_finish(request, succeeded, value)


def interrupt(request: int) -> None:
    """End a task from Erlang, or the ``erlang.run`` of a request. May be called again."""
    loop = _current()
    if loop is None:
        return
    task = loop.requests.get(request)
    if task is not None:
        loop.interrupted.add(task)
        task.cancel()
    run = loop.runs.get(request)
    if run is not None:
        run.interrupt(_erlang.Interrupted("the call was interrupted from Erlang"))


def drive() -> None:
    """Run the context's loop as long as there is nothing else to do: until the context ends, or the loop does."""
    loop = _current()
    if loop is not None:
        loop.drive()
    if _current() is None:
        _erlang.drive_loop(False)


def stop_loop(seconds: float | None = None) -> bool:
    """End all that the context's loop runs, within a time, and the loop; another one is made when it is needed.

    Says whether all tasks ended in that time.
    """
    loop = _current()
    if loop is None:
        return True
    if not loop.may_be_pumped:
        raise RuntimeError("a loop cannot be stopped from within what it runs")
    try:
        return loop.wind_up(seconds)
    finally:
        _give_up(loop)


def shutdown() -> None:
    """End the loop with its context."""
    loop = _current()
    if loop is not None:
        try:
            loop.wind_up(_GRACE)
        finally:
            _give_up(loop)


def _give_up(loop: ContextLoop) -> None:
    # Also where winding up has failed: the next loop does not serve those of this one.
    loop.end_connections()
    for request in list(loop.requests):
        _finish(loop, request, False, CancelledError())
    _local.loop = None
    _erlang.drive_loop(False)
    loop.retire()


# ------------------------------------------------------------------------------------------------
# For users


def run(main: Awaitable[Any], *, debug: bool | None = None) -> Any:
    """Run a coroutine in the context's loop, while all that runs there goes on; give what it returns.

    What it leaves behind is ended with it, as with ``asyncio.run``, except for what ``erlang.spawn_task`` began. The
    loop stays. In the middle of a step of that loop, and in threads of Python's own, a loop of its own runs it.
    """
    if events._get_running_loop() is not None:
        raise RuntimeError("erlang.run() cannot be called from a running event loop")
    coroutine = _coroutine(main)
    if _erlang.serves():
        loop = _current()
        if loop is None or loop.may_be_pumped:
            return _made().run_main(coroutine, _erlang.current_request(), debug)
    with Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)


def _coroutine(main: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    if iscoroutine(main):
        return main
    if not inspect.isawaitable(main):
        raise TypeError(f"erlang.run() takes an awaitable, not {type(main).__name__}")

    async def wait() -> Any:
        return await main

    return wait()


def spawn_task(coro: Coroutine[Any, Any, Any], *, name: str | None = None) -> Task[Any]:
    """Begin with a task that nobody has to wait for: in the loop that runs, or else in the context's.

    It is kept until it ends, and in the context's loop it outlives the ``erlang.run`` or the request that began it.
    """
    if not iscoroutine(coro):
        raise TypeError(f"spawn_task() takes a coroutine, not {type(coro).__name__}")
    running = events._get_running_loop()
    if running is None and not _erlang.serves():
        raise RuntimeError(
            "spawn_task() needs a loop that runs, or the thread of a context; from another thread, use "
            "asyncio.run_coroutine_threadsafe()"
        )
    context = in_scope(NOBODY)
    if running is None:
        running = loop = _made()
        task = loop.start(coro, context, name)
    else:
        task = running.create_task(coro, name=name, context=context)
    kept = running.spawned if isinstance(running, ErlangEventLoop) else _kept
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


#: Tasks of loops that are not the package's.
_kept: set[Task[Any]] = set()
