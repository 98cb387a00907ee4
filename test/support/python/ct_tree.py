"""The Python nodes of trees of calls: see prop_callbacks.erl."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import erlang


def run(node):
    kind, *rest = node
    return _kinds[kind](*rest)


def _attempt(function, *arguments):
    try:
        return "ok", function(*arguments)
    except erlang.ErlangError as error:
        return "erlang", error.kind
    except Exception as error:
        return type(error).__name__, str(error)


def _value(value):
    return value


def _all(*nodes):
    return [run(node) for node in nodes]


def _raise(text):
    raise ValueError(text)


def _attempted(node):
    return _attempt(run, node)


def _erlang(data):
    return erlang.call("ct_tree", data)


def _function(function):
    return function()


def _threads(*nodes):
    with ThreadPoolExecutor(max(1, len(nodes))) as executor:
        return list(executor.map(_attempted, nodes))


def _gather(*many):
    async def attempt(data):
        try:
            return "ok", await erlang.async_call("ct_tree", data)
        except erlang.ErlangError as error:
            return "erlang", error.kind

    async def main():
        return await asyncio.gather(*map(attempt, many))

    return asyncio.run(main())


def _nap():
    time.sleep(0.002)


def _hang():
    time.sleep(1000)


def _tail(data):
    return erlang.schedule("ct_tree", data)


def _tail_python(node):
    return erlang.schedule_py("ct_tree", "run", [node])


def _tail_inline(node):
    return erlang.schedule_inline("ct_tree", "run", [node])


_kinds = {
    "value": _value,
    "all": _all,
    "raise": _raise,
    "attempt": _attempted,
    "erlang": _erlang,
    "function": _function,
    "threads": _threads,
    "gather": _gather,
    "nap": _nap,
    "hang": _hang,
    "tail": _tail,
    "schedule_py": _tail_python,
    "schedule_inline": _tail_inline,
}
