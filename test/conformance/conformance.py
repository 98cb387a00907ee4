"""CPython's own tests of asyncio, one at a time, with the loop that is to be tested in the place of its own.

Tests ask for loops in four ways, and each gets the loop under test: the method ``create_event_loop`` of a test class,
``asyncio.new_event_loop``, the classes ``asyncio.SelectorEventLoop`` and ``asyncio.EventLoop``, and the policy, which is
asyncio's own. With the loop called ``context``, tests for which ``unittest`` would make a loop run in that of the context
instead, as what they give to ``asyncio.run`` does.
"""

import asyncio
import contextlib
import importlib
import io
import re
import sys
import time
import traceback
import unittest
from asyncio import events, unix_events

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

#: Longer texts are cut in the middle.
_DETAIL = 6000

_classes = {}

#: The result of the test that runs, or ran last.
_current = None


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
    try:
        imported = importlib.import_module(f"{package}.{module}")
    except ModuleNotFoundError as error:
        if error.name is not None and f"{package}.{module}.".startswith(
            error.name + "."
        ):
            return f"this Python has no {error.name}"
        raise
    except unittest.SkipTest as error:
        return str(error)
    _use_few_resources()
    names = {}
    for case in _flatten(unittest.defaultTestLoader.loadTestsFromModule(imported)):
        if isinstance(case, unittest.loader._FailedTest):
            raise case._exception
        name, test = type(case).__qualname__, case._testMethodName
        if name not in _FORKING and test not in _FORKING:
            _classes[name] = type(case)
            names.setdefault(name, []).append(test)
    for left_out in _other_selectors(names):
        del names[left_out]
    for name in names:
        _give_loop(_classes[name], cls)
    return [
        (name, tests)
        for name, tests in names.items()
        if loop != "context"
        or issubclass(_classes[name], unittest.IsolatedAsyncioTestCase)
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


def _use_few_resources():
    """Neither the network outside of this machine nor what needs a display."""
    from test import support

    support.use_resources = {"cpu": None, "walltime": None}


def _give_loop(test_class, loop_class):
    if hasattr(test_class, "create_event_loop"):
        test_class.create_event_loop = lambda _self: loop_class()


def _flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _flatten(item)
        else:
            yield item


def _other_selectors(names):
    there = [name for name in names if _PER_SELECTOR.match(name)]
    there.sort(key=lambda name: _SELECTORS.index(_PER_SELECTOR.match(name)[1]))
    return there[1:]


class _Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.outcome = None
        self.texts = []

    def _note(self, outcome, text=""):
        # What is worse stays: a test that fails in part has failed.
        if self.outcome != "failed":
            self.outcome = outcome
        if text:
            self.texts.append(text)

    def addSuccess(self, test):
        if self.outcome is None:
            self._note("passed")

    def addError(self, test, err):
        self._note("failed", _text(err))

    def addFailure(self, test, err):
        self._note("failed", _text(err))

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._note("failed", f"{subtest}\n{_text(err)}")

    def addSkip(self, test, reason):
        self._note("skipped", reason)

    def addExpectedFailure(self, test, err):
        self._note("passed")

    def addUnexpectedSuccess(self, test):
        self._note("failed", "passes, though marked as one that fails")


def _text(err):
    return "".join(traceback.format_exception(*err))


def run(class_name, test):
    """Run one test; give what came of it, the seconds that it took, and texts for people."""
    global _current
    _current = result = _Result()
    written = io.StringIO()
    begun = time.monotonic()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
        unittest.TestSuite([_classes[class_name](test)]).run(result)
    if result.outcome == "failed":
        result.texts.append(written.getvalue())
    return result.outcome or "skipped", time.monotonic() - begun, last_texts()


def last_texts():
    """Tell what is known of the test that ran last, which may have been interrupted."""
    text = "\n".join(_current.texts) if _current else ""
    if len(text) > _DETAIL:
        text = f"{text[: _DETAIL // 2]}\n[...]\n{text[-_DETAIL // 2 :]}"
    return text
