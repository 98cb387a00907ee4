"""CPython's own tests, one at a time: what there is in a module, and what comes of one of them.

As a program it runs a module in a process of its own, without Erlang: for comparison.
"""

import contextlib
import importlib
import io
import os
import sys
import time
import traceback
import unittest

#: Longer texts are cut in the middle.
_DETAIL = 6000

#: Those that were loaded, by name.
classes = {}

#: The result of the test that runs, or ran last.
_current = None


def load(package, module):
    """Import a module of tests; give its classes with the names of their tests.

    Gives the reason as a string where this Python does not ship the module.
    """
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
    _leave_children()
    names = {}
    for case in _flatten(unittest.defaultTestLoader.loadTestsFromModule(imported)):
        if isinstance(case, unittest.loader._FailedTest):
            raise case._exception
        name, test = type(case).__qualname__, case._testMethodName
        classes[name] = type(case)
        names.setdefault(name, []).append(test)
    return list(names.items())


def _use_few_resources():
    """Neither the network outside of this machine nor what needs a display."""
    from test import support

    support.use_resources = {"cpu": None, "walltime": None}


def _leave_children():
    """After a test some wait for any child of the process, of which a context is refused the node's."""
    from test import support

    if "erlang" in sys.modules:
        support.reap_children = lambda: None


def _flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _flatten(item)
        else:
            yield item


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
        unittest.TestSuite([classes[class_name](test)]).run(result)
    if result.outcome == "failed":
        result.texts.append(written.getvalue())
    return result.outcome or "skipped", time.monotonic() - begun, last_texts()


def last_texts():
    """Tell what is known of the test that ran last, which may have been interrupted."""
    text = "\n".join(_current.texts) if _current else ""
    if len(text) > _DETAIL:
        text = f"{text[: _DETAIL // 2]}\n[...]\n{text[-_DETAIL // 2 :]}"
    return text


def main(results, limit, package, module, *wanted):
    """Run what is wanted, as ``Class.test``, or everything; append a line to a file for each test."""
    # Most contexts cannot have it.
    import faulthandler

    written = os.open(results, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(*what):
        line = "\t".join(
            str(part).encode("unicode_escape").decode("ascii") for part in what
        )
        os.write(written, line.encode() + b"\n")

    there = load(package, module)
    if isinstance(there, str):
        return tell("missing", there)
    for name, tests in there:
        for test in tests:
            if not wanted or f"{name}.{test}" in wanted:
                tell("begun", name, test)
                faulthandler.dump_traceback_later(float(limit), exit=True)
                outcome, seconds, texts = run(name, test)
                tell("ended", name, test, outcome, f"{seconds:.6f}", texts)
                faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*sys.argv[1:])
