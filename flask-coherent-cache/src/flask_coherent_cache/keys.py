"""Keys: readable, stable between processes, bounded in length."""

import dataclasses
import enum
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from uuid import UUID

#: Longer keys keep their beginning, for the reader, and end with a digest.
_LONGEST_KEY = 200
_KEPT_PART = 150

_PLAIN_TYPES = frozenset(
    {str, bytes, int, float, complex, bool, type(None), type(...)}
    | {Decimal, UUID, date, datetime, time, timedelta}
)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")


class UnstableArgument(TypeError):
    """An argument whose text differs between processes, or does not tell values apart."""


def bounded(key: str) -> str:
    """Shorten a key to 200 characters or fewer, without two keys becoming one."""
    looks_shortened = len(key) == _KEPT_PART + 41 and key[_KEPT_PART] == "~"
    if len(key) <= _LONGEST_KEY and not looks_shortened:
        return key
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20)
    return f"{key[:_KEPT_PART]}~{digest.hexdigest()}"


def encodable(name: str) -> str:
    """Write half a surrogate pair, which a client may have sent, as text that a server takes.

    Two names that become one by it share a place, not a value: an entry is sealed with its key.
    """
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def stable_text(value: Any) -> str:
    """Write a value so that equal texts mean the same value, in every process.

    Classes of one's own take part by a ``__caching_id__()`` method, or by a ``__repr__`` that
    tells their values apart and holds no address.

    :raises UnstableArgument: naming the type and the remedy.
    """
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return repr(value)
    if kind in (tuple, list):
        return f"{kind.__name__}({','.join(map(stable_text, value))})"
    if kind in (set, frozenset):
        return f"{kind.__name__}({','.join(sorted(map(stable_text, value)))})"
    if kind is dict:
        pairs = (f"{stable_text(key)}:{stable_text(item)}" for key, item in value.items())
        return f"dict({','.join(pairs)})"
    if isinstance(value, enum.Enum):
        return f"{_type_name(kind)}.{value.name or value.value!r}"
    if isinstance(value, type):
        return _type_name(value)
    return f"{_type_name(kind)}[{_own_text(value)}]"


def _own_text(value: Any) -> str:
    caching_id = getattr(value, "__caching_id__", None)
    if caching_id is not None:
        return str(caching_id())
    if hasattr(value, "_sa_instance_state"):
        raise UnstableArgument("is a row of the database, which changes: pass its primary key")
    if isinstance(value, _FUNCTIONS):
        raise UnstableArgument("is a function, which is known by its address: pass a name instead")
    kind: Any = type(value)
    if dataclasses.is_dataclass(value) and kind.__dataclass_params__.repr:
        parts = [part.name for part in dataclasses.fields(value) if part.repr or part.compare]
        return ",".join(f"{name}={stable_text(getattr(value, name))}" for name in parts)
    if isinstance(value, tuple):
        return ",".join(map(stable_text, value))
    text = repr(value)
    if _ADDRESS.search(text):
        raise UnstableArgument(
            f"is a {_type_name(type(value))}, whose repr is an address: "
            "give the class a __caching_id__() method, or pass plain data"
        )
    if "..." in text:
        raise UnstableArgument(
            f"is a {_type_name(type(value))}, whose repr leaves parts out: pass plain data"
        )
    return text


def _type_name(kind: type) -> str:
    if "<locals>" in kind.__qualname__:
        raise UnstableArgument(
            f"involves {kind.__qualname__}, a class made inside a function: "
            "define it at the module's top level"
        )
    return f"{kind.__module__}.{kind.__qualname__}"


class CallKey:
    """Writes a call of one function as a key: ``module.function(1,'a')``.

    Positional, keyword and defaulted ways of passing the same arguments give the same key.

    :param function: the function as it was defined.
    :param ignored: names of arguments that do not enter the key.
    :param make_name: replaces the function's name, as in Flask-Caching.
    :raises TypeError: for a closure or a lambda without ``make_name``: two of them can share
        one name and differ in what they return.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        ignored: Iterable[str] = (),
        make_name: Callable[[str], str] | None = None,
    ) -> None:
        self._signature = inspect.signature(function)
        self._ignored = frozenset(ignored)
        parameters = self._signature.parameters.values()
        self._names = tuple(parameter.name for parameter in parameters)
        self._defaults = {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.default is not parameter.empty
        }
        self._is_plain = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        name = f"{function.__module__}.{function.__qualname__}"
        self.name = make_name(name) if make_name is not None else name
        first = next(iter(self._signature.parameters), "")
        self.is_method = first in ("self", "cls")
        code = getattr(function, "__code__", None)
        self._stands_alone = (
            code is not None and not code.co_freevars and not self._ignored and not self.is_method
        )
        if make_name is None:
            refuse_nameless(function)

    def holds_all(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Tell whether a call's key holds all that the function is given."""
        return self._stands_alone and all(map(_tells_all, (*args, *kwargs.values())))

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """Write the call.

        :raises UnstableArgument: naming the argument and the remedy.
        :raises TypeError: where the arguments do not fit the function.
        """
        texts = [
            repr(value) if type(value) in _PLAIN_TYPES else self._text(name, value)
            for name, value in self._bind(args, kwargs)
            if name not in self._ignored
        ]
        return bounded(f"{self.name}({','.join(texts)})")

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        """Name every argument, as ``inspect`` does, which costs more than the rest of a hit."""
        if self._is_plain and not kwargs and len(args) == len(self._names):
            return zip(self._names, args, strict=True)
        if self._is_plain and len(args) <= len(self._names):
            given = self._defaults | kwargs if kwargs else self._defaults
            rest = self._names[len(args) :]
            named_once = not kwargs or kwargs.keys() <= set(rest)
            if named_once and all(name in given for name in rest):
                return zip(self._names, (*args, *[given[name] for name in rest]), strict=True)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments.items()

    def instance(self, instance: Any) -> str:
        """Name all calls of a method on one instance."""
        first = next(iter(self._signature.parameters))
        return bounded(f"{self.name}@{self._text(first, instance)}")

    def _text(self, name: str, value: Any) -> str:
        try:
            return stable_text(value)
        except UnstableArgument as error:
            raise UnstableArgument(
                f"{self.name}: the argument {name!r} {error}, or leave it out of the key "
                f"with args_to_ignore=[{name!r}]."
            ) from None
        except RecursionError:
            raise UnstableArgument(
                f"{self.name}: the argument {name!r} contains itself: pass plain data."
            ) from None


def _tells_all(value: Any) -> bool:
    """Tell whether a value's text is all that there is to it."""
    kind = type(value)
    if kind in (tuple, list, set, frozenset):
        return all(map(_tells_all, value))
    if kind is dict:
        return all(map(_tells_all, value)) and all(map(_tells_all, value.values()))
    return kind in _PLAIN_TYPES or isinstance(value, enum.Enum)


def refuse_nameless(
    function: Callable[..., Any], remedy: str = "name it with make_name=lambda name: '…'"
) -> None:
    """Refuse a function that others can share a name with, and that returns something else.

    :raises TypeError: in words.
    """
    free = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if "<lambda>" in function.__qualname__:
        what = "is a lambda, which has no name of its own"
    elif "<locals>" in function.__qualname__ and free:
        what = f"is a closure over {', '.join(free)}, which its key would not hold"
    else:
        return
    raise TypeError(
        f"{function.__module__}.{function.__qualname__} {what}: pass what it needs as arguments, "
        f"or {remedy}."
    )
