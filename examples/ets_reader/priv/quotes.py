"""Quotes for baskets. What is in a basket, and what it costs, is known to Erlang only."""

from typing import TypedDict

import erlang

MANY = 10
"""From so many pieces on an article is five percent cheaper."""


class Quote(TypedDict):
    """What a basket costs, in cents, and what in it has no price."""

    total: int
    unknown: list[str]


def quote() -> Quote:
    """Quote the basket of the process that asks."""
    total = 0
    unknown = []
    for article, count in sorted(erlang.basket().items()):
        try:
            cents = erlang.price(article) * count
        except erlang.ErlangError as error:
            match error.kind, error.reason:
                case "throw", ("unknown_article", _):
                    unknown.append(article)
                    continue
            raise
        total += cents - cents // 20 if count >= MANY else cents
    return {"total": total, "unknown": unknown}
