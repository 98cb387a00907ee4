"""Functions that return what runs next."""

import os
import sys

import ct_signals
import erlang

#: What chains do that go on until something is said.
said = {}


def say(name, value):
    said[name] = value


def then(name, *arguments):
    return erlang.schedule(name, *arguments)


def then_python(module, function, arguments=(), kwargs=None):
    return erlang.schedule_py(module, function, arguments, kwargs)


def then_inline(module, function, arguments=(), kwargs=None):
    return erlang.schedule_inline(module, function, arguments, kwargs)


def depth():
    """Count the frames below this one."""
    frame, count = sys._getframe(), 0
    while (frame := frame.f_back) is not None:
        count += 1
    return count


def count_down(kind, n, first=None):
    """Give the depths of the first and the last link of a chain."""
    if first is None:
        first = depth()
    if n == 0:
        return first, depth()
    return getattr(erlang, kind)("ct_schedule", "count_down", [kind, n - 1], {"first": first})


def add_up(n, total=0):
    return erlang.schedule_py("ct_schedule", "add_up", [n - 1, total + n]) if n else total


def alternate(n):
    """Use one kind after the other, and end in Erlang."""
    if n == 0:
        return erlang.schedule("ct_end", os.getpid() > 0)
    kind = erlang.schedule_py if n % 2 else erlang.schedule_inline
    return kind("ct_schedule", "alternate", (n - 1,))


def until_said(kind, name):
    """Go on until another call says something."""
    if name in said:
        return said.pop(name)
    return getattr(erlang, kind)("ct_schedule", "until_said", [kind, name])


def for_ever(kind, port, tag):
    """Say that the chain has begun, and never end."""
    ct_signals.signal(port, tag)
    return getattr(erlang, kind)("ct_schedule", "go_on", [kind])


def go_on(kind):
    return getattr(erlang, kind)("ct_schedule", "go_on", [kind])


def fail(n, text):
    """Raise in the last of a few links."""
    if n == 0:
        raise ValueError(text)
    return erlang.schedule_py("ct_schedule", "fail", [n - 1, text])


def fail_in_erlang(n, name, *arguments):
    if n == 0:
        return erlang.schedule(name, *arguments)
    return erlang.schedule_py("ct_schedule", "fail_in_erlang", [n - 1, name, *arguments])


def spin(port, tag):
    return erlang.schedule_py("ct_signals", "spin", (port, tag))


def call_then(name, n):
    """Call Erlang in each link."""
    seen = erlang.call(name, n)
    return erlang.schedule_py("ct_schedule", "call_then", [name, n - 1]) if n else seen


def kwargs(*arguments, **named):
    return list(arguments), named


class Holder:
    """Has methods that return what runs next."""

    def then(self, name, *arguments):
        return erlang.schedule(name, *arguments)

    @property
    def attribute(self):
        return erlang.schedule("ct_end", 1)


def slices(percent, most):
    """Take parts of a time slice until it is used up; give how many it took, 0 for more than the most."""
    for i in range(1, most + 1):
        if erlang.consume_time_slice(percent):
            return i
    return 0
