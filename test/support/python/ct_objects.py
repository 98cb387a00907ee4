"""Objects that say when they go, and on which thread."""

import gc
import itertools
import sys
import threading
import weakref

import ct_signals

#: What only this module keeps alive.
kept = {}


class Watched:
    def __init__(self, port, tag):
        self.port = port
        self.tag = tag
        self.items = []

    def __del__(self):
        ct_signals.signal(self.port, f"{self.tag} {threading.get_ident()}")

    def add(self, item):
        self.items.append(item)
        return len(self.items)

    def itself(self):
        return self

    def gate(self, port, tag):
        return ct_signals.gate(port, tag)


class Counted:
    """One of many; the last of them that goes says so."""

    total = 0
    port = 0
    gone = itertools.count(1)

    def __init__(self, size=0):
        self.data = bytes(size)

    def __del__(self):
        if next(Counted.gone) == Counted.total:
            ct_signals.signal(Counted.port, "all gone")


def expect(port, total):
    Counted.port, Counted.total, Counted.gone = port, total, itertools.count(1)


def living():
    return sum(type(one) is Counted for one in gc.get_objects())


class Raising:
    def __del__(self):
        raise ValueError("never told")


class Risen:
    """Is kept when it goes."""

    def __del__(self):
        kept["risen"] = self


def keep(name, value):
    kept[name] = value


def get(name):
    return kept[name]


def forget(name):
    del kept[name]


def weak(value):
    kept["weak"] = weakref.ref(value)


def is_living():
    return kept["weak"]() is not None


def is_kept(name, value):
    return kept[name] is value


def are_same(*values, **named):
    one, *others = [*values, *named.values()]
    return all(other is one for other in others)


def make_bytes(name, size):
    kept[name] = (b"0123456789abcdef" * (size // 16 + 1))[:size]


def references(name):
    return sys.getrefcount(kept[name])
