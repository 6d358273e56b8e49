"""What a decorator was told, checked once."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask_caching.utils import normalize_timeout

from ._dependencies.inputs import (
    COOKIE_HEADERS,
    COOKIES,
    CREDENTIALS,
    PAGE_PARTS,
    QUERY,
    SESSION_COOKIES,
    environment_input,
    header_input,
)
from ._engine.engine import Policy

#: A field name (RFC 9110, 5.1).
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
Timeout = int | timedelta | None
#: What may differ: ``True`` is all, a function returns what has to be equal.
MayDiffer = bool | Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Options:
    """The parameters that ``cached`` and ``memoize`` share, with Flask-Caching's meaning.

    :param name: how messages call the function.
    :param grace: seconds past the timeout in which an entry may be served stale; ``None`` is
        ``CACHE_GRACE``.
    :param jitter: the share of the timeout, 0 to 1, by which it is shortened at random.
    :param tags: names that each entry carries beside those that its fill reads.
    :param may_differ: what may differ where a hit is computed again, see
        :class:`~flask_coherent_cache._verification.Verifier`: ``True`` is all; a function returns
        what has to be equal.
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

    @property
    def is_plain(self) -> bool:
        """Tell whether nothing of a call can ask for more than the entry that there is."""
        return self.forced_update is None and self.is_stale is None

    def policy(self, timeout: Timeout, config: Mapping[str, Any], *tags: str) -> Policy:
        """Resolve the defaults of the application."""
        seconds = normalize_timeout(timeout)
        return Policy(
            timeout=config["CACHE_DEFAULT_TIMEOUT"] if seconds is None else seconds,
            grace=config["CACHE_GRACE"] if self.grace is None else self.grace,
            jitter=self.jitter,
            tags=(*self.tags, *tags),
        )


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
    """Refuse a string in the place of a tuple, and tags that are no names.

    :raises ValueError: in words.
    """
    if isinstance(tags, str):
        raise ValueError(f"{name}: tags is {tags!r}; it must be a tuple, such as ({tags!r},).")
    for tag in tags:
        if not isinstance(tag, str) or not tag:
            raise ValueError(f"{name}: the tag {tag!r} must be a string that is not empty.")


def refuse_bare(decorator: str, timeout: object) -> None:
    """Refuse a decorator without parentheses, which gets the function as its timeout.

    :raises TypeError: in words.
    """
    if timeout is None or isinstance(timeout, int | float | timedelta):
        return
    if callable(timeout) or isinstance(timeout, classmethod | property):
        raise TypeError(f"@cache.{decorator} needs parentheses: write @cache.{decorator}().")
    raise TypeError(f"@cache.{decorator}: timeout is {timeout!r}; it must be seconds.")


def check_vary(vary: Iterable[str]) -> None:
    """Refuse to vary by headers that say who asks, for which there are better tools.

    :raises ValueError: naming the tool.
    """
    check_tags(vary, "@cache.cached(vary=…)")
    for name in vary:
        header = header_input(name.strip())
        if header == COOKIES or header.name in COOKIE_HEADERS:
            raise ValueError(
                f"@cache.cached: vary has {name!r}, which differs on nearly every request: name "
                "the cookie that the view reads, vary_cookies=('theme',), or say private=True."
            )
        if header.name in CREDENTIALS:
            raise ValueError(
                f"@cache.cached: vary has {name!r}, which says who asks: say private=True, "
                "or name the user with private=function."
            )
        if not _HEADER.fullmatch(name) or name == "*":
            raise ValueError(f"@cache.cached: vary has {name!r}, which is no header's name.")


def check_vary_cookies(names: Iterable[str]) -> None:
    """Refuse cookies that say who asks.

    :raises ValueError: naming the tool.
    """
    check_tags(names, "@cache.cached(vary_cookies=…)")
    for name in names:
        if name in SESSION_COOKIES:
            raise ValueError(
                f"@cache.cached: vary_cookies has {name!r}, which says who asks: say private=True, "
                "or name the user with private=function."
            )


def check_vary_environ(keys: Iterable[str]) -> None:
    """Refuse keys of the environment that are other parts of the request.

    :raises ValueError: naming the option for that part.
    """
    check_tags(keys, "@cache.cached(vary_environ=…)")
    for key in keys:
        what = environment_input(key)
        if what is None or what in PAGE_PARTS:
            remedy = "every page's key holds it, or it says nothing of a visitor: leave it out."
        elif what == QUERY:
            remedy = "name the parameters, query=('page',), or say query_string=True."
        elif what.kind == "environment value":
            continue
        else:
            # What may not be said there, either, is refused in its own words.
            check_vary((what.name.title() or "Cookie",))
            remedy = f"it is a header, vary=({what.name.title()!r},)."
        raise ValueError(f"@cache.cached: vary_environ has {key!r}: {remedy}")


def check_warm(warm: object, private: object) -> None:
    """Refuse what names no pages, and pages that are nobody's to ask for beforehand.

    :raises ValueError: in words.
    """
    if not isinstance(warm, bool) and not callable(warm):
        raise ValueError(
            f"@cache.cached: warm is {warm!r}; it must be True, or a function that returns the "
            "values of each page."
        )
    if warm and private:
        raise ValueError("@cache.cached: a page with private=… is one visitor's: warm=… cannot be.")


def cache_control_of(
    max_age: int | None, stale_while_revalidate: int | None, stale_if_error: int | None
) -> str:
    """Write what caches outside may do with a page (RFC 9111, 5.2.2; RFC 5861).

    :raises ValueError: for a negative time, and for a staleness that follows no freshness.
    """
    seconds = {
        "max_age": max_age,
        "stale_while_revalidate": stale_while_revalidate,
        "stale_if_error": stale_if_error,
    }
    given = {name: value for name, value in seconds.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(
                f"@cache.cached: {name} is {value!r}; it must be a whole number of seconds from 0."
            )
    if given and max_age is None:
        raise ValueError(
            f"@cache.cached: {', '.join(given)} without max_age says for how long a page may be "
            "stale, and not from when: add max_age=…."
        )
    return ", ".join(f"{k.replace('_', '-')}={v}" for k, v in given.items()) or "no-cache"


def without_none(response_filter: Callable[..., Any] | None) -> Callable[[Any], bool]:
    """Make a filter that refuses ``None``, and what another one refuses."""
    return lambda result: (
        result is not None and (response_filter is None or bool(response_filter(result)))
    )
