"""For which request code runs: an interrupt of that one may be raised in it, and no other."""

from __future__ import annotations

from contextvars import Context, copy_context

import _erlang

#: The scope of the loops' own code, in which no interrupt is raised.
INTERNAL = -1

#: The scope of what belongs to no request.
NOBODY = 0


def in_scope(scope: int) -> Context:
    """Copy the current context, for code that runs for a request."""
    context = copy_context()
    context.run(_erlang.scope.set, scope)
    return context


def internals() -> Context:
    """Make a context for a loop's own code."""
    context = Context()
    context.run(_erlang.scope.set, INTERNAL)
    return context
