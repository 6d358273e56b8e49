"""Which responses may be stored, and what their view can do about the others (RFC 9111, 3)."""

from collections.abc import Iterable
from typing import NamedTuple

from flask import Response

from .._dependencies.inputs import CREDENTIALS, Declared
from .http import cache_directives, vary_names

#: Statuses that are heuristically cacheable and say the same to everybody (RFC 9110, 15.1);
#: 404 only by choice, and no 206, which is a part of a page.
STORABLE_STATUSES = frozenset({200, 203, 301, 308})
_LONGEST_SHOWN = 200
#: In the key of every page, so that a view need not declare them.
_ALWAYS_IN_KEY = frozenset({"host", "accept", "accept-encoding"})


class Refusal(NamedTuple):
    """Why a response must not be stored.

    :param reason: in a word, as in ``Cache-Status``.
    :param about: what of the response is meant.
    :param advice: what its view can do; empty if the view is right as it is.
    """

    reason: str
    about: str = ""
    advice: str = ""


def is_whole(response: Response) -> bool:
    """Tell whether the bytes of a response are there, so that they can be stored or compared."""
    return not (response.is_streamed or response.direct_passthrough)


def refusal_of(
    response: Response, declared: Declared, *, private: bool, not_found: bool
) -> Refusal | None:
    """Say why a response must not be stored; ``None`` if it may be."""
    status = response.status_code
    if status not in STORABLE_STATUSES and not (not_found and status == 404):
        return Refusal("status", str(status))
    if not is_whole(response):
        advice = "A stream or a file cannot be stored: return the body whole."
        return Refusal("stream", advice=advice)
    if cookies := response.headers.getlist("Set-Cookie"):
        advice = "A cookie is for one visitor: set it in a view that is not cached."
        names = (value.partition("=")[0] for value in cookies)
        return Refusal("set-cookie", _listed(names), advice)
    directives = cache_directives(response.headers)
    if "no-store" in directives:
        return Refusal("cache-control", "no-store", "The view itself forbids it.")
    if "private" in directives and not private:
        advice = "Declare private=True to store a page for each session."
        return Refusal("cache-control", "private", advice)
    in_key = declared.headers | _ALWAYS_IN_KEY
    if private or declared.cookies:
        in_key |= {"cookie"}
    if unknown := vary_names(response.headers) - (in_key - {"*"}):
        shown = _listed(sorted(name.title() for name in unknown))
        return Refusal("vary", shown, _vary_advice(unknown, private))
    return None


def _vary_advice(unknown: set[str], private: bool) -> str:
    if "*" in unknown:
        return "By Vary: * every request differs."
    if "authorization" in unknown and private:
        return "The key holds it: do not say it in Vary."
    if unknown & CREDENTIALS:
        return "It says who asks: declare private=True."
    if "cookie" in unknown:
        return "Name the cookie that the view reads, vary_cookies=('…',), or say private=True."
    return f"Declare them, vary={tuple(sorted(name.title() for name in unknown))!r}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)[:_LONGEST_SHOWN]
