"""Header fields, and what a condition makes of a response: expectations written from the RFCs."""

import io
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_coherent_cache._dependencies.inputs import Declared
from flask_coherent_cache._pages.http import (
    add_vary,
    cache_directives,
    conditional,
    vary_names,
    withdraw_public,
)
from flask_coherent_cache._pages.pages import Page
from flask_coherent_cache._pages.storable import refusal_of
from test_middleware import TEXT, Site
from test_near import backend  # noqa: F401 - a fixture is used by name

ETAG = '"tag"'
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
LATE = "Fri, 01 Jan 2100 00:00:00 GMT"


def fields(name: str, *values: str) -> Headers:
    return Headers([(name, value) for value in values])


# -- Cache-Control and Vary ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), {}),
        (("",), {}),
        (("no-store",), {"no-store": None}),
        (("No-Store",), {"no-store": None}),
        (("max-age=60, PUBLIC",), {"max-age": "60", "public": None}),
        ((" max-age=60 ,,public,",), {"max-age": "60", "public": None}),
        (('PRIVATE="x"',), {"private": '"x"'}),
        (('private="a, no-store"',), {"private": '"a, no-store"'}),
        (('ext="a \\" , no-store", public',), {"ext": '"a \\" , no-store"', "public": None}),
        (("public", "no-store"), {"public": None, "no-store": None}),
        (("max-age=1, max-age=2", "max-age=3"), {"max-age": "1"}),
        (("max-age = 5",), {"max-age": "5"}),
        (('max-age="5"',), {"max-age": '"5"'}),
        # Not by the grammar, but it restricts: it is never read as less than it says.
        (("no-cache; no-store",), {"no-cache": None, "no-store": None}),
        (('ext="unclosed, no-store',), {"ext": "unclosed", "no-store": None}),
        (('", private',), {"private": None}),
    ],
)
def test_directives_are_read(values: tuple[str, ...], expected: dict[str, str | None]) -> None:
    assert cache_directives(fields("Cache-Control", *values)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), "private"),
        (("public, max-age=60",), "private, max-age=60"),
        (("Public", "S-MaxAge=5, max-age=1"), "private, max-age=1"),
        (("public, no-cache",), "private, no-cache"),
        (("private, max-age=5",), "private, max-age=5"),
        (('private="Set-Cookie", must-revalidate',), "private, must-revalidate"),
        (('no-cache="Set-Cookie, X", public',), 'private, no-cache="Set-Cookie, X"'),
        (("no-store",), "no-store"),
        (("public, No-Store",), "no-store"),
        (("max-age=0", "no-store, s-maxage=9"), "max-age=0, no-store"),
        (('ext="unclosed, no-store',), "ext=unclosed, no-store"),
        (("stale-while-revalidate=5, immutable",), "private, stale-while-revalidate=5, immutable"),
    ],
)
def test_public_is_withdrawn(values: tuple[str, ...], expected: str) -> None:
    headers = fields("Cache-Control", *values)
    headers.add("X-Other", "stays")
    withdraw_public(headers)
    assert headers.getlist("Cache-Control") == [expected]
    assert headers["X-Other"] == "stays"


@pytest.mark.parametrize(
    "name", ["CDN-Cache-Control", "Surrogate-Control", "Example-CDN-Cache-Control"]
)
def test_fields_for_cdns_are_withdrawn(name: str) -> None:
    headers = Headers({"Cache-Control": "public", name: "max-age=60"})
    withdraw_public(headers)
    assert list(headers) == [("Cache-Control", "private")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), set()),
        (("Accept, , COOKIE",), {"accept", "cookie"}),
        (("Accept", "Cookie"), {"accept", "cookie"}),
        (("Accept", "*"), {"accept", "*"}),
    ],
)
def test_vary_is_read(values: tuple[str, ...], expected: set[str]) -> None:
    assert vary_names(fields("Vary", *values)) == expected


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        ((), (), []),
        ((), ("Cookie",), ["Cookie"]),
        (("Accept", "X-One"), ("Cookie",), ["Accept, X-One, Cookie"]),
        (("accept, cookie",), ("Cookie",), ["accept, cookie"]),
        (("Accept", "*"), ("Cookie",), ["*"]),
    ],
)
def test_vary_grows(values: tuple[str, ...], names: tuple[str, ...], expected: list[str]) -> None:
    headers = fields("Vary", *values)
    add_vary(headers, *names)
    assert headers.getlist("Vary") == expected


@pytest.mark.parametrize(
    ("name", "values", "private", "expected"),
    [
        ("Cache-Control", ("No-Store",), False, "cache-control"),
        ("Cache-Control", ("NO-STORE",), True, "cache-control"),
        ("Cache-Control", ("max-age=5", "no-store"), True, "cache-control"),
        ("Cache-Control", ('ext="unclosed, no-store',), True, "cache-control"),
        ("Cache-Control", ("must-understand, no-store",), True, "cache-control"),
        ("Cache-Control", ("Private",), False, "cache-control"),
        ("Cache-Control", ('PRIVATE="x"',), False, "cache-control"),
        ("Cache-Control", ("public", 'Private="Set-Cookie"'), False, "cache-control"),
        ("Cache-Control", ("Private",), True, None),
        ("Cache-Control", ("public, max-age=5", "must-revalidate"), False, None),
        ("Cache-Control", ('ext="no-store, private"',), False, None),
        ("Vary", ("Accept-Language", "X-Undeclared"), False, "vary"),
        ("Vary", ("Accept-Language", "Cookie"), False, "vary"),
        ("Vary", ("Accept-Language", "Cookie"), True, None),
        ("Vary", ("ACCEPT-language, accept-encoding",), False, None),
        ("Vary", ("*",), True, "vary"),
        ("Vary", ("Accept-Language", "*"), False, "vary"),
        ("Set-Cookie", ("a=1",), True, "set-cookie"),
        ("set-cookie", ("a=1",), False, "set-cookie"),
    ],
)
def test_which_responses_may_be_stored(
    name: str, values: tuple[str, ...], private: bool, expected: str | None
) -> None:
    response = Response("body", headers=fields(name, *values))
    # What a view can declare changes nothing about the star.
    declared = Declared(headers=frozenset({"accept-language", "*"}))
    refusal = refusal_of(response, declared, private=private, not_found=False)
    assert (refusal and refusal.reason) == expected


def test_a_compressed_page_keeps_every_vary() -> None:
    response = Response(TEXT, headers=fields("Vary", "Accept", "Accept-Language"))
    page = Page.of(response, private=False)
    assert page.gzipped
    assert vary_names(Headers(page.headers)) == {"accept", "accept-language", "accept-encoding"}


# -- preconditions ---------------------------------------------------------------------------

MATCH, NONE_MATCH = "If-Match", "If-None-Match"
MODIFIED_SINCE, UNMODIFIED_SINCE = "If-Modified-Since", "If-Unmodified-Since"

#: Conditions of a GET or HEAD of a page with ``ETAG`` and ``MODIFIED``, and its status.
CONDITIONS: list[tuple[dict[str, str], int]] = [
    # 13.1.1: a star matches what exists, tags compare strongly, anything else is false.
    ({MATCH: "*"}, 200),
    ({MATCH: ETAG}, 200),
    ({MATCH: f'"other", {ETAG}'}, 200),
    ({MATCH: f'"other",{ETAG}'}, 200),
    ({MATCH: f" , {ETAG} , "}, 200),
    ({MATCH: f"malformed, {ETAG}"}, 200),
    ({MATCH: '"other"'}, 412),
    ({MATCH: f"W/{ETAG}"}, 412),
    ({MATCH: "tag"}, 412),
    ({MATCH: ""}, 412),
    ({MATCH: f"{ETAG}x"}, 412),
    ({MATCH: "*, *"}, 412),
    ({MATCH: '"*"'}, 412),
    # 13.1.2: a star matches what exists, tags compare weakly, anything else is true.
    ({NONE_MATCH: "*"}, 304),
    ({NONE_MATCH: ETAG}, 304),
    ({NONE_MATCH: f"W/{ETAG}"}, 304),
    ({NONE_MATCH: f'"other", W/"third", {ETAG}'}, 304),
    ({NONE_MATCH: f'"a,b",{ETAG}'}, 304),
    ({NONE_MATCH: f'"a,{ETAG[1:]}'}, 200),
    ({NONE_MATCH: '"other"'}, 200),
    ({NONE_MATCH: "tag"}, 200),
    ({NONE_MATCH: f"w/{ETAG}"}, 200),
    ({NONE_MATCH: '"TAG"'}, 200),
    ({NONE_MATCH: ""}, 200),
    ({NONE_MATCH: '"other", *'}, 200),
    # 13.1.3: not newer is not modified; ignored with If-None-Match, as a list, and malformed.
    ({MODIFIED_SINCE: MODIFIED}, 304),
    ({MODIFIED_SINCE: AFTER}, 304),
    ({MODIFIED_SINCE: LATE}, 304),
    ({MODIFIED_SINCE: BEFORE}, 200),
    ({MODIFIED_SINCE: "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
    ({MODIFIED_SINCE: "Sun Nov  6 08:49:37 1994"}, 304),
    ({MODIFIED_SINCE: "Sun Nov  6 08:49:36 1994"}, 200),
    ({MODIFIED_SINCE: f"{AFTER}, {AFTER}"}, 200),
    ({MODIFIED_SINCE: "Sun, 06 Nov 1994 08:49:38 +0000"}, 200),
    ({MODIFIED_SINCE: "Sun, 06 Nov 1994 08:49:37 +99999999999999999999"}, 200),
    ({MODIFIED_SINCE: "Sun, 99 Nov 1994 08:49:38 GMT"}, 200),
    ({MODIFIED_SINCE: "yesterday"}, 200),
    ({MODIFIED_SINCE: ""}, 200),
    ({MODIFIED_SINCE: AFTER, NONE_MATCH: '"other"'}, 200),
    ({MODIFIED_SINCE: AFTER, NONE_MATCH: "malformed"}, 200),
    ({MODIFIED_SINCE: BEFORE, NONE_MATCH: ETAG}, 304),
    # 13.1.4: newer is a failure; ignored with If-Match, and malformed.
    ({UNMODIFIED_SINCE: MODIFIED}, 200),
    ({UNMODIFIED_SINCE: AFTER}, 200),
    ({UNMODIFIED_SINCE: BEFORE}, 412),
    ({UNMODIFIED_SINCE: f"{BEFORE}, {BEFORE}"}, 200),
    ({UNMODIFIED_SINCE: "yesterday"}, 200),
    ({UNMODIFIED_SINCE: BEFORE, MATCH: ETAG}, 200),
    ({UNMODIFIED_SINCE: AFTER, MATCH: '"other"'}, 412),
    # 13.2.2: first what lets the request go on, then what spares the body.
    ({MATCH: ETAG, NONE_MATCH: ETAG}, 304),
    ({MATCH: '"other"', NONE_MATCH: ETAG}, 412),
    ({MATCH: "*", MODIFIED_SINCE: MODIFIED}, 304),
    ({UNMODIFIED_SINCE: BEFORE, NONE_MATCH: ETAG}, 412),
    ({UNMODIFIED_SINCE: MODIFIED, NONE_MATCH: "*"}, 304),
    ({UNMODIFIED_SINCE: MODIFIED, MODIFIED_SINCE: MODIFIED}, 304),
    # 14.2: a server may ignore Range, and 13.1.5: If-Range with it.
    ({"Range": "bytes=0-1"}, 200),
    ({"Range": "bytes=0-1", "If-Range": ETAG}, 200),
    ({"Range": "bytes=999-"}, 200),
]
STAR_AND_TAGS: list[dict[str, str]] = [
    *({MATCH: "*"}, {MATCH: '"other"'}, {MATCH: ETAG}, {NONE_MATCH: "*"}, {NONE_MATCH: ETAG}),
    *({MODIFIED_SINCE: LATE}, {UNMODIFIED_SINCE: BEFORE}),
]


def answer(method: str, headers: dict[str, str], response: Response) -> Response:
    conditional(EnvironBuilder(method=method, headers=headers).get_environ(), response)
    return response


def page(status: int = 200, **headers: str) -> Response:
    said = {"ETag": ETAG, "Last-Modified": MODIFIED} | headers
    return Response("page", status, {name: value for name, value in said.items() if value})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
def test_conditions_of_a_page(headers: dict[str, str], status: int, method: str) -> None:
    assert answer(method, headers, page()).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [301, 302, 304, 308, 400, 404, 410, 412, 500, 503])
@pytest.mark.parametrize("headers", STAR_AND_TAGS, ids=str)
def test_conditions_count_for_a_success_only(
    headers: dict[str, str], status: int, method: str
) -> None:
    """RFC 9110, 13.2.1."""
    assert answer(method, headers, page(status)).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("headers", STAR_AND_TAGS, ids=str)
def test_conditions_of_other_methods_are_the_views(headers: dict[str, str], method: str) -> None:
    assert answer(method, headers, page()).status_code == 200


@pytest.mark.parametrize(
    ("own", "headers", "status"),
    [
        # 8.8.3.2: a weak tag matches weakly alone.
        ({"ETag": f"W/{ETAG}"}, {MATCH: f"W/{ETAG}"}, 412),
        ({"ETag": f"W/{ETAG}"}, {MATCH: ETAG}, 412),
        ({"ETag": f"W/{ETAG}"}, {NONE_MATCH: ETAG}, 304),
        ({"ETag": f"W/{ETAG}"}, {NONE_MATCH: f"W/{ETAG}"}, 304),
        # Without a tag, or a well-formed one, no tag matches, and a star does.
        ({"ETag": ""}, {MATCH: ETAG}, 412),
        ({"ETag": ""}, {MATCH: "*"}, 200),
        ({"ETag": ""}, {NONE_MATCH: ETAG}, 200),
        ({"ETag": ""}, {NONE_MATCH: ""}, 200),
        ({"ETag": ""}, {NONE_MATCH: "*"}, 304),
        ({"ETag": "tag"}, {NONE_MATCH: "tag"}, 200),
        # 13.1.3 and 13.1.4: ignored without a date of modification.
        ({"Last-Modified": ""}, {MODIFIED_SINCE: LATE}, 200),
        ({"Last-Modified": ""}, {UNMODIFIED_SINCE: BEFORE}, 200),
        ({"Last-Modified": "unknown"}, {MODIFIED_SINCE: LATE}, 200),
    ],
)
def test_conditions_of_other_validators(
    own: dict[str, str], headers: dict[str, str], status: int
) -> None:
    assert answer("GET", headers, page(**own)).status_code == status


def full_page() -> Response:
    said = {"ETag": ETAG, "Cache-Control": "public, max-age=60", "Vary": "Accept", "X-Own": "1"}
    said |= {"Expires": LATE, "Content-Location": "/a", "Content-Language": "de", "Age": "5"}
    return Response("page", 200, said)


def sent(response: Response) -> tuple[dict[str, str], bytes]:
    body, _, headers = run_wsgi_app(response, EnvironBuilder().get_environ(), buffered=True)
    return dict(headers), b"".join(body)


def test_a_304_keeps_what_a_cache_updates() -> None:
    """RFC 9110, 15.4.5."""
    headers, body = sent(answer("GET", {NONE_MATCH: ETAG}, full_page()))
    assert body == b""
    kept = {"ETag", "Cache-Control", "Vary", "Expires", "Content-Location"}
    assert set(headers) == kept | {"X-Own", "Age"}


def test_a_412_has_nothing_of_the_page() -> None:
    response = answer("GET", {MATCH: '"other"'}, full_page())
    headers, body = sent(response)
    assert body == b""
    assert headers == {
        "Cache-Control": "no-store",
        "Content-Length": "0",
        "Vary": "Accept",
        "X-Own": "1",
    }


def test_a_stream_is_closed_behind_a_412() -> None:
    stream = io.BytesIO(b"page")
    response = Response(stream, direct_passthrough=True, headers={"ETag": ETAG})
    assert sent(answer("GET", {MATCH: '"other"'}, response))[1] == b""
    assert stream.closed


# -- pages before Flask ----------------------------------------------------------------------


@pytest.mark.parametrize(("status", "etag"), [(200, ETAG), (200, f"W/{ETAG}"), (404, ETAG)])
@pytest.mark.parametrize(
    "condition", [ETAG, f"W/{ETAG}", '"other"', "*", "tag", "", '"a b"', f'"other", {ETAG}']
)
def test_pages_before_flask_answer_conditions_alike(
    app: Flask, cache: Any, status: int, etag: str, condition: str
) -> None:
    site = Site(app, cache)
    site.view(not_found_timeout=60)(lambda: (TEXT, status, {"ETag": etag}))
    assert site.passed(headers={"Accept-Encoding": "identity"})
    headers = {NONE_MATCH: condition, "Accept-Encoding": "identity"}
    expected = answer("GET", headers, Response("page", status, {"ETag": etag})).status_code
    before = site.asked
    # What it leaves to Flask is Flask's.
    given = site.ask(headers=headers)
    assert site.asked > before or given.status_code == expected
    if status == 404 or condition in (ETAG, f"W/{ETAG}", '"other"'):
        assert given.status_code == expected
