"""The encoding of memoized values: pickle, which is only ever read once it is authenticated."""

import enum
import io
import itertools
import pickle
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from markupsafe import Markup

_UNCHANGEABLE = frozenset(
    {str, Markup, bytes, int, float, complex, bool, type(None)}
    | {Decimal, UUID, date, datetime, time, timedelta}
)

#: What gives each caller his value takes beside what it holds, as measured.
_SOURCE_BYTES = 100
#: What :func:`type_name` reads, by the names of the pickle protocol.
_NO_VALUE = frozenset({"PROTO", "FRAME", "MEMOIZE", "STOP"})
_CONTAINERS = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_SET": "set"}
_CONSTANTS = {"NONE": "None", "NEWTRUE": "bool", "NEWFALSE": "bool"}


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if hasattr(type(obj), "__mapper__") and hasattr(obj, "_sa_instance_state"):
            raise TypeError(
                f"A {type(obj).__name__} is a row of the database and bound to its session: "
                "return plain data, such as a dataclass or a dict, from a cached function."
            )
        return NotImplemented


def encode(value: Any) -> bytes:
    """Encode a value.

    :raises TypeError: for an instance of an ORM class, in words.
    :raises Exception: whatever ``pickle`` raises for what it cannot encode.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def decode(data: bytes) -> Any:
    """Decode a value into a new object. The bytes must have been authenticated."""
    return pickle.loads(data)  # noqa: S301 - entries are authenticated before they are decoded


def type_name(data: bytes) -> str:
    """Name the type of an encoded value without decoding it: nothing of it is run.

    A container is written before its items, but a tuple after them; an object's class before its
    state (PEP 307, PEP 3154).
    """
    # A large module that only the command line asks for.
    import pickletools  # noqa: PLC0415

    steps = [
        (step.name, argument)
        for step, argument, _ in pickletools.genops(data)
        if step.name not in _NO_VALUE
    ]
    first, last = steps[0][0], steps[-1][0]
    if last in ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"):
        return "frozenset" if last == "FROZENSET" else "tuple"
    if first in _CONTAINERS:
        return _CONTAINERS[first]
    if len(steps) == 1:
        return type(steps[0][1]).__name__ if steps[0][1] is not None else _CONSTANTS.get(first, "?")
    named = [str(argument) for _, argument in steps[:2]]
    return ".".join(named) if ("STACK_GLOBAL", None) in steps else "?"


def shared_bytes(value: Any) -> int | None:
    """Return the bytes of a value that cannot be changed, or ``None`` for one that can be."""
    size, seen, parts = 0, set(), [value]
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if type(part) in (tuple, frozenset):
            parts.extend(part)
        elif _is_frozen(part):
            parts.extend(getattr(part, field.name) for field in fields(part))
        elif type(part) not in _UNCHANGEABLE and not isinstance(part, enum.Enum):
            return None
        size += sys.getsizeof(part)
    return size


def source_of(value: Any, data: bytes) -> tuple[Callable[[], Any], int]:
    """Return what gives each caller a value of his own, and the bytes that it takes.

    A value that cannot be changed is shared; a container of such values is copied, which gives the
    same as decoding it; all others are decoded anew.

    :param value: as it was decoded; nobody else has it.
    :param data: the encoded value.
    """
    size = shared_bytes(value)
    if size is not None:
        return itertools.repeat(value).__next__, _SOURCE_BYTES + size
    if type(value) in (dict, list, set):
        parts = (*value, *value.values()) if type(value) is dict else tuple(value)
        size = shared_bytes(parts)
        if size is not None:
            return value.copy, _SOURCE_BYTES + size + sys.getsizeof(value)
    return partial(decode, data), _SOURCE_BYTES


def _is_frozen(value: Any) -> bool:
    """Tell whether a value is of a frozen dataclass that can hold nothing but its fields."""
    parameters = vars(type(value)).get("__dataclass_params__")
    return parameters is not None and parameters.frozen and not hasattr(value, "__dict__")
