"""Classes of views, and other views that are no plain functions."""

import functools
from typing import Any

from flask import Flask, jsonify, request
from flask.views import MethodView, View

import flask_coherent_cache as caching
from conftest import SETTINGS
from view_decorators import ask_twice, templated


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
