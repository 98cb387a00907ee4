"""Objects whose code runs while they are converted, and does what it should not."""

import dataclasses
import datetime
import decimal
import enum
import gc
import pathlib
import sys
import uuid


class Act:
    """Does something when it is converted."""

    def __init__(self, act):
        self.act = act

    def __erlang_term__(self):
        self.act()
        return "term"


class ActString(decimal.Decimal):
    """Does something when it is asked for its text."""

    def __str__(self):
        self.act()
        return "term"


def _act_string(act):
    value = ActString(1)
    value.act = act
    return value


def _refill():
    """Use the memory of what was just freed."""
    gc.collect()
    return [bytes(n) for n in range(16, 2000, 8)], [[None] * n for n in range(100)]


def _list(change, make=Act):
    """A list whose second element changes it by ``change``, and the list as it was."""
    values = [[1], make(lambda: (change(values), _refill())), [2], ["three"], 4]
    return values, [[1], "term", [2], ["three"], 4]


def _grow_for_ever():
    values = []

    def grow():
        values.append(Act(grow))
        values.append([len(values)])

    grow()
    return values, ["term", [1]]


def _outer_list():
    values = []
    values += [1, {"k": (Act(values.clear), [2])}, [3]]
    return values, [1, {"k": ("term", [2])}, [3]]


def _later_list():
    later = [1]
    return [Act(later.clear), later, [2]], ["term", [], [2]]


def _earlier_list():
    earlier = [1]
    return [earlier, Act(earlier.clear)], [[1], "term"]


def _dict(change):
    values = {1: [1]}
    values[2] = Act(lambda: (change(values), _refill()))
    values |= {3: [3], 4: {"four": [4]}}
    return values, {1: [1], 2: "term", 3: [3], 4: {"four": [4]}}


def _dict_key(change):
    values = {1: [1]}
    values[Act(lambda: (change(values), _refill()))] = [2]
    values[3] = [3]
    return values, {1: [1], "term": [2], 3: [3]}


def _set(change):
    values = {1, (2, "two"), "three"}
    values.add(Act(lambda: (change(values), _refill())))
    return values, [1, (2, "two"), "three", "term"]


class _Shrinking:
    """Its list is changed by the list's own element."""

    ndim = 1

    def __init__(self):
        self.values = []
        self.values += [[1], Act(self.values.clear), [2]]

    def tolist(self):
        return self.values


def _replace(values):
    values[:] = [None] * 50


def _rekey(values):
    values.clear()
    values.update((n, [n]) for n in range(100, 120))


#: How a container is changed while it is converted.
CHANGERS = {
    "list_cleared": lambda: _list(list.clear),
    "list_grown": lambda: _list(lambda values: values.extend([[0]] * 1000)),
    "list_replaced": lambda: _list(_replace),
    "list_shifted": lambda: _list(lambda values: values.insert(0, "new")),
    "list_shortened": lambda: _list(lambda values: values.__delitem__(slice(2, None))),
    "list_cleared_by_str": lambda: _list(list.clear, _act_string),
    "list_grown_for_ever": _grow_for_ever,
    "list_cleared_from_within": _outer_list,
    "later_list": _later_list,
    "earlier_list": _earlier_list,
    "list_of_tolist": lambda: (_Shrinking(), [[1], "term", [2]]),
    "dict_cleared": lambda: _dict(dict.clear),
    "dict_grown": lambda: _dict(lambda values: values.update(dict.fromkeys(range(10, 1000)))),
    "dict_rekeyed": lambda: _dict(_rekey),
    "dict_shortened": lambda: _dict(dict.popitem),
    "dict_value_replaced": lambda: _dict(lambda values: values.__setitem__(4, None)),
    "dict_cleared_by_key": lambda: _dict_key(dict.clear),
    "dict_rekeyed_by_key": lambda: _dict_key(_rekey),
    "set_cleared": lambda: _set(set.clear),
    "set_grown": lambda: _set(lambda values: values.update(range(10, 1000))),
    "set_emptied_one_by_one": lambda: _set(set.pop),
}


def changer(name):
    return CHANGERS[name]()


def _raise(error):
    raise error


class Raises:
    def __init__(self, error):
        self.error = error

    def __erlang_term__(self):
        raise self.error


class NoArguments:
    def __erlang_term__():
        return 1


class RaisingText(decimal.Decimal):
    def __str__(self):
        raise KeyError("text")


class NumberForText(decimal.Decimal):
    def __str__(self):
        return 5


class RaisingPath(type(pathlib.Path())):
    def __str__(self):
        raise KeyError("path")


class RaisingUuid(uuid.UUID):
    def __str__(self):
        raise KeyError("uuid")


class RaisingDate(datetime.date):
    def isoformat(self):
        raise KeyError("date")


class NumberForDate(datetime.date):
    def isoformat(self):
        return 5


@dataclasses.dataclass
class RaisingField:
    value: int = 1

    @property
    def field(self):
        return 1 / 0


RaisingField.value = property(lambda self: 1 / 0, lambda self, value: None)


@dataclasses.dataclass
class MissingField:
    value: int = 1

    def __post_init__(self):
        del self.value
        del type(self).value


@dataclasses.dataclass
class NoFields:
    value: int = 1


NoFields.__dataclass_fields__ = 5


class RaisingArray:
    ndim = 1

    def tolist(self):
        raise KeyError("tolist")


class RaisingNdim:
    @property
    def ndim(self):
        raise KeyError("ndim")

    def tolist(self):
        return [1]


#: What raises when it is converted, and the class of the exception.
RAISERS = {
    "KeyError": lambda: [
        Raises(KeyError("term")), RaisingText(1), RaisingPath("a"), RaisingUuid(int=1), RaisingDate(1, 1, 1),
        RaisingArray(),
    ],
    "ZeroDivisionError": lambda: [RaisingField()],
    "AttributeError": lambda: [MissingField()],
    "TypeError": lambda: [NoArguments(), NumberForText(1), Raises(5)],
    "SystemExit": lambda: [Raises(SystemExit(1))],
    "KeyboardInterrupt": lambda: [Raises(KeyboardInterrupt)],
    "MemoryError": lambda: [Raises(MemoryError())],
    "RecursionError": lambda: [Itself(), Chain(), ArrayOfItself(), ChainOfLists()],
}  # fmt: skip


class Itself:
    def __erlang_term__(self):
        return self


class Chain:
    def __erlang_term__(self):
        return Chain()


class ChainOfLists:
    def __erlang_term__(self):
        return [ChainOfLists()]


class ArrayOfItself:
    ndim = 1

    def tolist(self):
        return self


class Spinning:
    def __erlang_term__(self):
        while True:
            pass


class _Meta(type):
    def __getattribute__(cls, name):
        raise KeyError(name)

    def __instancecheck__(cls, instance):
        raise KeyError("instancecheck")

    def __eq__(cls, other):
        raise KeyError("eq")

    def __hash__(cls):
        raise KeyError("hash")


class WithMeta(metaclass=_Meta):
    pass


class GetAttribute:
    def __getattribute__(self, name):
        raise KeyError(name)


class GetAttr:
    """Has every attribute, as mocks and proxies do."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args):
        return self


class Liar:
    """Says that it is of another class."""

    def __init__(self, cls):
        self.cls = cls

    @property
    def __class__(self):
        return self.cls


class RaisingClass:
    @property
    def __class__(self):
        raise KeyError("class")


class Touchy:
    """Raises at whatever is asked of it."""

    def _touched(self, *args):
        raise KeyError("touched")

    __hash__ = __eq__ = __bool__ = __len__ = __iter__ = __str__ = __repr__ = __index__ = __float__ = _touched
    __getitem__ = __contains__ = __bytes__ = __buffer__ = __int__ = __next__ = __format__ = __dir__ = _touched


class TermIsNone:
    __erlang_term__ = None


class RaisingDescriptor:
    @property
    def __erlang_term__(self):
        raise KeyError("descriptor")


class Renamed:
    pass


Renamed.__qualname__ = "\ud800"
Renamed.__module__ = None


class LyingEnum(enum.Enum):
    ONE = 1

    @property
    def value(self):
        raise KeyError("value")


class LyingString(str):
    def __str__(self):
        raise KeyError("str")

    encode = __len__ = __iter__ = __getitem__ = __hash__ = __eq__ = __str__


class LyingList(list):
    def __iter__(self):
        raise KeyError("iter")

    __len__ = __getitem__ = __reversed__ = __copy__ = __iter__


class LyingDict(dict):
    def __iter__(self):
        raise KeyError("iter")

    __len__ = __getitem__ = keys = items = values = copy = __iter__


class LyingSet(set):
    def __iter__(self):
        raise KeyError("iter")

    __len__ = copy = __iter__


class LyingTuple(tuple):
    def __iter__(self):
        raise KeyError("iter")

    __len__ = __getitem__ = __iter__


class LyingBytes(bytes):
    def __bytes__(self):
        raise KeyError("bytes")

    __len__ = __buffer__ = __getitem__ = __iter__ = __bytes__


class LyingFloat(float):
    def __float__(self):
        raise KeyError("float")

    is_integer = __int__ = __eq__ = __lt__ = __float__
    __hash__ = float.__hash__


class Other:
    def bit_length(self):
        return "x"


class LyingInt(int):
    """Its methods could change containers while they are converted."""

    changed = {}

    def __abs__(self):
        self.changed.clear()
        return Other()

    def bit_length(self):
        return "x"

    __int__ = __index__ = to_bytes = bit_length


#: Built-in containers and numbers in disguise: what they hold is what counts.
LIARS = {
    "str": lambda: (LyingString("abc"), "abc"),
    "list": lambda: (LyingList([1, 2]), [1, 2]),
    "dict": lambda: (LyingDict({1: 2}), {1: 2}),
    "set": lambda: (LyingSet([1]), [1]),
    "tuple": lambda: (LyingTuple((1, 2)), (1, 2)),
    "bytes": lambda: (LyingBytes(b"abc"), "abc"),
    "float": lambda: (LyingFloat(1.5), 1.5),
    "int": lambda: (LyingInt(2**70), 2**70),
    "negative": lambda: ([LyingInt(-(2**71))], [-(2**71)]),
    "small": lambda: (LyingInt(5), 5),
}

#: What has no counterpart, and must not be asked.
REFERENCES = [
    WithMeta, GetAttribute, GetAttr, RaisingClass, Touchy, Renamed,
    lambda: Liar(list), lambda: Liar(dict), lambda: Liar(str), lambda: Liar(datetime.date), lambda: Liar(None),
    lambda: _Meta, lambda: WithMeta, lambda: MissingField, lambda: Itself, lambda: RaisingArray,
]  # fmt: skip

#: What may be converted, referred to or refused, but does no harm.
ANYTHING = [
    lambda: NumberForDate(1, 1, 1), TermIsNone, RaisingDescriptor, RaisingNdim, NoFields, lambda: LyingEnum.ONE, lambda: sys.modules, lambda: globals(),
    lambda: sys._getframe(), lambda: gc.get_objects()[:1000], lambda: type, lambda: object,
]  # fmt: skip


def liar(name):
    return LIARS[name]()


def big_keys():
    LyingInt.changed.update({LyingInt(2**70): [[1, 2], [3]], LyingInt(-(2**71)): (4,)})
    return LyingInt.changed


def made(factory):
    return factory()


class HostileKey:
    """A key of a dict whose hash and comparison do what they are told."""

    def __init__(self, hash_value=0, equal=True, act=None):
        self.hash_value = hash_value
        self.equal = equal
        self.act = act

    def __hash__(self):
        if self.act is not None:
            self.act()
        return self.hash_value

    def __eq__(self, other):
        return self.equal


def key(how):
    if how == "raises":
        return HostileKey(act=lambda: _raise(KeyError("hash")))
    if how == "spins":
        return HostileKey(act=Spinning().__erlang_term__)
    return HostileKey(equal=how == "equal")
