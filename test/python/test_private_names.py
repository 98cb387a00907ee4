"""What the package relies on in asyncio without being promised it.

Each of these is private. When one of them is renamed, or means something else, the loops have to be looked at.
"""

import asyncio
import inspect
import selectors
import unittest
from asyncio import base_events, events, format_helpers, selector_events, sslproto, tasks, unix_events


class Recorder(asyncio.SelectorEventLoop):
    """Notes which of its methods are called."""

    def __init__(self):
        self.called = []
        super().__init__(selectors.SelectSelector())

    def _note(name):
        def method(self, *args, **kwargs):
            self.called.append((name, args, kwargs))
            return getattr(asyncio.SelectorEventLoop, name)(self, *args, **kwargs)

        return method

    for _name in (
        "_asyncgen_firstiter_hook",
        "_close_self_pipe",
        "_make_self_pipe",
        "_run_once",
        "_set_coroutine_origin_tracking",
        "_start_serving",
        "_write_to_self",
    ):
        locals()[_name] = _note(_name)
    del _note, _name

    def names(self):
        """Give the names of what was called."""
        return {name for name, _, _ in self.called}


class PrivateNames(unittest.TestCase):
    def setUp(self):
        self.loop = Recorder()
        self.addCleanup(self.loop.close)

    def test_attributes_of_loops(self):
        for name in (
            "_asyncgens",
            "_asyncgens_shutdown_called",
            "_clock_resolution",
            "_closed",
            "_debug",
            "_default_executor",
            "_executor_shutdown_called",
            "_internal_fds",
            "_ready",
            "_scheduled",
            "_selector",
            "_stopping",
            "_task_factory",
            "_thread_id",
            "_timer_cancelled_count",
            "_transports",
        ):
            with self.subTest(name):
                self.assertTrue(hasattr(self.loop, name))

    def test_methods_of_loops(self):
        for owner, names in (
            (base_events.BaseEventLoop, ["_run_once", "_set_coroutine_origin_tracking"]),
            (base_events.BaseEventLoop, ["_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook"]),
            (selector_events.BaseSelectorEventLoop, ["_make_self_pipe", "_close_self_pipe", "_write_to_self"]),
            (selector_events.BaseSelectorEventLoop, ["_ensure_fd_no_transport", "_start_serving"]),
            (selector_events.BaseSelectorEventLoop, ["_make_socket_transport", "_make_ssl_transport"]),
            (unix_events.SelectorEventLoop, ["_check_signal"]),
        ):
            for name in names:
                with self.subTest(name):
                    self.assertIn(name, vars(owner))

    def test_functions(self):
        for owner, name in (
            (asyncio, "_get_running_loop"),
            (asyncio, "_set_running_loop"),
            (events, "_get_running_loop"),
            (events, "_set_running_loop"),
            (tasks, "_swap_current_task"),
        ):
            with self.subTest(name):
                self.assertTrue(callable(getattr(owner, name, None)))

    def test_slots_of_handles(self):
        self.assertLessEqual({"_args", "_callback", "_cancelled", "_context", "_loop"}, set(events.Handle.__slots__))
        self.assertLessEqual({"_scheduled", "_when"}, set(events.TimerHandle.__slots__))

    def test_constants_of_the_iteration(self):
        for name in (
            "MAXIMUM_SELECT_TIMEOUT",
            "_MIN_CANCELLED_TIMER_HANDLES_FRACTION",
            "_MIN_SCHEDULED_TIMER_HANDLES",
        ):
            with self.subTest(name):
                self.assertIsInstance(getattr(base_events, name), (int, float))
        self.assertIn("print", format_helpers._format_callback_source(print, ()))

    def test_transports(self):
        for name in (
            "_call_connection_lost",
            "_fatal_error",
            "_force_close",
            "_make_empty_waiter",
            "_read_ready",
            "_read_ready__on_eof",
            "_reset_empty_waiter",
            "max_size",
            "write",
        ):
            with self.subTest(name):
                self.assertTrue(hasattr(selector_events._SelectorSocketTransport, name))
        self.assertIsInstance(sslproto.SSLProtocol.max_size, int)
        ours, theirs = selector_events.socket.socketpair()

        async def connect():
            return await self.loop.create_connection(asyncio.Protocol, sock=ours)

        with theirs:
            transport, _ = self.loop.run_until_complete(connect())
            for name in ("_buffer", "_closing", "_eof"):
                with self.subTest(name):
                    self.assertTrue(hasattr(transport, name))
            transport.close()
            self.loop.run_until_complete(asyncio.sleep(0))

    def test_policy(self):
        setter = getattr(events, "_set_event_loop_policy", None) or events.set_event_loop_policy
        base = getattr(unix_events, "_DefaultEventLoopPolicy", None) or unix_events.DefaultEventLoopPolicy
        self.assertTrue(callable(setter))
        self.assertTrue(callable(base.new_event_loop))

    def test_making_and_closing(self):
        self.assertIn("_make_self_pipe", self.loop.names())
        self.assertEqual(1, self.loop._internal_fds)
        self.loop.close()
        self.assertIn("_close_self_pipe", self.loop.names())
        self.assertEqual(0, self.loop._internal_fds)

    def test_waking(self):
        self.loop.call_soon_threadsafe(print)
        self.assertIn("_write_to_self", self.loop.names())

    def test_iteration(self):
        """It asks the selector once, then runs what is ready, and has nothing half done meanwhile."""
        order = []
        select = self.loop._selector.select

        def selecting(timeout):
            order.append(("select", timeout, len(self.loop._ready)))
            return select(timeout)

        self.loop._selector.select = selecting
        self.loop.call_soon(order.append, "callback")
        self.loop._run_once()
        self.assertEqual([("select", 0, 1), "callback"], order)

    def test_iteration_within_select(self):
        """Whatever an iteration does that begins while another one waits, it is no harm to that."""
        order = []
        select = self.loop._selector.select

        def selecting(timeout):
            if len(order) == 0:
                order.append("select")
                self.loop._run_once()
            return select(0)

        self.loop._selector.select = selecting
        self.loop.call_soon(order.append, "first")
        self.loop.call_later(0, order.append, "second")
        self.loop._run_once()
        self.assertEqual(["select", "first", "second"], order)
        self.assertFalse(self.loop._ready)
        self.assertFalse(self.loop._scheduled)

    def test_exits_leave_the_rest_to_the_next_iteration(self):
        order = []

        def leave():
            raise SystemExit

        self.loop.call_soon(leave)
        self.loop.call_soon(order.append, "next")
        with self.assertRaises(SystemExit):
            self.loop._run_once()
        self.loop._run_once()
        self.assertEqual(["next"], order)

    def test_selector_is_asked_for_keys_with_two_handles(self):
        ours, theirs = selector_events.socket.socketpair()
        with ours, theirs:
            self.loop.add_reader(ours, print)
            key = self.loop._selector.get_map()[ours.fileno()]
            reader, writer = key.data
            self.assertIsInstance(reader, asyncio.Handle)
            self.assertIsNone(writer)
            self.assertTrue(callable(reader._callback))
            self.loop.remove_reader(ours)

    def test_server_is_the_fourth_argument(self):
        parameters = list(inspect.signature(asyncio.SelectorEventLoop._start_serving).parameters)
        self.assertEqual(["self", "protocol_factory", "sock", "sslcontext", "server"], parameters[:5])

        async def serve():
            async with await asyncio.start_server(print, "127.0.0.1", 0) as server:
                return server

        server = self.loop.run_until_complete(serve())
        [(args, kwargs)] = [(a, k) for name, a, k in self.loop.called if name == "_start_serving"]
        self.assertIs(server, args[3] if len(args) > 3 else kwargs["server"])

    def test_generators_are_announced(self):
        async def generate():
            yield 1

        async def main():
            generator = generate()
            await anext(generator)
            self.assertIn(generator, self.loop._asyncgens)
            await generator.aclose()

        self.loop.run_until_complete(main())
        self.assertIn("_asyncgen_firstiter_hook", self.loop.names())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.assertTrue(self.loop._asyncgens_shutdown_called)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.assertTrue(self.loop._executor_shutdown_called)

    def test_loop_runs_while_it_has_a_thread(self):
        async def main():
            return self.loop._thread_id

        self.assertIsNone(self.loop._thread_id)
        self.assertIsNotNone(self.loop.run_until_complete(main()))
        self.assertIsNone(self.loop._thread_id)

    def test_current_task_can_be_put_aside(self):
        async def main():
            task = asyncio.current_task()
            self.assertIs(task, tasks._swap_current_task(self.loop, None))
            asyncio._set_running_loop(None)
            other = Recorder()
            try:
                answer = other.run_until_complete(asyncio.sleep(0, "other"))
            finally:
                other.close()
            asyncio._set_running_loop(self.loop)
            tasks._swap_current_task(self.loop, task)
            self.assertIs(task, asyncio.current_task())
            return answer

        self.assertEqual("other", self.loop.run_until_complete(main()))

    def test_mark_of_root_tasks(self):
        # AnyIO finds the task by which a loop lives by this callback.
        async def main():
            callbacks = [callback for callback, _ in asyncio.current_task()._callbacks]
            return base_events._run_until_complete_cb in callbacks

        self.assertTrue(self.loop.run_until_complete(main()))


if __name__ == "__main__":
    unittest.main()
