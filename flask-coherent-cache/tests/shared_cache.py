"""A small shared HTTP cache in front of an application: it stores all that RFC 9111 lets it store.

A response that reached a visitor through it and was another visitor's is a fault of the
application's headers.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.http import parse_date, parse_list_header
from werkzeug.test import run_wsgi_app

#: Final statuses whose caching it understands: all but those of a part or of an update.
_NOT_UNDERSTOOD = frozenset({206, 304})
#: What may be stored without a word about it (RFC 9110, 15.1).
_HEURISTICALLY = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
#: A made-up freshness in seconds where the response says none (RFC 9111, 4.2.2).
_GUESSED_SECONDS = 60.0
#: Methods that change nothing, so that nothing stored becomes invalid (RFC 9110, 9.2.1).
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_CONDITIONS = (
    *("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"),
    *("HTTP_IF_UNMODIFIED_SINCE", "HTTP_RANGE", "HTTP_IF_RANGE"),
)


@dataclass(slots=True)
class Stored:
    """A response, with the request's values of the headers that it varies by."""

    status: str
    headers: Headers
    body: bytes
    varied: dict[str, str | None]
    stored_at: float


class SharedCache:
    """WSGI middleware that answers from what it stored (RFC 9111).

    :param clock: seconds, so that tests can let time pass.
    """

    def __init__(self, app: Any, clock: Callable[[], float] = time.time) -> None:
        self._app, self._clock = app, clock
        self._stored: dict[str, list[Stored]] = {}
        #: How many requests were answered without the application.
        self.hits = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self._pass_on(environ, start_response)
        stored = self._select(environ)
        if stored is not None and self._may_serve(stored, environ):
            self.hits += 1
            return self._serve(stored, environ, start_response)
        return self._ask(environ, start_response, stored)

    def _pass_on(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Invalidate by an unsafe method that succeeded (RFC 9111, 4.4)."""
        body, status, headers = run_wsgi_app(self._app, environ, buffered=True)
        if environ["REQUEST_METHOD"] not in _SAFE and status[0] in "23":
            self._stored.pop(_key(environ), None)
        start_response(status, list(headers))
        return body

    def _ask(
        self, environ: dict[str, Any], start_response: Any, stored: Stored | None
    ) -> Iterable[bytes]:
        """Ask the application; a stored response that it confirms is served (RFC 9111, 4.3)."""
        asked = dict(environ)
        validates = stored is not None and "ETag" in stored.headers and not _has_condition(environ)
        if stored is not None and validates:
            asked["HTTP_IF_NONE_MATCH"] = stored.headers["ETag"]
        body, status, headers = run_wsgi_app(self._app, asked, buffered=True)
        if stored is not None and validates and status.startswith("304"):
            for name in {name for name, _ in headers} - {"Content-Length"}:
                stored.headers.setlist(name, headers.getlist(name))
            stored.stored_at = self._clock()
            return self._serve(stored, environ, start_response, validated=True)
        answer = Stored(status, headers, b"".join(body), _varied(headers, environ), self._clock())
        if environ["REQUEST_METHOD"] == "GET" and may_store(environ, status, headers):
            variants = self._stored.setdefault(_key(environ), [])
            variants[:] = [each for each in variants if each.varied != answer.varied]
            variants.append(answer)
        start_response(status, list(headers))
        return [answer.body]

    def _select(self, environ: Mapping[str, Any]) -> Stored | None:
        """Choose the newest response whose varied headers are this request's (RFC 9111, 4.1)."""
        for stored in reversed(self._stored.get(_key(environ), [])):
            if "*" not in stored.varied and stored.varied == _varied(stored.headers, environ):
                return stored
        return None

    def _may_serve(self, stored: Stored, environ: Mapping[str, Any]) -> bool:
        """Tell whether a stored response may be served without asking (RFC 9111, 4)."""
        asked = _directives([environ.get("HTTP_CACHE_CONTROL", "")])
        if "no-cache" in asked or _has_condition(environ):
            return False
        said = _directives(stored.headers.getlist("Cache-Control"))
        return "no-cache" not in said and self._age(stored) < freshness(stored.headers)

    def _age(self, stored: Stored) -> float:
        """Return the seconds since the response was made (RFC 9111, 4.2.3)."""
        age = stored.headers.get("Age", "0")
        return (int(age) if age.isdigit() else 0) + self._clock() - stored.stored_at

    def _serve(
        self,
        stored: Stored,
        environ: Mapping[str, Any],
        start_response: Any,
        *,
        validated: bool = False,
    ) -> Iterable[bytes]:
        headers = Headers(stored.headers)
        headers["Age"] = str(int(self._age(stored)))
        headers["Cache-Status"] = "shared; fwd=stale" if validated else "shared; hit"
        start_response(stored.status, list(headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [stored.body]


def may_store(environ: Mapping[str, Any], status: str, headers: Headers) -> bool:
    """Tell whether a shared cache may store the answer to a GET (RFC 9111, 3)."""
    code, said = int(status[:3]), _directives(headers.getlist("Cache-Control"))
    asked = _directives([environ.get("HTTP_CACHE_CONTROL", "")])
    if code < 200 or code in _NOT_UNDERSTOOD or "no-store" in asked:
        return False
    # 5.2.2.3: who understands the status and the directive may set no-store aside.
    if "no-store" in said and "must-understand" not in said:
        return False
    # With names it is about those fields alone (5.2.2.7).
    if "private" in said and not said["private"]:
        return False
    if "HTTP_AUTHORIZATION" in environ and not said.keys() & {
        *("public", "must-revalidate", "s-maxage")
    }:
        return False
    explicit = said.keys() & {"public", "max-age", "s-maxage"} or "Expires" in headers
    return bool(explicit) or code in _HEURISTICALLY


def freshness(headers: Headers) -> float:
    """Return for how many seconds a response is fresh in a shared cache (RFC 9111, 4.2.1)."""
    said = _directives(headers.getlist("Cache-Control"))
    for name in ("s-maxage", "max-age"):
        if name in said:
            return float(said[name]) if said[name].isdigit() else 0.0
    if "Expires" in headers:
        expires = parse_date(headers["Expires"])
        date = parse_date(headers.get("Date"))
        now = date.timestamp() if date else time.time()
        return expires.timestamp() - now if expires else 0.0
    return _GUESSED_SECONDS


def _directives(fields: list[str]) -> dict[str, str]:
    return dict(_parsed(fields))


def _parsed(fields: list[str]) -> Iterator[tuple[str, str]]:
    for member in reversed(parse_list_header(", ".join(fields))):
        name, _, argument = member.partition("=")
        yield name.strip().lower(), argument.strip().strip('"')


def _varied(headers: Headers, environ: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the request's values of what a response varies by."""
    names = [name.strip() for name in ",".join(headers.getlist("Vary")).split(",") if name.strip()]
    return {
        name.lower(): environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        for name in sorted(names, key=str.lower)
    }


def _has_condition(environ: Mapping[str, Any]) -> bool:
    return any(name in environ for name in _CONDITIONS)


def _key(environ: Mapping[str, Any]) -> str:
    """The URL without its fragment (RFC 9111, 2)."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    host = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
    return f"{environ['wsgi.url_scheme']}://{host}{path}?{environ.get('QUERY_STRING', '')}"
