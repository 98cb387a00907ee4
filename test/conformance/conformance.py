"""CPython's own tests of asyncio, one at a time, with the loop that is to be tested in the place of its own.

Tests ask for loops in four ways, and each gets the loop under test: the method ``create_event_loop`` of a test class,
``asyncio.new_event_loop``, the classes ``asyncio.SelectorEventLoop`` and ``asyncio.EventLoop``, and the policy, which is
asyncio's own. With the loop called ``context``, tests for which ``unittest`` would make a loop run in that of the context
instead, as what they give to ``asyncio.run`` does.
"""

import asyncio
import importlib
import re
import sys
import unittest
from asyncio import events, unix_events

import conformance_tests
import erlang

#: Classes with the same tests for each selector of the standard library. One of them is enough.
_SELECTORS = ("EPoll", "Kqueue", "Poll", "Select")
_PER_SELECTOR = re.compile(f"({'|'.join(_SELECTORS)})EventLoopTests$")

_LOOPS = {
    "stock": "asyncio:SelectorEventLoop",
    "erlang": "erlang:ErlangEventLoop",
    "context": "erlang:ErlangEventLoop",
}

#: Tests that fork, which no interpreter but the first may.
_FORKING = ("TestFork", "test_get_event_loop_new_process")


def _loop_class(name):
    """Such as ``asyncio:SelectorEventLoop``; two have names of their own."""
    module, _, attribute = _LOOPS.get(name, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


def load(package, module, loop):
    """Import a module of tests for that loop; give its classes with the names of their tests.

    Gives the reason as a string where this Python does not ship the module.
    """
    cls = _loop_class(loop)
    _replace_loops(cls)
    if loop == "context":
        _run_in_context_loop()
    if module != "test_unix_events":
        _replace_watcher()
    names = conformance_tests.load(package, module)
    if isinstance(names, str):
        return names
    names = {
        name: wanted
        for name, tests in names
        if name not in _FORKING
        and (wanted := [test for test in tests if test not in _FORKING])
    }
    for left_out in _other_selectors(names):
        del names[left_out]
    for name in names:
        _give_loop(conformance_tests.classes[name], cls)
    return [
        (name, tests)
        for name, tests in names.items()
        if loop != "context"
        or issubclass(
            conformance_tests.classes[name], unittest.IsolatedAsyncioTestCase
        )
    ]


def _replace_loops(cls):
    asyncio.SelectorEventLoop = unix_events.SelectorEventLoop = cls
    if hasattr(asyncio, "EventLoop"):
        asyncio.EventLoop = unix_events.EventLoop = cls
    asyncio.new_event_loop = events.new_event_loop = cls
    policy = (
        getattr(unix_events, "_DefaultEventLoopPolicy", None)
        or unix_events.DefaultEventLoopPolicy
    )
    policy._loop_factory = cls
    events._event_loop_policy = None


class _ContextRunner:
    """As an ``asyncio.Runner``, for ``unittest``."""

    def get_loop(self):
        async def running():
            return asyncio.get_running_loop()

        return erlang.run(running())

    def run(self, coro, context):
        return context.run(erlang.run, coro, debug=True)

    def close(self):
        pass


def _run_in_context_loop():
    def run(main, *, debug=None, loop_factory=None):
        if loop_factory is None:
            return erlang.run(main, debug=debug)
        return run_in_own(main, debug=debug, loop_factory=loop_factory)

    def set_up(case):
        case._asyncioRunner = _ContextRunner()

    run_in_own, asyncio.run = asyncio.run, run
    unittest.IsolatedAsyncioTestCase._setupAsyncioRunner = set_up


def _replace_watcher():
    """Below 3.14 many tests begin with a child watcher that needs signals, which only the main interpreter gets."""
    if sys.version_info < (3, 14):
        asyncio.SafeChildWatcher = asyncio.ThreadedChildWatcher


def _give_loop(test_class, loop_class):
    if hasattr(test_class, "create_event_loop"):
        test_class.create_event_loop = lambda _self: loop_class()


def _other_selectors(names):
    there = [name for name in names if _PER_SELECTOR.match(name)]
    there.sort(key=lambda name: _SELECTORS.index(_PER_SELECTOR.match(name)[1]))
    return there[1:]
