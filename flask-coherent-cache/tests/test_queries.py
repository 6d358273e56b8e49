"""Queries whose parameters come in another order: one page, which prints one text."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

import pytest
from flask import Flask, g, request, session
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient
from flask.views import MethodView
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request

from flask_coherent_cache._dependencies.inputs import Declared, sorted_query
from flask_coherent_cache._pages.page_keys import page_key


@pytest.fixture
def backend() -> dict[str, Any]:
    return {"CACHE_TYPE": "SimpleCache"}


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def hits(client: FlaskClient, *urls: str, **sent: Any) -> list[str]:
    answers = [client.get(url, **sent) for url in urls]
    assert all("; hit" in answer.headers["Cache-Status"] for answer in answers[1:])
    return [answer.text for answer in answers]


READS: dict[str, Callable[[], Any]] = {
    "args": lambda: list(request.args.items(multi=True)),
    "lists": lambda: list(request.args.lists()),
    "values": lambda: list(request.values.items(multi=True)),
    "query_string": lambda: request.query_string,
    "url": lambda: request.url,
    "full_path": lambda: request.full_path,
    "environ": lambda: request.environ["QUERY_STRING"],
    "environ.get": lambda: request.environ.get("QUERY_STRING"),
    "headers.environ": lambda: request.headers.environ["QUERY_STRING"],
    "on g": lambda: g.query,
    "of a class": lambda: request.own,  # type: ignore[attr-defined]
}
SHOWN = {
    "args": "[('a', '1'), ('a', '0'), ('b', '2')]",
    "query_string": "b'a=1&a=0&b=2'",
    "url": "http://localhost/page?a=1&a=0&b=2",
    "on g": "b'a=1&a=0&b=2'",
}


class OwnRequest(Flask.request_class):
    @property
    def own(self) -> bytes:
        return self.query_string


@pytest.mark.parametrize("way", READS)
def test_a_page_prints_its_query_as_its_key_has_it(
    app: Flask, cache: Any, client: FlaskClient, way: str
) -> None:
    app.request_class = OwnRequest

    @app.before_request
    def keep() -> None:
        g.query = request.query_string

    @app.get("/page")
    @cache.cached(60, query_string=True)
    def page() -> str:
        return f"{READS[way]()}"

    first, second, third = (client.get(f"/page?{q}") for q in ("b=2&a=1&a=0", "a=1&b=2&a=0", "a=1"))
    assert first.text == second.text != third.text
    assert first.text == SHOWN.get(way, first.text)
    assert "; hit" in second.headers["Cache-Status"]


def test_what_has_one_name_keeps_its_order(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60, query=("a", "b"))
    def page() -> str:
        return ",".join([*request.args.getlist("a"), *request.args.getlist("b")])

    assert hits(client, "/page?a=1&b=3&a=2", "/page?b=3&a=1&a=2") == ["1,2,3"] * 2
    assert client.get("/page?a=2&b=3&a=1").text == "2,1,3"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a='", "a=%27"),
        ("a=[", "a=%5B"),
        ('a="', "a=%22"),
        ("a=+", "a=%20"),
        ("a=%C3%A9", "a=%c3%a9"),
        ("a", "a="),
        ("a=1&a=2", "a=2&a=1"),
        ("a=1", "A=1"),
        ("a=b%26c=d", "a=b&c=d"),
        ("%61=1&a=2", "a=2&%61=1"),
    ],
)
def test_two_spellings_of_a_query_are_printed_as_they_are(
    app: Flask, cache: Any, client: FlaskClient, one: str, other: str
) -> None:
    @app.get("/page")
    @cache.cached(60, query_string=True)
    def page() -> bytes:
        return request.query_string

    for query in (one, other, one):
        text = client.get("/page", environ_overrides={"QUERY_STRING": query}).text
        assert text == sorted_query(query)


def test_views_that_are_not_cached_see_the_query_as_it_came(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/signed")
    def signed() -> str:
        return f"{request.query_string!r} {request.environ['QUERY_STRING']} {[*request.args]}"

    @app.route("/page", methods=["GET", "POST"])
    @cache.cached(60, query_string=True)
    def page() -> bytes:
        return request.query_string

    assert client.get("/signed?b=1&a=2").text == "b'b=1&a=2' b=1&a=2 ['b', 'a']"
    assert client.post("/page?b=1&a=2").text == "b=1&a=2"
    assert client.get("/page?b=1&a=2").text == "a=2&b=1"
    assert client.head("/page?b=1&a=2").status_code == 200


def test_a_view_of_a_class_and_a_decorated_one_see_it_sorted(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    class Page(MethodView):
        @cache.cached(60, query_string=True)
        def get(self) -> bytes:
            return request.query_string

    app.add_url_rule("/class", view_func=Page.as_view("class"))
    for path in ("/class",):
        assert hits(client, f"{path}?b=1&a=2", f"{path}?a=2&b=1") == ["a=2&b=1"] * 2


def test_a_session_that_is_opened_by_the_query_does_not_keep_its_order(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    class Interface(SecureCookieSessionInterface):
        def open_session(self, app: Flask, request: Any) -> Any:
            assert request.args.get("b") == "1"
            assert request.url
            return super().open_session(app, request)

    app.config["CACHE_STRICT"] = False
    app.session_interface = Interface()

    @app.get("/page")
    @cache.cached(60, query_string=True)
    def page() -> str:
        return f"{request.url} {[*request.args]}"

    assert client.get("/page?b=1&a=2").text == "http://localhost/page?a=2&b=1 ['a', 'b']"


def test_outside_of_flask_the_query_is_as_it_came(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    seen: list[str] = []
    wsgi_app = app.wsgi_app

    def logs(environ: Any, start_response: Any) -> Any:
        body = wsgi_app(environ, start_response)
        seen.append(Request(environ).query_string.decode())
        return body

    app.wsgi_app = logs  # type: ignore[method-assign]

    @app.get("/page")
    @cache.cached(60, query_string=True)
    def page() -> bytes:
        return request.query_string

    assert client.get("/page?b=1&a=2").text == "a=2&b=1"
    assert seen == ["b=1&a=2"]


def test_who_writes_to_the_environment_finds_it_again(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.before_request
    def change() -> None:
        environ = request.environ
        assert dict(environ)["QUERY_STRING"] == environ.setdefault("QUERY_STRING", "") == "a=2&b=1"
        assert environ.pop("QUERY_STRING") == "a=2&b=1"
        assert "QUERY_STRING" not in environ
        assert environ.pop("QUERY_STRING", "none") == "none"
        environ["QUERY_STRING"] = "c=1"
        assert environ["QUERY_STRING"] == "c=1"
        environ.update({"QUERY_STRING": "d=1"})
        assert environ.get("QUERY_STRING") == "d=1"
        del environ["QUERY_STRING"]
        assert environ.get("QUERY_STRING") is None

    @app.get("/page")
    @cache.cached(60, query_string=True)
    def page() -> str:
        return "page"

    app.config["CACHE_STRICT"] = False
    assert client.get("/page?b=1&a=2").text == "page"


def test_a_key_of_ones_own_may_hold_any_text(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60, make_cache_key=lambda: "\ud800" + request.args["a"])
    def page() -> str:
        return request.args["a"]

    assert [client.get(f"/page?a={a}").text for a in "1221"] == list("1221")


# -- keys of pages --------------------------------------------------------------------------------

PIECES = ("a", "b", "=", "&", "%26", "%61", "'", "+", "?", " ", "%20", "|", "/", "", '"', "ä")
DECLARED = Declared(None, frozenset({"x-a", "accept-language"}), frozenset({"c"}), frozenset({"e"}))


def drawn_request(draw: random.Random) -> tuple[SimpleNamespace, tuple[Any, ...]]:
    """Draw what a page's key is made of, and describe it by another way than a text."""

    def text(most: int = 4) -> str:
        return "".join(draw.choices(PIECES, k=draw.randrange(most)))

    query = text(6).encode("utf-8").decode("latin-1")
    environ = {
        name: text(2) for name in ("HTTP_X_A", "HTTP_ACCEPT_LANGUAGE", "e") if draw.random() < 0.5
    }
    cookies = MultiDict([("c", text(2)) for _ in range(draw.randrange(3))])
    where = (draw.choice(("", "/a", "/a/b")), "/" + text(3))
    drawn = SimpleNamespace(
        query_string=query.encode("latin-1"), environ=environ, cookies=cookies, host="h",
        scheme="http", root_path=where[0], path=where[1],
    )  # fmt: skip
    by_name: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name = unquote_plus(pair.partition("=")[0].encode("latin-1").decode("utf-8", "replace"))
        by_name.setdefault(name, []).append(
            quote(pair, safe="%!$&'()*+,;=:@/?", encoding="latin-1")
        )
    pairs = tuple((name, *by_name[name]) for name in sorted(by_name))
    given = tuple(sorted(environ.items()))
    return drawn, (where, pairs, given, tuple(cookies.getlist("c")))


def first_fault(make_key: Callable[[Any], str], number: int) -> Any:
    draw = random.Random(number)
    by_key: dict[str, Any] = {}
    by_meaning: dict[Any, str] = {}
    for _ in range(number):
        drawn, meaning = drawn_request(draw)
        key = make_key(drawn)
        if by_key.setdefault(key, meaning) != meaning or by_meaning.setdefault(meaning, key) != key:
            return meaning
    return None


def key_of(drawn: Any) -> str:
    return page_key(drawn, DECLARED, lambda data: data.hex())


def test_no_two_pages_have_one_key_and_none_has_two() -> None:
    assert first_fault(key_of, 20_000) is None


@pytest.mark.parametrize(
    "broken",
    [
        lambda drawn: unquote(key_of(drawn)),
        lambda drawn: key_of(drawn).replace("|", ""),
        lambda drawn: key_of(drawn) + drawn.query_string.decode("latin-1"),
        lambda drawn: page_key(drawn, DECLARED, lambda data: data[:4].hex()),
        lambda drawn: page_key(drawn, Declared(frozenset("a")), bytes.hex),
    ],
)
def test_a_broken_key_of_pages_is_caught(broken: Callable[[Any], str]) -> None:
    assert first_fault(broken, 5000) is not None


# -- what says who asks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vary": ("Cookie",)}, "vary_cookies="),
        ({"vary": ("COOKIE",)}, "vary_cookies="),
        ({"vary": (" cookie",)}, "vary_cookies="),
        ({"vary": ("Set-Cookie",)}, "vary_cookies="),
        ({"vary": ("Cookie2",)}, "vary_cookies="),
        ({"vary": ("Authorization",)}, "private=True"),
        ({"vary": ("proxy_authorization",)}, "private=True"),
        ({"vary": ("*",)}, "no header's name"),
        ({"vary": ("X Y",)}, "no header's name"),
        ({"vary_environ": ("HTTP_COOKIE",)}, "vary_cookies="),
        ({"vary_environ": ("HTTP_AUTHORIZATION",)}, "private=True"),
        ({"vary_environ": ("HTTP_PROXY_AUTHORIZATION",)}, "private=True"),
        ({"vary_environ": ("HTTP_X_PLAN",)}, r"vary=\('X-Plan',\)"),
        ({"vary_environ": ("CONTENT_TYPE",)}, r"vary=\('Content-Type',\)"),
        ({"vary_environ": ("QUERY_STRING",)}, "query_string=True"),
        ({"vary_environ": ("PATH_INFO",)}, "leave it out"),
        ({"vary_environ": ("wsgi.errors",)}, "leave it out"),
        ({"vary_cookies": ("session",)}, "private=True"),
        ({"vary_cookies": ("remember_token",)}, "private=True"),
        ({"vary_cookies": "theme"}, "must be a tuple"),
    ],
)
def test_what_says_who_asks_is_refused_when_decorated(
    cache: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        cache.cached(60, **options)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: request.headers.get("Cookie"), "read by its name the one that is needed"),
        (lambda: request.headers.get("Proxy-Authorization"), "name the user with private="),
        (lambda: request.headers.get("Authorization"), "private=True"),
        (lambda: request.environ.get("HTTP_COOKIE"), "read by its name the one that is needed"),
        (lambda: request.cookies.get("session"), "private=True"),
        (lambda: request.cookies.get("remember_token"), "private=True"),
        (lambda: session.get("a"), "private=True"),
    ],
)
def test_no_message_recommends_what_is_refused(
    app: Flask, cache: Any, read: Callable[[], Any], words: str
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return f"{read()}"

    app.testing = True
    with pytest.raises(RuntimeError, match=words) as raised:
        app.test_client().get("/page")
    assert "vary=(" not in f"{raised.value}"
    assert "vary_cookies=(" not in f"{raised.value}"
    assert "vary_environ=(" not in f"{raised.value}"


def test_the_session_cookie_is_refused_by_the_name_that_the_application_gives_it(
    app: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["SESSION_COOKIE_NAME"] = "shop_visitor"

    @app.get("/page")
    @cache.cached(60, vary_cookies=("shop_visitor",))
    def page() -> str:
        return "page"

    response = app.test_client().get("/page")
    assert 'detail="undeclared: cookie shop_visitor"' in response.headers["Cache-Status"]
    assert "say private=True" in caplog.text
