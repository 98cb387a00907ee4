"""Threads that call Erlang, and what they are answered."""

import threading
from concurrent.futures import ThreadPoolExecutor

import ct_signals
import erlang

#: What goes on after the call that started it.
_started = {}


def attempt(function, *arguments, **named):
    """Give what a call gives, or what it raises."""
    try:
        return "ok", function(*arguments, **named)
    except erlang.ErlangError as error:
        return error.kind, error.reason
    except BaseException as error:
        return type(error).__name__, str(error)


class Caller(threading.Thread):
    def __init__(self, function, *arguments):
        super().__init__()
        self.function = function
        self.arguments = arguments
        self.outcome = None

    def run(self):
        self.outcome = attempt(self.function, *self.arguments)


def _begun(count, name, *arguments):
    callers = [Caller(erlang.call, name, i, *arguments) for i in range(1, count + 1)]
    for caller in callers:
        caller.start()
    return callers


def _outcomes(callers):
    for caller in callers:
        caller.join()
    return [caller.outcome for caller in callers]


def run(count, name, *arguments):
    """Give the outcomes of threads that call an Erlang function each, with their numbers first."""
    return _outcomes(_begun(count, name, *arguments))


def start(group, count, name, *arguments):
    """Start such threads under a name."""
    _started[group] = _begun(count, name, *arguments)


def finish(group):
    """Wait for the threads of a group; give their outcomes."""
    return _outcomes(_started.pop(group))


def in_thread(function, *arguments):
    """Give what a thread gets for a call that it makes."""
    caller = Caller(function, *arguments)
    caller.start()
    caller.join()
    return caller.outcome


def call_in_thread(name, *arguments):
    return in_thread(erlang.call, name, *arguments)


def call_named_in_thread(name, **named):
    return in_thread(lambda: erlang.call(name, **named))


def run_often(count, times, name):
    """Give what was wrong in threads that call often."""

    def often(i):
        return [x for n in range(times) if (x := erlang.call(name, (i, n))) != (i, n)]

    callers = [Caller(often, i) for i in range(count)]
    for caller in callers:
        caller.start()
    return [outcome for outcome in _outcomes(callers) if outcome != ("ok", [])]


def in_executor(workers, count, name):
    with ThreadPoolExecutor(workers) as executor:
        return list(executor.map(lambda i: erlang.call(name, i), range(1, count + 1)))


def executor_that_stays(workers, count, name):
    """Leave the executor as it is, with its idle threads."""
    executor = _started["executor"] = ThreadPoolExecutor(workers)
    return list(executor.map(lambda i: erlang.call(name, i), range(1, count + 1)))


def start_telling(port, tag, count, name):
    """Start threads that call once and tell by signal how it ended."""

    def call(i):
        kind, _ = attempt(erlang.call, name, i)
        ct_signals.signal(port, f"{tag} {i} {kind}")

    for i in range(1, count + 1):
        Caller(call, i).start()


def start_endless(port, tag, count, name):
    """Start threads that call until it fails."""

    def call(i):
        answers = 0
        while (outcome := attempt(erlang.call, name, i))[0] == "ok":
            answers += 1
            if answers == 10:
                ct_signals.signal(port, f"{tag} {i} calls")
        ct_signals.signal(port, f"{tag} {i} {outcome[0]}")

    for i in range(1, count + 1):
        Caller(call, i).start()


def start_late(port, tag, name):
    """Start a thread that calls when its gate is opened."""

    def call():
        ct_signals.gate(port, tag)
        kind, _ = attempt(erlang.call, name, 1)
        ct_signals.signal(port, f"{tag} 1 {kind}")

    Caller(call).start()


def callers():
    """Count the threads that still run."""
    return sum(isinstance(thread, Caller) for thread in threading.enumerate())
