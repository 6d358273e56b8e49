"""The encoding of memoized values: pickle, which is only ever read once it is authenticated."""

import enum
import io
import pickle
import sys
from dataclasses import fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from markupsafe import Markup

_UNCHANGEABLE = frozenset(
    {str, Markup, bytes, int, float, complex, bool, type(None)}
    | {Decimal, UUID, date, datetime, time, timedelta}
)


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


def shared_bytes(value: Any) -> int | None:
    """Return the bytes of a value that cannot be changed, or ``None`` for one that can be."""
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return sys.getsizeof(value)
    if isinstance(value, enum.Enum):
        return 0
    if kind in (tuple, frozenset):
        parts = list(value)
    elif getattr(getattr(kind, "__dataclass_params__", None), "frozen", False):
        parts = [getattr(value, field.name) for field in fields(value)]
    else:
        return None
    sizes = [shared_bytes(part) for part in parts]
    if None in sizes:
        return None
    return sys.getsizeof(value) + sum(size or 0 for size in sizes)
