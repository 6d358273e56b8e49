"""Pages: fills and hits, methods, errors, staleness, and invalidation."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Flask, Response, abort, g, make_response, request
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

import flask_coherent_cache as caching
from answers import seen, status_of
from flask_coherent_cache.testing import wait_until


def test_a_page_is_filled_once_and_then_hit(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        seen["page"] += 1
        return f"<p>{seen['page']}</p>"

    first, second = client.get("/page"), client.get("/page")
    assert status_of(first).startswith("page-cache; fwd=miss; stored")
    assert status_of(second).startswith("page-cache; hit; ttl=")
    assert first.data == second.data == b"<p>1</p>"
    assert second.headers["Content-Type"] == first.headers["Content-Type"]
    assert second.headers["Age"] == "0"
    assert second.headers["Cache-Control"] == "public, no-cache"


def test_head_is_answered_from_the_page_of_get(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "body"

    assert "stored" not in status_of(client.head("/page"))
    assert client.get("/page").data == b"body"
    head = client.head("/page")
    assert "; hit" in status_of(head)
    assert head.data == b""
    assert head.headers["Content-Length"] == "4"
    assert client.get("/page").data == b"body"


def test_post_bypasses_the_cache(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.route("/page", methods=["GET", "POST"])
    @cache.cached(60)
    def page() -> str:
        return request.method

    assert client.post("/page").data == b"POST"
    assert client.get("/page").data == b"GET"
    response = client.post("/page")
    assert response.data == b"POST"
    assert "fwd=bypass" in status_of(response)


def test_a_404_is_stored_by_choice(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/<int:number>")
    @cache.cached(60, not_found_timeout=30)
    def thing(number: int) -> str:
        seen["thing"] += 1
        abort(404)

    @app.get("/other")
    @cache.cached(60)
    def other() -> str:
        abort(404)

    first, second = client.get("/7"), client.get("/7")
    assert first.status_code == second.status_code == 404
    assert first.data == second.data
    assert "; hit; ttl=30" in status_of(second) or "; hit; ttl=29" in status_of(second)
    assert seen["thing"] == 1
    for _ in range(2):
        assert status_of(client.get("/other")) == "page-cache; fwd=miss; detail=status"


def test_a_view_is_invalidated_by_endpoint_and_arguments(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/thing/<int:number>")
    @cache.cached(60)
    def thing(number: int) -> str:
        seen[str(number)] += 1
        return str(number)

    def visit() -> None:
        client.get("/thing/1")
        client.get("/thing/2")

    visit()
    with app.app_context():
        cache.invalidate_view("thing", number=1)
    visit()
    assert seen == {"1": 2, "2": 1}
    with app.app_context():
        cache.invalidate_view("thing")
    visit()
    assert seen == {"1": 3, "2": 2}
    with app.app_context():
        cache.delete_cached(thing, path="/thing/1")
        cache.delete_cached(thing, number=2)
    visit()
    assert seen == {"1": 4, "2": 3}
    with app.app_context():
        with pytest.raises(ValueError, match="no endpoint 'thingy'"):
            cache.invalidate_view("thingy")
        with pytest.raises(ValueError, match=r"takes \['number'\], not \['id'\]"):
            cache.invalidate_view("thing", id=1)
        with pytest.raises(ValueError, match="no view"):
            cache.delete_cached(visit)


def test_an_expired_page_is_served_stale_while_it_is_refilled(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(1, grace=60, query=("q",))
    def page() -> str:
        seen["page"] += 1
        return f"{seen['page']} {request.args['q']} {request.host}"

    client.get("/page?q=a", base_url="http://shop.test")
    wait_until(
        lambda: "hit; ttl=0" not in status_of(client.get("/page?q=a", base_url="http://shop.test")),
        5,
    )
    wait_until(
        lambda: client.get("/page?q=a", base_url="http://shop.test").data == b"2 a shop.test"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 503])
def test_an_error_is_never_stored(app: Flask, cache: Any, client: FlaskClient, status: int) -> None:
    @app.get("/raised")
    @cache.cached(60)
    def raised() -> str:
        seen["raised"] += 1
        if seen["raised"] == 1:
            abort(status)
        return "good"

    @app.get("/returned")
    @cache.cached(60)
    def returned() -> tuple[str, int]:
        seen["returned"] += 1
        return ("bad", status) if seen["returned"] == 1 else ("good", 200)

    for path in ("/raised", "/returned"):
        assert client.get(path).status_code == status
        assert client.get(path).data == b"good"


def test_a_conditional_or_partial_answer_of_the_view_is_not_stored(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/file")
    @cache.cached(60)
    def file() -> Any:
        response = make_response("0123456789")
        response.add_etag()
        return response.make_conditional(request.environ, accept_ranges=True, complete_length=10)

    etag = client.get("/file").headers["ETag"]
    with app.app_context():
        cache.clear()
    assert client.get("/file", headers={"If-None-Match": etag}).status_code == 304
    assert client.get("/file", headers={"Range": "bytes=0-3"}).data in (b"0123", b"0123456789")
    assert client.get("/file").data == b"0123456789"


def test_a_helper_cached_without_a_key_does_not_stand_in_for_the_view(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @cache.cached(60)
    def helper() -> list[int]:
        return [1, 2]

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return f"<p>{sum(helper())}</p>"

    assert [client.get("/page").data for _ in range(2)] == [b"<p>3</p>"] * 2


def test_a_response_may_set_its_own_timeout(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/brief/<int:seconds>")
    @cache.cached(60)
    def brief(seconds: int) -> Response:
        response: Response = caching.CachedResponse(make_response("brief"), seconds)
        return response

    assert "stored; ttl=7" in status_of(client.get("/brief/7"))
    assert "stored" not in status_of(client.get("/brief/0"))


def test_a_page_is_invalidated_by_arguments_that_were_taken_from_the_view(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.url_value_preprocessor
    def take_language(_: Any, values: dict[str, Any] | None) -> None:
        g.language = (values or {}).pop("language", "en")

    @app.get("/<language>/page")
    @cache.cached(60)
    def page() -> str:
        return str(g.language)

    client.get("/de/page")
    assert "; hit" in status_of(client.get("/de/page"))
    with app.app_context():
        cache.invalidate_view("page", language="de")
    assert "; hit" not in status_of(client.get("/de/page"))


def test_what_wraps_the_view_sees_its_refusals(app: Flask, cache: Any, client: FlaskClient) -> None:
    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call() -> Any:
            try:
                return function()
            except HTTPException as error:
                return {"error": error.code}, error.code

        return call

    @app.get("/page")
    @wrapped
    @cache.cached(60)
    def page() -> str:
        abort(404)

    answer = client.get("/page")
    assert (answer.status_code, answer.json) == (404, {"error": 404})
    assert status_of(answer) == "page-cache; fwd=miss; detail=status"


def test_a_head_does_not_take_the_lease_from_the_gets_after_it(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "page"

    client.head("/page")
    assert not cache.engine.flights._filler.refused


def test_a_get_with_a_body_bypasses_the_cache(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.form.get("name", "nobody")

    poisoning = client.get("/page", data={"name": "evil"})
    assert (poisoning.text, status_of(poisoning)) == ("evil", "page-cache; fwd=bypass; detail=body")
    assert client.get("/page").text == "nobody"


def test_pages_are_dropped_by_path_and_by_converted_arguments(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page/<float:number>")
    @cache.cached(60, key_prefix="mine/%s")
    def page(number: float) -> str:
        return f"{number}"

    drops = [
        lambda: cache.delete_cached(page, path="/page/1.0"),
        lambda: cache.invalidate_view("page", number=1),
    ]
    for drop in drops:
        client.get("/page/1.0")
        assert "; hit" in status_of(client.get("/page/1.0"))
        with app.app_context():
            drop()
        assert "; hit" not in status_of(client.get("/page/1.0"))


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_covered_by_grace(
    app: Flask, cache: Any, client: FlaskClient, status: int
) -> None:
    @app.get("/page")
    @cache.cached(1, grace=60, private=lambda: "ann")
    def page() -> str:
        seen["page"] += 1
        return "page" if seen["page"] == 1 else abort(status)

    assert client.get("/page").status_code == 200
    expired = time.time() + 1
    wait_until(lambda: time.time() > expired)
    assert client.get("/page").status_code == status


def test_who_listens_is_told_what_was_invalidated(app: Flask, cache: Any) -> None:
    told: list[frozenset[str] | None] = []

    @cache.on_invalidate
    def broken(tags: frozenset[str] | None) -> None:
        raise RuntimeError("the CDN is away")

    cache.on_invalidate(told.append)
    with app.app_context():
        cache.invalidate("product:7", "product")
        cache.clear()
        cache.invalidate()
    assert told == [frozenset({"product:7", "product", "product!", "product:*"}), None]
