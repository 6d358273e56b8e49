"""Which function a key means, where its name does not tell: by its code and what it closes over."""

import dis
import functools
import hashlib
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

from .accumulators import only_collects
from .classes import UnstableArgument, found_name, full_name, is_found
from .encoding import OtherTypes, encoded, is_known, stable_text

_IN_C = (BuiltinFunctionType, MethodDescriptorType)
#: What says nothing of what a class does.
_OF_EACH_CLASS = frozenset({"__module__", "__qualname__", "__annotations__"})
_OF_EACH_CLASS |= {"__firstlineno__", "__static_attributes__", "__slots__", "__abstractmethods__"}
_OF_EACH_CLASS |= {"_abc_impl", "__parameters__", "__orig_bases__"}
#: What decorators put on a function: ``wraps``, and those of a cache.
_OF_DECORATORS = frozenset({"__wrapped__", "__signature__", "uncached", "call_uncached"})
_OF_DECORATORS |= {"cache_timeout", "make_cache_key", "call_key", "holds_all", "path_name"}
_OF_DECORATORS |= {"key_in_all_releases", "delete_memoized", "page_names", "source"}
_OF_DECORATORS |= {"sorts_query", "cache_warm"}
#: By these a function may change what another function holds, as a list of its calls.
_CHANGES = frozenset({"append", "appendleft", "extend", "insert", "add", "update", "setdefault"})
_CHANGES |= {"pop", "popitem", "popleft", "remove", "discard", "clear", "sort", "reverse"}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FLASK_PROXIES = ("current_app", "g", "request", "session")
#: The code of each function that has a key, by the function's name.
_codes: dict[str, CodeType] = {}
#: What ``super()`` adds to a method.
OF_CLASSES = frozenset({"__class__"})


class Scope(NamedTuple):
    """What the keys of closures take from the application of a call.

    :param known: its objects that are known by the name of their class, as there is one of each.
    :param digest: hides what a function closes over.
    """

    known: dict[str, Any]
    digest: Callable[[str], str]


def told_apart(name: str, function: FunctionType) -> str:
    """Return a digest of a function's code where its name does not tell it from all others.

    A function inside a function shares its name with others, which branches or decorators made; one
    of a module does where it is defined again.
    """
    code, own_name = function.__code__, function.__qualname__
    is_where_it_says = "<locals>" not in own_name and code.co_qualname == own_name
    if is_where_it_says and _codes.setdefault(name, code) == code:
        return ""
    return f"#{_code_digest(function)}"


def _code_digest(function: FunctionType) -> str:
    return _digest(encoded(function.__globals__.get("__name__"), _code_text(function.__code__)))


def _digest(text: str, size: int = 6) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _code_text(value: Any) -> str | None:
    if not isinstance(value, CodeType):
        return None
    names = (value.co_qualname, value.co_names, value.co_varnames, value.co_freevars)
    text = encoded(*names, value.co_flags, value.co_code, value.co_consts, others=_code_text)
    return f"code({text})"


def knowing_local_classes(others: OtherTypes | None) -> OtherTypes:
    """Make a writer that also names classes made inside functions, by all that they consist of."""

    def text(value: Any) -> str | None:
        if others is not None and (found := others(value)) is not None:
            return found
        if isinstance(value, type) and "<locals>" in value.__qualname__:
            return _Enclosed(None, text, is_strict=True).class_text(value)
        return None

    return text


@functools.lru_cache(1024)
def _changed(code: CodeType) -> tuple[frozenset[str], bool]:
    """Name the attributes that a function sets, and tell whether it may change containers."""
    steps = list(dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname in ("STORE_ATTR", "DELETE_ATTR")}
    changes = any("SUBSCR" in s.opname and s.opname != "BINARY_SUBSCR" for s in steps)
    return frozenset(names), changes or bool(_CHANGES & {*code.co_names})


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
            if self._is_strict:
                return self.class_text(value)
            return self._local_class_text(value)
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

    def _local_class_text(self, kind: type) -> str:
        """Name a class by all that it consists of, or where that has no text by its name alone."""
        text = self._text_if_any(lambda: self.class_text(kind))
        return self._only_one(full_name(kind), kind) if text is None else text

    def class_text(self, kind: type) -> str:
        """Name a class that was made inside a function, by its name and all that it consists of.

        :raises UnstableArgument: naming what of it has no stable text.
        """
        if "<locals>" not in kind.__qualname__:
            return found_name(kind)
        for place, other in enumerate(self._classes):
            if other is kind:
                return f"again({place})"
        self._classes.append(kind)
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
        return f"{full_name(kind)}#{_digest(','.join(parts), 20)}"

    def _member_text(self, member: Any) -> str:
        kind = type(member)
        if kind is MemberDescriptorType:
            return "slot"
        if isinstance(member, type) and not is_found(member):
            return self.class_text(member)
        if kind in (staticmethod, classmethod):
            return f"{kind.__name__}({self._member_text(member.__func__)})"
        if kind is property:
            parts = map(self._member_text, (member.fget, member.fset, member.fdel))
            return f"property({','.join(parts)})"
        if kind is functools.cached_property:
            return f"cached_property({self._member_text(member.func)})"
        return self._constant_text(member)

    def _function_text(self, function: FunctionType) -> str:
        if hasattr(function, "uncached"):
            text = stable_text(function.uncached, self._text)
            return ",".join([text, *self._attributes(function)])
        for place, other in enumerate(self._functions):
            if other is function:
                return f"again({place})"
        self._functions.append(function)
        parts = (
            f"{function.__module__}.{function.__qualname__}",
            _code_digest(function),
        )
        named_defaults = sorted((function.__kwdefaults__ or {}).items())
        texts = [
            self._constant_text(parts),
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
            text = self._text_if_any(functools.partial(self._constant_text, value))
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
            changed = [_changed(code) for code in self._codes]
            is_fixed = type(value).__hash__ is not None
            if any(name in names or (not is_fixed and others) for names, others in changed):
                continue
            text = self._text_if_any(functools.partial(self._constant_text, value))
            if text is not None:
                yield f".{name}={text}"

    def _text_if_any(self, write: Callable[[], str]) -> str | None:
        functions, classes = len(self._functions), len(self._classes)
        try:
            return write()
        except UnstableArgument:
            # What was not written to its end must not be referred to.
            del self._functions[functions:], self._classes[classes:]
            return None
