"""No trick with headers or paths brings a visitor somebody else's page, text or status."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask_coherent_cache._dependencies.dependencies import Reads
from flask_coherent_cache.testing import redis_server, wait_until
from werkzeug.test import EnvironBuilder, run_wsgi_app

from account.conftest import fill
from package import load

HOST = "shop.example"
#: The users that `fill` makes.
ADA, BOB = 1, 2
PUBLIC = ["/products?page=1&sort=price", "/products/none", "/api/products"]
#: Of these a plain visitor's next answer must know nothing.
TRICKS = [
    {"X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Host": f"{HOST}:evil", "X-Forwarded-Port": "evil"},
    {"X-Forwarded-Host": f"{HOST}, evil.example"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Proto": "evil", "X-Forwarded-Port": "6666"},
    {"X-Forwarded-Prefix": "/evil"},
    {"X-Original-URL": "/account", "X-Rewrite-URL": "/evil"},
    {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "HEAD", "X-Method-Override": "EVIL"},
    {"Forwarded": "host=evil.example;proto=https", "X-Host": "evil.example"},
    {"Host": HOST.upper()},
    {"Host": f"{HOST}:80"},
    {"Host": f"{HOST}:6666"},
    {"Host": f"{HOST}."},
    {"Host": "evil.example"},
    {"Host": f"evil@{HOST}"},
    {"Host": f"{HOST}/evil"},
    {"Host": ""},
    {"Accept": "application/json"},
    {"Accept": "text/html;q=nan, application/json;q=evil"},
    {"Accept-Encoding": "gzip"},
    {"Accept-Encoding": "identity;q=0, evil"},
    {"Accept-Encoding": "gzip;q=nan, *;q=0"},
    {"Accept-Language": "evil", "User-Agent": "evil", "Referer": "https://evil.example/"},
    {"Range": "bytes=0-3"},
    {"Range": "evil=1-2", "If-Range": "evil"},
    {"Origin": "https://evil.example", "Access-Control-Request-Method": "EVIL"},
    {"If-None-Match": "*"},
    {"If-Match": '"evil"', "If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"Authorization": "Bearer evil"},
    {"Cookie": "evil=evil; my_session=evil"},
    {"Content-Length": "4"},
    {"Content-Length": "evil"},
    {"Transfer-Encoding": "chunked"},
    {"X-Request-ID": "evil", "Cache-Control": "no-store, evil"},
]
#: Ways to write the address of a private page so that it looks public, or static, to a cache.
PATHS = [
    *("/account/x.css", "/account;x.css", "/account/..;/x", "//account", "/%2faccount"),
    *("/account%2fx.css", "/account%00.css", "/account?x.css", "/account%3fx.css", "/account."),
    *("/static/../account", "/static/..%2faccount", "/static/%2e%2e/account", "/account/"),
    *("/products/..%2faccount", "/products/../account", "/ACCOUNT", "/Account", "/account%20"),
    *("/account%0a", "/account.css", "/account%23.css", "/account\\x.css", "/./account"),
    *("/account//", "/account/."),
    *("/account/wishes/x.css", "/account/wishes;x.css", "/account/wishes?x.css", "/%61ccount"),
]


class Shop:
    """The shop as it runs in production; asked by environments, as a WSGI server does."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        with app.app_context():
            self.entries = load("extensions").cache.engine
            load("extensions").cache.clear()
            if self.entries.near is not None:
                self.entries.observe()
                wait_until(lambda: self.entries.near.observe(Reads()))

    def ask(self, path: str, cookie: str = "", method: str = "GET", **headers: str) -> Any:
        """Ask, and return status, headers without those of one answer, and body."""
        raw, _, query = path.partition("?")
        builder = EnvironBuilder(raw, method=method, headers={"Host": HOST, **headers})
        if cookie:
            builder.headers["Cookie"] = "; ".join(filter(None, (cookie, headers.get("Cookie"))))
        environ = {**builder.get_environ(), "QUERY_STRING": query}
        body, status, answered = run_wsgi_app(self.app, environ, buffered=True)
        for name in ("Age", "Cache-Status", "Date", "X-Request-ID"):
            answered.remove(name)
        return status, sorted(answered), b"".join(body)

    def forget(self) -> None:
        """Make the next request fill what it asks for."""
        with self.app.app_context():
            load("extensions").cache.clear()
        if self.entries.near is not None:
            # Dead copies would still hold the places of the requests that they answered.
            self.entries.near._remove_all()

    def signed_in(self, user_id: int) -> str:
        """Return the cookie of a user's session."""
        client = self.app.test_client()
        with client.session_transaction(base_url=f"http://{HOST}") as session:
            # With the token, as after signing in: a page that sets a cookie is not stored.
            session["user_id"], session["csrf_token"] = user_id, f"{user_id:040x}"
        cookie = client.get_cookie(self.app.config["SESSION_COOKIE_NAME"], domain=HOST)
        assert cookie is not None
        return f"{cookie.key}={cookie.value}"


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int | None]:
    """The port of a Redis or Valkey, if there is one on this machine."""
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(params=["by Flask", "by the middleware"])
def store(request: pytest.FixtureRequest, redis_port: int | None) -> dict[str, Any]:
    """A store without copies in the process, or one with."""
    if request.param == "by Flask":
        return {"CACHE_TYPE": "SimpleCache"}
    if redis_port is None:
        pytest.skip("no Redis and no Valkey on this machine")
    patient = {"CACHE_CONNECT_TIMEOUT_SECONDS": 5, "CACHE_SOCKET_TIMEOUT_SECONDS": 5}
    url = f"redis://127.0.0.1:{redis_port}/0"
    return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, **patient}


@pytest.fixture(params=[0, 1], ids=["no proxy", "one proxy"])
def shop(
    request: pytest.FixtureRequest, make_app: Callable[..., Flask], store: dict[str, Any]
) -> Iterator[Shop]:
    app = make_app(
        TRUSTED_HOSTS=HOST, PROXY_COUNT=request.param, CACHE_STRICT=False, API_TOKEN="t", **store
    )
    fill(app)
    shop = Shop(app)
    yield shop
    shop.forget()
    shop.engine.close()


@pytest.mark.parametrize("path", PUBLIC)
def test_no_header_changes_what_the_next_visitor_gets(shop: Shop, path: str) -> None:
    before, ada = shop.ask(path), shop.signed_in(ADA)
    for number, trick in enumerate(TRICKS):
        shop.forget()
        # The trick fills the page where it can, and is asked until a copy in the process answers.
        asked = [shop.ask(path, ada if number % 2 else "", **trick) for _ in range(4)]
        assert [shop.ask(path) for _ in range(3)] == [before] * 3, trick
        asked.append(shop.ask(path, method="HEAD", **trick))
        assert shop.ask(path) == before, trick
        assert max(status for status, _, _ in asked) < "5", trick
    near = shop.engine.near
    assert near is None or near._aliases, "nothing was served before Flask"


def test_no_spelling_of_a_private_page_leads_others_to_it(shop: Shop) -> None:
    ada, bob = shop.signed_in(ADA), shop.signed_in(BOB)
    led = 0
    for path in PATHS:
        shop.forget()
        visitors = {each: shop.ask(each) for each in (path, "/account", "/account/wishes")}
        shop.forget()
        for _ in range(3):
            status, headers, body = shop.ask(path, ada)
            if b"Ada" in body:
                led += 1
                assert "private" in dict(headers)["Cache-Control"], path
            elif status == "200 OK":
                assert dict(headers)["Cache-Control"] == "no-store", path
            assert b"Ada" not in shop.ask(path, bob)[2], path
            assert {each: shop.ask(each) for each in visitors} == visitors, path
    assert led, "no spelling led to the page itself"


def test_no_header_mixes_two_users(shop: Shop) -> None:
    cookies = {"Ada": shop.signed_in(ADA), "Bob": shop.signed_in(BOB)}
    for trick in TRICKS:
        shop.forget()
        for name, other in (("Ada", "Bob"), ("Bob", "Ada"), ("Ada", "Bob")):
            page = shop.ask("/account", cookies[name], **trick)[2]
            assert f"Hello, {other}".encode() not in page, trick
            assert f"Hello, {name}".encode() in shop.ask("/account", cookies[name])[2], trick
            assert shop.ask("/account", **trick)[0] != "200 OK", trick
