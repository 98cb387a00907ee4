"""Erlang's side of things, for Python code that runs inside an Erlang node."""

from _erlang import Atom, Fun, Interrupted, Pid, Port, Ref, StaleReference

__all__ = ["Atom", "Fun", "Interrupted", "Pid", "Port", "Ref", "StaleReference", "atom"]


def atom(name: str, /) -> Atom:
    """Return the Erlang atom of that name, which has at most 255 characters."""
    if not isinstance(name, str):
        raise TypeError(f"the name of an atom is a str, not {type(name).__name__}")
    if len(name) > 255:
        raise ValueError("the name of an atom has at most 255 characters")
    return Atom(name)
