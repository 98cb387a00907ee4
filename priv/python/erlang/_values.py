"""What objects become on their way to Erlang when their class alone does not say it.

The native conversion asks here once for each object that is none of Python's own simple types.
Modules of the standard library are looked up, not imported: where one was never imported, there
are no objects of its classes.
"""

from __future__ import annotations

import sys

# Not from typing, whose import takes longer than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any


def _instance(value: object, name: str, *classes: str) -> bool:
    module = sys.modules.get(name)
    if module is None:
        return False
    # Attributes may be missing while the module is being imported.
    return isinstance(value, tuple(getattr(module, cls, ()) for cls in classes))


def simplify(value: Any, binary_arrays: bool) -> Any:
    """Return what to convert in place of `value`, NotImplemented when that is `value` itself."""
    cls = type(value)
    hook = getattr(cls, "__erlang_term__", None)
    if hook is not None:
        return hook(value)
    if _instance(value, "enum", "Enum"):
        return value.value
    if hasattr(cls, "__dataclass_fields__"):
        return {field.name: getattr(value, field.name) for field in _fields(cls)}
    if _instance(value, "datetime", "date", "time"):
        return value.isoformat()
    if (
        _instance(value, "decimal", "Decimal")
        or _instance(value, "uuid", "UUID")
        or _instance(value, "pathlib", "PurePath")
    ):
        return str(value)
    if (
        hasattr(cls, "tolist")
        and hasattr(cls, "ndim")
        and not isinstance(value, memoryview)
    ):
        return _array(value, binary_arrays)
    return NotImplemented


def _fields(cls: type[Any]) -> tuple[Field[Any], ...]:
    # A dataclass exists, so its module was imported; the import only binds the name.
    from dataclasses import fields

    return fields(cls)


def _array(value: Any, binary_arrays: bool) -> Any:
    if binary_arrays and value.ndim > 0 and hasattr(value, "tobytes"):
        return {
            "dtype": value.dtype.str,
            "shape": tuple(value.shape),
            "data": value.tobytes(),
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
