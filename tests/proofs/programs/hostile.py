"""Sends hostile requests to the shop, as a WSGI server passes them on, and counts what went wrong.

Two users with secrets, a tamperer and visitors ask for mutated addresses with odd queries, headers,
bodies and cookies. Often a page is dropped before, so that it is a hostile request that fills it.
What is wrong: an error of the server, a user's secret or another request's text in an answer, and a
public page that a plain visitor does not get as it was before.

Usage: hostile.py REQUESTS PROXIES SEED [unbounded|user|vary]

The last switches a safeguard off: the bounds on what is stored, the user in a private page's key,
the look at what is read of the headers.
"""

import gzip
import io
import re
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import flask
import redis
from flask_coherent_cache._dependencies import noticed
from flask_coherent_cache._dependencies.dependencies import Dependencies
from flask_coherent_cache._engine.bounds import KeyQuota
from flask_coherent_cache._pages import views
from flask_coherent_cache.testing import wait_until
from harness import PATIENT, finish, server
from package import load
from werkzeug.test import run_wsgi_app

HOST = "shop.example"
#: Small, so that a flood reaches them.
BOUNDS = {
    "CACHE_NEAR_BYTES": 400_000,
    "CACHE_MAX_KEY_BYTES": 500,
    "CACHE_NEW_PAGES_PER_MINUTE": 20,
    "CACHE_NEW_VALUES_PER_MINUTE": 20,
}
NO_BOUNDS = {"CACHE_NEW_PAGES_PER_MINUTE": 0, "CACHE_NEW_VALUES_PER_MINUTE": 0}
#: All public pages are looked at after so many requests; after each, the one that it began with.
LOOK_EVERY = 100
SHOWN = 5
PUBLIC = (
    *("/", "/products", "/products?page=2", "/products?sort=-price&category=kitchen"),
    *("/products/brass-desk-lamp", "/products/none", "/api/products", "/api/products?page=3"),
    *("/api/products/5", "/api/products/999999", "/account", "/nowhere", "/static/css/site.css"),
)
PRIVATE = ("/account", "/account/wishes", "/account/wishes/add?product=brass-desk-lamp")
OTHERS = ("/account/sign-in?next=/account", "/account/sign-out", "/healthz", "/readyz")
OF_ONE_ANSWER = frozenset({"age", "cache-status", "date", "x-request-id"})
#: Text by which a request can be told from all others.
MARK = re.compile(rb"zq(\d+)qz")
_TOKEN = re.compile(r'name="csrf_token" value="([^".]+)')


class Request(NamedTuple):
    """A request as bytes on the wire, decoded by ISO 8859-1; `{}` stands for its own mark."""

    page: str
    path: str
    query: str
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    sender: str
    dropped: bool


class Answer(NamedTuple):
    """What the application answered; the body as it is before compression."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def same_for_all(self) -> tuple[object, ...]:
        """Return what does not differ between two answers with the same page."""
        kept = sorted(pair for pair in self.headers if pair[0].lower() not in OF_ONE_ANSWER)
        return self.status, kept, self.body

    def bytes(self) -> bytes:
        """Return all that can be read in it."""
        return "\n".join(map(str, self.headers)).encode() + b"\n" + self.body

    def cache_status(self) -> str:
        """Return the page cache's word: hit, or why not."""
        words = dict(self.headers).get("Cache-Status", "none").split("; ")
        return "hit" if "hit" in words else "; ".join(w for w in words if w[0] in "fd")


# -- what is sent ------------------------------------------------------------------------------

_TEXTS = (
    *("{}", "evil-{}.example", "1", "0", "-1", "*", "%00", "%ff", "\xff", "../{}", "<b>{}</b>"),
    *('"{}"', "{}\xe9\xfc", "javascript:{}", "//evil-{}.example", "lighting", "price", "{} {}"),
)
_HOSTS = (
    *(HOST, HOST, HOST, HOST.upper(), f"{HOST}.", f"{HOST}:80", f"{HOST}:8080", f"{HOST}:"),
    *(f"{HOST}:{{}}", "evil-{}.example", f"{HOST}.evil-{{}}.example", f"{HOST}, evil-{{}}.example"),
    *("localhost", f"evil-{{}}.example@{HOST}", f"{HOST}/{{}}", f" {HOST}", "", "[::1]", "[{}"),
    *(f"{HOST}\xff", f"{HOST}:00080", f"{HOST}#{{}}", f"{HOST}?{{}}"),
)
_PATHS = ("/account", "/{}", "/products/none", "http://evil-{}.example/")
#: A name without values gets a text; `{}` in a name makes it a new one each time.
_HEADERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Host", "X-Forwarded-Host", "X-Host", "X-Original-Host"), _HOSTS),
    "X-Forwarded-Proto": ("http", "https", "HTTPS", "{}", "http, https", "ht\xfftp", ""),
    "X-Forwarded-Port": ("80", "443", "8443", "0", "99999", "-1", "{}", "8{}", "", "80,{}"),
    "X-Forwarded-For": ("127.0.0.1", "{}", "1.2.3.4, 5.6.7.8", "::1", "'", ""),
    "X-Forwarded-Prefix": ("/{}", "//evil-{}.example", "/account", ""),
    "Forwarded": ("host=evil-{}.example;proto=https", "for={}", "host="),
    **dict.fromkeys(("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Path", "Referer"), _PATHS),
    **dict.fromkeys(("X-HTTP-Method-Override", "X-Method-Override"), ("POST", "DELETE", "{}")),
    "Accept": (
        *("text/html", "application/json", "*/*", "application/{}", "json", "image/*"),
        *("text/html;q=0, application/json", "application/json;q=1e999", "application/json;q=nan"),
        *(
            "application/problem+json",
            'text/html;x="{}, json',
            "q=json;q",
            "json;q=-1",
            ";;;json,,,",
        ),
    ),
    "Accept-Encoding": (
        *("gzip", "identity;q=0", "gzip;q=0", "*;q=0", "br, {}", "gzip;q=nan", "gzip;q=1e9"),
        *("GZIP", "", "gzip;q=0.001, identity", "*", ",,,;q", "x-gzip", "deflate"),
    ),
    "Accept-Language": ("de", "{}", "*;q=nan", "x" * 5000, "\xff"),
    "Range": ("bytes=0-9", "bytes=-1", "bytes=5-1", "bytes=0-0,2-3", "{}=1-2", "bytes=9999999-"),
    "If-Range": ('"{}"', "*", "Wed, 25 Nov 2026 00:00:00 GMT"),
    "If-None-Match": ('"{}"', "*", 'W/"', '"a", "{}"', '"', "\xff", '""'),
    "If-Match": ('"{}"', "*", ""),
    "If-Modified-Since": ("Wed, 25 Nov 2026 00:00:00 GMT", "{}", "0", "Thu, 99"),
    "If-Unmodified-Since": ("Wed, 25 Nov 1998 00:00:00 GMT", "{}"),
    "Origin": ("null", "https://evil-{}.example", f"http://{HOST}"),
    "Authorization": ("Bearer {}", "Basic {}", "Basic YTpi", "Bearer", "\xff", "Bearer \xff"),
    "Content-Type": (
        *("application/x-www-form-urlencoded", "application/json", "multipart/form-data"),
        *("multipart/form-data; boundary={}", "text/{}; charset=\xff", "application/json;{}"),
    ),
    "Content-Length": ("0", "00", "-1", "{}", "5", "999999999", "+3", "1e3", ""),
    "Transfer-Encoding": ("chunked", "identity", "{}"),
    "Cache-Control": ("no-cache", "no-store", "max-age={}", "only-if-cached"),
    "X-Request-ID": ("{}", "\xff", "a" * 100, "a b"),
    "X-CSRFToken": ("{}", ""),
    "Upgrade": ("websocket", "h2c"),
    "Expect": ("100-continue", "{}"),
    "User-Agent": (),
    "X-Made-Up-{}": (),
}
_ENDS = (
    *("/", "/x.css", ";x.css", "/..;/x", "%2fx.css", "%00.css", ".", "..", "%20", "%0a", ".css"),
    *("/{}", "-{}", "/{}.css", "%ff", "\xff", "%e9", "/.", "/..", "/../account", "%3fx.css", "//"),
    *("/%2e%2e/account", "%23.css", "\\x.css", "%5cx.css", "/*", ";jsessionid={}", "%c0%af"),
    "a" * 3000,
)
_BEGINNINGS = (
    *("/", "/%2f", "/.", "/x/..", "/static/..", "/static/..%2f", "/static/../..", "/%00", "/{}"),
    *("http://evil-{}.example", "/\\", "/%09", "/account/..", "/products/..", "/api", "/%5c"),
)
_REPLACED = (
    *(("a", "%61"), ("a", "A"), ("/", "%2f"), ("/", "//"), ("c", "%2563"), ("s", "\xc5\xbf")),
    *(("o", "\xf0\x9f\x92\xa9" * 100), ("-", "--"), ("/", "/./"), ("t", "%74")),
)
#: Each of them is a new address each time.
_FLOODS = (
    *("/products/made-up-{}", "/products/Made_Up_{}", "/api/products/#", "/products?page=#"),
    *("/products?sort=price&category=lighting&page=1&sort={}", "/api/products?page=1&page={}"),
    *("/?utm={}", "/{}", "/products/{}?page=#"),
)
_NAMES = (
    *("page", "sort", "category", "next", "product", "utm_source", "p%61ge", "page%00", "page "),
    *("{}", "\xff", "%ff", "", "page[]", "_method", "callback", "format", "lang", "\xc3\xa9"),
)
_ODD_METHODS = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "GETX", "{}")
_METHODS = (*("GET",) * 26, *("HEAD",) * 6, "POST", *_ODD_METHODS)
_BODIES = (b"{", b'{"name": "{}"}', b"name=Ada&password=x", b"\xff" * 50, b"product=tote", b"")
_COOKIES = ("a={}", "session={}", "{}", "\xff=\xff", ";;;=", 'a="{}', "x" * 5000)
_SENDERS = ("visitor", "visitor", "ada", "bob", "both", "tamperer", "mixer", "doubler")


def text(draw: Random) -> str:
    """Draw the value of a header or parameter: what a server lets pass."""
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(_TEXTS)
    if kind < 0.7:
        return str(draw.randrange(3000))
    if kind < 0.9:
        return "".join(chr(draw.randrange(1, 256)) for _ in range(20)).translate(_NEW_LINES)
    return draw.choice("a,;%\xff") * draw.randrange(1, 8190)


_NEW_LINES = {ord("\r"): None, ord("\n"): None}


def mutated(draw: Random, path: str) -> str:
    """Draw another spelling of a path, or a path beside it."""
    kind = draw.random()
    if kind < 0.5:
        return path + draw.choice(_ENDS)
    if kind < 0.75:
        return draw.choice(_BEGINNINGS) + path
    return path.replace(*draw.choice(_REPLACED))


def drawn(draw: Random) -> Request:
    """Draw a request: a page of the shop, and what was made of it."""
    pages = draw.choice((PUBLIC, PUBLIC, PRIVATE, OTHERS, _FLOODS, _FLOODS))
    page = draw.choice(pages).replace("#", str(draw.randrange(10**7)))
    path, _, query = page.partition("?")
    for _ in range(draw.choice((0, 0, 0, 0, 1, 2))):
        path = mutated(draw, path)
    more = [f"{draw.choice(_NAMES)}={text(draw)}" for _ in range(draw.choice((0, 0, 1, 3)))]
    headers = [("Host", HOST)]
    for name in draw.choices(sorted(_HEADERS), k=draw.randrange(4)):
        headers.append((name, draw.choice(_HEADERS[name] or (text(draw),))))
    if draw.random() < 0.2:
        headers.append(("Cookie", draw.choice(_COOKIES)))
    return Request(
        page,
        path,
        "&".join([query, *more] if query else more),
        draw.choice(_METHODS),
        tuple(headers),
        draw.choice(_BODIES) if draw.random() < 0.15 else b"",
        draw.choice(_SENDERS),
        draw.random() < 0.25,
    )


# -- who is asked ------------------------------------------------------------------------------


class Shop:
    """The shop in this process, with the secrets of its users."""

    def __init__(self, folder: Path, given: dict[str, Any], proxies: int) -> None:
        self.app = load().create_app(
            {**PATIENT, **given},
            APP_ENV="production",
            SECRET_KEY=secrets.token_urlsafe(32),
            API_TOKEN=secrets.token_urlsafe(32),
            DATABASE_URL=f"sqlite:///{folder}/shop.db",
            TRUSTED_HOSTS=HOST,
            PROXY_COUNT=proxies,
            LOG_LEVEL="CRITICAL",
        )
        self.cache = load("extensions").cache
        with self.app.app_context():
            load("extensions").db.create_all()
            load("catalog.seed").fill()
            self.engine = self.cache.engine
        self.near = self.engine.near
        self.cookies: dict[str, str] = {}
        self.secrets: dict[str, list[bytes]] = {}
        for name in ("ada", "bob"):
            self.sign_up(name)

    def sign_up(self, name: str) -> None:
        """Make a user, sign it in, and note what nobody else may see."""
        models, db = load("account.models"), load("extensions").db
        secret, password = f"{name}-{secrets.token_hex(8)}", secrets.token_urlsafe()
        with self.app.app_context():
            user = models.User(name=secret)
            user.set_password(password)
            db.session.add(user)
            db.session.commit()
        client = self.app.test_client()
        options: dict[str, Any] = {"base_url": f"https://{HOST}"}
        form = client.get("/account/sign-in", **options).text
        fields = {"name": secret, "password": password, "csrf_token": _field(form)}
        headers = {"Referer": f"https://{HOST}/account/sign-in"}
        client.post("/account/sign-in", data=fields, headers=headers, **options)
        token = _TOKEN.search(client.get("/account", **options).text)
        cookie = client.get_cookie(self.app.config["SESSION_COOKIE_NAME"], domain=HOST)
        if token is None or cookie is None:
            sys.exit(f"{name} could not sign in")
        self.cookies[name] = cookie.value
        self.secrets[name] = [secret.encode(), token[1].encode(), cookie.value.encode()]

    def cookie(self, sender: str) -> tuple[str, frozenset[str]]:
        """Return what a sender's session cookie says, and whose secrets it entitles to see."""
        name = self.app.config["SESSION_COOKIE_NAME"]
        ada, bob = self.cookies["ada"], self.cookies["bob"]
        body, _, signature = ada.rpartition(".")
        cookies = {
            "ada": f"{name}={ada}",
            "bob": f"{name}={bob}",
            "both": f"{name}={ada}; {name}={bob}",
            "tamperer": f"{name}=x{ada}",
            "mixer": f"{name}={body}.{bob.rpartition('.')[2]}",
            "doubler": f"{name}={signature}; {name}={bob[:-8]}",
        }
        seen = {"ada": {"ada"}, "bob": {"bob"}, "both": {"ada", "bob"}}.get(sender, set())
        return cookies.get(sender, ""), frozenset(seen)

    def ask(self, request: Request, number: int) -> Answer:
        """Send a request with its mark in it."""
        mark = f"zq{number}qz"
        cookie, _ = self.cookie(request.sender)
        own = (("Cookie", cookie),) if cookie else ()
        headers = passed_on((*request.headers, *own), mark)
        if request.body and "CONTENT_LENGTH" not in headers:
            headers["CONTENT_LENGTH"] = str(len(request.body))
        path = request.path.replace("{}", mark).encode("latin-1")
        environ = {
            **headers,
            "REQUEST_METHOD": request.method.replace("{}", mark),
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": request.query.replace("{}", mark),
            "RAW_URI": path.decode("latin-1"),
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        body, status, answered = run_wsgi_app(self.app, environ, buffered=True)
        whole = b"".join(body)
        if answered.get("Content-Encoding") == "gzip" and whole:
            whole = gzip.decompress(whole)
        return Answer(int(status[:3]), list(answered), whole)

    def look(self, page: str) -> Answer:
        """Ask for a page as a plain visitor."""
        path, _, query = page.partition("?")
        return self.ask(Request(page, path, query, "GET", (("Host", HOST),), b"", "", False), 0)

    def drop(self, page: str) -> None:
        """Drop what is kept of a page, so that the next request fills it."""
        path = page.partition("?")[0]
        with self.app.app_context():
            self.cache.invalidate(f"key:view/{path}")


def passed_on(headers: tuple[tuple[str, str], ...], mark: str) -> dict[str, str]:
    """Write headers into an environment as servers do: of some the last, of others all."""
    environ: dict[str, str] = {}
    for name, text in headers:
        key = name.replace("{}", mark).upper().replace("-", "_")
        value = text.replace("{}", mark)
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            environ[key] = value
        elif key == "HOST" or f"HTTP_{key}" not in environ:
            environ[f"HTTP_{key}"] = value
        else:
            environ[f"HTTP_{key}"] += f"{'; ' if key == 'COOKIE' else ','}{value}"
    return environ


def _field(form: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', form)
    return found[1] if found else ""


class Judge:
    """Asks, and notes what is wrong."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.requests = 0
        self.distinct: set[int] = set()
        self.statuses: Counter[str] = Counter()
        self.cache: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.shown: list[str] = []
        self.before = {page: shop.look(page).same_for_all() for page in PUBLIC}
        if {page for page in PUBLIC if shop.look(page).same_for_all() != self.before[page]}:
            sys.exit("a public page differs from look to look")

    def judge(self, request: Request) -> None:
        """Send a request, and check what comes back, and what comes to the next visitor."""
        self.requests += 1
        if request.dropped:
            self.shop.drop(request.page)
        # What is asked for again is what may be stored, and kept in this process.
        for _ in range(1 if request.page in self.before else 2):
            self.ask(request)
        pages = PUBLIC if self.requests % LOOK_EVERY == 0 else (request.page,)
        self.look(pages, request)

    def ask(self, request: Request) -> None:
        try:
            answer = self.shop.ask(request, self.requests)
        except Exception as error:
            self.complain(f"raised {type(error).__name__}", request)
            return
        self.statuses[str(answer.status)] += 1
        self.distinct.add(hash(request))
        self.cache[answer.cache_status()] += 1
        if answer.status >= 500:
            self.complain(f"{answer.status}", request)
        told = answer.bytes()
        _, entitled = self.shop.cookie(request.sender)
        for name, hidden in self.shop.secrets.items():
            if name not in entitled and any(secret in told for secret in hidden):
                self.complain(f"a secret of {name}'s", request)
        if {int(number) for number in MARK.findall(told)} - {self.requests}:
            self.complain("another request's text", request)

    def look(self, pages: tuple[str, ...], request: Request) -> None:
        """Check that a plain visitor gets public pages as they were."""
        for page in pages:
            if page in self.before and self.shop.look(page).same_for_all() != self.before[page]:
                self.complain(f"another {page}", request)

    def complain(self, what: str, request: Request) -> None:
        self.wrong[what] += 1
        if self.wrong[what] <= SHOWN:
            self.shown.append(f"{what} after {str(request)[:1000]}")


@contextmanager
def sabotaged(kind: str) -> Iterator[None]:
    """Switch a safeguard off."""
    if kind == "user":
        kept = views.page_key
        views.page_key = lambda *args, **options: kept(*args, **{**options, "user": ""})
    elif kind == "vary":
        noticed.Noticed.note = lambda *_: None
        load("errors").problem = _telling
    yield


def _telling(error: Any) -> dict[str, object]:
    """Write an error page with headers in it that no key holds."""
    told = " ".join(value for name, value in flask.request.headers if name != "Cookie")
    return {"type": "", "title": error.name, "status": error.code or 500, "detail": told}


def resident_bytes() -> int:
    """Tell the memory that this process has now."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def main(count: str, proxies: str, seed: str, sabotage: str = "") -> None:
    bounds = BOUNDS | NO_BOUNDS if sabotage == "unbounded" else BOUNDS
    with (
        server("RedisCache") as given,
        tempfile.TemporaryDirectory() as folder,
        sabotaged(sabotage),
    ):
        shop = Shop(Path(folder), {**given, **bounds}, int(proxies))
        with shop.app.app_context():
            shop.engine.observe()
            wait_until(lambda: shop.near.observe(Dependencies()))
        # One window, so that what may be stored does not depend on how fast this machine is.
        shop.engine.new_keys = KeyQuota(seconds=86_400)
        judge = Judge(shop)
        draw, near_bytes, resident = Random(int(seed)), 0, 0
        for number in range(int(count)):
            judge.judge(drawn(draw))
            near_bytes = max(near_bytes, shop.near.bytes)
            if sabotage and judge.wrong:
                break
            if number == int(count) // 5:
                resident = resident_bytes()
        store = redis.Redis.from_url(given["CACHE_REDIS_URL"])
        finish(
            requests=judge.requests,
            distinct=len(judge.distinct),
            statuses=judge.statuses,
            cache=judge.cache,
            wrong=judge.wrong,
            shown=judge.shown,
            keys=store.dbsize(),
            entries=sum(b":entry:" in name for name in store.scan_iter(count=1000)),
            longest_key=max(map(len, store.scan_iter(count=1000))),
            store_bytes=store.info("memory")["used_memory_dataset"],
            near_bytes=near_bytes,
            near_copies=len(shop.near),
            grown_bytes=resident_bytes() - resident,
            counts=shop.engine.counts,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
