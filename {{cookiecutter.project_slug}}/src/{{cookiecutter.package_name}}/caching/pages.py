"""Pages: which responses may be stored, under which key, and in which form."""

import json
import time
from dataclasses import dataclass
from urllib.parse import quote

from flask import Request, Response

from .entries import Entry
from .inputs import Declared
from .keys import bounded

#: Statuses that are heuristically cacheable and say the same to everybody (RFC 9110, 15.1);
#: 404 only by choice, and no 206, which is part of a page.
STORABLE_STATUSES = frozenset({200, 203, 301, 308})
#: Headers that belong to one response, not to the page (RFC 9111, 3.1, and our own).
_OF_ONE_RESPONSE = frozenset(
    {"age", "cache-status", "connection", "content-length", "date", "keep-alive", "server"}
    | {"transfer-encoding", "upgrade", "x-request-id"}
)
#: What every page's key holds, so that it need not be declared.
_ALWAYS_IN_KEY = frozenset({"host", "accept", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Page:
    """A whole response: status, headers and the body's bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def encode(self) -> bytes:
        """Write it as bytes: a JSON head and the body. No code can hide in it."""
        head = json.dumps([self.status, self.headers]).encode()
        return len(head).to_bytes(4, "big") + head + self.body

    @classmethod
    def decode(cls, data: bytes) -> "Page":
        """Read what :meth:`encode` wrote."""
        size = int.from_bytes(data[:4], "big")
        status, headers = json.loads(data[4 : 4 + size])
        return cls(status, tuple((name, value) for name, value in headers), data[4 + size :])

    @classmethod
    def of(cls, response: Response, *, private: bool) -> "Page":
        """Take the page from a response, with a strong ETag of its bytes (RFC 9110, 8.8.3).

        Without a ``Cache-Control`` of its own it says ``no-cache``: browsers keep it and ask
        each time, so that an invalidation reaches them at once.
        """
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = f"{'private' if private else 'public'}, no-cache"
        response.add_etag()
        headers = tuple(
            (name, value)
            for name, value in response.headers
            if name.lower() not in _OF_ONE_RESPONSE
        )
        return cls(response.status_code, headers, response.get_data())

    def response(self, response_class: type[Response]) -> Response:
        """Make a response of it."""
        return response_class(self.body, self.status, list(self.headers))


def page_key(
    request: Request,
    declared: Declared,
    *,
    custom: str | None = None,
    with_query: bool = True,
    user: str = "",
) -> str:
    """Name a page: host, path, and what else of the request the view declared.

    :param custom: stands in the place of the path.
    :param with_query: whether the declared part of the query enters.
    :param user: names the user of a private page.
    """
    query = declared.query_string(request.query_string)
    path = quote(request.path) if custom is None else "=" + quote(custom)
    host = quote(request.host, ":[]")
    parts = [f"page:{request.scheme}://{host}{quote(request.root_path)}{path}"]
    if query and with_query:
        parts.append("?" + quote(query, "=&%+"))
    if prefers_json(request):
        parts.append(" json")
    for name in sorted(declared.headers):
        value = request.environ.get(_environ_name(name), "")
        parts.append(f" {name}={quote(value)}")
    if user:
        parts.append(f" user={quote(user)}")
    return bounded("".join(parts))


def refill_environ(request: Request, declared: Declared) -> dict[str, str]:
    """What a GET for the same page says: the parts of the request that its key holds."""
    names = ["SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SCRIPT_NAME", "PATH_INFO"]
    names += ["HTTP_HOST", "HTTP_ACCEPT", *(_environ_name(name) for name in declared.headers)]
    environ = {name: request.environ[name] for name in names if name in request.environ}
    environ["REQUEST_METHOD"] = "GET"
    environ["QUERY_STRING"] = declared.query_string(request.query_string)
    environ["wsgi.url_scheme"] = request.scheme
    return environ


def unstorable(
    response: Response, declared: Declared, *, private: bool, not_found: bool
) -> str | None:
    """Say why a response must not be stored, or ``None`` where it may be (RFC 9111, 3)."""
    if response.status_code not in STORABLE_STATUSES and not (
        not_found and response.status_code == 404
    ):
        return "status"
    if response.is_streamed or response.direct_passthrough:
        return "stream"
    if "Set-Cookie" in response.headers:
        return "set-cookie"
    control = response.cache_control
    if control.no_store or (control.private and not private):
        return "cache-control"
    vary = {name.lower() for name in response.vary}
    if vary - declared.headers - _ALWAYS_IN_KEY - ({"cookie"} if private else set()):
        return "vary"
    return None


def prefers_json(request: Request) -> bool:
    """Tell whether a client would rather have JSON than HTML (RFC 9110, 12.5.1).

    Every page's key holds the answer, so a view and the error pages may ask for it unasked.
    """
    accept = request.environ.get("HTTP_ACCEPT", "")
    if "json" not in accept:
        return False
    best = Request({"HTTP_ACCEPT": accept}).accept_mimetypes.best_match(
        ["text/html", "application/json", "application/problem+json"], default="text/html"
    )
    return best != "text/html"


def cache_status(status: str, entry: Entry | None, stored: bool, detail: str | None) -> str:
    """Write the ``Cache-Status`` field (RFC 9211): what the page cache did, and why."""
    parts = ["page-cache"]
    if status in ("hit", "stale") and entry is not None:
        parts += ["hit", f"ttl={round(entry.fresh_until - time.time())}"]
        parts += ["detail=stale"] if status == "stale" else []
    else:
        parts.append(f"fwd={status}")
    if stored and entry is not None:
        parts += ["stored", f"ttl={round(entry.fresh_until - time.time())}"]
    if detail:
        parts.append(f"detail={detail}")
    return "; ".join(parts)


def _environ_name(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")
