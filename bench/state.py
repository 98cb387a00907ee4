"""The Python side of the shared state: loops over its functions, and over those that go by way of a process."""

import erlang
from callbacks import repeat


def called(count: int, timed: bool) -> list[int]:
    """Call an Erlang function that looks a key up."""
    call = erlang.call
    return repeat(lambda _: call("bench_lookup", "key"), count, timed)


def counted(count: int, timed: bool) -> list[int]:
    """Call an Erlang function that counts."""
    call = erlang.call
    return repeat(lambda _: call("bench_count", "count"), count, timed)


def gets(count: int, timed: bool) -> list[int]:
    """Read a key."""
    get = erlang.state_get
    return repeat(lambda _: get("key"), count, timed)


def sets(count: int, timed: bool) -> list[int]:
    """Write a key."""
    value = {"name": "value", "list": [1, 2, 3]}
    put = erlang.state_set
    return repeat(lambda _: put("other", value), count, timed)


def counts(count: int, timed: bool) -> list[int]:
    """Count."""
    incr = erlang.state_incr
    return repeat(lambda _: incr("counted"), count, timed)
