"""What is called in every row of the comparison."""

import functools
import importlib
import os
import threading
import time


def echo(value):
    return value


def primes(limit):
    """How many there are, by trial division."""
    found = []
    for number in range(2, limit):
        for prime in found:
            if prime * prime > number:
                found.append(number)
                break
            if number % prime == 0:
                break
        else:
            found.append(number)
    return len(found)


@functools.cache
def prose(words):
    return " ".join(
        f"{'abcdefghij'[n % 10] * (n * 7 % 9 + 1)}{n * 31 % 97}," for n in range(words)
    )


def text(words):
    """Splits, changes and counts words, and gives a number that depends on all of them."""
    # Not at the top: that would count as the start of each worker.
    import re
    from collections import Counter

    counts = Counter(word.lower() for word in re.findall(r"\w+", prose(words)))
    changed = re.sub(r"([a-z]+)(\d+)", r"\2\1", prose(words)).title().replace(",", ";")
    return sum(len(word) * count for word, count in counts.most_common()) + len(changed)


@functools.cache
def source(name):
    with open(
        os.path.join(os.path.dirname(os.__file__), name), encoding="utf-8"
    ) as file:
        return file.read()


def syntax(names):
    """How many nodes the syntax trees of modules of the standard library have."""
    import ast

    return sum(1 for name in names for _ in ast.walk(ast.parse(source(name))))


async def nap(seconds, number):
    import asyncio

    await asyncio.sleep(seconds)
    return number


def naps(arguments):
    import asyncio

    async def gather():
        return await asyncio.gather(*(nap(*each) for each in arguments))

    return asyncio.run(gather())


def many(module, name, arguments):
    function = getattr(importlib.import_module(module), name)
    return [function(*each) for each in arguments]


def hold(seconds):
    """Keeps its worker busy, and says which it is."""
    time.sleep(seconds)
    return f"{os.getpid()}-{threading.get_ident()}"
