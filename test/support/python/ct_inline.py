"""What calls do that run on schedulers, and what they must not do there."""

import asyncio
import gc
import json
import socket
import threading
import time

import erlang

alive = 0
order = []


def ident():
    """The calling thread."""
    return threading.get_ident()


def add(a, b, *, c=0):
    return a + b + c


def note(value):
    order.append(value)


def noted():
    return list(order)


def burst(kind):
    raise {"ValueError": ValueError, "KeyError": KeyError, "SystemExit": SystemExit}[kind]("burst")


async def coroutine():
    return 1


def schedules():
    return erlang.schedule("identity", 1)


def calls():
    return erlang.call("identity", 1)


def sleeps():
    time.sleep(0.001)


def imports():
    import colorsys

    return colorsys.__name__


def starts_thread():
    thread = threading.Thread(target=ident)
    thread.start()
    thread.join()


def connects():
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))


def runs_loop():
    return erlang.run(coroutine())


def makes_loop():
    loop = asyncio.new_event_loop()
    loop.close()


def prints(text):
    print(text)


def sends(pid, term):
    erlang.send(pid, term)


def endless(pid):
    erlang.send(pid, ("inside", ident()))
    while True:
        pass


def endless_twice(pid):
    """Ignores the first interrupt."""
    try:
        erlang.send(pid, ("inside", ident()))
        while True:
            pass
    except BaseException:
        pass
    while True:
        pass


def busy(seconds):
    """Nothing but processor time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def recursion(depth=0):
    return recursion(depth + 1) + 1


class Key:
    """Compares by recursion through C."""

    def __lt__(self, other):
        return sorted([Key(), Key()]) < []


def sorts():
    return len(sorted([Key(), Key()]))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def shows():
    return len(repr(nested(1_000_000)))


def dumps():
    return len(json.dumps(nested(1_000_000)))


def hashes():
    value = ()
    for _ in range(1000):
        value = (value,)
    return hash(value) != 0


def compares():
    return nested(1_000_000) == nested(1_000_000)


def isinstances():
    classes = int
    for _ in range(1_000_000):
        classes = (classes,)
    return isinstance("", classes)


class Node:
    """One half of a circle."""

    def __init__(self):
        global alive
        alive += 1
        self.self = self

    def __del__(self):
        global alive
        alive -= 1


def circles(count):
    for _ in range(count):
        Node()


def living():
    return alive


def collects():
    return gc.isenabled()


def starts_threads_at_home():
    """In the mailbox of the context."""
    starts_thread()
    return True


class FailsForEver(Exception):
    """Never comes to an end of telling what it is."""

    def __str__(self):
        while True:
            pass


def fails_for_ever():
    raise FailsForEver
