"""Subclasses that note each read: the one mechanism by which all objects of a request are watched.

A watched object gets a subclass of its class, which is made once for each class.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from werkzeug.datastructures import MultiDict

from .dependencies import current_dependencies
from .inputs import Input
from .noticed import Noticed
from .snapshots import FOREIGN, MISSING

C = TypeVar("C", bound=Callable[..., Any])


class _Subclass(Protocol):
    def __call__(self, base: type, /, *options: Any) -> type: ...


def subclass(members_of: Callable[..., dict[str, Any]]) -> _Subclass:
    """Turn a function that returns members for a class into one that makes a subclass of it."""

    @functools.lru_cache(maxsize=64)
    def make(base: type, /, *options: Any) -> type:
        members = members_of(base, *options)
        return type(base.__name__, (base,), {**members, "__module__": base.__module__})

    return make


def become(instance: Any, make: _Subclass, *options: Any) -> None:
    """Give an instance a subclass of its class, without its own ``__setattr__``."""
    object.__setattr__(instance, "__class__", make(type(instance), *options))


def noting(method: C, note: Callable[..., None]) -> C:
    """Wrap a method so that ``note`` is called with its arguments first."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        note(self, *args, **kwargs)
        return method(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def noting_members(
    base: type, names: Iterable[str], note: Callable[..., None]
) -> dict[str, Callable[..., Any]]:
    """Wrap methods of a class so that ``note`` is called with their arguments first."""
    return {name: noting(getattr(base, name), note) for name in names if hasattr(base, name)}


#: Methods of dictionaries that read the value of one name, their first argument.
_OF_ONE = frozenset(
    {"__getitem__", "get", "getlist", "__contains__", "pop", "poplist", "setdefault"}
)
#: Methods that read nothing.
_NOT_READING = frozenset(
    {
        "__class_getitem__", "__del__", "__delitem__", "__getattribute__", "__init__",
        "__init_subclass__", "__ior__", "__new__", "__setattr__", "__setitem__", "__setstate__",
        "__subclasshook__", "add", "clear", "fromkeys", "on_update", "setlist", "update",
    }
)  # fmt: skip


def members_of(base: type) -> dict[str, Any]:
    """Return what a class and its bases define, beside what every class has."""
    return {name: it for kind in reversed(base.__mro__[:-1]) for name, it in vars(kind).items()}


def reading_methods(base: type) -> set[str]:
    """Name the methods of a dictionary class that may read it: all but a few, known or not."""
    # Static methods, and those of a class, get no dictionary.
    return {
        name
        for name, it in members_of(base).items()
        if callable(it) and not isinstance(it, type | staticmethod) and name not in _NOT_READING
    }


def named_members(base: type, kind: str, whole: Input) -> dict[str, Any]:
    """Have a dictionary note each name that is read, or the whole of it."""

    def note_name(self: Any, key: Any, *_: Any, **__: Any) -> None:
        current_dependencies().noticed.note(Input(kind, str(key)))

    def note_all(*_: Any, **__: Any) -> None:
        current_dependencies().noticed.note(whole)

    methods = reading_methods(base)
    members = noting_members(base, methods & _OF_ONE, note_name)
    members |= noting_members(base, methods - _OF_ONE, note_all)
    if issubclass(base, MultiDict) and all(
        getattr(base, name) is getattr(MultiDict, name) for name in ("get", "__getitem__")
    ):
        members["get"] = _first_value(note_name)
    return members


def _first_value(note_name: Callable[..., None]) -> Callable[..., Any]:
    """Make ``get`` of Werkzeug's dictionaries, whose own reads by methods that would note again."""

    def get(self: Any, key: Any, default: Any = None, type: Any = None) -> Any:
        note_name(self, key)
        values = dict.get(self, key)
        if not values:
            return default
        if type is None:
            return values[0]
        try:
            return type(values[0])
        except (ValueError, TypeError):
            return default

    return functools.wraps(MultiDict.get)(get)


named_class = subclass(named_members)


def foreign_members(
    base: Any, own: frozenset[str], noticed_of: Callable[[Any], Noticed]
) -> dict[str, Any]:
    """Have an object keep foreign attributes apart, and note that they are taken.

    :param own: the names of its own attributes.
    """
    get_missing = getattr(base, "__getattr__", None)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if name in own or hasattr(type(self), name):
            base.__setattr__(self, name, value)
        else:
            self.__dict__.setdefault(FOREIGN, {})[name] = value

    def get_attribute(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        foreign = self.__dict__.get(FOREIGN, {})
        noticed_of(self).take(name, foreign.get(name, MISSING))
        if name in foreign:
            return foreign[name]
        if get_missing is not None:
            return get_missing(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def delete_attribute(self: Any, name: str) -> None:
        if name in self.__dict__.get(FOREIGN, ()):
            del self.__dict__[FOREIGN][name]
        else:
            base.__delattr__(self, name)

    return {
        "__setattr__": set_attribute,
        "__getattr__": get_attribute,
        "__delattr__": delete_attribute,
    }
