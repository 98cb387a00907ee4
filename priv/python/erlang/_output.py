"""``sys.stdout`` and ``sys.stderr`` of an interpreter: what is printed goes to Erlang, by way of the native side.

The native side knows for whom the code runs that prints. It keeps the beginnings of lines, for each of them apart; so the
streams here keep nothing.
"""

from __future__ import annotations

import io
import sys

import _erlang

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer
    from typing import Any


class _Bytes(io.BufferedIOBase):
    """What ``sys.stdout.buffer`` is. It has no descriptor."""

    mode = "wb"

    def __init__(self, name: str, stream: int) -> None:
        self.name = name
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        if self.closed:
            raise ValueError("write to closed file")
        return _erlang.output_write(self._stream, data)

    def flush(self) -> None:
        if not self.closed:
            _erlang.output_flush(self._stream)


def _stream(name: str, number: int) -> io.TextIOWrapper:
    stream: Any = _Bytes(name, number)
    text = io.TextIOWrapper(
        stream,
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )
    text.mode = "w"  # type: ignore[misc]
    return text


def install() -> None:
    """Let all that is printed go to Erlang from now on."""
    sys.stdout = sys.__stdout__ = _stream("<stdout>", 1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream("<stderr>", 2)  # type: ignore[misc]
