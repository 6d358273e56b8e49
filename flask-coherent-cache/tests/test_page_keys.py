"""The keys of pages: what of a request they hold, and keys of the view's own making."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from answers import seen, status_of
from flask_coherent_cache._pages.response_headers import cache_status


def test_the_key_holds_host_scheme_and_script_root(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.url_root

    urls = ["http://a/", "http://b/", "https://a/", "http://a/sub/"]
    for _ in range(2):
        assert [client.get("/page", base_url=url).get_data(as_text=True) for url in urls] == urls


def test_only_declared_query_parameters_enter_the_key(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/list")
    @cache.cached(60, query=("page",))
    def listing() -> str:
        seen["list"] += 1
        return "+".join(request.args.getlist("page"))

    assert client.get("/list?page=2").data == b"2"
    assert client.get("/list?utm=x&page=2&page=3").data == b"2+3"
    assert client.get("/list?utm=y&page=2").data == b"2"
    assert seen["list"] == 2


def test_query_string_keeps_order(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/list")
    @cache.cached(60, query_string=True)
    def listing() -> str:
        return ",".join(request.args.getlist("a"))

    assert client.get("/list?a=1&a=2").data == b"1,2"
    assert client.get("/list?a=2&a=1").data == b"2,1"


def test_declared_headers_enter_the_key(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/hello")
    @cache.cached(60, vary=("Accept-Language",))
    def hello() -> str:
        return request.headers.get("Accept-Language", "")

    for _ in range(2):
        for language in ("de", "en"):
            response = client.get("/hello", headers={"Accept-Language": language})
            assert response.get_data(as_text=True) == language
            assert response.headers["Vary"] == "Accept-Language"
    assert "; hit" in status_of(response)


def test_a_key_of_the_views_own_making(app: Flask, cache: Any, client: FlaskClient) -> None:
    def by_plan() -> str:
        return "plan-" + request.args.get("plan", "none")

    @app.get("/plans")
    @cache.cached(60, make_cache_key=by_plan)
    def plans() -> str:
        seen["plans"] += 1
        return request.args.get("plan", "none")

    @app.get("/same/<name>")
    @cache.cached(60, key_prefix="the same for all")
    def same(name: str) -> str:
        return name

    for plan in ("gold", "silver", "gold"):
        assert client.get(f"/plans?plan={plan}&utm=1").get_data(as_text=True) == plan
    assert seen["plans"] == 2
    with app.app_context():
        cache.delete("plan-gold")
    client.get("/plans?plan=gold")
    assert seen["plans"] == 3
    assert [client.get(f"/same/{name}").data for name in "ab"] == [b"a", b"a"]


def test_a_key_of_the_views_own_making_holds_what_it_was_made_from(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    app, cache = make_app(CACHE_STRICT=False)
    calls: list[str] = []

    def add(name: str, **options: Any) -> None:
        @app.get(f"/{name}", endpoint=name)
        @cache.cached(60, **options)
        def index() -> str:
            calls.append(name)
            return request.args["a"] + request.args["b"]

    add("part", make_cache_key=lambda: request.args["a"])
    add("constant", key_prefix=lambda: "all")
    add("named", make_cache_key=lambda: request.args["a"], query=("b",))
    add("string", make_cache_key=lambda: "all", query_string=True)
    add("both", make_cache_key=lambda: request.args["a"] + request.args["b"])
    add("whole", make_cache_key=lambda: f"{request.args.to_dict()}")
    add("path", key_prefix=lambda: request.full_path)
    client = app.test_client()
    for name in ("part", "constant", "named", "string", "both", "whole", "path"):
        got = [client.get(f"/{name}?a=1&b={b}").text for b in "1212"]
        assert got == ["11", "12", "11", "12"]
        assert calls.count(name) == (4 if name in ("part", "constant") else 2)


@pytest.mark.parametrize("options", [{"query": ("page",)}, {"query_string": True}])
def test_a_constant_key_still_holds_the_declared_query(
    app: Flask, cache: Any, client: FlaskClient, options: dict[str, Any]
) -> None:
    @app.get("/page")
    @cache.cached(60, key_prefix="products", **options)
    def page() -> str:
        return request.args.get("page", "1")

    assert [client.get(f"/page?page={number}").text for number in "123"] == list("123")
    assert "; hit" in status_of(client.get("/page?page=2"))
    with app.app_context():
        cache.delete("products")
    assert "; hit" not in status_of(client.get("/page?page=2"))


def test_a_parameter_in_any_spelling_enters_the_key(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60, query=("é",))
    def page() -> str:
        return request.args["é"]

    for number in "12":
        raw = f"é={number}".encode().decode("latin-1")
        assert client.get("/page", environ_overrides={"QUERY_STRING": raw}).text == number


def test_the_key_is_shown_in_development_only(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get('/pa"ge')
    @cache.cached(60)
    def page() -> str:
        return "text"

    assert "key=" not in status_of(client.get('/pa"ge'))
    app.debug = True
    assert '; key="page:http://localhost/pa%22ge"' in status_of(client.get('/pa"ge'))


def test_a_key_is_shown_as_a_structured_field() -> None:
    shown = cache_status("miss", None, False, None, 'a "key" \\ of ü and \n')
    assert shown == r'page-cache; fwd=miss; key="a \"key\" \\ of %FC and %0A"'
