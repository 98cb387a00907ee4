"""What objects become on their way to Erlang when their class alone does not say it.

The native conversion asks here once for each object that is none of Python's own simple types.
Modules of the standard library are looked up, not imported: where one was never imported, there
are no objects of its classes.
"""

from __future__ import annotations

import sys

from _erlang import Atom

# Not from typing, whose import takes longer than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any


# Past metaclasses, which may answer anything.
_mro = type.__dict__["__mro__"].__get__
_dict = type.__dict__["__dict__"].__get__


def _find(cls: type[Any], name: str) -> Any:
    """Return what `cls` or one of its bases defines under a name, None where there is nothing."""
    for base in _mro(cls):
        if name in (defined := _dict(base)):
            return defined[name]
    return None


def _derives(cls: type[Any], name: str, *classes: str) -> bool:
    """Tell whether `cls` derives from one of the classes of a module."""
    module = sys.modules.get(name)
    if module is None:
        return False
    # Attributes may be missing while the module is being imported.
    known = [getattr(module, each, None) for each in classes]
    return any(base is each for each in known if each is not None for base in _mro(cls))


def simplify(value: Any, binary_arrays: bool) -> Any:
    """Return what to convert in place of `value`, NotImplemented when that is `value` itself."""
    # The real class: that of a proxy may say that it is another.
    cls = type(value)
    hook = _find(cls, "__erlang_term__")
    if hook is not None:
        return hook.__get__(value, cls)()
    if _derives(cls, "enum", "Enum"):
        return value.value
    if _find(cls, "__dataclass_fields__") is not None:
        return {field.name: getattr(value, field.name) for field in _fields(cls)}
    if _derives(cls, "datetime", "date", "time"):
        return value.isoformat()
    if (
        _derives(cls, "decimal", "Decimal")
        or _derives(cls, "uuid", "UUID")
        or _derives(cls, "pathlib", "PurePath")
    ):
        return str(value)
    if cls is not memoryview and _find(cls, "tolist") and _find(cls, "ndim"):
        return _array(value, binary_arrays)
    return NotImplemented


def _fields(cls: type[Any]) -> tuple[Field[Any], ...]:
    # A dataclass exists, so its module was imported; the import only binds the name.
    from dataclasses import fields

    return fields(cls)


def _array(value: Any, binary_arrays: bool) -> Any:
    if binary_arrays and value.ndim > 0 and hasattr(value, "tobytes"):
        return {
            Atom("dtype"): value.dtype.str,
            Atom("shape"): tuple(value.shape),
            Atom("data"): value.tobytes(),
        }
    return value.tolist()


def contents(value: Any) -> Any:
    """Return what `value` contains, as a dict or a list."""
    from collections.abc import Collection, Mapping

    simpler = simplify(value, binary_arrays=False)
    if simpler is not NotImplemented:
        return simpler
    if isinstance(value, Mapping):
        return dict(value.items())
    if isinstance(value, Collection):
        return list(value)
    raise TypeError(
        f"an object of type '{type(value).__qualname__}' cannot be converted to an Erlang term; "
        "read its attributes, call its methods, or give its class a method __erlang_term__"
    )
