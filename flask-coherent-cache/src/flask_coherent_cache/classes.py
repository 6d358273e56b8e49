"""Classes: the names by which they are found, and what their instances hold."""

import sys
from types import MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

#: ``Py_TPFLAGS_HEAPTYPE``: set for what a ``class`` statement makes, which holds its state in
#: attributes and slots alone.
_MADE_IN_PYTHON = 1 << 9
#: What a type written in C has of its own, and a class of Python's has from such a type only.
_IN_C = (WrapperDescriptorType, MethodDescriptorType)


class UnstableArgument(TypeError):
    """An argument whose text differs between processes, or does not tell values apart."""


def is_made_in_python(kind: type) -> bool:
    """Tell whether a ``class`` statement made a class, so that its state can be seen."""
    return bool(kind.__flags__ & _MADE_IN_PYTHON) and not any(
        isinstance(member, _IN_C) and member.__objclass__ is kind for member in vars(kind).values()
    )


def state_of(value: Any, kind: type, base: type) -> set[str]:
    """Name the attributes that an instance holds beside what its base does."""
    held = set(getattr(value, "__dict__", ()))
    for each in kind.__mro__[: kind.__mro__.index(base)]:
        held |= {name for name, slot in vars(each).items() if type(slot) is MemberDescriptorType}
    return held


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
