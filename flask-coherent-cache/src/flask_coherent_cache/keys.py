"""Keys: readable, stable between processes, bounded in length, and one for each value.

A value's *text* is one token of a small language, so that no two values share a text and texts
can be joined by commas: Python's own literals (``1``, ``'a'``, ``None``), containers
(``list(1,2)``), and for other classes the name by which the class is found, with what the value
consists of: ``shop.Colour.RED``, ``shop.Point[x=1,y=2]``. Only types are written whose text is
known to be complete; a ``repr`` proves nothing, since it may hide, round or shorten.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import ipaddress
import pathlib
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup

#: Longer keys keep their beginning, for the reader, and end with a digest.
_LONGEST_KEY = 200
_KEPT_PART = 150

#: Types whose ``repr`` holds all that a value consists of.
_PLAIN_TYPES = frozenset(
    {str, bytes, int, float, complex, bool, type(None), type(...), bytearray, range}
    | {Decimal, Fraction, UUID, date, timedelta, timezone}
    | {pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath}
    | {ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface}
    | {ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface}
)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)
#: A name with one of these is quoted, so that it is seen where it ends.
_NOT_IN_NAMES = re.compile(r"[(@'\"]")
#: ``Py_TPFLAGS_HEAPTYPE``: set for what a ``class`` statement makes, which holds its state in
#: attributes and slots alone.
_MADE_IN_PYTHON = 1 << 9
_PARTS_OF_NO_VALUE = frozenset({"__dict__", "__weakref__"})

#: Writes a value of a type that the caller knows, and returns ``None`` for any other.
OtherTypes = Callable[[Any], str | None]


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


def named(name: str) -> str:
    """Write the name that a key begins with; an unusual one is quoted, to be seen to its end."""
    return repr(name) if _NOT_IN_NAMES.search(name) else name


def encoded(*parts: Any, others: OtherTypes | None = None) -> str:
    """Write values as one text, which no other values give.

    :raises UnstableArgument: naming the type and the remedy.
    """
    return ",".join([stable_text(part, others) for part in parts])


def stable_text(value: Any, others: OtherTypes | None = None) -> str:
    """Write a value so that equal texts mean the same value, in every process.

    Dicts and sets do not depend on the order of insertion. ``1``, ``True`` and ``1.0`` differ.
    A dataclass is written by all its fields, also those that its repr leaves out; a subclass of
    a plain type by its content, where an instance holds nothing else. Other classes take part by
    a ``__caching_id__()`` method.

    :param others: writes values of more types, also inside containers.
    :raises UnstableArgument: naming the type and the remedy.
    """
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return _literal(value)
    write = _WRITERS.get(kind)
    if write is not None:
        return write(value, others)
    if others is not None and (text := others(value)) is not None:
        return text
    if isinstance(value, type):
        return _found_name(value)
    return _text_of_instance(value, kind, others)


def _literal(value: Any, write: Callable[[Any], str] = repr) -> str:
    try:
        return write(value)
    except ValueError:
        if isinstance(value, int):
            return hex(value)  # Of more digits than Python writes in decimals.
        raise UnstableArgument("is a number of too many digits: pass less") from None


def _text_of_instance(value: Any, kind: type, others: OtherTypes | None) -> str:
    if hasattr(kind, "__caching_id__"):
        return f"{_found_name(kind)}[{stable_text(value.__caching_id__(), others)}]"
    if isinstance(value, enum.Enum):
        return _enum_text(value, kind, others)
    if hasattr(value, "_sa_instance_state"):
        raise UnstableArgument("is a row of the database, which changes: pass its primary key")
    if isinstance(value, _FUNCTIONS):
        raise UnstableArgument("is a function, which is known by its address: pass a name instead")
    if dataclasses.is_dataclass(kind):
        return _dataclass_text(value, kind, others)
    return _subclass_text(value, kind, others)


def _enum_text(value: enum.Enum, kind: type, others: OtherTypes | None) -> str:
    if kind.__members__.get(value.name) is value:  # type: ignore[attr-defined]
        return f"{_found_name(kind)}.{value.name}"
    # A combination of flags, or bits without a name.
    return f"{_found_name(kind)}[{stable_text(value._value_, others)}]"


def _dataclass_text(value: Any, kind: Any, others: OtherTypes | None) -> str:
    names = [part.name for part in dataclasses.fields(kind)]
    for base in kind.__mro__[:-1]:
        if not _is_made_in_python(base):
            raise UnstableArgument(
                f"is a {_name(kind)}, a dataclass that is a {_name(base)}, too: pass plain data"
            )
    for extra in sorted(_state(value, kind, object) - set(names)):
        if not isinstance(getattr(kind, extra, None), functools.cached_property):
            raise UnstableArgument(
                f"is a {_name(kind)}, which holds {extra!r} beside its fields: "
                "make it a field, give the class a __caching_id__() method, or pass plain data"
            )
    held = [name for name in names if hasattr(value, name)]
    texts = [f"{name}={stable_text(getattr(value, name), others)}" for name in held]
    return f"{_found_name(kind)}[{','.join(texts)}]"


def _subclass_text(value: Any, kind: type, others: OtherTypes | None) -> str:
    """Write a value of a class that adds nothing but methods to a type that is known."""
    base = next(each for each in kind.__mro__ if _is_known(each) or not _is_made_in_python(each))
    if not _is_known(base):
        raise UnstableArgument(
            f"is a {_name(kind)}, whose text is not known to be complete: "
            "give the class a __caching_id__() method, or pass plain data"
        )
    if state := sorted(_state(value, kind, base)):
        raise UnstableArgument(
            f"is a {_name(kind)}, a {_name(base)} that holds {state[0]!r}, too: "
            "give the class a __caching_id__() method, or pass plain data"
        )
    own_repr: Any = base.__repr__
    known = base in _PLAIN_TYPES
    text = _literal(value, own_repr) if known else _WRITERS[base](value, others)
    return f"{_found_name(kind)}[{text}]"


def _is_known(kind: type) -> bool:
    return kind in _PLAIN_TYPES or kind in _WRITERS


def _is_made_in_python(kind: type) -> bool:
    return bool(kind.__flags__ & _MADE_IN_PYTHON)


def _state(value: Any, kind: type, base: type) -> set[str]:
    """Name the attributes that an instance holds beside what its base does."""
    held = set(getattr(value, "__dict__", ()))
    for each in kind.__mro__[: kind.__mro__.index(base)]:
        slots = each.__dict__.get("__slots__", ())
        names = {slots} if isinstance(slots, str) else set(slots)
        held |= names - _PARTS_OF_NO_VALUE
    return held


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _found_name(kind: type) -> str:
    """Name a class, which no other can be mistaken for where it is found by its name.

    :raises UnstableArgument: for one that is not.
    """
    if "<locals>" in kind.__qualname__:
        raise UnstableArgument(
            f"involves {kind.__qualname__}, a class made inside a function: "
            "define it at the module's top level"
        )
    if not is_found(kind):
        raise UnstableArgument(
            f"involves {_name(kind)}, a class that is not found under this name: "
            "define it at the module's top level, under its own name"
        )
    return _name(kind)


def is_found(thing: Any) -> bool:
    """Tell whether a class or a function is what its module holds under its qualified name."""
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        if not part.isidentifier():
            return False
        found = getattr(found, part, None)
    return found is thing


# -- types whose texts take more than their repr -----------------------------------------------


def _items(name: str) -> Callable[[Any, OtherTypes | None], str]:
    def write(value: Any, others: OtherTypes | None) -> str:
        # A subclass may iterate otherwise.
        items = tuple.__iter__(value) if isinstance(value, tuple) else list.__iter__(value)
        return f"{name}({','.join([stable_text(item, others) for item in items])})"

    return write


def _unordered(name: str, kind: Any) -> Callable[[Any, OtherTypes | None], str]:
    def write(value: Any, others: OtherTypes | None) -> str:
        texts = sorted(stable_text(item, others) for item in kind.__iter__(value))
        return f"{name}({','.join(texts)})"

    return write


def _pairs(value: Any, others: OtherTypes | None) -> list[str]:
    return [
        f"{stable_text(key, others)}:{stable_text(item, others)}" for key, item in dict.items(value)
    ]


def _dict_text(value: Any, others: OtherTypes | None) -> str:
    return f"dict({','.join(sorted(_pairs(value, others)))})"


def _ordered_text(value: Any, others: OtherTypes | None) -> str:
    # Two of them are equal in the same order only.
    pairs = zip(OrderedDict.__iter__(value), OrderedDict.values(value), strict=True)
    return f"OrderedDict({encoded(*pairs, others=others)})"


def _counter_text(value: Any, others: OtherTypes | None) -> str:
    return f"Counter({','.join(sorted(_pairs(value, others)))})"


def _defaultdict_text(value: Any, others: OtherTypes | None) -> str:
    made = stable_text(value.default_factory, others)
    return f"defaultdict({','.join([made, *sorted(_pairs(value, others))])})"


def _deque_text(value: Any, others: OtherTypes | None) -> str:
    return f"deque({encoded(value.maxlen, *deque.__iter__(value), others=others)})"


def _slice_text(value: Any, others: OtherTypes | None) -> str:
    return f"slice({encoded(value.start, value.stop, value.step, others=others)})"


def _pattern_text(value: Any, others: OtherTypes | None) -> str:
    return f"re.Pattern({encoded(value.pattern, int(value.flags), others=others)})"


def _markup_text(value: Any, others: OtherTypes | None) -> str:
    return f"Markup({str.__repr__(value)})"


def _datetime_text(value: datetime, others: OtherTypes | None) -> str:
    if value.tzinfo is None:
        return datetime.__repr__(value)
    naive = datetime.__repr__(datetime.replace(value, tzinfo=None))
    return f"{naive}@{stable_text(value.tzinfo, others)}"


def _time_text(value: time, others: OtherTypes | None) -> str:
    if value.tzinfo is None:
        return time.__repr__(value)
    naive = time.__repr__(time.replace(value, tzinfo=None))
    return f"{naive}@{stable_text(value.tzinfo, others)}"


def _zoneinfo_text(value: ZoneInfo, others: OtherTypes | None) -> str:
    # One that was read from a file may have any name, or none.
    try:
        is_named = value.key is not None and ZoneInfo(value.key) is value
    except (KeyError, ValueError, OSError):
        is_named = False
    if not is_named:
        raise UnstableArgument("is a time zone that its name does not tell: use ZoneInfo('…')")
    return f"ZoneInfo({value.key!r})"


_WRITERS: dict[Any, Callable[[Any, OtherTypes | None], str]] = {
    tuple: _items("tuple"),
    list: _items("list"),
    set: _unordered("set", set),
    frozenset: _unordered("frozenset", frozenset),
    dict: _dict_text,
    OrderedDict: _ordered_text,
    Counter: _counter_text,
    defaultdict: _defaultdict_text,
    deque: _deque_text,
    slice: _slice_text,
    re.Pattern: _pattern_text,
    Markup: _markup_text,
    datetime: _datetime_text,
    time: _time_text,
    ZoneInfo: _zoneinfo_text,
}


class CallKey:
    """Writes a call of one function as a key: ``module.function(1,'a')``.

    Positional, keyword and defaulted ways of passing the same arguments give the same key, in
    any order of the keywords.

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
        self.name = named(make_name(name) if make_name is not None else name)
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
        given = (*args, *kwargs.values(), *self._defaults.values())
        return self._stands_alone and all(map(tells_all, given))

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """Write the call.

        :raises UnstableArgument: naming the argument and the remedy.
        :raises TypeError: where the arguments do not fit the function.
        """
        try:
            texts = [
                repr(value) if type(value) in _PLAIN_TYPES else self._text(name, value)
                for name, value in self._bind(args, kwargs)
                if name not in self._ignored
            ]
        except ValueError:  # An integer of more digits than Python writes in decimals.
            texts = [
                self._text(name, value)
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


def tells_all(value: Any) -> bool:
    """Tell whether a value's text is all that there is to it."""
    kind = type(value)
    if kind in (tuple, list, set, frozenset):
        return all(map(tells_all, value))
    if kind is dict:
        return all(map(tells_all, value)) and all(map(tells_all, value.values()))
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
