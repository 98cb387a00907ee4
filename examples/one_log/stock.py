"""A stock that logs as any Python code does, and knows nothing of Erlang."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger("shop.stock")

_left = {"tea": 40, "coffee": 25, "cocoa": 3}
_lock = threading.Lock()


def take(article: str, amount: int) -> int:
    """Take so much of an article, and give what is left of it."""
    log.debug("looking for %s", article)
    with _lock:
        left = _left[article] - amount
        if left < 0:
            log.warning("%d of %s are missing", -left, article, extra={"missing": -left})
            return -1
        _left[article] = left
    log.info("%d of %s taken", amount, article, extra={"left": left})
    return left


def count() -> None:
    """Look after all that is left, which fails for what nobody has counted."""
    for article in [*_left, "sugar"]:
        try:
            _left[article]
        except KeyError:
            log.exception("nobody has counted %s", article)
