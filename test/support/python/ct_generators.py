"""Generators and other iterators that say what becomes of them, by messages to a process."""

import asyncio
import itertools

import erlang


def count(n, who=None):
    """Items from 0 on; the process hears that the generator was closed."""
    try:
        for i in itertools.count() if n is None else range(n):
            yield i
    finally:
        if who is not None:
            erlang.send(who, "closed")


async def acount(n, who=None):
    try:
        for i in itertools.count() if n is None else range(n):
            yield i
    finally:
        # Cut short, it would never be heard of.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if who is not None:
            erlang.send(who, "closed")


def pulled(who):
    """Tells of each item before it is made."""
    for i in itertools.count():
        erlang.send(who, ("pulled", i))
        yield i


async def apulled(who):
    for i in itertools.count():
        erlang.send(who, ("pulled", i))
        yield i


class Countdown:
    """An iterator that is no generator."""

    def __init__(self, n, who=None):
        self.n = n
        self.who = who

    def __iter__(self):
        return self

    def __next__(self):
        if self.n == 0:
            raise StopIteration
        self.n -= 1
        return self.n

    def close(self):
        if self.who is not None:
            erlang.send(self.who, "closed")


class ACountdown:
    def __init__(self, n):
        self.n = n

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.n == 0:
            raise StopAsyncIteration
        self.n -= 1
        await asyncio.sleep(0)
        return self.n


class Iterable:
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def repeat(*values, **named):
    yield from values
    yield named


def fails(who, items=1):
    try:
        yield from range(items)
        raise ValueError("no more")
    finally:
        erlang.send(who, "closed")


async def afails(who, items=1):
    try:
        for i in range(items):
            yield i
        raise ValueError("no more")
    finally:
        await asyncio.sleep(0)
        erlang.send(who, "closed")


def unsendable(who):
    """Its second item is nothing that Erlang could have."""
    try:
        yield 1
        yield "\ud800"
        erlang.send(who, "went on")
    finally:
        erlang.send(who, "closed")


async def aunsendable(who):
    try:
        yield 1
        yield "\ud800"
        erlang.send(who, "went on")
    finally:
        erlang.send(who, "closed")


def large(who, size):
    try:
        yield 1
        yield b"x" * size
        erlang.send(who, "went on")
    finally:
        erlang.send(who, "closed")


async def alarge(who, size):
    try:
        yield 1
        yield b"x" * size
        erlang.send(who, "went on")
    finally:
        erlang.send(who, "closed")


def prints():
    yield 1
    print("from a stream")


async def aprints():
    yield 1
    print("from a stream")


held = []


def keeps(name, *args):
    """A generator that does not end because nobody refers to it."""
    generator = globals()[name](*args)
    held.append(generator)
    return generator


def busy(who):
    try:
        yield 1
        erlang.send(who, "busy")
        while True:
            pass
    finally:
        erlang.send(who, "closed")


async def abusy(who):
    try:
        yield 1
        erlang.send(who, "busy")
        while True:
            pass
    finally:
        erlang.send(who, "closed")


async def asleeps(who):
    try:
        yield 1
        erlang.send(who, "busy")
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0)
        erlang.send(who, "closed")


def asks(name, n):
    for i in range(n):
        yield erlang.call(name, i)


async def aasks(name, n):
    for i in range(n):
        yield await erlang.async_call(name, i)


def waits(name, who):
    try:
        yield 1
        yield erlang.call(name)
    finally:
        erlang.send(who, "closed")


def runs_a_loop():
    async def value(i):
        await asyncio.sleep(0)
        return i

    for i in range(3):
        yield erlang.run(value(i))


def stubborn(who):
    """It goes on when it is closed."""
    while True:
        try:
            yield 1
        except GeneratorExit:
            erlang.send(who, "refuses")


def fails_to_close(who):
    try:
        while True:
            yield 1
    finally:
        erlang.send(who, "closed")
        raise ValueError("at the end")


def asks_at_the_end(name, who):
    try:
        while True:
            yield 1
    finally:
        erlang.send(who, erlang.call(name))


async def coroutine():
    return [1]


def before_the_first(who):
    """No generator: fails before there is one."""
    raise ValueError("never began")


ticks = []


async def tick():
    while True:
        ticks.append(1)
        await asyncio.sleep(0)
