"""The encoding of memoized values: pickle, which is only ever read once it is authenticated."""

import io
import pickle
from typing import Any


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
