"""Classes: the names by which they are found, and what their instances hold."""

import struct
import sys
from abc import ABCMeta
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    WrapperDescriptorType,
)
from typing import Any, Protocol

#: ``Py_TPFLAGS_HEAPTYPE``: set for what a ``class`` statement makes, which holds its state in
#: attributes and slots alone.
_MADE_IN_PYTHON = 1 << 9
#: ``Py_TPFLAGS_IMMUTABLETYPE``: only types written in C have it.
_IMMUTABLE = 1 << 8
#: What a type written in C has of its own, and a class of Python's has from such a type only.
_IN_C = (WrapperDescriptorType, MethodDescriptorType)
_METACLASSES = (type, ABCMeta, type(Protocol))
#: By these an instance shows, keeps or is made of something else than its attributes.
_OTHER_WAYS = frozenset({"__getattr__", "__getattribute__", "__setattr__", "__delattr__"})
_OTHER_WAYS |= {"__class__", "__reduce__", "__reduce_ex__", "__getstate__"}
_OTHER_WAYS |= {"__getnewargs__", "__getnewargs_ex__"}
#: What has these stands for something outside: a connection, a lock, what is left of an iteration.
_OTHER_WAYS |= {"__enter__", "__aenter__", "__next__", "__anext__", "__await__", "__del__"}
_POINTER = struct.calcsize("P")
#: What a slot holds that was not set.
UNSET = object()


class UnstableArgument(TypeError):
    """An argument whose text differs between processes, or does not tell values apart."""


def is_made_in_python(kind: type) -> bool:
    """Tell whether a ``class`` statement made a class, so that its state can be seen."""
    members = vars(kind)
    return (
        kind.__flags__ & (_MADE_IN_PYTHON | _IMMUTABLE) == _MADE_IN_PYTHON
        and not isinstance(members.get("__new__"), BuiltinFunctionType)
        and not any(isinstance(m, _IN_C) and m.__objclass__ is kind for m in members.values())
    )


def hidden_state(kind: type) -> str:
    """Say why instances of a class may hold more than their attributes; "" where they do not.

    What a method looks up elsewhere by its instance cannot be seen.
    """
    if type(kind) not in _METACLASSES:
        return f"as a {full_name(type(kind))} made its class"
    slots = 0
    for base in kind.__mro__[:-1]:
        if not is_made_in_python(base):
            return f"as {full_name(base)} is written in C"
        for name, member in vars(base).items():
            own_kind = type(member)
            if name in _OTHER_WAYS and not _is_of_attrs(member):
                return f"as {full_name(base)} defines {name}"
            if own_kind is MemberDescriptorType:
                slots += 1
            elif own_kind is GetSetDescriptorType:
                if name not in ("__dict__", "__weakref__"):
                    return f"as {full_name(base)} is written in C"
            elif name == "__dict__" or (hasattr(own_kind, "__set__") and own_kind is not property):
                return f"as {full_name(base)} keeps {name} by a descriptor"
    # Beside its slots, an instance has a dictionary and a list of weak references.
    most = object.__basicsize__ + (slots + 2) * _POINTER
    if kind is object or kind.__itemsize__ or kind.__basicsize__ > most:
        return "as it has none" if kind is object else "as part of its state cannot be seen"
    return ""


def _is_of_attrs(member: Any) -> bool:
    """Tell whether attrs made a method, to freeze, check or copy the attributes that there are."""
    return type(member) is FunctionType and member.__globals__.get("__name__") == "attr._make"


def attributes_of(value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an instance of a class without hidden state: slots, then others."""
    for base in kind.__mro__[:-1]:
        for name, slot in vars(base).items():
            if type(slot) is MemberDescriptorType:
                try:
                    yield name, slot.__get__(value)
                except AttributeError:
                    yield name, UNSET
    yield from sorted(dict.items(getattr(value, "__dict__", {})), key=lambda each: str(each[0]))


def state_of(value: Any, kind: type, base: type) -> set[str]:
    """Name the attributes that an instance holds beside what its base does."""
    held = set(getattr(value, "__dict__", ()))
    for each in kind.__mro__[: kind.__mro__.index(base)]:
        held |= {name for name, slot in vars(each).items() if type(slot) is MemberDescriptorType}
    return held


def own_method(value: Any, kind: type, held: Any) -> str:
    """Name a method of an instance that it holds itself, also a memoized one; "" for all else."""
    held = getattr(held, "uncached", None) if type(held) is FunctionType else held
    if type(held) is not MethodType or held.__self__ is not value:
        return ""
    function: Any = held.__func__
    name = getattr(function, "__name__", "")
    is_of_class = any(vars(base).get(name) is function for base in kind.__mro__)
    return f"own({name})" if is_of_class else ""


def full_name(kind: type) -> str:
    """Name a class for a reader."""
    return f"{kind.__module__}.{kind.__qualname__}"


def found_name(kind: type) -> str:
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
            f"involves {full_name(kind)}, a class that is not found under this name: "
            "define it at the module's top level, under its own name"
        )
    return full_name(kind)


def is_found(thing: Any) -> bool:
    """Tell whether a class or a function is what its module holds under its qualified name."""
    found: Any = sys.modules.get(getattr(thing, "__module__", ""))
    for part in thing.__qualname__.split("."):
        if not part.isidentifier():
            return False
        found = getattr(found, part, None)
    return found is thing
