"""Every route of the shop, asked over a socket and judged by an independent linter of HTTP.

The project runs as in production: under Gunicorn, behind a proxy that speaks HTTPS. Nothing may be
what the linter calls bad; of its warnings, those that are meant are listed with the reason.
"""

import http.client
import itertools
import json
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from baking import Project, clean_environ
from httplint import HttpRequestLinter, HttpResponseLinter, levels
from serving import free_port, wait_for

HOST = "shop.example.com"
PASSWORD = secrets.token_urlsafe(12)
TOKEN = secrets.token_urlsafe(32)
#: How to ask for a rule that has arguments.
EXAMPLES = {
    "/products/<slug>": "/products/{slug}",
    "/api/products/<int:product_id>": "/api/products/1",
    "/static/<path:filename>": "/static/css/site.css",
    "/_cache/static/<path:filename>": "/_cache/static/inspector.css",
    "/_cache/tag": "/_cache/tag?tag=product",
    "/_cache/<any(invalidate,drop,clear):name>": "/_cache/clear",
}
#: Warnings that are no faults.
MEANT = {
    "HSTS_NO_SUBDOMAINS": "the shop does not speak for other hosts of its domain",
    "STATUS_BAD_REQUEST": "forms without their token, and JSON that is none, are asked for here",
    "STORE_PUBLIC_UNNECESSARY": "a site may stand behind a password that its style sheet needs not",
}
#: What a proxy adds.
FORWARDED = {
    "Host": HOST,
    "User-Agent": "test",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": HOST,
    "X-Forwarded-Port": "443",
    "Connection": "close",
}
LIST_RULES = """
import importlib, json, os
app = importlib.import_module(os.environ["FLASK_APP"]).create_app()
print(json.dumps([rule.rule for rule in app.url_map.iter_rules()]))
"""
MAKE_USER = 'echo "$2" | "$1" user create somebody --password-stdin'


@dataclass(frozen=True)
class Exchange:
    """A request and its response, as they went over the wire."""

    method: str
    path: str
    sent: dict[str, str]
    began: float
    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = field(repr=False)

    def __str__(self) -> str:
        told = {name: value for name, value in self.sent.items() if value != FORWARDED.get(name)}
        return f"{self.method} {self.path} {told or ''} -> {self.status}"

    def get(self, name: str) -> str:
        """Return a header's value; empty where there is none."""
        values = (value for key, value in self.headers if key.lower() == name.lower().encode())
        return next(values, b"").decode("latin-1")


class Shop:
    """A running project, and all that it was asked."""

    def __init__(self, port: int, rules: list[str]) -> None:
        self.port, self.rules = port, rules
        self.exchanges: list[Exchange] = []

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Exchange:
        """Send a request on a connection of its own, and read until its end."""
        sent = FORWARDED | (headers or {})
        if body:
            sent["Content-Length"] = f"{len(body)}"
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        began = time.time()
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        head, _, content = received.partition(b"\r\n\r\n")
        status_line, *fields = head.split(b"\r\n")
        _, status, reason = status_line.split(b" ", 2)
        pairs = [(name, value.strip()) for name, value in (f.split(b":", 1) for f in fields)]
        answered = Exchange(method, path, sent, began, int(status), reason, pairs, content)
        self.exchanges.append(answered)
        return answered


def lint(exchange: Exchange) -> HttpResponseLinter:
    """Hand a response to the linter, with the request that it answers."""
    request = HttpRequestLinter(start_time=exchange.began)
    request.process_request_topline(exchange.method.encode(), exchange.path.encode(), b"1.1")
    request.process_headers([(n.encode(), v.encode()) for n, v in exchange.sent.items()])
    response = HttpResponseLinter(start_time=exchange.began)
    response.request = request
    response.base_uri = f"https://{HOST}{exchange.path}"
    response.is_head_response = exchange.method == "HEAD"
    response.process_response_topline(b"1.1", f"{exchange.status}".encode(), exchange.reason)
    response.process_headers(exchange.headers)
    response.feed_content(exchange.body)
    response.finish_content(complete=True)
    return response


def notes(exchanges: Iterable[Exchange], level: levels) -> dict[str, list[str]]:
    """Return the linter's notes of a level by name, each with the requests that had them."""
    found: dict[str, list[str]] = {}
    for exchange in exchanges:
        linted = lint(exchange).notes
        for note in itertools.chain(linted, *(note.subnotes for note in linted)):
            if note.level == level:
                text = f"{exchange}: {note.subject}: {note.summary}"
                found.setdefault(type(note).__name__, []).append(text)
    return found


@pytest.fixture(scope="module")
def shop(
    project: Project, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Serve the project, and ask it all that there is to be asked."""
    port = free_port()
    settings: dict[str, Any] = {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(32),
        "API_TOKEN": TOKEN,
        "OPS_USERS": "somebody",
        "CACHE_TYPE": "SimpleCache",
        "DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('http')}/app.db",
        "TRUSTED_HOSTS": HOST,
        "PROXY_COUNT": "1",
        "GUNICORN_BIND": f"127.0.0.1:{port}",
        "FLASK_APP": project.package.name,
        "PYTHONPATH": "src",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    project.run(environment / "python", "deploy/prepare_database.py", **settings)
    project.run("sh", "-c", MAKE_USER, "sh", environment / "flask", PASSWORD, **settings)
    listed = project.run(environment / "python", "-c", LIST_RULES, **settings).stdout
    with subprocess.Popen(
        [environment / "gunicorn", f"{project.package.name}:create_app()"],
        cwd=project.path,
        env=clean_environ(**settings),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", 60, process)
            running = Shop(port, json.loads(listed.splitlines()[-1]))
            ask_everything(running)
            yield running
        finally:
            process.terminate()


def ask_everything(shop: Shop) -> None:
    """Ask for each route in each way as nobody and as somebody; do what fails, and write."""
    home = shop.ask("GET", "/products").body.decode()
    slug = re.findall(r'href="/products/([a-z0-9-]+)"', home)[0]
    style = re.findall(r'"(/static/[^"]+\.css)"', home)[0]
    paths = [EXAMPLES.get(rule, rule).format(slug=slug) for rule in shop.rules] + [style]
    for path in paths:
        ask_in_each_way(shop, path, {})
    ask_in_vain(shop, slug)
    ask_for_parts(shop, style)
    write(shop)
    cookie = sign_in(shop)
    for path in paths:
        ask_in_each_way(shop, path, {"Cookie": cookie})


def ask_in_each_way(shop: Shop, path: str, headers: dict[str, str]) -> None:
    """Ask for one path as browsers, caches and the mistaken do."""
    shop.ask("GET", path, headers)
    found = shop.ask("GET", path, headers)
    shop.ask("HEAD", path, headers)
    shop.ask("GET", path, headers | {"Accept": "application/json"})
    for coding in ("gzip", "identity"):
        accepting = headers | {"Accept-Encoding": coding}
        if tag := shop.ask("GET", path, accepting).get("ETag"):
            shop.ask("GET", path, accepting | {"If-None-Match": tag})
    if date := found.get("Last-Modified"):
        shop.ask("GET", path, headers | {"If-Modified-Since": date})
    for method in ("OPTIONS", "POST", "PUT", "DELETE"):
        shop.ask(method, path, headers)


def ask_in_vain(shop: Shop, slug: str) -> None:
    """Ask for what is not there, or not to be had."""
    for path in ("/none", "/products/none", "/static/none.css", "/api/products/0", "/api/none"):
        for method in ("GET", "HEAD", "POST"):
            shop.ask(method, path)
    shop.ask("GET", "/products?page=none")
    shop.ask("GET", "/api/products?page=none")
    shop.ask("GET", f"/products/{slug}/")
    shop.ask("GET", "/", {"X-Forwarded-Host": "other.example.com"})


def ask_for_parts(shop: Shop, path: str) -> None:
    """Ask for ranges of a static file."""
    for wanted in ("bytes=0-9", "bytes=-5", "bytes=999999-"):
        for method in ("GET", "HEAD"):
            shop.ask(method, path, {"Range": wanted, "Accept-Encoding": "gzip"})
    shop.ask("GET", path, {"If-Match": '"none"'})


def write(shop: Shop) -> None:
    """Make, change and delete a product, and try to without what that takes."""
    path, as_json = "/api/products", {"Content-Type": "application/json"}
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    category = json.loads(shop.ask("GET", path).body)["items"][0]["category"]
    product = json.dumps({"name": "A jar", "price_cents": 100, "category": category}).encode()
    shop.ask("POST", path, as_json, product)
    shop.ask("POST", path, allowed, b"name=jar")
    for body in (b"{", b"{}"):
        shop.ask("POST", path, allowed | as_json, body)
    location = shop.ask("POST", path, allowed | as_json, product).get("Location")
    shop.ask("POST", path, allowed | as_json, product)
    shop.ask("PATCH", location, allowed | as_json, b'{"price_cents": 99}')
    shop.ask("DELETE", location, allowed)


def sign_in(shop: Shop) -> str:
    """Sign in, after a failure; return the cookie."""
    path = "/account/sign-in"
    for password in ("wrong", PASSWORD):
        page = shop.ask("GET", path)
        token = re.findall(r'name="csrf_token" value="([^"]+)"', page.body.decode())[0]
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": page.get("Set-Cookie").partition(";")[0],
            "Referer": f"https://{HOST}{path}",
        }
        form = f"csrf_token={token}&name=somebody&password={password}"
        answer = shop.ask("POST", path, headers, form.encode())
    return answer.get("Set-Cookie").partition(";")[0]


def test_nothing_is_bad(shop: Shop) -> None:
    assert notes(shop.exchanges, levels.BAD) == {}


def test_every_warning_is_meant(shop: Shop) -> None:
    found = notes(shop.exchanges, levels.WARN)
    assert {name: texts for name, texts in found.items() if name not in MEANT} == {}


def test_everything_was_asked(shop: Shop) -> None:
    """No rule, and no kind of answer, slips through."""
    assert [rule for rule in shop.rules if "<" in rule and rule not in EXAMPLES] == []
    found = {exchange.status for exchange in shop.exchanges}
    good = {200, 201, 204, 206, 302, 303, 304}
    assert found == good | {400, 401, 404, 405, 409, 412, 415, 416, 422}


def test_a_bad_header_would_be_seen(shop: Shop) -> None:
    good = shop.exchanges[0]
    for header in ((b"ETag", b"no-quotes"), (b"Cache-Control", b"max-age"), (b"Age", b"-1")):
        assert notes([replace(good, headers=[*good.headers, header])], levels.BAD)


def test_what_goes_past_the_cache_is_not_kept_by_guess(shop: Shop) -> None:
    asked = [shop.ask("GET", "/", {"Authorization": "Bearer none"})]
    asked.append(shop.ask("HEAD", "/products?page=2"))
    assert notes(asked, levels.WARN).keys() <= MEANT.keys()


def test_one_connection_serves_one_request_after_the_other(shop: Shop) -> None:
    """What has no body, or was sent a body that nobody read, leaves nothing behind."""
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=30)
    connection.connect()
    first = connection.sock
    tag = shop.ask("GET", "/").get("ETag")
    for method, body, headers, status in (
        ("GET", None, {}, 200),
        ("HEAD", None, {}, 200),
        ("GET", None, {"If-None-Match": tag}, 304),
        ("POST", b"x" * 10_000, {}, 405),
        ("GET", None, {"Accept-Encoding": "gzip"}, 200),
        ("GET", None, {}, 200),
    ):
        connection.request(method, "/", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.will_close, connection.sock) == (status, False, first)
    connection.request("GET", "/", headers={"Connection": "close"})
    assert connection.getresponse().will_close
    connection.close()
