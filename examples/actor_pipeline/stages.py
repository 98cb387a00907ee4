"""The stages of a pipeline that reads an access log. Each is an object that belongs to one Erlang process.

A stage gets batches, and sends batches on: whoever comes next is a pid, and may be Python again or not.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import erlang

BATCH = erlang.atom("batch")
DONE = erlang.atom("done")
REJECTED = erlang.atom("rejected")

REJECTS = "actor_pipeline_rejects"
"""The name of the process that wants what cannot be read."""


class Stage:
    """Sends on, to one process, what becomes of the batches that come in."""

    def __init__(self, owner: erlang.Pid, following: erlang.Pid) -> None:
        self.owner = owner
        self.following = following

    def feed(self, batch: list[Any]) -> None:
        """Take a batch, and send one on. It says whom to ask for more."""
        erlang.send(self.following, (BATCH, self.owner, list(self.work(batch))))

    def finish(self) -> None:
        """Say that there is no more."""
        erlang.send(self.following, (DONE, self.result()))

    def work(self, batch: list[Any]) -> Iterable[Any]:
        """Give what becomes of a batch."""
        raise NotImplementedError

    def result(self) -> Any:
        """Give what is left to say at the end."""
        return None


class Parse(Stage):
    """Lines become records: address, path, status, bytes."""

    LINE = re.compile(r'(\S+) - - \[[^]]*\] "GET (\S+) HTTP/1\.1" (\d{3}) (\d+)')

    def work(self, batch: list[str]) -> Iterable[tuple[str, str, int, int]]:
        for line in batch:
            match = self.LINE.fullmatch(line)
            if match:
                address, path, status, size = match.groups()
                yield address, path, int(status), int(size)
            elif rejects := erlang.whereis(REJECTS):
                erlang.send(rejects, (REJECTED, line))


class Locate(Stage):
    """The address becomes where it is: ``inside`` or ``outside``."""

    INSIDE = ipaddress.ip_network("10.0.0.0/8")

    def work(self, batch: list[tuple[str, str, int, int]]) -> Iterable[tuple[str, str, int, int]]:
        for address, path, status, size in batch:
            where = "inside" if ipaddress.ip_address(address) in self.INSIDE else "outside"
            yield where, path, status, size


class Total(Stage):
    """Counts, and tells the totals at the end."""

    def __init__(self, owner: erlang.Pid, following: erlang.Pid) -> None:
        super().__init__(owner, following)
        self.requests: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.failed = 0

    def work(self, batch: list[tuple[str, str, int, int]]) -> Iterable[Any]:
        for where, _path, status, size in batch:
            self.requests[where] += 1
            self.bytes[where] += size
            self.failed += status >= 500
        return ()

    def result(self) -> Any:
        return {"requests": self.requests, "bytes": self.bytes, "failed": self.failed}
