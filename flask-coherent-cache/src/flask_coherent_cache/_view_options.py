"""The options of ``cached`` that only views have."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ._dependencies.inputs import (
    AUTHORIZATION,
    COOKIE_HEADERS,
    COOKIES,
    CREDENTIALS,
    PAGE_PARTS,
    QUERY,
    SESSION,
    SESSION_COOKIES,
    Declared,
    environment_input,
    header_input,
)
from ._options import check_tags

#: A field name (RFC 9110, 5.1).
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What ``cached`` was told about the pages of a view.

    :param key_prefix: replaces the path in the key; ``%s`` stands for the path.
    :param declared: the parts of a request that enter the key.
    :param cache_control: what caches outside may do, where the view does not say it.
    :param stands_alone: whether a page can depend on nothing but what is declared.
    """

    key_prefix: str | Callable[[], str]
    make_cache_key: Callable[..., Any] | None
    query_string: bool
    declared: Declared
    private: bool | Callable[[], object]
    not_found_timeout: int | None
    hit_indication: bool
    cache_control: str
    warm: Any
    stands_alone: bool

    @property
    def has_own_key(self) -> bool:
        """Tell whether a function of the owner's makes the key."""
        return self.make_cache_key is not None or callable(self.key_prefix)


def declared_of(
    query: Iterable[str] | None,
    vary: Iterable[str],
    vary_cookies: Iterable[str],
    vary_environ: Iterable[str],
    by_visitor: bool,
) -> Declared:
    """Return the parts of a request that enter a page's key.

    :param query: ``None`` is the whole query.
    :param by_visitor: whether there is an entry for each session and ``Authorization``.
    :raises ValueError: for parts that say who asks, naming the option for that.
    """
    check_tags(query or (), "@cache.cached(query=…)")
    _check_headers(vary)
    _check_cookies(vary_cookies)
    _check_environ(vary_environ)
    return Declared(
        query=None if query is None else frozenset(query),
        headers=frozenset(name.lower() for name in vary),
        cookies=frozenset(vary_cookies),
        environ=frozenset(vary_environ),
        parts=PAGE_PARTS | ({SESSION, AUTHORIZATION} if by_visitor else frozenset()),
    )


def _check_headers(names: Iterable[str]) -> None:
    check_tags(names, "@cache.cached(vary=…)")
    for name in names:
        header = header_input(name.strip())
        if header == COOKIES or header.name in COOKIE_HEADERS:
            raise ValueError(
                f"@cache.cached: vary has {name!r}, which differs on nearly every request: name "
                "the cookie that the view reads, vary_cookies=('theme',), or say private=True."
            )
        if header.name in CREDENTIALS:
            raise _says_who_asks("vary", name)
        if not _HEADER.fullmatch(name) or name == "*":
            raise ValueError(f"@cache.cached: vary has {name!r}, which is no header's name.")


def _check_cookies(names: Iterable[str]) -> None:
    check_tags(names, "@cache.cached(vary_cookies=…)")
    for name in names:
        if name in SESSION_COOKIES:
            raise _says_who_asks("vary_cookies", name)


def _check_environ(keys: Iterable[str]) -> None:
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
            _check_headers((what.name.title() or "Cookie",))
            remedy = f"it is a header, vary=({what.name.title()!r},)."
        raise ValueError(f"@cache.cached: vary_environ has {key!r}: {remedy}")


def _says_who_asks(option: str, name: str) -> ValueError:
    return ValueError(
        f"@cache.cached: {option} has {name!r}, which says who asks: say private=True, "
        "or name the user with private=function."
    )


def check_warm(warm: object, private: object) -> None:
    """Refuse what names no pages, and pages that only their visitor can ask for."""
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
    """Write what caches outside may do with a page (RFC 9111, 5.2.2; RFC 5861)."""
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
