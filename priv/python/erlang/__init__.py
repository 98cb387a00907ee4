"""Erlang's side of things, for Python code that runs inside an Erlang node."""

from _erlang import Interrupted, Pid, Ref

__all__ = ["Interrupted", "Pid", "Ref"]
