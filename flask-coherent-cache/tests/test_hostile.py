"""What visitors can fill the cache with, and what they can make it say to others: little."""

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask, Response, abort, render_template_string, request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from answers import seen, status_of
from flask_coherent_cache._dependencies.inputs import report_once
from flask_coherent_cache._engine.bounds import KeyQuota
from flask_coherent_cache.testing import wait_until

MakeApp = Callable[..., tuple[Flask, Any]]
LIMITED = "page-cache; fwd=miss; detail=limit"
LONG = "page-cache; fwd=bypass; detail=long-key"


def make_shop(make_app: MakeApp, **settings: Any) -> tuple[Flask, Any]:
    """Make an application with two routes that visitors can make up addresses for."""
    app, cache = make_app(**settings)
    with app.app_context():
        cache.clear()

    @app.get("/products/<slug>")
    @cache.cached(60, not_found_timeout=30)
    def product(slug: str) -> str:
        seen[slug] += 1
        return slug if slug.startswith("real") else abort(404)

    @app.get("/list")
    @cache.cached(60, query=("page",), vary=("X-Currency",))
    def listing() -> str:
        seen[f"page {request.args.get('page')}"] += 1
        return f"{request.args.get('page')} {request.headers.get('X-Currency')}"

    return app, cache


def stored(app: Flask, path: str, **options: Any) -> bool:
    """Ask for a page; tell whether it is stored now, or was."""
    words = status_of(app.test_client().get(path, **options)).split("; ")
    return "stored" in words or "hit" in words


# -- how long a key may be -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/list?page=" + "9" * 400, {}),
        ("/list?" + "&".join(["page=1"] * 60), {}),
        ("/list?page=%C3%BC" + "\u00fc" * 70, {}),
        ("/list?page=" + "9" * 260, {"X-Currency": "E" * 150}),
        ("/products/real" + "l" * 400, {}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_makes_a_key_too_long_is_answered_and_not_looked_up(
    make_app: MakeApp, path: str, headers: dict[str, str], method: str
) -> None:
    app, cache = make_shop(make_app, CACHE_MAX_KEY_BYTES=300)
    for count in (1, 2):
        response = app.test_client().open(path, method=method, headers=headers)
        assert (response.status_code, status_of(response)) == (200, LONG)
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert seen.total() == count
    with app.app_context():
        assert cache.engine.counts["limit: long key"] == 2


def test_what_does_not_enter_a_key_may_be_as_long_as_it_likes(make_app: MakeApp) -> None:
    app, _ = make_shop(make_app, CACHE_MAX_KEY_BYTES=300)
    assert stored(app, "/list?page=2&utm=" + "u" * 4000, headers={"X-Other": "o" * 4000})
    assert "; hit" in status_of(app.test_client().get("/list?page=2"))


def test_names_made_of_a_long_path_are_short_and_still_drop_its_page(make_app: MakeApp) -> None:
    app, cache = make_shop(make_app)
    slug = "real" + "-\u00fc" * 250
    path = f"/products/{slug}"
    drops: list[Callable[[], object]] = [
        lambda: cache.invalidate_view("product", slug=slug),
        lambda: cache.delete(f"view/{path}"),
        lambda: cache.delete_cached(app.view_functions["product"], path=path),
    ]
    for count, drop in enumerate(drops, 1):
        response = app.test_client().get(path)
        assert response.text == slug
        assert seen[slug] == count
        assert "; hit" in status_of(app.test_client().get(path))
        with app.app_context():
            drop()
    app.extensions["cache"][cache].config["CACHE_SURROGATE_KEYS"] = True
    tags = app.test_client().get(path).headers["Surrogate-Key"].split(" ")
    assert len(tags) >= 3
    assert max(len(unquote(tag)) for tag in tags) <= 210


# -- how many keys there may be --------------------------------------------------------------


def test_of_made_up_pages_only_so_many_are_stored(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app, cache = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=20)
    with caplog.at_level(logging.WARNING):
        kept = [number for number in range(100) if stored(app, f"/list?page={number}")]
    assert kept == list(range(20))
    response = app.test_client().get("/list?page=50")
    assert (response.text, status_of(response)) == ("50 None", LIMITED)
    assert response.headers["Cache-Control"] == "public, no-cache"
    assert response.headers["Vary"] == "X-Currency"
    with app.app_context():
        assert cache.engine.counts["limit: new keys"] == 81
    (line,) = [record.getMessage() for record in caplog.records if "new keys" in record.msg]
    assert line.startswith("More than 20 new keys of listing (200) within 60 seconds")


def test_beyond_the_bound_what_is_there_is_a_hit_and_what_was_dropped_comes_back(
    make_app: MakeApp,
) -> None:
    app, cache = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=20)
    for number in range(30):
        app.test_client().get(f"/list?page={number}")
    for drop in (cache.clear, lambda: cache.invalidate_view("listing")):
        assert "; hit" in status_of(app.test_client().get("/list?page=3"))
        with app.app_context():
            drop()
        assert stored(app, "/list?page=3")
    assert not stored(app, "/list?page=29")


def test_a_page_that_another_process_stored_is_not_new(
    make_app: MakeApp, backend: dict[str, Any]
) -> None:
    if backend["CACHE_TYPE"] == "SimpleCache":
        pytest.skip("SimpleCache is not shared")
    app, cache = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=1)
    other, _ = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=1)
    assert stored(app, "/list?page=1")
    assert stored(other, "/list?page=2")
    assert "; hit" in status_of(app.test_client().get("/list?page=2"))
    with app.app_context():
        cache.clear()
    assert stored(app, "/list?page=2")
    assert not stored(app, "/list?page=3")


def test_made_up_addresses_take_no_room_of_real_pages(make_app: MakeApp) -> None:
    app, _ = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=20)
    missing = [number for number in range(50) if stored(app, f"/products/none-{number}")]
    assert missing == [0, 1]
    assert "; hit" in status_of(app.test_client().get("/products/none-1"))
    real = [number for number in range(50) if stored(app, f"/products/real-{number}")]
    assert real == list(range(20))
    assert stored(app, "/list"), "another route has its own room"


def test_a_head_takes_no_room(make_app: MakeApp) -> None:
    app, _ = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=1)
    for number in range(5):
        app.test_client().head(f"/list?page={number}")
    assert stored(app, "/list?page=1")


def test_without_a_bound_all_are_stored(make_app: MakeApp) -> None:
    app, _ = make_shop(make_app, CACHE_NEW_PAGES_PER_MINUTE=0)
    assert all(stored(app, f"/list?page={number}") for number in range(50))
    assert all(stored(app, f"/products/none-{number}") for number in range(50))


def test_after_a_while_there_is_room_again() -> None:
    keys = KeyQuota(seconds=0.2)
    wait_until(lambda: [keys.admit("a", 2) for _ in range(3)] == [True, True, False])
    assert keys.admit("b", 2)
    wait_until(lambda: keys.admit("a", 2))
    assert len(keys._counts) <= 2


# -- values and fragments --------------------------------------------------------------------


def test_of_made_up_arguments_only_so_many_values_are_stored(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_NEW_VALUES_PER_MINUTE=5)

    @cache.memoize(60)
    def square(number: int) -> int:
        seen[f"square {number}"] += 1
        return number * number

    @app.get("/square/<int:number>")
    def show(number: int) -> str:
        return str(square(number))

    with app.app_context():
        cache.clear()
    for _ in range(2):
        for number in range(10):
            assert app.test_client().get(f"/square/{number}").text == str(number * number)
    assert [seen[f"square {number}"] for number in range(10)] == [1] * 5 + [2] * 5


def test_a_command_stores_as_many_values_as_it_likes(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_NEW_VALUES_PER_MINUTE=5)

    @cache.memoize(60)
    def double(number: int) -> int:
        seen["double"] += 1
        return 2 * number

    for _ in range(2):
        for number in range(10):
            with app.app_context():
                assert double(number) == 2 * number
    assert seen["double"] == 10


def test_fragments_of_all_names_are_counted_together(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_NEW_VALUES_PER_MINUTE=5)
    source = "{% cache 60, name, name %}{{ note(name) }}{% endcache %}"
    app.template_global("note")(lambda text: seen.update([text]))

    @app.get("/fragment/<name>")
    def show(name: str) -> str:
        return render_template_string(source, name=name)

    with app.app_context():
        cache.clear()
    for _ in range(2):
        for number in range(10):
            app.test_client().get(f"/fragment/f{number}")
    assert [seen[f"f{number}"] for number in range(10)] == [1] * 5 + [2] * 5


# -- what a response and a key hold ----------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"data": b"body"}, {"headers": {"Authorization": "Basic eDp5"}}]
)
def test_what_a_page_depends_on_is_said_also_where_the_cache_is_passed_by(
    app: Flask, cache: Any, options: dict[str, Any]
) -> None:
    @app.get("/greeting")
    @cache.cached(60, vary=("Accept-Language",))
    def greeting() -> Response:
        return Response("hi", headers={"Cache-Control": "public, max-age=60"})

    response = app.test_client().get("/greeting", **options)
    assert "fwd=bypass" in status_of(response)
    assert response.headers["Vary"] == "Accept-Language"


def test_a_mount_and_a_path_are_not_taken_for_each_other(app: Flask, cache: Any) -> None:
    @app.get("/<path:path>")
    @cache.cached(60)
    def show(path: str) -> str:
        return f"{request.script_root} {path}"

    def ask(root: str, path: str) -> str:
        return app.test_client().get(path, environ_overrides={"SCRIPT_NAME": root}).text

    for _ in range(2):
        assert ask("", "/a/b") == " a/b"
        assert ask("/a", "/b") == "/a b"


def test_an_empty_header_is_not_taken_for_none(app: Flask, cache: Any) -> None:
    @app.get("/price")
    @cache.cached(60, vary=("X-Currency",))
    def price() -> str:
        return request.headers.get("X-Currency", "EUR")

    for _ in range(2):
        assert app.test_client().get("/price", headers={"X-Currency": ""}).text == ""
        assert app.test_client().get("/price").text == "EUR"


@pytest.mark.parametrize("query", ["page=\xff", "page=\xc3\xbc", "\xff=\xff&page=1", "%ff\xff"])
def test_bytes_in_a_query_that_had_to_be_encoded_are_no_error(
    app: Flask, cache: Any, query: str
) -> None:
    @app.get("/list")
    @cache.cached(60, query=("page",))
    def listing() -> str:
        return ascii(request.args.get("page"))

    app.add_url_rule("/plain", "plain", lambda: ascii(request.args.get("page")))
    app.add_url_rule("/full", "full", lambda: request.full_path)
    for path in ("/list", "/list", "/plain", "/full"):
        environ = EnvironBuilder(path).get_environ()
        _, status, _ = run_wsgi_app(app, {**environ, "QUERY_STRING": query}, buffered=True)
        assert status == "200 OK"
    assert app.test_client().get("/list").text == "None"


@pytest.mark.usefixtures("reports_again")
def test_a_made_up_name_in_the_log_is_short(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app, cache = make_app(CACHE_STRICT=False)

    @app.get("/all")
    @cache.cached(60)
    def everything() -> str:
        return str(len(list(request.args)))

    assert app.test_client().get("/all?" + "n" * 3000).text == "1"
    assert max(len(record.getMessage()) for record in caplog.records) < 500


@pytest.mark.usefixtures("reports_again")
def test_made_up_names_neither_fill_the_log_nor_hide_what_comes_later(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app, cache = make_app(CACHE_STRICT=False)

    @app.get("/all")
    @cache.cached(60)
    def everything() -> str:
        return "".join(request.args[name] for name in list(request.args))

    @app.get("/chosen")
    @cache.cached(60)
    def chosen() -> str:
        return request.args.get(request.headers["X-Field"], "") + request.host_url

    @app.get("/other")
    @cache.cached(60)
    def other() -> tuple[str, dict[str, str]]:
        return "", {"Vary": "X-Other"}

    client = app.test_client()
    for number in range(60):
        client.get(f"/all?a{number}=1&b{number}=2")
        client.get("/chosen", headers={"X-Field": f"f{number}\x1b[31m {'x' * 3000}"})
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 30
    assert all(line.isprintable() for line in lines)
    caplog.clear()
    client.get("/other")
    assert "X-Other" in caplog.text


@pytest.mark.usefixtures("reports_again")
def test_a_place_that_says_much_takes_no_lines_from_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(2000):
        report_once(f"made up: {number}\u202e\n{'x' * 9000}")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 21
    assert lines[-1].endswith("More of this kind is not logged.")
    assert all(len(line) < 2100 and line.isprintable() for line in lines)
    report_once("another place")
    assert caplog.records[-1].getMessage() == "another place"


def test_reasons_of_one_kind_hide_none_of_another(make_app: MakeApp) -> None:
    app, cache = make_app()
    statistics = app.extensions["cache"][cache].statistics
    lookups = statistics.lookups("page", "page")
    for number in range(100):
        statistics.refuse(lookups, f"undeclared: query parameter {number}", "")
    assert statistics.refuse(lookups, "stream", "")
    assert len(statistics.refusals) <= 23
