"""The options that ``cached`` and ``memoize`` share, checked when a function is decorated."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from flask_caching.utils import normalize_timeout, wants_args, wants_extra_args

from ._dependencies.declarations import Declaration
from ._dependencies.dependencies import current_dependencies
from ._dependencies.request_reads import IsolatedCode
from ._engine.engine import Policy

Timeout = int | timedelta | None
#: What may differ: ``True`` is all, a function returns what has to be equal.
MayDiffer = bool | Callable[[Any], Any]
_ANSWERS = "it answers whether to use the cache"


@dataclass(frozen=True, slots=True)
class Options:
    """The options that ``cached`` and ``memoize`` share, with Flask-Caching's meaning.

    :param name: how messages call the function.
    :param grace: seconds past the timeout in which an entry may be served stale; ``None`` is
        ``CACHE_GRACE``.
    :param jitter: the share of the timeout, 0 to 1, by which it is shortened at random.
    :param tags: names that each entry carries beside those that its fill reads.
    :param may_differ: what may differ where a hit is computed again, see
        :class:`~flask_coherent_cache._verification.Verifier`.
    """

    name: str
    unless: Callable[..., Any] | None
    forced_update: Callable[..., Any] | None
    is_stale: Callable[..., Any] | None
    response_filter: Callable[..., Any] | None
    tags: tuple[str, ...]
    grace: float | None
    jitter: float
    may_differ: MayDiffer = False

    def policy(self, timeout: Timeout, config: Mapping[str, Any], *tags: str) -> Policy:
        """Resolve the defaults of the application."""
        seconds = normalize_timeout(timeout)
        return Policy(
            timeout=config["CACHE_DEFAULT_TIMEOUT"] if seconds is None else seconds,
            grace=config["CACHE_GRACE"] if self.grace is None else self.grace,
            jitter=self.jitter,
            tags=(*self.tags, *tags),
        )

    def bypasses(self, function: Callable[..., Any], args: Any, kwargs: Any) -> bool:
        """Ask ``unless`` whether a call bypasses the cache."""
        if not callable(self.unless):
            return False
        given = ((function, *args), kwargs) if wants_args(self.unless) else ((), {})
        return _answer("of unless=…", self.unless, *given)

    def forces_update(self, args: Any, kwargs: Any) -> bool:
        """Ask ``forced_update`` whether a call computes its value anew."""
        if not callable(self.forced_update):
            return False
        given = (args, kwargs) if wants_args(self.forced_update) else ((), {})
        return _answer("of forced_update=…", self.forced_update, *given)

    def finds_stale(self, value: Any, args: Any, kwargs: Any) -> bool:
        """Ask ``is_stale`` whether a hit's value is to be computed anew."""
        if not callable(self.is_stale):
            return False
        given = ((value, *args), kwargs) if wants_extra_args(self.is_stale) else ((value,), {})
        return _answer("of is_stale=…", self.is_stale, *given)


def _answer(option: str, ask: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Ask the function of an option, whose reads have no way into what is cached."""
    owner = IsolatedCode(option, Declaration(option, frozenset(), _ANSWERS), asking=True)
    answer: Any = current_dependencies().noticed.run(owner, partial(ask, *args, **kwargs))
    return answer is True


def checked(
    decorator: str, function: Callable[..., Any], options: Options, timeout: Timeout
) -> Options:
    """Refuse what cannot work, when the function is decorated.

    :raises TypeError: for an async generator.
    :raises ValueError: for a time or a share out of range.
    """
    name = f"@cache.{decorator} on {options.name}"
    if inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name}: an async generator yields over time, and cannot be stored: return its items, "
            "as in [item async for item in items()]."
        )
    seconds = normalize_timeout(timeout)
    if seconds is not None and seconds < 0:
        raise ValueError(f"{name}: timeout is {timeout!r}; it must be 0 seconds or more.")
    if options.grace is not None and options.grace < 0:
        raise ValueError(f"{name}: grace is {options.grace!r}; it must be 0 seconds or more.")
    if not 0 <= options.jitter <= 1:
        raise ValueError(f"{name}: jitter is {options.jitter!r}; it must be from 0 to 1.")
    if not isinstance(options.may_differ, bool) and not callable(options.may_differ):
        raise ValueError(
            f"{name}: may_differ is {options.may_differ!r}; it must be True, or a function that "
            "returns what has to be equal."
        )
    return options


def check_tags(tags: Iterable[str], name: str) -> None:
    """Refuse a string in the place of a tuple, and tags that are no names."""
    if isinstance(tags, str):
        raise ValueError(f"{name}: tags is {tags!r}; it must be a tuple, such as ({tags!r},).")
    for tag in tags:
        if not isinstance(tag, str) or not tag:
            raise ValueError(f"{name}: the tag {tag!r} must be a string that is not empty.")


def refuse_bare(decorator: str, timeout: object) -> None:
    """Refuse a decorator without parentheses, which gets the function as its timeout."""
    if timeout is None or isinstance(timeout, int | float | timedelta):
        return
    if callable(timeout) or isinstance(timeout, classmethod | property):
        raise TypeError(f"@cache.{decorator} needs parentheses: write @cache.{decorator}().")
    raise TypeError(f"@cache.{decorator}: timeout is {timeout!r}; it must be seconds.")


def without_none(response_filter: Callable[..., Any] | None) -> Callable[[Any], bool]:
    """Make a filter that refuses ``None``, and what another one refuses."""
    return lambda result: (
        result is not None and (response_filter is None or bool(response_filter(result)))
    )
