"""Functions of one name, told apart by their code."""

import hashlib
from types import CodeType, FunctionType
from typing import Any

from .encoding import encoded

#: The code of each function that has a key, by the function's name.
_codes: dict[str, CodeType] = {}


def told_apart(name: str, function: FunctionType) -> str:
    """Return a digest of a function's code where its name does not tell it from all others.

    A function inside a function shares its name with others, which branches or decorators made; one
    of a module does where it is defined again.
    """
    code, own_name = function.__code__, function.__qualname__
    is_where_it_says = "<locals>" not in own_name and code.co_qualname == own_name
    if is_where_it_says and _codes.setdefault(name, code) == code:
        return ""
    return f"#{code_digest(function)}"


def code_digest(function: FunctionType) -> str:
    """Name a function's module and code."""
    return digest(encoded(function.__globals__.get("__name__"), _code_text(function.__code__)))


def digest(text: str, size: int = 6) -> str:
    """Name a text by so many bytes in hexadecimal digits."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _code_text(value: Any) -> str | None:
    if not isinstance(value, CodeType):
        return None
    names = (value.co_qualname, value.co_names, value.co_varnames, value.co_freevars)
    text = encoded(*names, value.co_flags, value.co_code, value.co_consts, others=_code_text)
    return f"code({text})"
