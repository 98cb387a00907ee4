"""The rules for moving money between accounts. The accounts are in Mnesia, and Erlang's side of it."""

from typing import TypedDict

import erlang


class Refused(Exception):
    """The transfer breaks a rule. Whatever it has written so far is taken back."""


class Receipt(TypedDict):
    """What a transfer has done."""

    amount: int
    left: int


def transfer(source: str, target: str, amount: int) -> Receipt:
    """Move an amount. Runs inside of a transaction, which ends as this function does."""
    if amount <= 0:
        raise Refused("the amount must be positive")
    left = erlang.balance(source) - amount
    erlang.set_balance(source, left)
    erlang.set_balance(target, erlang.balance(target) + amount)
    # Late, to show that it is never too late.
    if left < 0:
        raise Refused(f"{source} is short of {-left}")
    return {"amount": amount, "left": left}
