"""Flask-RESTful: resources and ``marshal_with`` between a cached method and Flask."""

from typing import Any

import pytest
from flask import Flask

from visits import NOT_INSTALLED

restful: Any = pytest.importorskip("flask_restful", reason=NOT_INSTALLED)
fields: Any = pytest.importorskip("flask_restful.fields", reason=NOT_INSTALLED)

FIELDS = {"name": fields.String, "price": fields.Integer(attribute="cents")}


@pytest.fixture
def api(app: Flask) -> Any:
    return restful.Api(app)


def answers(app: Flask, path: str) -> list[Any]:
    found: list[Any] = [app.test_client().get(path) for _ in range(2)]
    assert ["; hit" in each.headers["Cache-Status"] for each in found] == [False, True]
    assert all(each.headers["ETag"] for each in found)
    return found


def test_marshal_with_above_a_cached_method(app: Flask, cache: Any, api: Any) -> None:
    class Product(restful.Resource):  # type: ignore[misc]
        @restful.marshal_with(FIELDS)
        @cache.cached(60)
        def get(self, number: int) -> Any:
            return {"name": f"product {number}", "cents": 5, "secret": 1}

    api.add_resource(Product, "/products/<int:number>")
    for answer in answers(app, "/products/1"):
        assert answer.json == {"name": "product 1", "price": 5}


def test_a_tuple_with_headers(app: Flask, cache: Any, api: Any) -> None:
    class Products(restful.Resource):  # type: ignore[misc]
        @restful.marshal_with(FIELDS)
        @cache.cached(60)
        def get(self) -> Any:
            return [{"name": "one", "cents": 5}], 200, {"X-Total": "1"}

    api.add_resource(Products, "/products")
    for answer in answers(app, "/products"):
        assert (answer.json, answer.headers["X-Total"]) == ([{"name": "one", "price": 5}], "1")


def test_a_resources_own_decorators(app: Flask, cache: Any, api: Any) -> None:
    """They decorate the method anew for each request: it is no view, and gets what it returned."""

    class Products(restful.Resource):  # type: ignore[misc]
        method_decorators = (cache.cached(60, key_prefix="products"), restful.marshal_with(FIELDS))

        def get(self) -> Any:
            return {"name": "one", "cents": 5}

    api.add_resource(Products, "/products")
    for _ in range(2):
        assert app.test_client().get("/products").json == {"name": "one", "price": 5}
