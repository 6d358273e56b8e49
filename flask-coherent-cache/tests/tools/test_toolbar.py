"""The development toolbar: what it says, where it is, and that it changes nothing else."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask import Flask, Response, render_template_string, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from application import cache
from flask_coherent_cache._statistics.records import Trace
from flask_coherent_cache._tools import toolbar

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "gzip"}
PAGE = "<!doctype html><title>Page</title><body><p>{}</p></body>"
LONG = PAGE.format("a page of some length. " * 100)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An application with the toolbar, and views of its own under /t."""
    app = make_app(CACHE_TOOLBAR=True)

    @cache.memoize(60, make_name=lambda _: "inner")
    def inner(number: int) -> int:
        return number

    @cache.memoize(60, make_name=lambda _: "outer", tags=("<script>alert(1)</script>",))
    def outer(number: int) -> int:
        return inner(number) + 1

    @app.get("/t/page")
    @cache.cached(60)
    def page() -> str:
        outer(1)
        inner(2)
        return LONG

    @app.get("/t/private")
    @cache.cached(60, private=True)
    def private() -> str:
        return LONG

    @app.get("/t/get")
    def get() -> str:
        cache.get(request.args["key"])
        return LONG

    return app


def browse(client: FlaskClient, path: str, **options: Any) -> TestResponse:
    """Ask as a browser does."""
    return client.get(path, headers=BROWSER | options.pop("headers", {}), **options)


def summary(response: TestResponse) -> str:
    """The one line, without times."""
    (found,) = re.findall(r"<aside.+?<summary>(.+?)</summary>", response.text, re.DOTALL)
    text = " ".join(unescape(re.sub("<[^>]+>", "", found)).split())
    return re.sub(r"\d+\.\d ms", "…", text)


def rows(response: TestResponse) -> list[list[str]]:
    """The table's cells, without times."""
    found = re.findall(r"<tr>(.+?)</tr>", response.text, re.DOTALL)[1:]
    return [
        [
            " ".join(unescape(re.sub("<[^>]+>", "", cell)).split())
            for cell in re.findall(r"<t[hd][^>]*>(.+?)</t[hd]>", row, re.DOTALL)
        ]
        for row in found
    ]


def test_it_names_each_lookup_in_the_order_in_which_they_began(client: FlaskClient) -> None:
    response = browse(client, "/t/page")
    assert summary(response).startswith("Cache 4 lookups: 4 miss · … · longest: ")
    names, levels, results, times, tags = zip(*rows(response), strict=True)
    assert [re.sub(r"\S+\.<locals>\.", "", name) for name in names] == [
        "page page:http://localhost/t/page",
        "outer inside page fn:outer(1)",
        "inner inside outer fn:inner(1)",
        "inner inside page fn:inner(2)",
    ]
    assert levels == ("page", "function", "function", "function")
    assert results == ("miss",) * 4
    assert all(re.fullmatch(r"\d+\.\d ms", time) for time in times)
    assert re.search(r"\d+ tags .*view:page", tags[0])
    assert re.findall("cache-toolbar-depth-([0-9])", response.text) == ["0", "1", "2", "1"]
    again = browse(client, "/t/page")
    assert summary(again) == "Cache 1 lookup: 1 hit · …"
    assert [row[2] for row in rows(again)] == ["hit"]
    assert "Cache-Status: page-cache; hit; ttl=" in again.text


def test_what_is_stored_has_no_toolbar(app: Flask, client: FlaskClient) -> None:
    browse(client, "/t/page")
    plain = client.get("/t/page")
    assert "; hit" in plain.headers["Cache-Status"]
    assert plain.text == LONG
    assert plain.headers["Cache-Control"] == "public, no-cache"
    gzipped = client.get("/t/page", headers={"Accept-Encoding": "gzip"})
    assert gzipped.headers["Content-Encoding"] == "gzip"
    etag = {"If-None-Match": plain.headers["ETag"]}
    assert client.get("/t/page", headers=etag).status_code == 304


def test_a_page_with_a_toolbar_is_whole_and_kept_by_nobody(client: FlaskClient) -> None:
    plain = client.get("/t/page", headers={"Accept-Encoding": "gzip"})
    validators = {"If-None-Match": plain.headers["ETag"], "If-Modified-Since": "now"}
    response = browse(client, "/t/page", headers=validators)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.content_length == len(response.data)
    for name in ("ETag", "Last-Modified", "Expires", "Content-Encoding"):
        assert name not in response.headers
    before, after = LONG.split("</body>")
    assert response.text.startswith(f'{before}<aside class="cache-toolbar"')
    assert response.text.endswith(f"</aside></body>{after}")


def test_a_head_is_answered_without_a_body(client: FlaskClient) -> None:
    response = client.head("/t/page", headers=BROWSER)
    assert response.data == b""
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers


@pytest.mark.parametrize(
    "response",
    [
        Response(PAGE, mimetype="text/plain"),
        Response("<p>a part of a page</p>"),
        Response(iter([PAGE]), mimetype="text/html"),
        Response(PAGE, headers={"Content-Encoding": "br"}),
        Response(PAGE, direct_passthrough=True),
        Response(status=204),
    ],
    ids=["text", "part", "stream", "brotli", "passed through", "nothing"],
)
def test_any_other_response_is_left_alone(app: Flask, response: Response) -> None:
    response.headers["ETag"] = '"x"'
    app.add_url_rule("/t/other", view_func=lambda: response, endpoint="other")
    answer = browse(app.test_client(), "/t/other")
    assert "cache-toolbar" not in answer.text
    assert answer.headers["ETag"] == '"x"'
    assert "Cache-Control" not in answer.headers


def test_error_pages_have_it_too(client: FlaskClient) -> None:
    response = browse(client, "/t/nowhere")
    assert response.status_code == 404
    assert summary(response) == "Cache no lookup"
    json = client.get("/t/nowhere", headers={"Accept": "application/json, text/html;q=0.1"})
    assert "cache-toolbar" not in json.text


def test_what_goes_past_the_cache_is_said(client: FlaskClient) -> None:
    response = browse(client, "/t/page", headers={"Authorization": "Bearer x"})
    assert [row[2] for row in rows(response)] == ["bypass", "miss", "miss", "miss"]
    assert "detail=authorization" in response.text
    assert summary(browse(client, "/t/private")).startswith("Cache 1 lookup: 1 miss")


def test_a_private_page_has_it(client: FlaskClient) -> None:
    browse(client, "/t/private")
    assert summary(browse(client, "/t/private")) == "Cache 1 lookup: 1 hit · …"


def test_fragments_are_listed(app: Flask, client: FlaskClient) -> None:
    source = PAGE.format("{% cache 60, 'part', 1 %}text{% endcache %}")
    app.add_url_rule(
        "/t/fragment", view_func=lambda: render_template_string(source), endpoint="fragment"
    )
    browse(client, "/t/fragment")
    ((name, level, result, *_),) = rows(browse(client, "/t/fragment"))
    assert name.startswith("part fragment:'part'(1)#")
    assert (level, result) == ("fragment", "hit")


def test_no_key_and_no_tag_is_markup(client: FlaskClient) -> None:
    key = "</code><script>alert(1)</script><img src=x onerror=\"alert('1')\">"
    text = browse(client, "/t/get", query_string={"key": key}).text
    assert key in rows(browse(client, "/t/get", query_string={"key": key}))[0][0]
    text += browse(client, "/t/page").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    # Nor is there any that the page's policy forbids.
    assert re.search(r"<script|<img|<[^>]+\s(style|on\w+)=", text) is None


def test_it_has_a_style_sheet_of_its_own(client: FlaskClient) -> None:
    text = browse(client, "/t/page").text
    (sheet,) = re.findall(r'<link rel="stylesheet" href="(/_cache_toolbar/toolbar[^"]+)"', text)
    answer = client.get(sheet)
    assert (answer.status_code, answer.mimetype) == (200, "text/css")


def test_an_application_below_a_path_finds_it(client: FlaskClient) -> None:
    assert (
        '"/shop/_cache_toolbar/' in browse(client, "/t/page", base_url="http://localhost/shop").text
    )


def test_a_page_in_another_charset_stays_one(app: Flask, client: FlaskClient) -> None:
    @app.get("/t/latin")
    def latin() -> Response:
        cache.get("Grüße")
        body = PAGE.format("Grüße").encode("latin-1")
        return Response(body, content_type="text/html; charset=latin-1")

    text = browse(client, "/t/latin").data.decode("latin-1")
    page, _, added = text.partition("<aside")
    assert "Grüße" in page
    assert "Grüße" in unescape(added)


def test_keys_and_tags_lead_to_the_inspector(app: Flask, client: FlaskClient) -> None:
    if not any(rule.rule == toolbar.INSPECTOR for rule in app.url_map.iter_rules()):
        app.add_url_rule(toolbar.INSPECTOR, view_func=lambda: "", endpoint="inspector")
    text = browse(client, "/t/get", query_string={"key": "a&b<"}).text
    assert re.findall(r'<a href="([^"]+)"><code>a&amp;b&lt;', text) == ["/_cache/?q=a%26b%3C"]


def test_a_key_that_no_address_can_hold_does_no_harm(client: FlaskClient) -> None:
    """Half of a surrogate pair, as the name of a file may have it."""

    @client.application.get("/t/half")
    def half() -> str:
        cache.get("file:\udcff")
        return LONG

    assert browse(client, "/t/half").status_code == 200


def test_of_many_lookups_the_page_is_among_those_listed(app: Flask, client: FlaskClient) -> None:
    @app.get("/t/many")
    @cache.cached(60)
    def many() -> str:
        for number in range(300):
            cache.get(f"key {number}")
        return LONG

    response = browse(client, "/t/many")
    assert summary(response).startswith("Cache 301 lookups: 301 miss")
    assert rows(response)[0][0].startswith("many ")
    assert len(rows(response)) == 200
    assert "101 more are not listed." in response.text


@pytest.mark.parametrize("settings", [{}, {"CACHE_TOOLBAR": "yes", "CACHE_TYPE": "NullCache"}])
def test_where_it_is_off_nothing_of_it_runs(
    make_app: Callable[..., Flask], settings: dict[str, str]
) -> None:
    app = make_app(**settings)
    app.add_url_rule("/t/page", view_func=lambda: LONG)
    assert browse(app.test_client(), "/t/page").text == LONG
    assert toolbar.add_toolbar not in app.after_request_funcs.get(None, [])
    entries = app.extensions["cache"][cache]
    assert entries is None or not entries.statistics.traces


def trace(name: str, began: float, seconds: float) -> Any:
    return Trace("function", name, name, "miss", (), began, seconds)


def test_lookups_are_nested_by_when_they_were_done() -> None:
    found = toolbar.nested(
        [trace("c", 2, 1), trace("d", 3, 4), trace("b", 1, 7), trace("a", 0, 10), trace("e", 10, 1)]
    )
    assert [(row.trace.name, row.inside, row.depth, row.own_seconds) for row in found] == [
        ("a", None, 0, 3),
        ("b", "a", 1, 2),
        ("c", "b", 2, 1),
        ("d", "b", 2, 4),
        ("e", None, 0, 1),
    ]
