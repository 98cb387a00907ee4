"""Measures of one Python source file, taken from its syntax tree.

Everything is counted on the tree that ``ast.parse`` gives, so comments and layout do not matter (but for ``lines``):

* *branches* are the places where control may go two ways: ``if`` and ``elif``, conditional expressions, loops, the
  ``for`` and ``if`` parts of comprehensions, ``except`` clauses, the cases of ``match`` that may fail to match, and
  each ``and`` or ``or``;
* the *complexity* of a function is one more than the branches in it. A function inside another one counts for itself,
  a ``lambda`` or a class counts for the function around it;
* *nesting* is the number of compound statements (``if``, ``for``, ``with``, ``def``, ``class``, ...) around one
  another at the deepest place. An ``elif`` is no deeper than its ``if``.
"""

import ast
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

__all__ = ["MOST_COMPLEX", "Failure", "Function", "Measures", "measure", "measure_source"]

MOST_COMPLEX = 10
"""How many functions of a file are named in its measures.

As many as the report over all files names: a function can only be among the ten most complex of all files if it is
among the ten most complex of its own.
"""


class Function(TypedDict):
    """One function or method: its dotted name, its line and its cyclomatic complexity."""

    name: str
    line: int
    complexity: int


class Measures(TypedDict):
    """What is known of a file that could be parsed."""

    path: str
    lines: int
    functions: int
    classes: int
    branches: int
    nesting: int
    most_complex: list[Function]


class Failure(TypedDict):
    """A file that could not be read or parsed, and why."""

    path: str
    error: str


def measure(path: str) -> Measures | Failure:
    """Measure the file at ``path``; bad input is a result with the key ``error``, not an exception."""
    try:
        return measure_source(Path(path).read_bytes(), path)
    # ValueError covers null bytes and undecodable text; the last two are the parser's limits on nested expressions.
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as reason:
        return {"path": path, "error": f"{type(reason).__name__}: {reason}"}


def measure_source(source: bytes, path: str) -> Measures:
    """Measure ``source``, which is decoded as Python itself would decode it; raise what ``ast.parse`` raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source, filename=path)
    tally = _Tally()
    tally.count(tree)
    ranked = sorted(tally.functions, key=lambda function: (-function["complexity"], function["line"]))
    return {
        "path": path,
        "lines": len(source.splitlines()),
        "functions": len(tally.functions),
        "classes": tally.classes,
        "branches": tally.branches,
        "nesting": tally.nesting,
        "most_complex": ranked[:MOST_COMPLEX],
    }


_COMPOUND = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.Try,
    ast.TryStar,
    ast.With,
    ast.AsyncWith,
    ast.Match,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands: the compound statements around it, the names around it, the function it counts for."""

    depth: int = 0
    prefix: str = ""
    function: Function | None = None


@dataclass(slots=True)
class _Tally:
    """The counts of one tree. It keeps its own stack: a deep expression must not exhaust Python's."""

    functions: list[Function] = field(default_factory=list)
    classes: int = 0
    branches: int = 0
    nesting: int = 0

    def count(self, tree: ast.Module) -> None:
        todo: list[tuple[ast.AST, _Place]] = [(tree, _Place())]
        while todo:
            node, place = todo.pop()
            branches = _branches(node)
            self.branches += branches
            if place.function is not None:
                place.function["complexity"] += branches
            if isinstance(node, _COMPOUND):
                inner = _Place(place.depth + 1, place.prefix, place.function)
                self.nesting = max(self.nesting, inner.depth)
            else:
                inner = place
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    name = place.prefix + node.name
                    function = Function(name=name, line=node.lineno, complexity=1)
                    self.functions.append(function)
                    body = _Place(inner.depth, f"{name}.", function)
                    # Decorators, defaults and annotations belong to the function around this one.
                    within = set(map(id, node.body))
                    todo += [(child, body if id(child) in within else place) for child in ast.iter_child_nodes(node)]
                case ast.ClassDef():
                    self.classes += 1
                    inner = _Place(inner.depth, f"{place.prefix}{node.name}.", place.function)
                    todo += [(child, inner) for child in ast.iter_child_nodes(node)]
                case ast.If(orelse=[ast.If() as follower]) if follower.col_offset == node.col_offset:
                    todo.append((follower, place))
                    todo += [(child, inner) for child in (node.test, *node.body)]
                case _:
                    todo += [(child, inner) for child in ast.iter_child_nodes(node)]


def _branches(node: ast.AST) -> int:
    """Count the ways that open at this very node."""
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While() | ast.ExceptHandler():
            return 1
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=None):
            return 0  # `case _:` and `case name:` always match
        case ast.match_case():
            return 1
        case _:
            return 0
