"""A warm application against the same one without a cache: nobody can tell them apart.

The warm one runs as in production: Redis, a near cache, pages before Flask. Requests are drawn from
a seed; each is sent twice to it and once to the other. `RULES` is all that may differ.
"""

import gzip
import io
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.datastructures import Headers
from werkzeug.http import parse_cache_control_header, parse_date
from werkzeug.test import run_wsgi_app

from conftest import SETTINGS
from flask_coherent_cache.testing import wait_until
from many_routes import FILLER, ROUTES, Route, data, make_site
from shared_cache import SharedCache

RULES = {
    "per response": "Age, Cache-Status, Date, X-Request-ID, ETag and Last-Modified may differ.",
    "cache-control": "Where a cached view says no Cache-Control, the cache says its own, once.",
    "not public": "The cache may replace public and s-maxage by private.",
    "vary": "The cache adds to Vary what the view declares, and Cookie for private pages.",
    "compressed": "The cache may compress a body, and says so; it is compared decompressed.",
    "condition": "Of a success of a cached view, the cache answers the conditions by its ETag.",
    "session cookie": "A signed session holds the time at which it was signed.",
}
IGNORED = {"age", "cache-status", "date", "x-request-id", "etag", "last-modified"}
#: What describes a body, and is missing where a 304 or 412 has none.
OF_A_BODY = {"content-length", "content-type", "content-encoding", "content-language"}
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


# -- drawing requests ----------------------------------------------------------------------------


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


# -- comparing answers ---------------------------------------------------------------------------


def compare(pair: Pair, asked: Asked, warm_app: Any) -> None:
    """Send a request to both applications, and note each difference that no rule allows.

    :param warm_app: the warm application, or a cache in front of it.
    """
    cold = pair.ask(pair.cold, asked)
    unconditional = asked.without_conditions()
    plain = pair.ask(pair.warm, unconditional) if unconditional != asked else None
    for turn in ("first", "second"):
        warm = pair.ask(warm_app, asked)
        count(pair, warm)
        for kind in differences(pair, asked, warm, cold, plain):
            pair.differences.setdefault(
                (asked.path, kind),
                f"{kind}, {turn} answer to {asked}\n"
                f"  warm {warm.status} {list(warm.headers)} {shown(warm)!r}\n"
                f"  cold {cold.status} {list(cold.headers)} {shown(cold)!r}",
            )
        etag = warm.headers.get("ETag")
        if etag and etag not in pair.etags.setdefault(asked.path, []):
            pair.etags[asked.path].append(etag)


def count(pair: Pair, warm: Answer) -> None:
    pair.counts["answers"] += 1
    if warm.is_hit:
        pair.counts["hits"] += 1


def shown(answer: Answer) -> bytes:
    return decompressed(answer).replace(FILLER.encode(), b"...")[:300]


def decompressed(answer: Answer) -> bytes:
    if answer.headers.get("Content-Encoding") == "gzip" and answer.body:
        return gzip.decompress(answer.body)
    return answer.body


def differences(
    pair: Pair, asked: Asked, warm: Answer, cold: Answer, plain: Answer | None
) -> Iterator[str]:
    """Yield what differs, in a word or two."""
    is_cached = asked.route is not None and asked.route.options is not None
    yield from forbidden(warm, cold, asked)
    if not is_named_once(pair, asked, warm):
        yield "one strong ETag of two bodies"
    by_condition = is_cached and plain is not None and condition_allows(asked, plain, warm.status)
    if warm.status != cold.status or (by_condition and warm.status != plain.status):
        if not by_condition:
            yield f"status {warm.status} for {cold.status}"
            return
        pair.used["condition"] += 1
        expected = decompressed(plain) if warm.status == plain.status else b""
        if decompressed(warm) not in (expected, cold.body):
            yield f"body of a {warm.status}"
        yield from headers_differ(pair, asked, warm, cold, bodiless=True)
        return
    if plain is not None and is_cached and must_differ(asked, plain, cold):
        yield f"condition ignored by a {cold.status}"
    if decompressed(warm) != cold.body:
        yield "body"
    yield from headers_differ(pair, asked, warm, cold, bodiless=False)


def forbidden(warm: Answer, cold: Answer, asked: Asked) -> Iterator[str]:
    """Yield what must not be, however equal the answers are."""
    control = ", ".join(warm.headers.getlist("Cache-Control")).lower()
    if "Set-Cookie" in warm.headers and ("public" in control or "s-maxage" in control):
        yield "public with Set-Cookie"
    if not warm.is_hit:
        return
    said = ", ".join(cold.headers.getlist("Cache-Control")).lower()
    if "no-store" in said or "private" in said:
        yield "hit of a response that says no-store or private"
    if "*" in ", ".join(cold.headers.getlist("Vary")):
        yield "hit of a response that varies by *"
    if asked.method not in ("GET", "HEAD"):
        yield f"hit of a {asked.method}"


def is_named_once(pair: Pair, asked: Asked, warm: Answer) -> bool:
    """Tell whether a strong ETag stands for the same bytes as before (RFC 9110, 8.8.1)."""
    etag = warm.headers.get("ETag", "")
    if warm.status != 200 or asked.method != "GET" or not etag.startswith('"'):
        return True
    where = (asked.scheme, asked.host, asked.root, asked.path, asked.query, etag)
    return pair.named.setdefault(where, warm.body) == warm.body


def condition_allows(asked: Asked, plain: Answer, status: int) -> bool:
    """Tell whether a status may stand in the place of a success (RFC 9110, 13.2.2)."""
    return 200 <= plain.status < 300 and status == conditional_status(asked, plain)


def must_differ(asked: Asked, plain: Answer, cold: Answer) -> bool:
    """Tell whether a hit left a condition out that its validators answer otherwise."""
    if not plain.is_hit or not 200 <= plain.status < 300:
        return False
    return conditional_status(asked, plain) != cold.status


def conditional_status(asked: Asked, plain: Answer) -> int:
    """Evaluate the conditions by the validators of the warm answer without them."""
    said, etag = dict(asked.headers), plain.headers.get("ETag", "")
    modified, dates = parse_date(plain.headers.get("Last-Modified")), said.copy()
    if asked.method not in ("GET", "HEAD"):
        return plain.status
    if (listed := said.get("If-Match")) is not None:
        if listed != "*" and not is_listed(etag, listed, weakly=False):
            return 412
    elif modified and (since := parse_date(dates.get("If-Unmodified-Since"))) and modified > since:
        return 412
    if (listed := said.get("If-None-Match")) is not None:
        matched = is_listed(etag, listed, weakly=True)
        return 304 if listed == "*" or matched else plain.status
    if modified and (since := parse_date(dates.get("If-Modified-Since"))) and modified <= since:
        return 304
    return plain.status


def is_listed(etag: str, listed: str, *, weakly: bool) -> bool:
    """Compare with each member; drawn tags have no comma but in one, which is nobody's."""
    members = [member.strip() for member in listed.split(",")]
    if weakly:
        etag, members = etag.removeprefix("W/"), [each.removeprefix("W/") for each in members]
    return etag.startswith('"') and etag in members


def headers_differ(
    pair: Pair, asked: Asked, warm: Answer, cold: Answer, *, bodiless: bool
) -> Iterator[str]:
    skipped = set(IGNORED) | {"cache-control", "vary", "set-cookie"}
    if warm.headers.get("Content-Encoding") != cold.headers.get("Content-Encoding"):
        pair.used["compressed"] += 1
        skipped |= {"content-encoding", "content-length"}
        if not {"accept-encoding", "*"} & vary_of(warm):
            yield "compressed without Vary"
    skipped |= OF_A_BODY if bodiless else set()
    ours, theirs = (
        Counter((name, value) for name, value in answer.headers if name.lower() not in skipped)
        for answer in (warm, cold)
    )
    for name in sorted({name for name, _ in [*ours, *theirs]}):
        if [pair for pair in ours if pair[0] == name] != [
            pair for pair in theirs if pair[0] == name
        ]:
            yield f"header {name}"
    yield from cookies_differ(pair, warm, cold)
    if warm.status == 412 != cold.status:
        return  # It may not be kept, and has neither.
    yield from control_differs(pair, asked, warm, cold)
    yield from vary_differs(pair, asked, warm, cold)


def cookies_differ(pair: Pair, warm: Answer, cold: Answer) -> Iterator[str]:
    ours, theirs = (answer.headers.getlist("Set-Cookie") for answer in (warm, cold))
    if ours != theirs:
        pair.used["session cookie"] += 1
        ours, theirs = (
            [f.partition(";")[2] if f.startswith("session=") else f for f in fields]
            for fields in (ours, theirs)
        )
    if ours != theirs:
        yield "header Set-Cookie"


def control_differs(pair: Pair, asked: Asked, warm: Answer, cold: Answer) -> Iterator[str]:
    ours, theirs = (
        dict(parse_cache_control_header(", ".join(answer.headers.getlist("Cache-Control"))))
        for answer in (warm, cold)
    )
    if ours == theirs:
        return
    if not theirs and asked.route is not None and asked.route.options is not None:
        pair.used["cache-control"] += 1
        if len(warm.headers.getlist("Cache-Control")) > 1:
            yield "two fields Cache-Control"
        return
    for name in ("public", "s-maxage"):
        theirs.pop(name, None)
    if "private" in ours and ours == {**theirs, "private": ours["private"]}:
        pair.used["not public"] += 1
        return
    yield "header Cache-Control"


def vary_differs(pair: Pair, asked: Asked, warm: Answer, cold: Answer) -> Iterator[str]:
    ours, theirs = vary_of(warm), vary_of(cold)
    options = (asked.route.options if asked.route else None) or {}
    allowed = {name.lower() for name in options.get("vary", ())} | {"accept-encoding"}
    allowed |= {"cookie", "authorization"} if options.get("private") else set()
    if ours == theirs:
        return
    if theirs <= ours and ours - theirs <= allowed:
        pair.used["vary"] += 1
        return
    yield "header Vary"


def vary_of(answer: Answer) -> set[str]:
    members = ",".join(answer.headers.getlist("Vary")).lower().split(",")
    return {member.strip() for member in members} - {""}


# -- the test ------------------------------------------------------------------------------------


@pytest.fixture
def pair(server_settings: dict[str, Any]) -> Iterator[Pair]:
    if "RedisCache" not in server_settings:
        pytest.skip("no Redis and no Valkey on this machine")
    production = {"CACHE_STRICT": False, "CACHE_NEW_PAGES_PER_MINUTE": 1_000_000}
    settings = SETTINGS | production | server_settings["RedisCache"] | {"CACHE_TYPE": "RedisCache"}
    warm, cache = make_site({**settings, "CACHE_KEY_PREFIX": "warm"})
    cold, _ = make_site({**settings, "CACHE_TYPE": "NullCache"})
    sign = SecureCookieSessionInterface().get_signing_serializer(warm)
    assert sign is not None
    cookies = {name: sign.dumps({"user": name}) for name in ("ada", "bob")}
    with warm.app_context():
        cache.clear()
    follow(warm, cache)
    yield Pair(warm, cache, cold, cookies)
    with warm.app_context():
        cache.clear()
        cache.engine.close()


def follow(app: Flask, cache: Any) -> None:
    """Wait until the near cache follows its server."""
    from flask_coherent_cache._dependencies.dependencies import Dependencies  # noqa: PLC0415

    with app.app_context():
        cache.engine.observe()
        wait_until(lambda: cache.engine.near.observe(Dependencies()))


AT_LENGTH = [(1, 600), pytest.param(2, 6000, marks=pytest.mark.long)]


@pytest.mark.parametrize(("seed", "requests"), AT_LENGTH)
def test_nobody_can_tell_that_there_is_a_cache(pair: Pair, seed: int, requests: int) -> None:
    rng = random.Random(seed)
    for asked in requests_of(pair, rng, requests):
        if rng.random() < 0.02:
            pair.change_data()
        compare(pair, asked, pair.warm)
    report(pair)
    assert not list(pair.differences), "\n" + "\n".join(pair.differences.values())
    assert pair.counts["hits"] > pair.counts["answers"] // 5


@pytest.mark.parametrize(("seed", "requests"), AT_LENGTH)
def test_nobody_can_tell_that_there_is_a_shared_cache_in_front(
    pair: Pair, seed: int, requests: int
) -> None:
    """What the application says of its answers has to hold for who stores all that it may."""
    rng, shared = random.Random(seed), SharedCache(pair.warm)
    for asked in requests_of(pair, rng, requests):
        # Of an answer that no cached view gave, the application says nothing to caches.
        is_cached = asked.route is None or asked.route.options is not None
        compare(pair, asked, shared if is_cached else pair.warm)
    report(pair)
    assert not list(pair.differences), "\n" + "\n".join(pair.differences.values())
    assert shared.hits > pair.counts["answers"] // 100


@pytest.mark.parametrize("route", [route for route in ROUTES if route.hits], ids=lambda r: r.rule)
def test_each_page_that_can_be_stored_is_hit(pair: Pair, route: Route) -> None:
    for path in route.paths:
        asked = Asked(route, "GET", path, "", (("X-User", "ada"),))
        answers = [pair.ask(pair.warm, asked) for _ in range(2)]
        assert answers[1].is_hit, (path, answers[1].headers)


def test_pages_are_served_before_flask(pair: Pair) -> None:
    """What the other tests compare is in part what Flask never sees."""
    served = set()
    for route in ROUTES:
        for _ in range(4):
            environ = Asked(route, "GET", route.paths[0], "", ()).environ()
            list(pair.warm.wsgi_app(environ, lambda *_: io.BytesIO().write))
        if pair.cache.request_summary(environ).endpoint is not None:
            served.add(route.view.__name__)
    assert {"plain", "json_page", "language", "moved", "control", "query"} <= served
    assert not served & {route.view.__name__ for route in ROUTES if route.hooked}


def report(pair: Pair) -> None:
    print(f"{pair.counts['answers']} answers, {pair.counts['hits']} of them hits")
    for name, rule in RULES.items():
        print(f"{pair.used.get(name, 'all' if name == 'per response' else 0)} times: {rule}")
