"""What Erlang asks about memory."""

from __future__ import annotations

import gc
import sys

# Not from typing: see _boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def stats() -> tuple[
    list[dict[str, int]], tuple[int, ...], tuple[int, ...], tuple[int, int] | None
]:
    """Give the collector's statistics, counts and thresholds, and what is traced now and was at most."""
    # Tracing needs a module that most interpreters refuse; it is loaded where anybody has started it.
    tracing: Any = sys.modules.get("_tracemalloc")
    traced = None
    if tracing is not None and tracing.is_tracing():
        traced = tracing.get_traced_memory()
    return gc.get_stats(), gc.get_count(), gc.get_threshold(), traced


def collect(generation: int) -> int:
    """Collect a generation; give the number of unreachable objects."""
    return gc.collect(generation)


def start_tracing(frames: int) -> None:
    """Trace what memory is taken from now on."""
    import tracemalloc

    tracemalloc.start(frames)


def stop_tracing() -> None:
    """End tracing, where it was started."""
    tracing: Any = sys.modules.get("_tracemalloc")
    if tracing is not None:
        tracing.stop()
