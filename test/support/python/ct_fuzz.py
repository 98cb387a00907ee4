"""Values and calls that a list of small numbers chooses: the same numbers, the same value."""

import array
import asyncio
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import pickle
import types
import uuid
import weakref

import _erlang
import ct_hostile


class Tape:
    """Small numbers, one after the other; zeros after the last one."""

    def __init__(self, numbers, *extra):
        self.numbers = iter(numbers)
        #: What was made before, and what Erlang gave: may be used again, and within itself.
        self.seen = list(extra)

    def number(self):
        return next(self.numbers, 0)

    def choose(self, choices):
        return choices[self.number() % len(choices)]

    def few(self):
        return self.number() % 4


INTEGERS = [0, 1, -1, 255, 256, 2**15, 2**31 - 1, 2**31, -(2**31) - 1, 2**59, 2**60, 2**63 - 1, 2**63, -(2**63) - 1,
            2**64, 2**300, -(2**2000), 1 << 40_000]  # fmt: skip
FLOATS = [0.0, -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")]
TEXTS = ["", "a", "text", "\0", "é", "日本", "\U0001f600", "\ud800", "a" * 255, "a" * 256, "x" * 70_000, "self", "ok", "%s",
         "__main__", "__erlang_term__", "ct_fuzz"]  # fmt: skip
BYTES = [b"", b"a", b"\xff", b"\0" * 511, b"x" * 512, b"y" * 70_000, "é".encode()]
EXCEPTIONS = [ValueError, KeyError, StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError,
              AssertionError, UnicodeDecodeError, SyntaxError, OSError, ImportError, ExceptionGroup, StopAsyncIteration,
              _erlang.ErlangError, _erlang.PythonError, _erlang.ProcessError, _erlang.StaleReference, asyncio.CancelledError,
              _erlang.Interrupted]  # fmt: skip
NATIVE = [
    _erlang.Pid, _erlang.Ref, _erlang.Port, _erlang.Fun, _erlang.Term, _erlang.Atom, _erlang.Continuation, _erlang.Reader,
    _erlang.Writer, _erlang.Ready, _erlang._Binary,
]  # fmt: skip


def _plain(tape):
    return tape.choose([None, True, False, ..., NotImplemented, object(), type, int, len])


def _sequence(tape):
    made = [value(tape) for _ in range(tape.few())]
    return tape.choose([list, tuple, collections.deque, ct_hostile.LyingList, ct_hostile.LyingTuple, iter, enumerate])(made)


def _itself(tape):
    made = [value(tape)]
    made.append(tape.choose([made, (made,), {1: made}, ct_hostile.Act(made.clear), ct_hostile.Act(lambda: made)]))
    return made


def _many(tape):
    return tape.choose([list, tuple])([value(tape)] * tape.choose([10, 100, 1000, 10_000]))


def _deep(tape):
    made = value(tape)
    wrap = tape.choose([lambda x: [x], lambda x: (x,), lambda x: {1: x}, ct_hostile.Act])
    for _ in range(tape.choose([10, 999, 1001, 20_000])):
        made = wrap(made) if wrap is not ct_hostile.Act else wrap(lambda inner=made: inner)
    return made


def _mapping(tape):
    made = {}
    for _ in range(tape.few()):
        key = value(tape)
        made[tape.choose([key, ct_hostile.HostileKey(), ct_hostile.HostileKey(equal=False)])] = value(tape)
    return tape.choose([dict, collections.OrderedDict, ct_hostile.LyingDict, types.MappingProxyType, collections.ChainMap])(made)


def _set(tape):
    return tape.choose([set, frozenset, ct_hostile.LyingSet])([value(tape) for _ in range(tape.few())])


def _number(tape):
    return tape.choose([
        tape.choose(INTEGERS), tape.choose(FLOATS), ct_hostile.LyingInt(tape.choose(INTEGERS)), ct_hostile.LyingFloat(tape.choose(FLOATS)),
        decimal.Decimal("NaN"), decimal.Decimal("1e400"), fractions.Fraction(1, 3), 1j,
    ])  # fmt: skip


def _text(tape):
    made = tape.choose(TEXTS)
    return tape.choose([str, ct_hostile.LyingString, _erlang.Atom, type("Text", (str,), {})])(made)


def _bytes(tape):
    made = tape.choose(BYTES)
    return tape.choose([
        lambda: made, lambda: bytearray(made), lambda: ct_hostile.LyingBytes(made), lambda: memoryview(made)[::2],
        lambda: memoryview(bytearray(made)), lambda: memoryview(made + b"\0" * (-len(made) % 8)).cast("d"),
        lambda: memoryview(bytes(24)).cast("B", (2, 3, 4)), lambda: _released(made), lambda: array.array("d", [1, 2]),
        lambda: memoryview(array.array("i", [1, 2, 3])), lambda: io.BytesIO(made),
    ])()  # fmt: skip


def _released(made):
    view = memoryview(made)
    view.release()
    return view


def _hostile(tape):
    kind = tape.choose([ct_hostile.CHANGERS, ct_hostile.RAISERS, ct_hostile.LIARS, ct_hostile.REFERENCES, ct_hostile.ANYTHING])
    if isinstance(kind, list):
        return tape.choose(kind)()
    return kind[tape.choose(list(kind))]()


def _term(tape):
    """An object that is something else on its way to Erlang."""
    made = value(tape)
    hook = tape.choose([
        lambda self: made, lambda self: self, staticmethod(lambda: made), classmethod(lambda cls: made), property(lambda self: made),
        made, lambda self: [self, made], lambda self: raised(tape), lambda self: ct_hostile._refill(), lambda self: tape.seen.clear(),
    ])  # fmt: skip
    return type("Odd", (tape.choose([object, list, dict, str, int, enum.Enum]),), {"__erlang_term__": hook})


def _instance(tape):
    return _term(tape)()


def _enum(tape):
    return tape.choose(list(enum.Enum("Odd", {"A": value(tape), "B": value(tape)})))


def _dataclass(tape):
    return dataclasses.make_dataclass("Odd", ["a", "b"], slots=tape.few() == 0)(value(tape), value(tape))


def _array(tape):
    made = value(tape)
    return type("Array", (), {
        "ndim": made, "dtype": value(tape), "shape": value(tape), "tolist": lambda self: made, "tobytes": lambda self: made,
    })()  # fmt: skip


def _time(tape):
    return tape.choose([
        datetime.datetime.now(), datetime.date.min, datetime.time.max, datetime.timedelta.max, uuid.UUID(int=0),
        ct_hostile.NumberForDate(1, 1, 1), datetime.timezone.utc,
    ])  # fmt: skip


def _code(tape):
    async def coroutine():
        return value(tape)

    def generator():
        yield value(tape)

    running = coroutine()
    running.close()
    return tape.choose([running, generator(), coroutine, generator, lambda: value(tape), _code.__code__, types.SimpleNamespace(a=1)])


def _native(tape):
    """An object of a native class, made as it is not meant to be."""
    cls = tape.choose(NATIVE)
    make = tape.choose([
        lambda: cls, lambda: cls(), lambda: cls.__new__(cls), lambda: object.__new__(cls), lambda: cls(*[value(tape) for _ in range(tape.few())]),
        lambda: str.__new__(cls, "x"), lambda: tuple.__new__(cls, (1,)), lambda: type("Sub", (cls,), {})(value(tape)),
        lambda: copy.copy(cls(value(tape))), lambda: pickle.loads(pickle.dumps(cls(value(tape)))),
    ])  # fmt: skip
    return attempt(make)


def _again(tape):
    return tape.choose(tape.seen) if tape.seen else None


def _weak(tape):
    made = value(tape)
    return attempt(lambda: tape.choose([weakref.ref, weakref.proxy])(made))


def _method(tape):
    """What a method of something that was made before gives."""
    made = _again(tape)
    name = tape.choose([name for name in dir(type(made)) if name not in ("__init_subclass__", "wait", "receive")])
    args = [value(tape) for _ in range(tape.few())]
    return attempt(lambda: getattr(made, name)(*args))


def _external(tape):
    """A spoilt term of the external format, or pickle of one."""
    whole = bytearray(pickle.dumps(_again(tape)) if tape.few() else b"\x83X" + bytes(tape.number() % 256 for _ in range(tape.number())))
    for _ in range(tape.few()):
        whole[tape.number() % len(whole)] = tape.number() % 256
    if tape.few() and b"_erlang" in whole:
        return attempt(lambda: pickle.loads(bytes(whole)))
    return attempt(lambda: _erlang.from_external(bytes(whole)))


def attempt(make):
    try:
        return make()
    except _erlang.Interrupted:
        raise
    except BaseException as error:
        return error


def raised(tape):
    cls = tape.choose(EXCEPTIONS)
    error = attempt(lambda: cls(*[value(tape) for _ in range(tape.few())]))
    if tape.few() == 1:
        error.__cause__ = attempt(lambda: tape.choose([error, KeyError(value(tape))]))
    if tape.few() == 1:
        error.__notes__ = value(tape)
    if tape.few() == 1:
        error = type("Odd", (type(error),), {"__str__": lambda self: value(tape), "__qualname__": "Odd"})()
    raise error


MAKERS = [
    _plain, _sequence, _itself, _many, _deep, _mapping, _set, _number, _number, _text, _text, _bytes, _hostile, _instance, _term, _enum,
    _dataclass, _array, _time, _code, _native, _native, _again, _again, _weak, _method, _method, _external,
]  # fmt: skip


def value(tape):
    made = attempt(lambda: tape.choose(MAKERS)(tape))
    tape.seen.append(made)
    return made


def made(numbers, *extra):
    return value(Tape(numbers, *extra))


def raises(numbers, *extra):
    raised(Tape(numbers, *extra))


#: Not these: what they do is to the loop that serves the context, or asks the whole node.
EXCLUDED = {"drive_loop", "loop_pumps", "task_finish", "trace_memory"}
FUNCTIONS = sorted(
    name for name, each in vars(_erlang).items() if isinstance(each, types.BuiltinFunctionType) and name not in EXCLUDED
)
#: No descriptor of the node's: those are not to be read, written or closed.
HANDLES = [-1, -(2**31), 1_000_000, 2**31 - 1, 2**31, 2**63, -(2**63), 2**64]


def _argument(tape, handles):
    return tape.choose([
        lambda: tape.choose(HANDLES), lambda: tape.choose(handles or HANDLES), lambda: tape.choose(TEXTS), lambda: tape.choose([0.0, -1.0, 1e-9]),
        lambda: value(tape), lambda: value(tape), lambda: {}, lambda: [], lambda: print, lambda: False,
    ])()  # fmt: skip


def _no_descriptor(argument):
    return not isinstance(argument, int) or isinstance(argument, bool) or not 0 <= argument < 1_000_000


def called(numbers, *extra):
    """Call native functions, one after the other. Gives the names of what they raise."""
    tape = Tape(numbers, *extra)
    results = []
    loops = []
    answers = []
    for _ in range(1 + tape.few() * 5):
        name = tape.choose(FUNCTIONS)
        handles = answers if name.startswith("answers") else loops
        arguments = [_argument(tape, handles) for _ in range(tape.number() % 6)]
        arguments = [each for each in arguments if _no_descriptor(each) or each in handles]
        made = attempt(lambda: getattr(_erlang, name)(*arguments))
        if name == "loop_open" and isinstance(made, int):
            loops.append(made)
        if name == "answers_open" and isinstance(made, tuple):
            answers.append(made[0])
        if isinstance(made, BaseException):
            results.append(type(made).__name__)
    for handle in loops:
        attempt(lambda: _erlang.loop_close(handle))
    for handle in answers:
        attempt(lambda: _erlang.answers_close(handle))
    return results
