"""Decorators between a cached view and Flask: they get what the view returned."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, make_response, request, session

import flask_coherent_cache as caching
from answers import status_of
from view_decorators import Point, ask_twice, enveloped, marshalled, passing, templated

MakeApp = Callable[..., tuple[Flask, Any]]


@pytest.mark.parametrize("in_blueprint", [False, True])
def test_a_templated_view(app: Flask, cache: Any, in_blueprint: bool) -> None:
    place = Blueprint("shop", __name__) if in_blueprint else app
    calls: list[int] = []

    @place.get("/")
    @templated("Hello {{ name }}")
    @cache.cached(60)
    def index() -> dict[str, str]:
        calls.append(1)
        return {"name": "all"}

    if isinstance(place, Blueprint):
        app.register_blueprint(place)
    for answer in ask_twice(app.test_client()):
        assert (answer.text, answer.mimetype) == ("Hello all", "text/html")
        assert answer.headers["Cache-Control"] == "public, no-cache"
        assert answer.headers["ETag"]
    assert len(calls) == 1
    with app.app_context():
        cache.invalidate_view("shop.index" if in_blueprint else "index")
    assert app.test_client().get("/").text == "Hello all"
    assert len(calls) == 2


@pytest.mark.parametrize("returned", [None, {}, {"name": ""}, "text", ["a"], 7, Point(1)])
def test_a_layer_gets_the_same_on_a_miss_and_on_a_hit(
    app: Flask, cache: Any, returned: Any
) -> None:
    got: list[Any] = []

    def layer(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated() -> str:
            got.append(view())
            return "done"

        return decorated

    app.add_url_rule("/", "index", layer(cache.cached(60)(lambda: returned)))
    for answer in ask_twice(app.test_client()):
        assert answer.text == "done"
    assert got == [returned, returned]
    assert [type(each) for each in got] == [type(returned)] * 2


def test_what_a_layer_changes_in_place_is_not_in_the_entry(app: Flask, cache: Any) -> None:
    def layer(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated() -> dict[str, int]:
            value: dict[str, int] = view()
            value["n"] += 1
            return value

        return decorated

    app.add_url_rule("/", "index", layer(cache.cached(60)(lambda: {"n": 1})))
    client = app.test_client()
    assert [client.get("/").json for _ in range(3)] == [{"n": 2}] * 3


def test_status_and_headers_of_a_tuple_are_kept(app: Flask, cache: Any) -> None:
    @app.get("/")
    @passing
    @cache.cached(60)
    def index() -> tuple[dict[str, int], int, dict[str, str]]:
        return {"a": 1}, 203, {"X-Kind": "list", "Cache-Control": "max-age=5"}

    for answer in ask_twice(app.test_client()):
        assert (answer.status_code, answer.json) == (203, {"a": 1})
        assert answer.headers["X-Kind"] == "list"
        assert answer.headers["Cache-Control"] == "max-age=5"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (("no", 500), "status"),
        (("no", 201), "status"),
        (("no", {"Cache-Control": "No-Store"}), "cache-control"),
        (("no", {"Set-Cookie": "a=b"}), "set-cookie"),
        ((Point(1), 201), "status"),
        ((Point(1), {"Cache-Control": "private"}), "cache-control"),
    ],
)
def test_what_must_not_be_stored_is_not_stored(
    app: Flask, cache: Any, returned: Any, reason: str
) -> None:
    layer = marshalled if isinstance(returned[0], Point) else passing
    app.add_url_rule("/", "index", layer(cache.cached(60)(lambda: returned)))
    for _ in range(2):
        answer = app.test_client().get("/")
        assert f"detail={reason}" in status_of(answer)


def test_what_a_layer_marshals(app: Flask, cache: Any) -> None:
    app.add_url_rule("/", "index", marshalled(cache.cached(60)(lambda: Point(3))))
    assert [each.json for each in ask_twice(app.test_client())] == [{"x": 3}] * 2


def test_an_envelope(app: Flask, cache: Any) -> None:
    app.add_url_rule("/", "index", enveloped(cache.cached(60)(lambda: [1, 2])))
    assert [each.json for each in ask_twice(app.test_client())] == [{"data": [1, 2]}] * 2


def test_a_response_stays_a_response(app: Flask, cache: Any) -> None:
    got: list[type] = []

    def layer(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated() -> Any:
            answer = view()
            got.append(type(answer))
            answer.headers["X-Layer"] = "1"
            return answer

        return decorated

    @app.get("/")
    @layer
    @cache.cached(60)
    def index() -> Response:
        response = make_response("text")
        response.headers["X-View"] = "1"
        return response

    for answer in ask_twice(app.test_client()):
        assert (answer.text, answer.headers["X-View"], answer.headers["X-Layer"]) == (
            "text",
            "1",
            "1",
        )
    assert all(issubclass(kind, Response) for kind in got)


def test_conditions_head_and_vary(app: Flask, cache: Any) -> None:
    @app.get("/")
    @passing
    @cache.cached(60, vary=("X-Kind",), max_age=5)
    def index() -> str:
        return f"kind {request.headers.get('X-Kind')}"

    client = app.test_client()
    first, second = ask_twice(client, headers={"X-Kind": "a"})
    assert second.headers["Vary"] == "X-Kind"
    assert second.headers["Cache-Control"] == "public, max-age=5"
    assert "Age" in second.headers
    headers = {"X-Kind": "a", "If-None-Match": first.headers["ETag"]}
    assert client.get("/", headers=headers).status_code == 304
    head = client.head("/", headers={"X-Kind": "a"})
    assert (head.status_code, head.text, "; hit" in status_of(head)) == (200, "", True)
    assert client.get("/", headers={"X-Kind": "b"}).text == "kind b"


def test_hooks_see_the_headers_of_the_page(app: Flask, cache: Any) -> None:
    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.data = response.get_data() + b"!"
        return response

    @app.get("/")
    @passing
    @cache.cached(60, private=True)
    def index() -> str:
        return "mine"

    answers = ask_twice(app.test_client())
    assert [each.text for each in answers] == ["mine!", "mine!"]
    assert [each.headers["Cache-Control"] for each in answers] == ["private, no-cache"] * 2
    assert answers[0].headers["ETag"] == answers[1].headers["ETag"]
    headers = {"If-None-Match": answers[0].headers["ETag"]}
    assert app.test_client().get("/", headers=headers).status_code == 304


def test_what_a_layer_reads_is_not_public(app: Flask, cache: Any) -> None:
    @app.get("/")
    @templated("{{ title }} for {{ session.name or 'nobody' }}")
    @cache.cached(60)
    def index() -> dict[str, str]:
        return {"title": "News"}

    client, other = app.test_client(), app.test_client()
    with client.session_transaction() as kept:
        kept["name"] = "Ann"
    for _ in range(2):
        answer = client.get("/")
        assert answer.text == "News for Ann"
        assert "public" not in answer.headers["Cache-Control"]
        assert other.get("/").text == "News for nobody"


def test_what_the_view_reads_is_refused(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_STRICT=False)

    @app.get("/")
    @templated("{{ name }}")
    @cache.cached(60)
    def index() -> dict[str, str]:
        return {"name": session.get("name", "nobody")}

    client = app.test_client()
    with client.session_transaction() as kept:
        kept["name"] = "Ann"
    assert client.get("/").text == "Ann"
    assert app.test_client().get("/").text == "nobody"
    assert "private" in client.get("/").headers["Cache-Control"]


def test_a_private_value(app: Flask, cache: Any) -> None:
    @app.get("/")
    @templated("{{ name }}")
    @cache.cached(60, private=True)
    def index() -> dict[str, str]:
        return {"name": session.get("name", "nobody")}

    client = app.test_client()
    with client.session_transaction() as kept:
        kept["name"] = "Ann"
    for answer in ask_twice(client):
        assert answer.text == "Ann"
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "Cookie" in answer.headers["Vary"]
    assert app.test_client().get("/").text == "nobody"


def test_a_request_that_bypasses_the_cache(app: Flask, cache: Any) -> None:
    @app.route("/", methods=["GET", "POST"])
    @templated("Hello {{ name }}")
    @cache.cached(60, unless=lambda: "X-Unless" in request.headers)
    def index() -> dict[str, str]:
        return {"name": request.method}

    client = app.test_client()
    post = client.post("/")
    assert (post.text, "fwd=bypass" in status_of(post)) == ("Hello POST", True)
    signed = client.get("/", headers={"Authorization": "Bearer x"})
    assert (signed.text, signed.headers["Cache-Control"]) == ("Hello GET", "private, no-cache")
    assert client.get("/", headers={"X-Unless": "1"}).text == "Hello GET"


def test_errors_go_through_the_layer(app: Flask, cache: Any) -> None:
    @app.get("/<int:number>")
    @templated("{{ number }}")
    @cache.cached(60, not_found_timeout=60)
    def index(number: int) -> dict[str, int]:
        if number > 1:
            abort(404)
        if number:
            abort(403)
        return {"number": number}

    client = app.test_client()
    assert [client.get("/2").status_code for _ in range(2)] == [404, 404]
    assert [client.get("/1").status_code for _ in range(2)] == [403, 403]
    assert client.get("/0").text == "0"


def test_an_error_of_the_layer_is_not_cacheable(app: Flask, cache: Any) -> None:
    def layer(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated() -> Any:
            view()
            return "broken", 500

        return decorated

    app.add_url_rule("/", "index", layer(cache.cached(60)(lambda: "fine")))
    for _ in range(2):
        answer = app.test_client().get("/")
        assert (answer.status_code, answer.headers.get("Cache-Control")) == (500, None)


def test_what_cannot_be_encoded_is_said(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app, cache = make_app(CACHE_STRICT=False)

    def local() -> Any:
        class Local:
            x = 1

        return Local()

    app.add_url_rule("/local", "local", marshalled(cache.cached(60)(local)))
    client = app.test_client()
    assert [client.get("/local").json for _ in range(2)] == [{"x": 1}] * 2
    assert "cannot be stored" in caplog.text


def test_hits_of_a_layer_are_computed_again(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_VERIFY=1)
    with app.app_context():
        cache.clear()
    numbers = iter(range(10))
    app.add_url_rule("/", "index", enveloped(cache.cached(60)(lambda: [1])))
    app.add_url_rule("/next", "next", enveloped(cache.cached(60)(lambda: next(numbers))))
    client = app.test_client()
    for path in ("/", "/", "/next", "/next"):
        client.get(path)
    with app.app_context():
        assert cache.engine.statistics.verified == {"compared": 2, "different": 1}


def test_a_view_below_a_decorator_without_wraps_is_refused_in_words(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_STRICT=True, TESTING=True)

    def plain(view: Callable[..., Any]) -> Callable[..., Any]:
        def decorated(*args: Any) -> Any:
            return view(*args)

        return decorated

    @cache.cached(60, query_string=True)
    def index() -> str:
        return request.args["page"]

    app.add_url_rule("/", "index", plain(index))
    with pytest.raises(caching.UndeclaredInput, match=r"query parameter page.* functools\.wraps"):
        app.test_client().get("/?page=1")


def test_a_view_that_is_called_again_with_other_arguments_gives_another_value(
    app: Flask, cache: Any
) -> None:
    calls: list[str] = []

    def in_english_at_least(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated(language: str) -> Any:
            return view(language) or view("en") or view(language)

        return decorated

    @app.get("/<language>")
    @in_english_at_least
    @cache.cached(60, query=("page",))
    def index(language: str) -> str:
        calls.append(language)
        page = request.args.get("page", "")
        return {"en": "yes", "de": "ja"}.get(language, "") + page

    client = app.test_client()
    for _ in range(2):
        assert [client.get(f"/{name}").text for name in ("de", "fr", "en")] == ["ja", "yes", "yes"]
    assert calls == ["de", "fr", "en", "en", "en"]
