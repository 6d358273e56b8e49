"""Decorators and frameworks between a cached view and Flask: they get what the view returned."""

import functools
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    jsonify,
    make_response,
    render_template_string,
    request,
    session,
)
from flask.testing import FlaskClient
from flask.views import MethodView, View

import flask_coherent_cache as caching
from conftest import SETTINGS
from test_pages import status_of

MakeApp = Callable[..., tuple[Flask, Any]]


def templated(template: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorator of Flask's documentation, "View Decorators"."""

    def decorator(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            context = view(*args, **kwargs)
            if context is None:
                context = {}
            elif not isinstance(context, dict):
                return context
            return render_template_string(template, **context)

        return decorated

    return decorator


def enveloped(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return jsonify(data=view(*args, **kwargs))

    return decorated


def passing(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that changes nothing, such as ``login_required``."""

    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return decorated


class Point:
    """What only a layer knows how to write."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


def marshalled(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        returned = view(*args, **kwargs)
        if isinstance(returned, tuple):
            return ({"x": returned[0].x}, *returned[1:])
        return {"x": returned.x}

    return decorated


def ask_twice(client: FlaskClient, path: str = "/", **options: Any) -> list[Response]:
    answers: list[Any] = [client.get(path, **options) for _ in range(2)]
    assert [status_of(each).split(";")[1].strip() for each in answers] == ["fwd=miss", "hit"]
    return answers


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


def test_a_request_that_goes_past_the_cache(app: Flask, cache: Any) -> None:
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


# -- classes of views --------------------------------------------------------------------------


def test_a_class_whose_decorators_wrap_the_cached_method(app: Flask, cache: Any) -> None:
    class Index(MethodView):
        decorators = (templated("Hello {{ name }}"),)

        @cache.cached(60)
        def get(self) -> dict[str, str]:
            return {"name": "all"}

    app.add_url_rule("/", view_func=Index.as_view("index"))
    assert [each.text for each in ask_twice(app.test_client())] == ["Hello all"] * 2


def test_a_cached_decorator_of_a_class_under_a_layer(app: Flask, cache: Any) -> None:
    class Index(View):
        decorators = (cache.cached(60), templated("Hello {{ name }}"))

        def dispatch_request(self) -> dict[str, str]:
            return {"name": "all"}

    app.add_url_rule("/", view_func=Index.as_view("index"))
    assert [each.text for each in ask_twice(app.test_client())] == ["Hello all"] * 2


def test_a_class_that_dispatches_by_itself(app: Flask, cache: Any) -> None:
    class Resource(MethodView):
        def dispatch_request(self, **values: Any) -> Any:
            return jsonify(data=super().dispatch_request(**values))

    class Index(Resource):
        @cache.cached(60)
        def get(self) -> list[int]:
            return [1]

    app.add_url_rule("/", view_func=Index.as_view("index"))
    assert [each.json for each in ask_twice(app.test_client())] == [{"data": [1]}] * 2


def test_a_plain_class_of_views_is_answered_with_a_page(app: Flask, cache: Any) -> None:
    class Index(MethodView):
        @cache.cached(60)
        def get(self) -> str:
            return "x" * 2000

    class Whole(View):
        decorators = (cache.cached(60),)

        def dispatch_request(self) -> str:
            return "x" * 2000

    app.add_url_rule("/", view_func=Index.as_view("index"))
    app.add_url_rule("/whole", view_func=Whole.as_view("whole"))
    for path in ("/", "/whole"):
        answers = ask_twice(app.test_client(), path, headers={"Accept-Encoding": "gzip"})
        assert all(each.headers["Content-Encoding"] == "gzip" for each in answers)


def test_an_application_that_dispatches_by_itself(backend: dict[str, Any]) -> None:
    class Shop(Flask):
        def dispatch_request(self) -> Any:
            return {"data": super().dispatch_request()}

    app = Shop("shop")
    app.config.update(SETTINGS, **backend)
    cache = caching.Cache(app)
    app.add_url_rule("/", "index", cache.cached(60)(lambda: [1]))
    with app.app_context():
        cache.clear()
    assert [each.json for each in ask_twice(app.test_client())] == [{"data": [1]}] * 2
    with app.app_context():
        cache.engine.close()


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


def test_a_view_may_be_a_method_a_partial_or_an_object(app: Flask, cache: Any) -> None:
    calls: list[str] = []

    class Controller:
        def __init__(self, name: str) -> None:
            self.name = name

        @cache.cached(60, query_string=True)
        def index(self) -> str:
            calls.append(self.name)
            return f"{self.name} {request.args['page']}"

        @classmethod
        @cache.cached(60, query=("page",))
        def listed(cls) -> str:
            calls.append("class")
            return f"class {request.args['page']}"

        @cache.cached(60, query=("page",))
        def __call__(self) -> str:
            calls.append(f"called {self.name}")
            return f"called {self.name} {request.args['page']}"

    @cache.cached(60, query=("page",))
    def shown(name: str) -> str:
        calls.append(name)
        return f"{name} {request.args['page']}"

    controllers = Controller("ann"), Controller("bob")
    views = {
        "ann": controllers[0].index,
        "bob": controllers[1].index,
        "class": Controller.listed,
        "called ann": controllers[0],
        "called bob": controllers[1],
        "one": functools.partial(shown, "one"),
        "two": functools.partial(shown, "two"),
    }
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, view)
    client = app.test_client()
    for _ in range(2):
        for name in views:
            for page in (1, 2):
                response = client.get(f"/{name}?page={page}")
                assert response.text == f"{name} {page}"
                assert response.headers["Cache-Control"] == "public, no-cache"
    assert calls == [name for name in views for _ in (1, 2)]
    calls.clear()
    for deleted, names in (
        (controllers[0].index, ["ann"]),
        (Controller.index, ["ann", "bob"]),
        (Controller.listed, ["class"]),
        (shown, ["one", "two"]),
    ):
        with app.app_context():
            cache.delete_cached(deleted)
        for name in views:
            client.get(f"/{name}?page=1")
        assert calls == names
        calls.clear()


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
