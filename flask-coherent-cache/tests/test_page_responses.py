"""Responses of cached pages: compression, conditions, and what caches in front are told."""

import gzip
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort
from flask.testing import FlaskClient

from answers import seen, status_of
from flask_coherent_cache import negotiation
from noise import noise


def gzipped(client: FlaskClient, path: str = "/page", accept: str = "gzip", **options: Any) -> Any:
    return client.get(path, headers={"Accept-Encoding": accept, **options})


@pytest.fixture
def _long_page(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        seen["page"] += 1
        return "<p>many words</p>" * 200


def test_a_response_that_a_view_returns_again_stays_as_it_is(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    kept = Response("<p>many words</p>" * 200, mimetype="text/html")
    for path in ("/one", "/two"):
        app.add_url_rule(path, path, cache.cached(60)(lambda: kept))
    compressed = gzipped(client, "/one")
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert not {"Content-Encoding", "Cache-Status"} & {*kept.headers.keys()}
    for path in ("/two", "/two", "/one"):
        answer = client.get(path)
        assert "Content-Encoding" not in answer.headers
        assert answer.data == gzip.decompress(compressed.data) == kept.data


@pytest.mark.parametrize("accept", ["gzip", "identity"])
@pytest.mark.parametrize("body", ["few words", "many words " * 200])
def test_a_miss_sends_what_a_hit_does(
    app: Flask, cache: Any, client: FlaskClient, body: str, accept: str
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> Any:
        return body, {"X-Request-ID": "7", "X-Own": "9", "Vary": "Accept"}

    miss, hit = gzipped(client, accept=accept), gzipped(client, accept=accept)
    assert ("stored" in status_of(miss), "; hit" in status_of(hit)) == (True, True)
    assert "X-Request-ID" not in miss.headers
    of_one = {"Age", "Cache-Status", "Date"}
    first, second = (
        {pair for pair in answer.headers.items() if pair[0] not in of_one} for answer in (miss, hit)
    )
    assert first == second
    assert (miss.data, miss.status) == (hit.data, hit.status)


def test_a_condition_is_evaluated_after_the_cache(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "body"

    etag = client.get("/page").headers["ETag"]
    assert not etag.startswith("W/")
    not_modified = client.get("/page", headers={"If-None-Match": etag})
    assert (not_modified.status_code, not_modified.data) == (304, b"")
    assert "; hit" in status_of(not_modified)
    assert client.get("/page").status_code == 200


def test_what_a_client_would_rather_have() -> None:
    prefers_json = negotiation.prefers_json
    assert prefers_json("application/json")
    assert prefers_json("application/problem+json, text/html;q=0.5")
    assert not prefers_json("")
    assert not prefers_json("*/*")
    assert not prefers_json("text/html,application/json;q=0.9")


@pytest.mark.usefixtures("_long_page")
@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, gzip;q=0.8", "gzip"),
        ("*", "gzip"),
        ("gzip, identity;q=0.5", "gzip"),
        ("", None),
        ("br", None),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("gzip;q=0, *", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.6, *;q=0.1", None),
    ],
)
def test_compression_is_what_the_client_would_rather_have(
    client: FlaskClient, accept: str, encoding: str | None
) -> None:
    for _ in range(2):
        response = gzipped(client, accept=accept)
        body = gzip.decompress(response.data) if encoding else response.data
        assert response.headers.get("Content-Encoding") == encoding
        assert body == b"<p>many words</p>" * 200
        assert response.headers["Content-Length"] == str(len(response.data))
        assert response.headers["Vary"] == "Accept-Encoding"
    assert seen["page"] == 1


@pytest.mark.usefixtures("_long_page")
def test_each_representation_has_an_etag_of_its_own(client: FlaskClient) -> None:
    plain, compressed = client.get("/page"), gzipped(client)
    assert plain.headers["ETag"] != compressed.headers["ETag"]
    same = {"If-None-Match": compressed.headers["ETag"]}
    assert gzipped(client, **same).status_code == 304
    assert "Content-Encoding" not in gzipped(client, **same).headers
    assert client.get("/page", headers=same).status_code == 200


def test_a_body_that_gains_nothing_is_not_compressed(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    long = "<p>many words</p>" * 200

    def image() -> Response:
        return Response(b"\0" * 5000, mimetype="image/png")

    def encoded() -> Response:
        return Response(gzip.compress(long.encode()), headers={"Content-Encoding": "gzip"})

    def random() -> Response:
        return Response(noise(5000), mimetype="text/plain")

    bodies: dict[str, Callable[[], Any]] = {"/short": lambda: "<p>few words</p>"}
    bodies |= {"/image": image, "/encoded": encoded, "/random": random}
    for path, function in bodies.items():
        app.add_url_rule(path, path, cache.cached(60, key_prefix=path)(function))
    app.add_url_rule("/private", "private", cache.cached(60, private=True)(lambda: long))
    for path in (*bodies, "/private"):
        first, second = gzipped(client, path), gzipped(client, path)
        assert first.data == second.data
        assert "Accept-Encoding" not in second.headers.get("Vary", "")
        assert ("Content-Encoding" in second.headers) == (path == "/encoded")


@pytest.mark.parametrize(
    ("options", "control"),
    [
        ({}, "public, no-cache"),
        ({"max_age": 0}, "public, max-age=0"),
        ({"max_age": 60}, "public, max-age=60"),
        ({"max_age": 60, "private": True}, "private, max-age=60"),
        (
            {"max_age": 60, "stale_while_revalidate": 30, "stale_if_error": 600},
            "public, max-age=60, stale-while-revalidate=30, stale-if-error=600",
        ),
    ],
)
def test_caches_outside_are_told_what_the_view_asks_for(
    app: Flask, cache: Any, client: FlaskClient, options: dict[str, Any], control: str
) -> None:
    @app.get("/page")
    @cache.cached(60, **options)
    def page() -> str:
        return "text"

    for _ in range(2):
        assert client.get("/page").headers["Cache-Control"] == control


def test_the_views_own_cache_control_stands(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60, max_age=60)
    def page() -> Response:
        return Response("text", headers={"Cache-Control": "max-age=5"})

    assert client.get("/page").headers["Cache-Control"] == "max-age=5"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stale_if_error": 60}, "stale_if_error without max_age"),
        ({"max_age": -1}, "max_age is -1"),
        ({"max_age": 1.5}, "max_age is 1.5"),
        ({"max_age": 60, "stale_while_revalidate": "x"}, "stale_while_revalidate is 'x'"),
    ],
)
def test_what_caches_outside_could_not_follow_is_refused(
    cache: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        cache.cached(60, **options)


def test_tags_are_named_to_a_cache_in_front(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    app, cache = make_app(CACHE_SURROGATE_KEYS=True)

    @app.get("/page")
    @cache.cached(60, tags=("product:7", "two words"))
    def page() -> str:
        return "text"

    for _ in range(3):
        keys = app.test_client().get("/page").headers["Surrogate-Key"].split(" ")
        assert {"product:7", "two%20words", "view:page"} <= set(keys)


@pytest.mark.usefixtures("_long_page")
def test_the_date_is_the_servers(client: FlaskClient) -> None:
    """Gunicorn adds one to every response, and two of them are none (RFC 9110, 6.6.1)."""
    for _ in range(2):
        assert "Date" not in client.get("/page").headers


@pytest.mark.usefixtures("_long_page")
def test_a_head_on_its_own_says_what_a_get_would(client: FlaskClient) -> None:
    headers = {"Accept-Encoding": "gzip"}
    head, get = (client.open("/page", method=method, headers=headers) for method in ("HEAD", "GET"))
    assert "fwd=miss" in status_of(head) and "fwd=miss" in status_of(get)  # noqa: PT018
    assert not head.data
    said = [
        {name: value for name, value in each.headers if name != "Cache-Status"}
        for each in (head, get)
    ]
    assert said[0] == said[1]


@pytest.mark.usefixtures("_long_page")
def test_nobody_outside_guesses_how_long_a_page_that_was_refused_lasts(client: FlaskClient) -> None:
    response = client.get("/page", headers={"Authorization": "Bearer x"})
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Cache-Control" not in client.post("/page").headers


def test_an_error_that_bypasses_the_cache_is_answered_as_it_is(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/gone")
    @cache.cached(60)
    def gone() -> str:
        abort(404)

    response = client.get("/gone", headers={"Authorization": "Bearer x"})
    assert response.status_code == 404
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "detail=authorization" in response.headers["Cache-Status"]
