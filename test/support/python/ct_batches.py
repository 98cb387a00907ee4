"""What the suites of batches and of map call."""

from __future__ import annotations

import threading
import time

import erlang

ran: list[object] = []
flags: dict[str, bool] = {}
threads: list[threading.Thread] = []


def reset() -> None:
    ran.clear()
    flags.clear()


def step(item: object) -> object:
    """Keep the item, which runs once."""
    ran.append(item)
    return item


def what_ran() -> list[object]:
    return list(ran)


def stop() -> None:
    flags["stopped"] = True


async def stop_in_the_loop() -> None:
    stop()


def until_stopped(item: object) -> bool:
    """Take a while, until somebody else has had a turn; an item that is a process and a term is told."""
    if isinstance(item, tuple):
        erlang.send(*item)
    if "stopped" not in flags:
        end = time.perf_counter() + 0.0002
        while time.perf_counter() < end:
            pass
    return "stopped" in flags


def spin_at(item: int, place: int, told: erlang.Pid) -> int:
    """Return the item but for one, which tells that it runs, and never ends by itself."""
    ran.append(item)
    if item == place:
        erlang.send(told, "runs")
        while True:
            pass
    return item


def schedule(item: int) -> object:
    return erlang.schedule("add", item, 1) if item % 2 else item


async def coroutine() -> None:
    pass


class Opaque:
    def __init__(self, value: object) -> None:
        self.value = value

    def get(self) -> object:
        return self.value


async def reset_in_the_loop() -> None:
    reset()


class Opener:
    """A number that opens a gate for a thread when a function in C asks for it."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def __pow__(self, _other: object) -> int:
        self.gate.set()
        return 1


def start_a_thread(told: erlang.Pid, term: object) -> Opener:
    """Start a thread that waits, and then tells that it runs."""
    gate = threading.Event()

    def run() -> None:
        gate.wait()
        erlang.send(told, term)

    threads.append(threading.Thread(target=run))
    threads[-1].start()
    return Opener(gate)


def join_the_thread() -> None:
    threads.pop().join()


def act(kind: str, number: int, _caller: int) -> object:
    if kind == "fail":
        raise ValueError(number)
    if kind == "call":
        return erlang.call("prop_batches_add", number, 1)
    if kind == "batch":
        return erlang.call("prop_batches_batch", number)
    return number


def told(item: object) -> object:
    """Give what Erlang says of the item."""
    return erlang.call("item", item)


def told_and_named(item: object, *, name: str) -> object:
    return erlang.call(name, item)


def told_until_stopped(item: int) -> bool:
    """Wait for Erlang, until somebody else has had a turn."""
    if "stopped" not in flags:
        erlang.call("item", item)
        return until_stopped(item)
    return True
