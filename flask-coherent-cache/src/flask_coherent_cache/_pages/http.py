"""Header fields as the RFCs read them: caching directives, ``Vary`` and preconditions."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from werkzeug.datastructures import Headers
from werkzeug.http import parse_date
from werkzeug.wrappers import Response

#: A directive and its argument. What separates them is read generously: a directive that restricts
#: caching counts also where it was written with a semicolon or after a quote that nobody closed.
_DIRECTIVE = re.compile(r'([^\s,;="]+)(?:\s*=\s*(?:("(?:[^"\\]|\\.)*")|"*([^\s,;"]*)))?')
#: Directives that widen who may store a response, or that ``private`` takes the place of.
_OF_SHARED_CACHES = frozenset({"public", "private", "s-maxage"})
_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
#: A member of a list of entity tags; the second group is not empty where it is malformed.
_MEMBER = re.compile(rf"[ \t]*({_ENTITY_TAG.pattern})?[ \t]*([^,]*)(?:,|$)")
_TIME = r"\d\d:\d\d:\d\d"
#: The three forms of a date: IMF-fixdate, RFC 850's and asctime's (RFC 9110, 5.6.7).
_HTTP_DATE = re.compile(
    rf"[A-Z][a-z]{{2}}, \d\d [A-Z][a-z]{{2}} \d{{4}} {_TIME} GMT"
    rf"|[A-Z][a-z]{{5,8}}, \d\d-[A-Z][a-z]{{2}}-\d\d {_TIME} GMT"
    rf"|[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d {_TIME} \d{{4}}"
)
#: What describes the page, and says nothing about a 412 in its place (RFC 9110, 8 and 14.3).
_OF_THE_REPRESENTATION = (
    *("Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location"),
    *("Content-MD5", "Content-Range", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"),
    *("Age", "Expires"),
)


def cache_directives(headers: Headers) -> dict[str, str | None]:
    """Read the directives of a response (RFC 9111, 5.2).

    Names are in lower case, for they compare without it. All ``Cache-Control`` fields are read as
    one list (RFC 9110, 5.3); of a directive that is there twice, the first counts (RFC 9111,
    4.2.1).

    :return: the argument by name, quotes included; ``None`` for a directive without one.
    """
    found: dict[str, str | None] = {}
    for name, argument in _directives(headers.getlist("Cache-Control")):
        found.setdefault(name, argument)
    return found


def _directives(fields: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for field in fields:
        for match in _DIRECTIVE.finditer(field):
            yield match[1].lower(), match[2] or match[3] or None


def contradicts_public(headers: Headers) -> bool:
    """Tell whether a response says ``public`` beside ``private`` or ``no-store``."""
    directives = cache_directives(headers)
    forbids = "private" in directives or "no-store" in directives
    return forbids and ("public" in directives or "s-maxage" in directives)


def withdraw_public(headers: Headers) -> None:
    """Make a response one visitor's, so that no shared cache stores it (RFC 9111, 5.2.2.7).

    ``public`` and ``s-maxage`` go, ``private`` comes, and every other directive stays. A response
    with ``no-store`` needs no ``private``. Fields for CDNs alone, which count before
    ``Cache-Control`` there, go (RFC 9213, 2.2).
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
    members = ",".join(headers.getlist("Vary")).split(",")
    return {member.strip().lower() for member in members} - {""}


def add_vary(headers: Headers, *names: str) -> None:
    """Add request headers to ``Vary``, and write all its fields as one (RFC 9110, 12.5.5).

    Werkzeug's ``response.vary`` reads the first field only, and drops the others when it writes.
    """
    said = [member.strip() for member in ",".join(headers.getlist("Vary")).split(",")]
    known: dict[str, str] = {}
    for name in (*said, *names):
        if name:
            known.setdefault(name.lower(), name)
    if "*" in known:
        known = {"*": "*"}
    if known:
        headers["Vary"] = ", ".join(known.values())


def conditional(environ: Mapping[str, Any], response: Response) -> None:
    """Answer the preconditions of a request, by changing the response where one fails.

    They count only where the response without them is a success (RFC 9110, 13.2.1), and only for
    GET and HEAD: after any other method the view has acted already. Of a 304, Werkzeug leaves the
    body and the headers that describe it away (RFC 9110, 15.4.5). A 412 has nothing of the page.
    """
    status = precondition_status(
        environ,
        response.status_code,
        response.headers.get("ETag"),
        response.headers.get("Last-Modified"),
    )
    if status == 304:
        response.status_code = 304
    elif status == 412:
        _make_precondition_failed(response)


def precondition_status(
    environ: Mapping[str, Any], status: int, etag: str | None, last_modified: str | None
) -> Literal[304, 412] | None:
    """Evaluate the preconditions of a request in their order (RFC 9110, 13.2.2).

    :param status: of the response without them.
    :param etag: the ``ETag`` field of that response.
    :param last_modified: its ``Last-Modified`` field.
    :return: the status in the place of the response's; ``None`` where it stands.
    """
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or not 200 <= status < 300:
        return None
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
    listed = _entity_tags(condition)
    if not weakly:
        return etag in listed and not etag.startswith("W/")
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in listed]


def _entity_tags(field: str) -> list[str]:
    """Read the well-formed members of a list of entity tags (RFC 9110, 8.8.3)."""
    return [match[1] for match in _MEMBER.finditer(field) if match[1] and not match[2]]


def _is_modified_since(last_modified: str | None, date: str | None) -> bool | None:
    """Compare two dates; ``None`` where one is missing or malformed (RFC 9110, 13.1.3, 13.1.4)."""
    since = _http_date(date)
    modified = _http_date(last_modified) if since else None
    return modified > since if modified and since else None


def _http_date(field: str | None) -> datetime | None:
    """Read a date in one of the three forms of RFC 9110, 5.6.7; other forms are ignored."""
    text = (field or "").strip(" \t")
    return parse_date(text) if _HTTP_DATE.fullmatch(text) else None


def _make_precondition_failed(response: Response) -> None:
    """Make an empty 412 of a page's response, which no cache gives to others (RFC 9111, 3)."""
    close = getattr(response.response, "close", None)
    if close is not None:
        response.call_on_close(close)
    response.direct_passthrough = False
    response.set_data(b"")
    response.status_code = 412
    for name in _OF_THE_REPRESENTATION:
        response.headers.remove(name)
    response.headers["Cache-Control"] = "no-store"
