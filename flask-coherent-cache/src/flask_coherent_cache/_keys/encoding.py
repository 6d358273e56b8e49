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
import ipaddress
import pathlib
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup

from .classes import (
    UNSET,
    UnstableArgument,
    attributes_of,
    found_name,
    full_name,
    hidden_state,
    is_made_in_python,
    own_method,
    state_of,
)

#: Longer keys keep their beginning, for the reader, and end with a digest.
_LONGEST_KEY = 200
_KEPT_PART = 150
#: Characters that the attributes of an instance may take.
_LONGEST_TEXT = 100_000
#: Characters that all items of a container may take: what holds one thing twice, and so on within,
#: takes twice as many at each level.
_LONGEST_WHOLE = 20_000_000

#: Types whose ``repr`` holds all that a value consists of.
PLAIN_TYPES = frozenset(
    {str, bytes, int, float, complex, bool, type(None), type(...), bytearray, range}
    | {Decimal, Fraction, UUID, date, timedelta, timezone}
    | {pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath}
    | {ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface}
    | {ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface}
)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)
#: A name with one of these is quoted, so that it is seen where it ends.
_NOT_IN_NAMES = re.compile(r"[(@'\"#{]")
#: What every member of an enumeration holds.
_OF_MEMBERS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})

#: Writes a value of a type that the caller knows, and returns ``None`` for any other.
OtherTypes = Callable[[Any], str | None]


class _TooMuch(UnstableArgument):
    pass


def bounded(key: str) -> str:
    """Shorten a key to 200 characters or fewer, without two keys becoming one."""
    if len(key) <= _KEPT_PART:
        return key
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
    So do values that Python calls equal and prints otherwise: ``0.0`` and ``-0.0``, ``1.0`` and
    ``1.00`` as a ``Decimal``, one moment in two time zones. A dataclass is written by all its
    fields, also those that its repr leaves out; a subclass of a plain type by its content, where
    an instance holds nothing else; an instance of any other class by all its attributes, where it
    can be seen that it has no other state. A ``__caching_id__()`` method, or a function that
    :meth:`Cache.key_for` registers, comes first.

    :param others: writes values of more types, also inside containers.
    :raises UnstableArgument: naming the type and the remedy.
    """
    kind = type(value)
    if kind in PLAIN_TYPES:
        return _literal(value)
    write = _WRITERS.get(kind)
    if write is not None:
        whole = write(value, others)
        if len(whole) > _LONGEST_WHOLE:
            raise _TooMuch(f"takes more than {_LONGEST_WHOLE} characters: pass less")
        return whole
    if others is not None and (text := others(value)) is not None:
        return text
    if isinstance(value, type):
        return found_name(value)
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
        return f"{_name(kind, others)}[{stable_text(value.__caching_id__(), others)}]"
    if issubclass(kind, enum.Enum):
        return _enum_text(value, kind, others)
    if hasattr(kind, "_sa_class_manager") or "_sa_instance_state" in getattr(value, "__dict__", ()):
        raise UnstableArgument("is a row of the database, which changes: pass its primary key")
    if isinstance(value, _FUNCTIONS):
        raise UnstableArgument("is a function, which is known by its address: pass a name instead")
    if dataclasses.is_dataclass(kind):
        return _dataclass_text(value, kind, others)
    return _subclass_text(value, kind, others)


def _enum_text(value: enum.Enum, kind: Any, others: OtherTypes | None) -> str:
    if kind.__members__.get(value.name) is value:
        return f"{_name(kind, others)}.{value.name}"
    # A combination of flags, or bits without a name.
    for extra in sorted(state_of(value, kind, object) - _OF_MEMBERS):
        raise UnstableArgument(f"is a {full_name(kind)}, which holds {extra!r} beside its value")
    return f"{_name(kind, others)}[{stable_text(value._value_, others)}]"


def _dataclass_text(value: Any, kind: Any, others: OtherTypes | None) -> str:
    names = [part.name for part in dataclasses.fields(kind)]
    for base in kind.__mro__[:-1]:
        if not is_made_in_python(base):
            raise UnstableArgument(
                f"is a {full_name(kind)}, a dataclass that is a {full_name(base)}, too: "
                "pass plain data"
            )
    for extra in sorted(state_of(value, kind, object) - set(names)):
        if not isinstance(getattr(kind, extra, None), functools.cached_property):
            raise _refused(kind, f"which holds {extra!r} beside its fields: make it a field,")
    held = [name for name in names if hasattr(value, name)]
    texts = [f"{name}={stable_text(getattr(value, name), others)}" for name in held]
    return f"{_name(kind, others)}[{','.join(texts)}]"


def _subclass_text(value: Any, kind: type, others: OtherTypes | None) -> str:
    """Write a value of a class that adds nothing but methods to a type that is known."""
    base = next(each for each in kind.__mro__ if is_known(each) or not is_made_in_python(each))
    if not is_known(base):
        return _attributes_text(value, kind, others)
    for extra in sorted(state_of(value, kind, base)):
        raise _refused(kind, f"a {full_name(base)} that holds {extra!r}, too:")
    own_repr: Any = base.__repr__
    known = base in PLAIN_TYPES
    text = _literal(value, own_repr) if known else _WRITERS[base](value, others)
    return f"{_name(kind, others)}[{text}]"


def _attributes_text(value: Any, kind: type, others: OtherTypes | None) -> str:
    """Write an instance of an ordinary class by all its attributes, in the order of their names."""
    if reason := hidden_state(kind):
        raise _refused(kind, f"whose text is not known to be complete, {reason}:")
    texts = []
    name = ""
    try:
        for name, held in attributes_of(value, kind):
            own = "unset" if held is UNSET else own_method(value, kind, held)
            text = own or stable_text(held, others)
            is_plain = type(name) is str and name.isidentifier()
            texts.append(f"{name if is_plain else stable_text(name, others)}={text}")
    except _TooMuch:
        raise
    except UnstableArgument as error:
        what = str(error).partition(": ")[0]
        raise _refused(kind, f"whose {name} {what}:") from None
    except RecursionError:
        # A level further up has the room to say so.
        raise _refused(kind, "which contains itself or is nested too deeply:", _TooMuch) from None
    whole = f"{_name(kind, others)}[{','.join(texts)}]"
    if len(whole) > _LONGEST_TEXT:
        raise _refused(
            kind, f"whose attributes take more than {_LONGEST_TEXT} characters:", _TooMuch
        )
    return whole


def _name(kind: type, others: OtherTypes | None) -> str:
    """Name a class; one that was made inside a function as the caller tells it apart."""
    is_local = others is not None and "<locals>" in kind.__qualname__
    return (others(kind) if is_local else None) or found_name(kind)  # type: ignore[misc]


def _refused(
    kind: type, why: str, error: type[UnstableArgument] = UnstableArgument
) -> UnstableArgument:
    verb = "is or holds" if error is _TooMuch else "is"
    return error(
        f"{verb} a {full_name(kind)}, {why} register a function for it, "
        f"cache.key_for({kind.__name__}), give the class a __caching_id__() method, "
        "or pass plain data"
    )


def is_known(kind: type) -> bool:
    """Tell whether a type's values are written without a look at their class."""
    return kind in PLAIN_TYPES or kind in _WRITERS


# -- types whose texts take more than their repr. A subclass may iterate otherwise, and another
# thread may change what is iterated.

_Writer = Callable[[Any, "OtherTypes | None"], str]


def _ordered(name: str, parts: Callable[[Any], Iterable[Any]]) -> _Writer:
    def write(value: Any, others: OtherTypes | None) -> str:
        return f"{name}({','.join([stable_text(each, others) for each in parts(value)])})"

    return write


def _unordered(name: str, parts: Callable[[Any], Iterable[Any]]) -> _Writer:
    def write(value: Any, others: OtherTypes | None) -> str:
        return f"{name}({','.join(sorted(stable_text(each, others) for each in [*parts(value)]))})"

    return write


def _mapping(name: str) -> _Writer:
    def write(value: Any, others: OtherTypes | None) -> str:
        _refuse_attributes(value)
        made = (value.default_factory,) if isinstance(value, defaultdict) else ()
        texts = [*(stable_text(each, others) for each in made), *sorted(_pairs(value, others))]
        return f"{name}({','.join(texts)})"

    return write


def _pairs(value: Any, others: OtherTypes | None) -> list[str]:
    items = [*dict.items(value)]
    return [f"{stable_text(key, others)}:{stable_text(item, others)}" for key, item in items]


def _refuse_attributes(value: Any) -> None:
    for name in value.__dict__ if type(value) in (OrderedDict, Counter) else ():
        raise UnstableArgument(f"has an attribute {name!r} beside its items: pass plain data")


def _pairs_in_order(value: Any) -> Iterable[Any]:
    _refuse_attributes(value)
    return zip(OrderedDict.__iter__(value), OrderedDict.values(value), strict=True)


def _with_zone(kind: Any) -> _Writer:
    def write(value: Any, others: OtherTypes | None) -> str:
        if value.tzinfo is None:
            return str(kind.__repr__(value))
        naive = kind.__repr__(kind.replace(value, tzinfo=None))
        return f"{naive}@{stable_text(value.tzinfo, others)}"

    return write


def _zoneinfo_text(value: ZoneInfo, others: OtherTypes | None) -> str:
    # One that was read from a file may have any name, or none.
    try:
        is_named = value.key is not None and ZoneInfo(value.key) is value
    except (KeyError, ValueError, OSError):
        is_named = False
    if not is_named:
        raise UnstableArgument("is a time zone that its name does not tell: use ZoneInfo('…')")
    return f"ZoneInfo({value.key!r})"


_WRITERS: dict[Any, _Writer] = {
    tuple: _ordered("tuple", tuple.__iter__),
    list: _ordered("list", list.__iter__),
    set: _unordered("set", set.__iter__),
    frozenset: _unordered("frozenset", frozenset.__iter__),
    dict: _mapping("dict"),
    Counter: _mapping("Counter"),
    defaultdict: _mapping("defaultdict"),
    # Two of them are equal in the same order only.
    OrderedDict: _ordered("OrderedDict", _pairs_in_order),
    MappingProxyType: _ordered("mappingproxy", lambda value: (dict(value),)),
    deque: _ordered("deque", lambda value: (value.maxlen, *deque.__iter__(value))),
    slice: _ordered("slice", lambda value: (value.start, value.stop, value.step)),
    re.Pattern: _ordered("re.Pattern", lambda value: (value.pattern, int(value.flags))),
    Markup: lambda value, others: f"Markup({str.__repr__(value)})",
    datetime: _with_zone(datetime),
    time: _with_zone(time),
    ZoneInfo: _zoneinfo_text,
}


def tells_all(value: Any) -> bool:
    """Tell whether a value's text is all that there is to it."""
    kind = type(value)
    if kind in (tuple, list, set, frozenset):
        return all(map(tells_all, value))
    if kind is dict:
        return all(map(tells_all, value)) and all(map(tells_all, value.values()))
    return kind in PLAIN_TYPES or isinstance(value, enum.Enum)
