"""Classes and objects that the tables of docs/conversion.md speak of, each as plain as it can be."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import types
import uuid

import erlang

__all__ = [
    "Bits", "Blob", "Bytes", "Colour", "Dict", "Fields", "FieldsAsTerm", "Float", "Frozen", "Int", "Level", "List",
    "Mutable", "Name", "Nested", "Plain", "Point", "Set", "Str", "Table", "TermByAttribute", "TermDict", "TermEnum",
    "Term", "Tuple", "array", "collections", "dataclasses", "datetime", "decimal", "enum", "erlang", "fractions",
    "pathlib", "same", "types", "uuid",
]  # fmt: skip


def same(value, literal):
    """Whether both are equal and all their parts are of the same types: ``1``, ``1.0`` and ``True`` differ."""
    if type(value) is not type(literal):
        return False
    if isinstance(literal, dict):
        return len(value) == len(literal) and all(
            any(same(key, other) and same(value[key], literal[other]) for other in literal) for key in value
        )
    if isinstance(literal, (list, tuple)):
        return len(value) == len(literal) and all(map(same, value, literal))
    if isinstance(literal, float):
        return value.hex() == literal.hex()
    return value == literal


class Int(int):
    pass


class Float(float):
    pass


class Str(str):
    pass


class Bytes(bytes):
    pass


class Blob(bytearray):
    pass


class List(list):
    pass


class Tuple(tuple):
    pass


class Dict(dict):
    pass


class Set(set):
    pass


class Frozen(frozenset):
    pass


class Plain:
    pass


class Mutable:
    """Neither hashable nor convertible."""

    __hash__ = None


Point = collections.namedtuple("Point", "x y")


class Term:
    def __init__(self, term):
        self.term = term

    def __erlang_term__(self):
        return self.term


class TermDict(dict):
    def __erlang_term__(self):
        return ("instead", len(self))


class TermByAttribute:
    def __init__(self):
        self.__erlang_term__ = lambda: "never asked"


class Colour(enum.Enum):
    RED = "red"
    SPOT = (1, None)


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    A = "a"


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


class TermEnum(enum.Enum):
    ONE = 1

    def __erlang_term__(self):
        return "instead"


@dataclasses.dataclass
class Fields:
    name: str
    value: object = None
    ignored: dataclasses.InitVar[int] = 0
    shared = "no field"


@dataclasses.dataclass(frozen=True, slots=True)
class Nested:
    inner: object


@dataclasses.dataclass
class FieldsAsTerm:
    a: int = 1

    def __erlang_term__(self):
        return ["instead", self.a]


@dataclasses.dataclass
class Table(dict):
    a: int = 1


class array:
    """What NumPy's arrays and scalars have, as far as conversion looks at them."""

    def __init__(self, value, ndim):
        self.value = value
        self._ndim = ndim

    @property
    def ndim(self):
        return self._ndim

    def tolist(self):
        return self.value
