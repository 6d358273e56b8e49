"""What functions close over, as a part of their keys."""

import functools
import re
from abc import ABCMeta
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum
from logging import Logger, getLogger
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import flask
from flask.sansio.scaffold import Scaffold
from werkzeug.local import LocalProxy

from .bytecode import changes, only_collects
from .classes import UnstableArgument, found_name, full_name, is_found
from .code_digests import code_digest, digest
from .encoding import OtherTypes, is_known, stable_text

_IN_C = (BuiltinFunctionType, MethodDescriptorType)
#: What says nothing of what a class does.
_OF_EACH_CLASS = frozenset({"__module__", "__qualname__", "__annotations__"})
_OF_EACH_CLASS |= {"__firstlineno__", "__static_attributes__", "__slots__", "__abstractmethods__"}
_OF_EACH_CLASS |= {"_abc_impl", "__parameters__", "__orig_bases__"}
#: Where a decorated function has what the cache knows of it; ``wraps`` hands it on.
DECORATED = "_coherent_cache"
#: What decorators put on a function: ``wraps``, and those of a cache.
_OF_DECORATORS = frozenset({"__wrapped__", "__signature__", "uncached", "cache_timeout"})
_OF_DECORATORS |= {"make_cache_key", "delete_memoized", DECORATED}
#: What a class holds around functions, and where these are.
_PARTS: dict[type, tuple[str, ...]] = {
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
    functools.cached_property: ("func",),
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FLASK_PROXIES = ("current_app", "g", "request", "session")
#: What ``super()`` adds to a method.
OF_CLASSES = frozenset({"__class__"})


class Scope(NamedTuple):
    """What the keys of closures take from the application of a call.

    :param known: its objects that are known by the name of their class, as there is one of each.
    :param digest: hides what a function closes over.
    """

    known: dict[str, Any]
    digest: Callable[[str], str]


def knowing_local_classes(others: OtherTypes | None) -> OtherTypes:
    """Make a writer that also names classes made inside functions, by all that they consist of."""

    def text(value: Any) -> str | None:
        if others is not None and (found := others(value)) is not None:
            return found
        if isinstance(value, type) and "<locals>" in value.__qualname__:
            return _Enclosed(None, text, is_strict=True).class_text(value)
        return None

    return text


class Closure:
    """Writes what a function closes over: the names in clear, the values as a digest."""

    def __init__(self, function: FunctionType, others: OtherTypes | None) -> None:
        self._function = function
        self._others = others
        self._kept: tuple[dict[str, Any], list[tuple[Any, Any]], str] | None = None

    @property
    def carries(self) -> bool:
        """Tell whether the function takes data from its variables, and not only leaves some."""
        code, cells = self._function.__code__, self._function.__closure__ or ()
        return not all(
            only_collects(code, name, _content(cell))
            for name, cell in zip(code.co_freevars, cells, strict=True)
        )

    def text(self, scope: Scope | None) -> str:
        """Write it as part of a name.

        :param scope: ``None`` while there is no application yet.
        :raises UnstableArgument: naming the variable, its type and the remedy.
        """
        if self._kept is not None and scope is not None:
            known, cells, text = self._kept
            if known is scope.known and all(_content(c) is value for c, value in cells):
                return text
        enclosed = _Enclosed(scope.known if scope is not None else None, self._others)
        texts = [f"{name}={text}" for name, text in enclosed.variables(self._function)]
        if scope is None:
            return ""
        names = ",".join(sorted({*self._function.__code__.co_freevars} - OF_CLASSES))
        text = f"{{{names}}}{scope.digest(','.join(texts))}"
        self._kept = (scope.known, enclosed.cells, text) if enclosed.is_constant else None
        return text


_EMPTY = object()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # It gets its value later.
        return _EMPTY


class _Enclosed:
    """One look at what a function, and those that it closes over, have in their cells.

    :param known: the application's objects by the names of their classes; ``None`` without one.
    :param is_strict: refuse what only its name tells.
    """

    def __init__(
        self, known: dict[str, Any] | None, others: OtherTypes | None, *, is_strict: bool = False
    ) -> None:
        self._known = known
        self._is_strict = is_strict
        self._others = others
        self._functions: list[Any] = []
        self._classes: list[type] = []
        self._codes: list[CodeType] = []
        self.cells: list[tuple[Any, Any]] = []
        #: Whether the text is the same as long as the cells hold the same objects.
        self.is_constant = True

    def variables(self, function: FunctionType) -> Iterator[tuple[str, str]]:
        """Yield the names of a function's cells, and the texts of what is in them.

        :raises UnstableArgument: naming the variable, its type and the remedy.
        """
        cells = function.__closure__ or ()
        self._codes.append(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            if name in OF_CLASSES:
                continue
            value = _content(cell)
            self.cells.append((cell, value))
            if only_collects(function.__code__, name, value):
                if type(value) is Counter:
                    self.is_constant = False  # It depends on what was counted so far.
                yield name, "collects"
                continue
            try:
                yield name, "empty" if value is _EMPTY else self._constant_text(value)
            except UnstableArgument as error:
                raise UnstableArgument(f"is a closure over {name}, which {error}") from None
            except RecursionError:
                raise UnstableArgument(
                    f"is a closure over {name}, which contains itself: pass plain data"
                ) from None

    def _constant_text(self, value: Any) -> str:
        kind = type(value)
        if (is_known(kind) and kind.__hash__ is None) or kind in (slice, MappingProxyType):
            self.is_constant = False  # It may change.
        if kind is tuple:
            return f"tuple({','.join(map(self._constant_text, value))})"
        return stable_text(value, self._text)

    def _text(self, value: Any) -> str | None:
        """Write what only closures have; ``None`` for any other type."""
        kind = type(value)
        if kind is LocalProxy:
            proxied = next((n for n in _FLASK_PROXIES if getattr(flask, n) is value), "")
            if not proxied:
                raise UnstableArgument("is a proxy, whose object differs")
            return f"proxy({proxied})"
        if kind is functools.partial:
            parts = (value.func, value.args, tuple(sorted(value.keywords.items())))
            return f"partial({self._constant_text(parts)})"
        if kind is MethodType:
            return f"method({self._constant_text((value.__func__, value.__self__))})"
        if isinstance(getattr(value, "__qualname__", None), str) and is_found(value):
            return f"found({value.__module__}.{value.__qualname__})"
        if kind is FunctionType:
            return self._function_text(value)
        if kind in _IN_C:
            owner = getattr(value, "__objclass__", None) or value.__self__
            return f"method({value.__name__!r},{self._constant_text(owner)})"
        if isinstance(value, ModuleType):
            return f"module({value.__name__!r})"
        if isinstance(value, Logger) and getLogger(value.name) is value:
            return f"logger({value.name!r})"
        if isinstance(value, Scaffold):
            return self._only_one(f"{full_name(kind)} {value.name!r}", value)
        if hasattr(kind, "init_app"):
            return self._only_one(full_name(kind), value)
        if isinstance(value, type):
            return self._class_text(value)
        if not issubclass(kind, Enum):
            self.is_constant = False
        if self._others is not None and (text := self._others(value)) is not None:
            return text
        if "<locals>" in kind.__qualname__ and not self._is_strict:
            return stable_text(value, _Enclosed(None, self._others, is_strict=True)._text)
        return None

    def _only_one(self, name: str, value: Any) -> str:
        """Name an object that an application has one of: itself, an extension, a local class."""
        if self._is_strict:
            raise UnstableArgument(f"is a {full_name(type(value))}, which only its name tells")
        if self._known is not None and self._known.setdefault(name, value) is not value:
            raise UnstableArgument(f"is one of several objects that only the name {name} tells")
        return f"the({name})"

    def _class_text(self, kind: type) -> str:
        """Name a class by all that it consists of, or where that has no text by its name alone."""
        if self._is_strict:
            return self.class_text(kind)
        text = self._text_if_any(self.class_text, kind)
        return self._only_one(full_name(kind), kind) if text is None else text

    def class_text(self, kind: type) -> str:
        """Name a class that was made inside a function, by its name and all that it consists of.

        :raises UnstableArgument: naming what of it has no stable text.
        """
        if "<locals>" not in kind.__qualname__:
            return found_name(kind)
        if again := _written_before(kind, self._classes):
            return again
        self.is_constant = False
        parts = [full_name(type(kind)), *map(self.class_text, kind.__bases__)]
        if type(kind) not in (type, ABCMeta):
            raise UnstableArgument(f"involves {full_name(kind)}, which a metaclass made")
        for name, member in sorted(vars(kind).items()):
            if name in _OF_EACH_CLASS or type(member) is GetSetDescriptorType:
                continue
            try:
                parts.append(f"{name}={self._member_text(member)}")
            except UnstableArgument as error:
                raise UnstableArgument(
                    f"involves {full_name(kind)}, a class made inside a function, whose {name} "
                    f"{error}: define it at the module's top level"
                ) from None
        parts += self._annotations(kind)
        return f"{full_name(kind)}#{digest(','.join(parts), 20)}"

    def _member_text(self, member: Any) -> str:
        kind = type(member)
        if kind is MemberDescriptorType:
            return "slot"
        if isinstance(member, type) and not is_found(member):
            return self.class_text(member)
        if kind in _PARTS:
            texts = [self._member_text(getattr(member, name)) for name in _PARTS[kind]]
            return f"{kind.__name__}({','.join(texts)})"
        return self._constant_text(member)

    def _function_text(self, function: FunctionType) -> str:
        if hasattr(function, "uncached"):
            text = stable_text(function.uncached, self._text)
            return ",".join([text, *self._attributes(function)])
        if again := _written_before(function, self._functions):
            return again
        own = (f"{function.__module__}.{function.__qualname__}", code_digest(function))
        named_defaults = sorted((function.__kwdefaults__ or {}).items())
        texts = [
            self._constant_text(own),
            *(f"={self._default_text(value)}" for value in function.__defaults__ or ()),
            *(f"{name}={self._default_text(value)}" for name, value in named_defaults),
            *(f"{name}={text}" for name, text in self.variables(function)),
            *self._attributes(function),
            *self._annotations(function),
        ]
        return f"function({','.join(texts)})"

    def _default_text(self, value: Any) -> str:
        # It says that nothing was given, and has nothing else to say.
        return "default" if type(value) is object else self._constant_text(value)

    def _annotations(self, annotated: Any) -> Iterator[str]:
        """Yield what a class or a function says of its types, by which others may convert values.

        Many have no text that is known to be complete: theirs tells more of them apart than none.
        """
        annotations = vars(annotated).get("__annotations__") or {}
        if isinstance(annotated, FunctionType):
            annotations = annotated.__annotations__
        for name, value in annotations.items():
            text = self._text_if_any(self._constant_text, value)
            yield f":{name}={_ADDRESS.sub('', repr(value)) if text is None else text}"

    def _attributes(self, function: FunctionType) -> Iterator[str]:
        """Yield what was put on a function, as by a decorator for another one to find.

        What the functions themselves change, such as a number of calls, is not told; nor is what
        has no text, by which no two functions are told apart.
        """
        for name, value in sorted(vars(function).items()):
            if name in _OF_DECORATORS:
                continue
            self.is_constant = False
            changed = [changes(code) for code in self._codes]
            is_fixed = type(value).__hash__ is not None
            if any(name in names or (not is_fixed and others) for names, others in changed):
                continue
            text = self._text_if_any(self._constant_text, value)
            if text is not None:
                yield f".{name}={text}"

    def _text_if_any(self, write: Callable[[Any], str], value: Any) -> str | None:
        functions, classes = len(self._functions), len(self._classes)
        try:
            return write(value)
        except UnstableArgument:
            # What was not written to its end must not be referred to.
            del self._functions[functions:], self._classes[classes:]
            return None


def _written_before(thing: Any, written: list[Any]) -> str:
    """Refer to what is written already; else note that it is now, and return nothing."""
    for place, other in enumerate(written):
        if other is thing:
            return f"again({place})"
    written.append(thing)
    return ""
