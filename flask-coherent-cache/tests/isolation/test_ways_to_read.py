"""All ways by which a view can read a request that its key does not hold."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, g, request
from werkzeug import Request as PlainRequest
from werkzeug.datastructures import EnvironHeaders, Headers
from werkzeug.test import Client
from werkzeug.wsgi import get_current_url, get_input_stream

from flask_coherent_cache import UndeclaredInput
from isolation.alternating import ANN, BOB, Visit, come, details, hits, texts

KEY = "HTTP_X_WHO"


def _named(**values: Any) -> Any:
    return values[KEY]


def _copied(environ: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    found.update(environ)
    return found


#: Ways to the header X-Who, which the two visitors send with different values.
OF_A_HEADER: dict[str, Callable[[], Any]] = {
    "a request of its own": lambda: Request(request.environ).headers["X-Who"],
    "a plain request": lambda: PlainRequest(request.environ).headers["X-Who"],
    "the class of the request": lambda: type(request._get_current_object())(  # type: ignore[attr-defined]
        request.environ
    ).headers["X-Who"],
    "dict": lambda: dict(request.environ)[KEY],
    "unpacked": lambda: {**request.environ}[KEY],
    "unpacked into a call": lambda: _named(**request.environ),
    "copy": lambda: request.environ.copy()[KEY],
    "copy.copy": lambda: copy.copy(request.environ)[KEY],
    "update": lambda: _copied(request.environ)[KEY],
    "items": lambda: dict(request.environ.items())[KEY],
    "values": lambda: [v for v in request.environ.values() if v in ("ann", "bob")],
    "or": lambda: (request.environ | {})[KEY],
    "reflected or": lambda: ({} | request.environ)[KEY],
    "get": lambda: request.environ.get(KEY),
    "setdefault": lambda: request.environ.setdefault(KEY, ""),
    "pop": lambda: request.environ.pop(KEY),
    "str of the environment": lambda: str(request.environ).count("'ann'"),
    "EnvironHeaders": lambda: EnvironHeaders(request.environ)["X-Who"],
    "environ of the headers": lambda: request.headers.environ[KEY],  # type: ignore[attr-defined]
    "iterated headers": lambda: [value for name, value in request.headers if name == "X-Who"],
    "dict of the headers": lambda: dict(request.headers)["X-Who"],
    "items of the headers": lambda: dict(request.headers.items())["X-Who"],
    "values of the headers": lambda: [v for v in request.headers.values() if v in ("ann", "bob")],
    "getlist": lambda: request.headers.getlist("X-Who"),
    "get_all": lambda: request.headers.get_all("X-Who"),
    "to_wsgi_list": lambda: dict(request.headers.to_wsgi_list())["X-Who"],
    "get with a type": lambda: request.headers.get("x-who", type=str),
    "str of the headers": lambda: str(request.headers).count("ann"),
    "copied headers": lambda: Headers(request.headers)["X-Who"],
    "vars": lambda: vars(request._get_current_object())["environ"][KEY],  # type: ignore[attr-defined]
    "headers in vars": lambda: vars(request._get_current_object())["headers"]["X-Who"],  # type: ignore[attr-defined]
    "getattr": lambda: request.__getattr__("headers")["X-Who"],
}
#: Ways to what else two visitors can differ in: how it is read, and their requests.
OTHERS: dict[str, tuple[Callable[[], Any], Visit, Visit]] = {
    "a header that is there": (
        lambda: "X-Flag" in request.headers,
        {},
        {"headers": {"X-Flag": "1"}},
    ),
    "a key that is there": (
        lambda: "HTTP_X_FLAG" in request.environ,
        {},
        {"headers": {"X-Flag": "1"}},
    ),
    "the keys": (
        lambda: "HTTP_X_FLAG" in list(request.environ),
        {},
        {"headers": {"X-Flag": "1"}},
    ),
    "how many headers": (lambda: len(request.headers), {}, {"headers": {"X-Flag": "1"}}),
    "how many keys": (lambda: len(request.environ), {}, {"headers": {"X-Flag": "1"}}),
    "the port": (
        lambda: request.environ["REMOTE_PORT"],
        {"environ_overrides": {"REMOTE_PORT": "1001"}},
        {"environ_overrides": {"REMOTE_PORT": "1002"}},
    ),
    "a cookie by hand": (
        lambda: request.environ.get("HTTP_COOKIE"),
        {"headers": {"Cookie": "who=ann"}},
        {"headers": {"Cookie": "who=bob"}},
    ),
}
OF_HEADERS: dict[str, tuple[str, str, str, Callable[[], Any]]] = {
    "is_json": ("Content-Type", "text/plain", "application/json", lambda: request.is_json),
    "content_type": ("Content-Type", "text/a", "text/b", lambda: request.content_type),
    "mimetype": ("Content-Type", "text/a", "text/b", lambda: request.mimetype),
    "mimetype_params": ("Content-Type", "a/b; c=1", "a/b; c=2", lambda: request.mimetype_params),
    "content_encoding": ("Content-Encoding", "gzip", "br", lambda: request.content_encoding),
    "content_md5": ("Content-MD5", "a", "b", lambda: request.content_md5),
    "access_route": ("X-Forwarded-For", "10.0.0.1", "10.0.0.2", lambda: [*request.access_route]),
    "user_agent": ("User-Agent", "ann/1", "bob/1", lambda: request.user_agent.string),
    "accept_languages": ("Accept-Language", "de", "fr", lambda: request.accept_languages.best),
    "accept_charsets": ("Accept-Charset", "a", "b", lambda: request.accept_charsets.best),
    "accept_mimetypes": ("Accept", "image/a", "image/b", lambda: request.accept_mimetypes.best),
    "accept_encodings": ("Accept-Encoding", "br", "zstd", lambda: request.accept_encodings.best),
    "range": ("Range", "bytes=0-1", "bytes=0-2", lambda: request.range),
    "if_range": ("If-Range", '"a"', '"b"', lambda: request.if_range),
    "if_none_match": ("If-None-Match", '"a"', '"b"', lambda: request.if_none_match),
    "if_match": ("X-If-Match", '"a"', '"b"', lambda: request.headers.get("X-If-Match")),
    "if_modified_since": (
        "If-Modified-Since",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "Tue, 02 Jan 2024 00:00:00 GMT",
        lambda: request.if_modified_since,
    ),
    "date": (
        "Date",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "Tue, 02 Jan 2024 00:00:00 GMT",
        lambda: request.date,
    ),
    "origin": ("Origin", "https://ann.test", "https://bob.test", lambda: request.origin),
    "referrer": ("Referer", "https://ann.test", "https://bob.test", lambda: request.referrer),
    "cache_control": ("Cache-Control", "max-age=0", "no-cache", lambda: request.cache_control),
    "pragma": ("Pragma", "a", "b", lambda: request.pragma),
    "max_forwards": ("Max-Forwards", "1", "2", lambda: request.max_forwards),
    "authorization": ("Authorization", "Bearer a", "Bearer b", lambda: request.authorization),
    "preflight": (
        "Access-Control-Request-Method",
        "PUT",
        "POST",
        lambda: request.access_control_request_method,
    ),
    "cookies": ("Cookie", "who=ann", "who=bob", lambda: request.cookies["who"]),
    "iterated cookies": ("Cookie", "a=1", "b=1", lambda: list(request.cookies)),
    "dict of the cookies": ("Cookie", "a=1", "a=2", lambda: dict(request.cookies)),
    "a cookie that is there": ("Cookie", "a=1", "b=1", lambda: "a" in request.cookies),
    "how many cookies": ("Cookie", "a=1", "a=1; b=1", lambda: len(request.cookies)),
}
OF_A_QUERY: dict[str, Callable[[], Any]] = {
    "args": lambda: request.args["a"],
    "args.get": lambda: request.args.get("a", type=int),
    "args.getlist": lambda: request.args.getlist("a"),
    "args.to_dict": lambda: request.args.to_dict(flat=True),
    "dict of args": lambda: dict(request.args),
    "iterated args": lambda: [request.args[name] for name in request.args],
    "copied args": lambda: dict(request.args.copy()),
    "str of args": lambda: str(request.args),
    "unequal args": lambda: request.args != {"a": ["1"]},
    "reflected or of args": lambda: ({} | request.args)["a"],
    "values": lambda: request.values["a"],
    "dict of values": lambda: request.values.to_dict(flat=True),
    "full_path": lambda: request.full_path,
    "url": lambda: request.url,
    "query_string": lambda: request.query_string,
    "str of the request": lambda: str(request._get_current_object()),  # type: ignore[attr-defined]
    "get_current_url": lambda: get_current_url(request.environ),
    "QUERY_STRING": lambda: request.environ["QUERY_STRING"],
    "REQUEST_URI": lambda: request.environ["REQUEST_URI"],
    "RAW_URI": lambda: request.environ["RAW_URI"],
}

OF_THE_NAMES: dict[str, Callable[[], Any]] = {
    "an arg that is there": lambda: "a" in request.args,
    "reversed args": lambda: list(reversed(request.args)),
}


def _with_query(query: str) -> Visit:
    uri = f"/page?{query}"
    return {"query_string": query, "environ_overrides": {"REQUEST_URI": uri, "RAW_URI": uri}}


def _ways() -> list[Any]:
    ways = {name: (read, ANN, BOB) for name, read in OF_A_HEADER.items()} | OTHERS
    for name, (header, one, other, read) in OF_HEADERS.items():
        ways[name] = (read, {"headers": {header: one}}, {"headers": {header: other}})
    for name, read in OF_A_QUERY.items():
        ways[name] = (read, _with_query("a=1"), _with_query("a=2"))
    for name, read in OF_THE_NAMES.items():
        ways[name] = (read, _with_query("a=1"), _with_query("b=1"))
    ways["how many args"] = (
        lambda: len(request.args),
        {"query_string": "a=1"},
        {"query_string": "a=1&b=1"},
    )
    return [pytest.param(*way, id=name) for name, way in ways.items()]


@pytest.mark.parametrize(("read", "one", "other"), _ways())
def test_a_view_that_reads_it_is_nobody_elses(
    app: Flask, cache: Any, read: Callable[[], Any], one: Visit, other: Visit
) -> None:
    own = []

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        own.append(str(read()))
        return own[-1]

    answers = come(app, one, other)
    assert hits(answers) == 0, details(answers)
    assert texts(answers) == own
    assert own[:2] == own[2:]
    assert own[0] != own[1]
    assert not any("public" in answer.headers.get("Cache-Control", "") for answer in answers)


@pytest.mark.parametrize(("read", "one", "other"), _ways())
def test_a_view_that_reads_it_raises_in_development(
    app: Flask, cache: Any, read: Callable[[], Any], one: Visit, other: Visit
) -> None:
    app.testing = True

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return str(read())

    if read is OF_HEADERS["authorization"][3]:
        pytest.skip("such a request goes past the cache")
    with pytest.raises(UndeclaredInput, match=r"page"):
        come(app, one, other)


def test_a_body_is_read_by_hand(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> bytes:
        return get_input_stream(request.environ).read()

    answers = come(app, {"data": "ann"}, {"data": "bob"})
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


_FIRST: dict[str, tuple[str, str, str, Callable[[], Any]]] = {
    "cookies": ("Cookie", "who=ann", "who=bob", lambda: request.cookies["who"]),
    "mimetype": ("Content-Type", "text/a", "text/b", lambda: request.mimetype),
    "user_agent": ("User-Agent", "ann/1", "bob/1", lambda: request.user_agent.string),
    "languages": ("Accept-Language", "de", "fr", lambda: request.accept_languages.best),
    "access_route": ("X-Forwarded-For", "10.0.0.1", "10.0.0.2", lambda: request.access_route[0]),
}


@pytest.mark.parametrize(("header", "one", "other", "read"), _FIRST.values(), ids=_FIRST)
def test_what_a_declared_hook_read_first_is_noticed_in_the_view(
    app: Flask, cache: Any, header: str, one: str, other: str, read: Callable[[], Any]
) -> None:
    """Werkzeug computes it once, and keeps it."""

    @app.before_request
    def look() -> None:
        g.who = read()

    cache.influences_only_through(look, g="who", reason="it leaves it on g")

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return str(read())

    answers = come(app, {"headers": {header: one}}, {"headers": {header: other}})
    assert hits(answers) == 0, details(answers)
    assert texts(answers)[0] != texts(answers)[1]
    assert texts(answers)[:2] == texts(answers)[2:]


def test_args_that_a_declared_hook_read_first(app: Flask, cache: Any) -> None:
    @app.before_request
    def look() -> None:
        g.who = request.args["who"]

    cache.influences_only_through(look, g="who", reason="it leaves it on g")

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.args["who"]

    answers = come(app, {"query_string": "who=ann"}, {"query_string": "who=bob"})
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


def test_args_that_a_hook_has_set(app: Flask, cache: Any) -> None:
    @app.before_request
    def change() -> None:
        request.args = {"who": request.headers["X-Who"]}  # type: ignore[assignment]

    @cache.memoize(60)
    def who() -> str:
        return request.args["who"]

    @app.get("/page")
    def page() -> str:
        return who()

    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2


def test_the_aside_reads_of_that_hook_let_other_pages_be_cached(app: Flask, cache: Any) -> None:
    @app.before_request
    def look() -> None:
        g.who = request.cookies["who"] + request.args["who"] + request.mimetype

    cache.influences_only_through(look, g="who", reason="it leaves it on g")
    app.add_url_rule("/page", view_func=cache.cached(60)(_plain_page))
    visits: list[Visit] = [
        {"headers": {"Cookie": f"who={who}"}, "query_string": f"who={who}"} for who in "ab"
    ]
    answers = come(app, *visits)
    assert hits(answers) == 3, details(answers)
    assert not any("public" in answer.headers.get("Cache-Control", "") for answer in answers)


def _plain_page() -> str:
    return "the same for all"


def test_a_key_of_ones_own_serves_each_visitor(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60, make_cache_key=lambda: request.headers["X-Who"])
    def page() -> str:
        return request.headers["X-Who"]

    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2


def test_a_key_without_what_the_view_reads(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60, make_cache_key=lambda: "the same key")
    def page() -> str:
        return request.headers["X-Who"] + request.args.get("who", "")

    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2
    queries: list[Visit] = [{**ANN, "query_string": "who=1"}, {**ANN, "query_string": "who=2"}]
    assert texts(come(app, *queries)) == ["ann1", "ann2"] * 2


def test_a_test_clients_default_is_no_input(app: Flask, cache: Any) -> None:
    app.add_url_rule("/page", view_func=cache.cached(60)(_plain_page))
    answer = [Client(app).get("/page") for _ in range(2)][1]
    assert hits([answer]) == 1
    assert "public" in answer.headers["Cache-Control"]
