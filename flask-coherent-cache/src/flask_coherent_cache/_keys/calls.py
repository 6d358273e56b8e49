"""Calls as keys: which function it is, what it closes over, and with which arguments."""

from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from .bytecode import may_only_collect, used_parameters
from .classes import UnstableArgument, full_name, is_found
from .closures import OF_CLASSES, Closure, Scope, knowing_local_classes
from .code_digests import told_apart
from .encoding import PLAIN_TYPES, OtherTypes, bounded, named, stable_text, tells_all
from .parameters import Parameters
from .wrappers import hands_on_unchanged, puts_before


def name_of(function: Any, decorator: str) -> str:
    """Name a function that is to be cached.

    :raises TypeError: for anything else, in words.
    """
    kind = type(function)
    inner = function.__func__ if kind is MethodType else function
    # By its type: a proxy says that it is of the class of what is behind it.
    if type(inner) is not FunctionType and not (
        type(inner) is BuiltinFunctionType and is_found(inner)
    ):
        raise TypeError(
            f"@cache.{decorator} takes a function, and {function!r} is a {full_name(kind)}: "
            "decorate the function itself, below a decorator that makes something else of it, "
            "or write a function (def) that calls it."
        )
    name = f"{inner.__module__}.{inner.__qualname__}"
    if decorator == "memoize" and hasattr(inner, "uncached"):
        raise TypeError(f"@cache.memoize: {name} is cached already; decorate it once.")
    return name


def _default_text(value: Any) -> str:
    """Write a default that has no text elsewhere: ``object()``, or a function of a module."""
    if type(value) is object:
        return "default"  # It says that nothing was given, and has nothing else to say.
    is_function = type(value) in (FunctionType, BuiltinFunctionType)
    return (
        f"found({value.__module__}.{value.__qualname__})" if is_function and is_found(value) else ""
    )


class CallKey:
    """Writes a call of one function as a key: ``module.function(1,'a')``.

    Positional, keyword and defaulted ways of passing the same arguments give the same key, in any
    order of the keywords. Under a decorator that may look at the arguments these ways differ, and
    deleting one drops the others. A bound method's instance is its first argument. Two functions of
    one name are told apart by a digest of their code; closures by one of what they close over.

    :param function: the function as it was defined.
    :param ignored: names of arguments that do not enter the key.
    :param make_name: replaces the function's name, as in Flask-Caching.
    :param others: writes values of more types.
    :param scope: asks for those of a call.
    :param remedy: what its owner can do where it cannot be told from others.
    :param by_code: whether functions of one name are told apart.
    """

    def __init__(
        self,
        function: Any,
        ignored: Iterable[str] = (),
        make_name: Callable[[str], str] | None = None,
        others: OtherTypes | None = None,
        scope: Callable[[], Scope] = lambda: Scope({}, str),
        remedy: str = "name it with make_name=lambda name: '…'",
        *,
        by_code: bool = True,
    ) -> None:
        self._bound: tuple[Any, ...] = ()
        if type(function) is MethodType:
            self._bound, function = (function.__self__,), function.__func__
        self._parameters = Parameters(function)
        names = self._parameters.names
        self._ignored = frozenset(ignored)
        #: Whether the arguments count as they are given.
        self.is_literal = not hands_on_unchanged(function)
        self._positions = () if self.is_literal and puts_before(function) else names
        self._others = knowing_local_classes(others)
        self._remedy = remedy
        self._scope = scope
        self.full_name = f"{function.__module__}.{function.__qualname__}"
        self.name = named(make_name(self.full_name) if make_name is not None else self.full_name)
        self._first = next(iter(names), "")
        self.is_bound = bool(self._bound)
        self.is_method = self.is_bound or self._first in ("self", "cls")
        self._look_into(function, others, by_name=make_name is not None, by_code=by_code)
        if self.is_bound and make_name is not None and not self._has_known_instance():
            # Its owner's name for the function tells what it is a method of.
            self._ignored |= {self._first}
        #: A call with so many arguments, all by position, is written as it stands.
        self._whole = self._parameters.count_as_given()
        if self.is_bound or self.is_literal or self._ignored:
            self._whole = -1

    def _look_into(
        self, function: Any, others: OtherTypes | None, *, by_name: bool, by_code: bool
    ) -> None:
        """Find out what of a function's code and closure its keys have to hold.

        :param by_name: whether its owner's name for it tells all.
        """
        inner = getattr(function, "uncached", None)
        while isinstance(inner, FunctionType):
            function, inner = inner, getattr(inner, "uncached", None)
        self._closure: Closure | None = None
        self.code_digest = ""
        code = getattr(function, "__code__", None)
        if not by_name and code is not None:
            self.code_digest = told_apart(self.name, function) if by_code else ""
            if set(code.co_freevars) - OF_CLASSES:
                self._closure = Closure(function, others)
        self._name_and_code = self.name + self.code_digest
        used = used_parameters(code, self._parameters.names)
        # What the function does not look at, such as some methods' self, tells it nothing.
        self._skips_first = not self.is_bound and self._first not in used
        self._stands_alone = (
            code is not None
            and used.isdisjoint(self._ignored)
            and (not self.is_method or self._skips_first)
            and (not code.co_freevars or (self._closure is not None and may_only_collect(code)))
        )

    def refuse_nameless(self) -> None:
        """Refuse a function that others can share a key with, and that returns something else.

        :raises TypeError: in words that name what it closes over.
        """
        if "<lambda>" in self.full_name:
            raise TypeError(
                f"{self.full_name} is a lambda, which has no name of its own: "
                f"write a function (def), or {self._remedy}."
            )
        self._closed_over(None)
        if self.is_bound and self.tells_instances and not self._has_known_instance():
            self.instance()

    def _has_known_instance(self) -> bool:
        try:
            self.instance()
        except UnstableArgument:
            return False
        except Exception:
            return True  # It is being made, and may have a text later.
        return True

    def holds_all(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Tell whether a call's key holds all that the function is given."""
        if not self._stands_alone or (self._closure is not None and self._closure.carries):
            return False
        positional = args[1:] if self._skips_first else args
        given = (*positional, *kwargs.values(), *self._parameters.defaults.values())
        return all(map(tells_all, given))

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """Write the call.

        :raises UnstableArgument: naming the argument and the remedy.
        :raises TypeError: where the arguments do not fit the function.
        """
        start = self._name_and_code
        if self._closure is not None:
            start += self._closed_over(self._scope())
        texts = self._as_given(args, kwargs) if self.is_literal else self._fitted(args, kwargs)
        return bounded(f"{start}({texts})")

    def in_all_releases(self, *args: Any, **kwargs: Any) -> str:
        """Write the call of all functions of this name, also of another release's code.

        Each way of passing the same arguments gives the same, where they fit the function.
        """
        try:
            texts = self._fitted(args, kwargs)
        except TypeError:
            if not self.is_literal:
                raise
            texts = self._as_given(args, kwargs)
        return bounded(f"{self.name}({texts})")

    def _closed_over(self, scope: Scope | None) -> str:
        try:
            return self._closure.text(scope) if self._closure is not None else ""
        except UnstableArgument as error:
            raise UnstableArgument(
                f"{self.full_name} {error}, or pass it as an argument, or {self._remedy}."
            ) from None

    def _as_given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        texts = []
        for place, value in enumerate((*self._bound, *args)):
            name = self._positions[place] if place < len(self._positions) else f"{place + 1}"
            if name not in self._ignored:
                texts.append(self._text(name, value))
        for name, value in sorted(kwargs.items()):
            if name not in self._ignored:
                shown = name if name.isidentifier() else repr(name)
                texts.append(f"{shown}={self._text(name, value)}")
        return ",".join(texts)

    def _fitted(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Write the arguments by the function's parameters, with its defaults."""
        if self._bound:
            args = (*self._bound, *args)
        try:
            if len(args) == self._whole and not kwargs and PLAIN_TYPES.issuperset(map(type, args)):
                return ",".join(map(repr, args))
            texts = [
                repr(value) if type(value) in PLAIN_TYPES else self._text(name, value)
                for name, value in self._parameters.bind(args, kwargs)
                if name not in self._ignored
            ]
        except ValueError:  # An integer of more digits than Python writes in decimals.
            bound = self._parameters.bind(args, kwargs)
            texts = [self._text(name, value) for name, value in bound if name not in self._ignored]
        return ",".join(texts)

    def instance(self, *args: Any) -> str:
        """Name all calls of a method on one instance; a bound method knows its own."""
        (instance,) = self._bound or args[:1]
        return bounded(f"{self.name}@{self._text(self._first, instance)}")

    @property
    def tells_instances(self) -> bool:
        """Tell whether the instance of a method is a part of its keys."""
        return self.is_method and self._first not in self._ignored

    def names(self, *args: Any) -> list[str]:
        """Name what a call is one of, for the tags of its entry."""
        names = [self.name]
        if self.tells_instances and (self._bound or args):
            names.append(self.instance(*args))
        return names

    def _text(self, name: str, value: Any) -> str:
        try:
            return stable_text(value, self._others)
        except UnstableArgument as error:
            if value is self._parameters.defaults.get(name) and (text := _default_text(value)):
                return text
            raise UnstableArgument(
                f"{self.name}: the argument {name!r} {error}, or leave it out of the key "
                f"with args_to_ignore=[{name!r}]."
            ) from None
        except RecursionError:
            raise UnstableArgument(
                f"{self.name}: the argument {name!r} contains itself: pass plain data."
            ) from None
