"""Attempts with audit hooks, and with code that runs when nobody expects it."""

import gc
import os
import sys
import weakref

UNDER = ("default", "strict")

refused = []


def try_it():
    try:
        os._exit()
    except RuntimeError:
        refused.append("exit")
    try:
        os.system("exit 0")
    except RuntimeError:
        refused.append("system")


def attempt_hook_that_allows():
    """A hook of Python's hears of events after the sandbox has refused."""
    if POLICY == "strict":
        return None
    heard = []
    sys.addaudithook(lambda event, _arguments: heard.append(event))
    del refused[:]
    try_it()
    return refused != ["exit", "system"] or "os.system" in heard


def attempt_hook_that_raises():
    """An exception of another hook is no way around."""
    def hook(event, _arguments):
        if event == "os.system":
            raise KeyError(event)

    sys.addaudithook(hook)
    del refused[:]
    try_it()
    return refused != ["exit", "system"]


def attempt_events_of_my_own():
    for event in ("cpython._PySys_ClearAuditHooks", "cpython.PyInterpreterState_Clear"):
        sys.audit(event)
    del refused[:]
    try_it()
    return refused != ["exit", "system"]


def attempt_finalizer():
    class Late:
        def __del__(self):
            try_it()

    del refused[:]
    Late()
    gc.collect()
    return refused != ["exit", "system"]


def attempt_finalizer_in_a_cycle():
    class Late:
        def __init__(self):
            self.self = self

        def __del__(self):
            try_it()

    del refused[:]
    Late()
    gc.collect()
    return refused != ["exit", "system"]


def attempt_weak_reference():
    class Thing:
        pass

    del refused[:]
    thing = Thing()
    weakref.finalize(thing, try_it)
    del thing
    gc.collect()
    return refused != ["exit", "system"]


def attempt_collector_callback():
    del refused[:]
    gc.callbacks.append(lambda phase, _info: phase == "stop" and try_it())
    try:
        gc.collect()
    finally:
        gc.callbacks.pop()
    return refused[:2] != ["exit", "system"]


def attempt_exception_hook():
    del refused[:]
    before = sys.unraisablehook
    sys.unraisablehook = lambda _unraisable: try_it()

    class Bad:
        def __del__(self):
            raise ValueError

    try:
        Bad()
    finally:
        sys.unraisablehook = before
    return refused != ["exit", "system"]


def attempt_interrupted():
    """Nor while an exception is on its way."""
    del refused[:]
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        try_it()
    return refused != ["exit", "system"]


def attempt_signal_handler():
    import signal

    try:
        signal.signal(signal.SIGALRM, lambda *_: None)
    except ValueError:
        return None
    return "handles signals of the node"


def attempt_wakeup_descriptor():
    import signal

    try:
        signal.set_wakeup_fd(-1)
    except ValueError:
        return None
    return "hears of signals of the node"


def attempt_pending_recursion():
    """At the end of the stack nothing is allowed that is not elsewhere."""
    outcomes = []

    def deep():
        try:
            return deep()
        except RecursionError:
            try:
                os._exit()
            except (RuntimeError, RecursionError):
                outcomes.append("refused")
            raise

    try:
        deep()
    except RecursionError:
        pass
    return not outcomes
