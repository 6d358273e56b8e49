"""Header fields as the RFCs read them: caching directives, ``Vary`` and preconditions."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.http import parse_date
from werkzeug.wrappers import Response

#: A directive and its argument. Separators are read generously: a directive that restricts caching
#: counts even if it stands after a semicolon or an unclosed quote.
_DIRECTIVE = re.compile(r'([^\s,;="]+)(?:\s*=\s*(?:("(?:[^"\\]|\\.)*")|"*([^\s,;"]*)))?')
#: Directives that ``private`` replaces.
_OF_SHARED_CACHES = frozenset({"public", "private", "s-maxage"})
_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
#: A member of a list of entity tags; the second group is not empty if it is malformed.
_MEMBER = re.compile(rf"[ \t]*({_ENTITY_TAG.pattern})?[ \t]*([^,]*)(?:,|$)")
_TIME = r"\d\d:\d\d:\d\d"
#: The three forms of a date: IMF-fixdate, RFC 850's and asctime's (RFC 9110, 5.6.7).
_HTTP_DATE = re.compile(
    rf"[A-Z][a-z]{{2}}, \d\d [A-Z][a-z]{{2}} \d{{4}} {_TIME} GMT"
    rf"|[A-Z][a-z]{{5,8}}, \d\d-[A-Z][a-z]{{2}}-\d\d {_TIME} GMT"
    rf"|[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d {_TIME} \d{{4}}"
)
_CONDITIONS = frozenset(
    {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"}
)
#: Headers that describe the page, and do not belong to a 412 (RFC 9110, 8 and 14.3).
_OF_THE_REPRESENTATION = (
    *("Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location"),
    *("Content-MD5", "Content-Range", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"),
    *("Age", "Expires"),
)


def names_of(headers: Headers) -> set[str]:
    """Return the names of the fields, in lower case.

    ``in`` makes an exception for each name that is missing, and drops it.
    """
    return {name.lower() for name, _ in headers}


def cache_directives(headers: Headers) -> Mapping[str, str | None]:
    """Read the directives of a response (RFC 9111, 5.2).

    All ``Cache-Control`` fields are read as one list (RFC 9110, 5.3). If a directive occurs twice,
    the first counts (RFC 9111, 4.2.1).

    :return: the argument, quotes included, by the name in lower case; ``None`` without an argument.
    """
    return _directives(tuple(headers.getlist("Cache-Control")))


@lru_cache(maxsize=256)
def _directives(fields: tuple[str, ...]) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for field in fields:
        for match in _DIRECTIVE.finditer(field):
            found.setdefault(match[1].lower(), match[2] or match[3] or None)
    return found


def contradicts_public(headers: Headers) -> bool:
    """Tell whether a response says ``public`` beside ``private`` or ``no-store``."""
    directives = cache_directives(headers)
    forbids = "private" in directives or "no-store" in directives
    return forbids and ("public" in directives or "s-maxage" in directives)


def withdraw_public(headers: Headers) -> None:
    """Make a response ``private``, so that no shared cache stores it (RFC 9111, 5.2.2.7).

    Directives for shared caches go, every other one stays; ``no-store`` needs no ``private``.
    Fields for CDNs alone go, too, because CDNs prefer them to ``Cache-Control`` (RFC 9213, 2.2).
    """
    kept = cache_directives(headers)
    directives = [
        name if argument is None else f"{name}={argument}"
        for name, argument in kept.items()
        if name not in _OF_SHARED_CACHES
    ]
    if "no-store" not in kept:
        directives.insert(0, "private")
    headers["Cache-Control"] = ", ".join(directives)
    for name in {name.lower() for name, _ in headers}:
        if name == "surrogate-control" or name.endswith("cdn-cache-control"):
            headers.remove(name)


def vary_names(headers: Headers) -> set[str]:
    """Read the names in all ``Vary`` fields, in lower case; ``*`` is one (RFC 9110, 12.5.5)."""
    return {name.lower() for name in _vary_members(headers)}


def _vary_members(headers: Headers) -> list[str]:
    members = ",".join(headers.getlist("Vary")).split(",")
    return [member.strip() for member in members if member.strip()]


def add_vary(headers: Headers, *names: str) -> None:
    """Add request headers to ``Vary``, and write all its fields as one (RFC 9110, 12.5.5).

    Werkzeug's ``response.vary`` reads the first field only, and drops the others when it writes.
    """
    known: dict[str, str] = {}
    for name in (*_vary_members(headers), *names):
        known.setdefault(name.lower(), name)
    if "*" in known:
        known = {"*": "*"}
    if known:
        headers["Vary"] = ", ".join(known.values())


def conditional(environ: Mapping[str, Any], response: Response) -> None:
    """Evaluate the preconditions of a request, and change the response if one fails.

    They count only if the response without them is a success (RFC 9110, 13.2.1), and only for GET
    and HEAD: after any other method the view has acted already.
    """
    if _CONDITIONS.isdisjoint(environ) or not 200 <= response.status_code < 300:
        return
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return
    status = _failed_precondition(environ, response.headers)
    if status == 304:
        # Werkzeug leaves out the body, and the headers that describe it (RFC 9110, 15.4.5).
        response.status_code = 304
    elif status == 412:
        _make_precondition_failed(response)


def _failed_precondition(environ: Mapping[str, Any], headers: Headers) -> int | None:
    """Return 304 or 412; ``None`` if every precondition holds (RFC 9110, 13.2.2)."""
    etag, last_modified = headers.get("ETag"), headers.get("Last-Modified")
    if_match = environ.get("HTTP_IF_MATCH")
    if if_match is not None:
        if not _matches(if_match, etag, weakly=False):
            return 412
    elif _is_modified_since(last_modified, environ.get("HTTP_IF_UNMODIFIED_SINCE")):
        return 412
    if_none_match = environ.get("HTTP_IF_NONE_MATCH")
    if if_none_match is not None:
        return 304 if _matches(if_none_match, etag, weakly=True) else None
    modified = _is_modified_since(last_modified, environ.get("HTTP_IF_MODIFIED_SINCE"))
    return 304 if modified is False else None


def _matches(condition: str, etag: str | None, *, weakly: bool) -> bool:
    """Compare an existing page with ``*`` or a list of entity tags (RFC 9110, 13.1.1 and 13.1.2).

    Malformed members match nothing.

    :param weakly: whether weak tags match, too (RFC 9110, 8.8.3.2).
    """
    if condition.strip(" \t") == "*":
        return True
    if etag is None or not _ENTITY_TAG.fullmatch(etag):
        return False
    listed = [match[1] for match in _MEMBER.finditer(condition) if match[1] and not match[2]]
    if not weakly:
        return etag in listed and not etag.startswith("W/")
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in listed]


def _is_modified_since(last_modified: str | None, date: str | None) -> bool | None:
    """Compare two dates; ``None`` if one is missing or malformed (RFC 9110, 13.1.3, 13.1.4)."""
    since = _http_date(date)
    modified = _http_date(last_modified) if since else None
    return modified > since if modified and since else None


def _http_date(field: str | None) -> datetime | None:
    """Read a date in one of the three forms of RFC 9110, 5.6.7; other forms are ignored."""
    text = (field or "").strip(" \t")
    return parse_date(text) if _HTTP_DATE.fullmatch(text) else None


def _make_precondition_failed(response: Response) -> None:
    """Make an empty 412 of a page's response, which no cache stores (RFC 9111, 3)."""
    close = getattr(response.response, "close", None)
    if close is not None:
        response.call_on_close(close)
    response.direct_passthrough = False
    response.set_data(b"")
    response.status_code = 412
    for name in _OF_THE_REPRESENTATION:
        response.headers.remove(name)
    response.headers["Cache-Control"] = "no-store"
