"""The loop of a context: one that its tasks share, and that goes on whatever the context is asked meanwhile.

It is never run like other loops, but pumped, step by step, by whoever has time: the owner thread when there is nothing
else to do, and ``erlang.run`` until its coroutine has ended. While a pump waits, the native side serves the mailbox; a
request that runs then may pump in its turn. So pumps stand on top of each other, each below the highest in ``select``.

Relied on, checked against 3.12.1, 3.13.0, 3.14.8 and 3.15.0: ``_run_once``, ``_thread_id``, the hooks of asynchronous
generators, ``_set_coroutine_origin_tracking`` and ``_start_serving`` of the standard library's loops.
"""

from __future__ import annotations

import sys
import threading
from asyncio import Task, all_tasks, events, transports
from weakref import WeakSet

import _erlang

from ._loop import ErlangEventLoop
from ._scope import INTERNAL, NOBODY, in_scope, internals
from ._selector import Selector

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from contextvars import Context
    from selectors import SelectorKey
    from typing import Any

#: How often the loop turns for what the end of transports leads to.
_ROUNDS = 8


class _Selector(Selector):
    """Knows whether the loop waits, rather than being in the middle of a step."""

    waits = False

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait, and give what is ready."""
        self.waits = True
        try:
            return _erlang.loop_wait(self._handle, timeout, self._keys, self.loop)
        finally:
            self.waits = False


class _Run:
    """What pumps for a request: the tasks that it waits for, and what its code leaves to be cleaned up."""

    def __init__(self, scope: int) -> None:
        self.scope = scope
        self.waits_for: list[Task[Any]] = []
        self.main: Task[Any] | None = None
        self.interrupted: BaseException | None = None
        self.stopped = False
        self.tasks: WeakSet[Task[Any]] = WeakSet()
        self.generators: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()

    def interrupt(self, error: BaseException) -> None:
        """End what is waited for, again and again."""
        self.interrupted = error
        for task in self.waits_for:
            task.cancel()

    def goes_on(self) -> bool:
        """Whether there is something to wait for."""
        return not all(task.done() for task in self.waits_for)

    def outcome(self) -> Any:
        """Give what the main task has returned, or raise what there is to raise."""
        task, self.main = self.main, None
        error, self.interrupted = self.interrupted, None
        try:
            if error is not None:
                if task is not None and not task.cancelled():
                    # Nobody asks for it, and nobody shall be told so.
                    task.exception()
                raise error
            if task is None or self.stopped:
                raise RuntimeError("Event loop stopped before Future completed.")
            return task.result()
        finally:
            # The exception knows this frame.
            del task, error


class ContextLoop(ErlangEventLoop):
    """The loop of a context, pumped by its owner thread."""

    _selector: _Selector

    def __init__(self) -> None:
        super().__init__()
        self._pumps = 0
        self._ends = False
        #: The runs that are on the way, by request.
        self.runs: dict[int, _Run] = {}
        #: Tasks from Erlang, by request.
        self.requests: dict[int, Task[None]] = {}
        #: Those of them that were cancelled from outside.
        self.interrupted: WeakSet[Task[None]] = WeakSet()
        self._servers: WeakSet[Any] = WeakSet()

    def _make_selector(self) -> Selector:
        return _Selector()

    # ------------------------------------------------------------------------------------------
    # Pumping

    @property
    def may_be_pumped(self) -> bool:
        """Whether no step of the loop is under way."""
        return not self._closed and (not self._pumps or self._selector.waits)

    def _pump(self, goes_on: Callable[[], bool], run: _Run | None = None) -> None:
        """Run the loop for as long as it should go on. Interrupts of the request that pumps are its run's."""
        thread, hooks = self._thread_id, sys.get_asyncgen_hooks()
        selector = self._selector
        waits, selector.waits = selector.waits, False
        self._pumps += 1
        self._thread_id = threading.get_ident()
        self._set_coroutine_origin_tracking(self._debug)
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook,
            finalizer=self._asyncgen_finalizer_hook,
        )
        events._set_running_loop(self)
        pumped = _erlang.loop_pumps(True)
        try:
            while goes_on():
                try:
                    self._run_once()
                except (SystemExit, KeyboardInterrupt):
                    # The error of a task, which has it, or of a callback. The others go on.
                    pass
                except _erlang.Interrupted as error:
                    if run is None:
                        raise
                    run.interrupt(error)
        finally:
            _erlang.loop_pumps(pumped)
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
            self._thread_id = thread
            self._pumps -= 1
            selector.waits = waits
            if self._pumps:
                # What that one waits for may have happened here.
                self._write_to_self()
            else:
                self._set_coroutine_origin_tracking(False)

    def drive(self) -> None:
        """Run the loop until the context ends, or the loop does."""
        internals().run(self._pump, lambda: not (self._ends or _erlang.is_closing()))
        self._close_if_over()

    def run_main(
        self, main: Coroutine[Any, Any, Any], request: int, debug: bool | None
    ) -> Any:
        """Run the loop until the coroutine has ended, and what it left behind."""
        context = in_scope(request)
        return internals().run(self._run_main, main, request, debug, context)

    def _run_main(
        self,
        main: Coroutine[Any, Any, Any],
        request: int,
        debug: bool | None,
        context: Context,
    ) -> Any:
        run = _Run(request)
        before = self._debug
        if debug is not None:
            self.set_debug(debug)
        self._begin_run(run)
        run.main = Task(main, loop=self, context=context)
        run.tasks.add(run.main)
        try:
            run.waits_for = [run.main]
            self._pump(lambda: run.goes_on() and not run.stopped, run)
            self._clean_up(run)
        finally:
            self._end_run(run)
            if debug is not None:
                self.set_debug(before)
            self._close_if_over()
        return run.outcome()

    def _begin_run(self, run: _Run) -> None:
        self.runs[run.scope] = run
        self.create_task = self._create_task_of_run  # type: ignore[method-assign]

    def _end_run(self, run: _Run) -> None:
        run.waits_for = []
        del self.runs[run.scope]
        if not self.runs:
            del self.create_task

    def _create_task_of_run(
        self, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> Task[Any]:
        """Remember a task with the run whose code makes it: there may be thousands of others."""
        task: Task[Any]
        if self._debug or self._task_factory is not None:
            task = super().create_task(coro, **options)
        else:
            task = Task(coro, loop=self, **options)
        run = self.runs.get(task.get_context().get(_erlang.scope, NOBODY))
        if run is not None:
            run.tasks.add(task)
        return task

    def _clean_up(self, run: _Run) -> None:
        """End what the run's code left behind: tasks, then asynchronous generators."""
        left = [task for task in run.tasks if not task.done()]
        if left:
            for task in left:
                task.cancel()
            run.waits_for = left
            self._pump(run.goes_on, run)
            self._report("unhandled exception during erlang.run() shutdown", left)
        if run.generators:
            self._begin_closing(run.generators, run)
            self._pump(run.goes_on, run)
            self._report(
                "an error occurred during closing of an asynchronous generator",
                run.waits_for,
            )

    def _report(self, message: str, tasks: list[Task[Any]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.call_exception_handler(
                    {"message": message, "exception": task.exception(), "task": task}
                )

    def _begin_closing(
        self, generators: WeakSet[AsyncGenerator[Any, Any]], run: _Run
    ) -> None:
        async def close(generator: AsyncGenerator[Any, Any]) -> None:
            await generator.aclose()

        run.waits_for = [
            Task(close(generator), loop=self, context=in_scope(run.scope))
            for generator in list(generators)
        ]
        generators.clear()

    # ------------------------------------------------------------------------------------------
    # What the loop does for others

    def start(
        self,
        coroutine: Coroutine[Any, Any, Any],
        context: Context,
        name: str | None = None,
    ) -> Task[Any]:
        """Make a task of the loop, also where the loop does not run."""
        # Not by a factory, which may begin with the task at once: that takes a loop that runs.
        return Task(coroutine, loop=self, name=name, context=context)

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        super()._asyncgen_firstiter_hook(agen)
        if self.runs:
            run = self.runs.get(_erlang.scope.get(NOBODY))
            if run is not None:
                run.generators.add(agen)

    def _start_serving(self, *args: Any, **kwargs: Any) -> None:
        # protocol_factory, sock, sslcontext, server
        server = args[3] if len(args) > 3 else kwargs.get("server")
        if server is not None:
            self._servers.add(server)
        super()._start_serving(*args, **kwargs)

    # ------------------------------------------------------------------------------------------
    # The end

    def wind_up(self, seconds: float | None) -> bool:
        """End all that the loop runs, within a time: tasks, servers, transports, generators. It takes on nothing new.

        Says whether all tasks have ended.
        """
        return internals().run(self._wind_up, seconds)

    def _wind_up(self, seconds: float | None) -> bool:
        late = False
        run = _Run(INTERNAL)

        def out_of_time() -> None:
            nonlocal late
            late = True

        def over() -> bool:
            return late or run.interrupted is not None

        def again() -> None:
            for task in run.waits_for:
                task.cancel()

        timers = []
        if seconds is not None:
            timers = [
                self.call_later(seconds, out_of_time),
                self.call_later(seconds / 2, again),
            ]

        def end_tasks() -> bool:
            # What tasks begin on their way out ends as well.
            while (tasks := all_tasks(self)) and not over():
                run.waits_for = list(tasks)
                for task in tasks:
                    # Those that were told already are on their way out, which nothing should cut short.
                    if seconds is None or task not in self.interrupted:
                        task.cancel()
                self._pump(lambda: not over() and run.goes_on(), run)
            return not tasks

        end_tasks()
        self._close_transports()
        self.end_connections()
        self._begin_closing(self._asyncgens, run)
        # They are told by callbacks, which may have more to do.
        rounds = iter(range(_ROUNDS))

        def settles() -> bool:
            return run.goes_on() or (
                bool(self._ready) and next(rounds, None) is not None
            )

        self._pump(lambda: not over() and settles(), run)
        self._report(
            "an error occurred during closing of an asynchronous generator",
            run.waits_for,
        )
        # Those that protocols have begun when they were told of the end.
        ended = end_tasks()
        for timer in timers:
            timer.cancel()
        if run.interrupted is not None:
            raise run.interrupted
        return ended

    def end_connections(self) -> None:
        """End what Erlang has handed over. Protocols find the loop running, as always."""
        events._set_running_loop(self)
        try:
            _erlang.reactor_end()
        finally:
            events._set_running_loop(None)

    def _close_transports(self) -> None:
        for server in list(self._servers):
            server.close()
        found: set[Any] = set(self._transports.values())
        for key in list(self._selector.get_map().values()):
            for handle in key.data:
                owner = getattr(getattr(handle, "_callback", None), "__self__", None)
                if isinstance(owner, transports.BaseTransport):
                    found.add(owner)
        for transport in found:
            end = getattr(transport, "abort", transport.close)
            end()

    def retire(self) -> None:
        """Close the loop once nobody pumps it any more."""
        self._ends = True
        # For the pump below, which waits.
        if self._pumps:
            self.call_soon(lambda: None)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._ends and not self._pumps:
            self.close()

    # ------------------------------------------------------------------------------------------
    # What code may do to loops of its own

    def run_forever(self) -> None:
        """Raise: the loop runs anyway."""
        raise RuntimeError(
            "the loop of a context is run by the context: use erlang.run(), or a loop of erlang.new_event_loop()"
        )

    def stop(self) -> None:
        """End the ``erlang.run`` whose code this is."""
        run = self.runs.get(_erlang.scope.get(NOBODY))
        if run is None:
            raise RuntimeError(
                "the loop of a context is stopped from Erlang, by py_context:stop_loop/1"
            )
        run.stopped = True

    async def shutdown_asyncgens(self) -> None:
        """Close all asynchronous generators; there may be others afterwards."""
        await super().shutdown_asyncgens()
        self._asyncgens_shutdown_called = False

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Let the default executor end; the next use makes another."""
        await super().shutdown_default_executor(timeout)
        self._default_executor = None
        self._executor_shutdown_called = False
