"""Requests that are drawn from a seed, for a warm application and for one without a cache."""

import io
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from many_routes import ROUTES, Route, data

CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")

#: Drawn rarely enough that most requests are for pages that were asked for before.
HEADERS: dict[str, tuple[str, ...]] = {
    "Accept": ("text/html", "application/json", "*/*", "image/png", "application/problem+json"),
    "Accept-Encoding": ("gzip", "gzip", "identity", "gzip;q=0", "br, gzip;q=0.5", "*", ""),
    "Accept-Language": ("de", "fr", "de, fr;q=0.5", ""),
    "Authorization": ("Bearer ada", "Bearer bob", "Basic \xff\xff"),
    "Cache-Control": ("no-cache", "max-age=0", "only-if-cached"),
    "Content-Type": ("application/json", "text/csv", "application/x-www-form-urlencoded"),
    "Cookie": ("theme=dark", "theme=light", "theme=dark; session={ada}", "session={bob}"),
    "Range": ("bytes=0-1", "bytes=5-", "bytes=999999-", "bytes=-3", "lines=1"),
    "User-Agent": ("one", "two"),
    "X-API-Key": ("a", "b", "wrong"),
    "X-Forwarded-For": ("192.0.2.1",),
    "X-One": ("1", ""),
    "X-Two": ("2", "a, b"),
    "X-Tenant": ("red", "blue"),
    "X-Undeclared": ("1", "2"),
    "X-User": ("ada", "bob"),
    "X-Wants-Cookie": ("1",),
}

QUERIES = (
    *("page=1", "page=2", "page=1&sort=a", "sort=a&page=1", "page=1&page=2", "page=2&page=1"),
    *("page", "page=", "p%61ge=1", "other=1", "page=1&other=2", "page=1+2", "page=1%202"),
    *("page=%C3%A9", "page=\xe9", "page=%FF", "&&page=1", "page=1;sort=2", "=1", "page=%"),
)

DATES = (
    *("Wed, 01 Jan 2020 00:00:00 GMT", "Tue, 31 Dec 2019 00:00:00 GMT", "yesterday"),
    *("Wednesday, 01-Jan-20 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"),
)

MALFORMED = ("*", "own", "", '"other"', '"a,b"', "*, *", 'W/"own"', '"own"')


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, in words that a reader can repeat."""

    route: Route | None
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    host: str | None = "shop.example"
    scheme: str = "http"
    root: str = ""
    address: str = "127.0.0.1"
    body: bytes = b""

    def __str__(self) -> str:
        address = f"{self.scheme}://{self.host}{self.root}{self.path}?{self.query}"
        return f"{self.method} {address} {dict(self.headers)} {self.body!r} from {self.address}"

    def environ(self) -> dict[str, Any]:
        """Write it as a server would (PEP 3333)."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": self.root,
            "PATH_INFO": unquote_to_bytes(self.path).decode("latin-1"),
            "QUERY_STRING": self.query,
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "443" if self.scheme == "https" else "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.address,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self.scheme,
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if self.host is not None:
            environ["HTTP_HOST"] = self.host
        if self.body:
            environ["CONTENT_LENGTH"] = str(len(self.body))
        for name, value in self.headers:
            written = name.upper().replace("-", "_")
            environ[written if written == "CONTENT_TYPE" else f"HTTP_{written}"] = value
        return environ

    def without_conditions(self) -> "Asked":
        """Return the same request, unconditional."""
        kept = tuple(header for header in self.headers if header[0] not in CONDITIONS)
        return replace(self, headers=kept)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    @property
    def is_hit(self) -> bool:
        return self.headers.get("Cache-Status", "").startswith("page-cache; hit")


@dataclass(slots=True)
class Pair:
    """Both applications, what was learned from their answers, and what differed."""

    warm: Flask
    cache: Any
    cold: Flask
    cookies: dict[str, str]
    etags: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    #: The bytes that a strong ETag of an address stood for.
    named: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    #: One example of each kind of difference at each route.
    differences: dict[tuple[str, str], str] = field(default_factory=dict)

    def ask(self, app: Any, asked: Asked) -> Answer:
        body, status, headers = run_wsgi_app(app, asked.environ(), buffered=True)
        return Answer(int(status[:3]), headers, b"".join(body))

    def change_data(self) -> None:
        data["price"] += 1
        with self.warm.app_context():
            self.cache.invalidate("data")


def requests_of(pair: Pair, rng: random.Random, number: int) -> Iterator[Asked]:
    """Draw requests; every other one differs from the one before in a single respect."""
    asked = draw(pair, rng)
    for _ in range(number):
        yield asked
        asked = draw_sibling(pair, asked, rng) if rng.random() < 0.5 else draw(pair, rng)


def draw(pair: Pair, rng: random.Random) -> Asked:
    """Draw a request: half of them plain, the others with all that clients send."""
    route = rng.choice(ROUTES)
    path = rng.choice(route.paths)
    if rng.random() < 0.02:
        route, path = None, "/nothing/here"
    method = "GET" if rng.random() < 0.8 else rng.choice(["HEAD", "HEAD", "OPTIONS", "POST", "PUT"])
    headers = draw_headers(pair, route, rng)
    if rng.random() < 0.2:
        headers |= dict(draw_condition(pair, path, rng) for _ in range(rng.choice([1, 1, 2])))
    return Asked(
        route,
        method,
        path,
        rng.choice(QUERIES) if rng.random() < 0.4 else "",
        tuple(headers.items()),
        rng.choice(["shop.example"] * 8 + ["other.example:8080", None]),
        "https" if rng.random() < 0.1 else "http",
        "/mounted" if rng.random() < 0.1 else "",
        rng.choice(["127.0.0.1", "192.0.2.7"]),
        b'{"page": 1}' if method in ("POST", "PUT") or rng.random() < 0.03 else b"",
    )


def draw_sibling(pair: Pair, asked: Asked, rng: random.Random) -> Asked:
    """Change one thing of a request."""
    changes: list[dict[str, Any]] = [
        {"query": rng.choice(QUERIES)},
        {"headers": asked.headers + tuple(draw_headers(pair, asked.route, rng).items())},
        {"headers": (*asked.headers, draw_condition(pair, asked.path, rng))},
        {"headers": ()},
        {"path": rng.choice(asked.route.paths if asked.route else [asked.path])},
        {"root": "" if asked.root else "/mounted"},
        {"scheme": "http" if asked.scheme == "https" else "https"},
        {"host": rng.choice(["shop.example", "SHOP.example", "other.example:8080"])},
        {"method": "HEAD" if asked.method == "GET" else "GET", "body": b""},
        {"address": "192.0.2.8"},
    ]
    changed = replace(asked, **rng.choice(changes))
    # A header that is there twice is joined by servers; here the last one counts.
    return replace(changed, headers=tuple(dict(changed.headers).items()))


def draw_headers(pair: Pair, route: Route | None, rng: random.Random) -> dict[str, str]:
    names = {"Accept-Encoding"} if rng.random() < 0.3 else set()
    if route is not None and rng.random() < 0.6:
        names |= {name for name in route.reads if name in HEADERS and rng.random() < 0.7}
    if rng.random() < 0.3:
        names |= set(rng.sample(list(HEADERS), rng.choice([1, 1, 2, 3])))
    return {name: rng.choice(HEADERS[name]).format(**pair.cookies) for name in sorted(names)}


def draw_condition(pair: Pair, path: str, rng: random.Random) -> tuple[str, str]:
    name = rng.choice(CONDITIONS + CONDITIONS[:2])
    if name.endswith("Since"):
        return name, rng.choice(DATES)
    known = pair.etags.get(path, [])
    if not known or rng.random() < 0.4:
        return name, rng.choice(MALFORMED)
    etag = rng.choice(known)
    return name, rng.choice([etag, etag, f"W/{etag}", f'"other", {etag}', etag.strip('"')])
