"""`flask seed`, and what `flask cache warm` asks for."""

import json

import pytest
from flask_coherent_cache.testing import redis_server

from {{cookiecutter.package_name}}.catalog import queries, seed
from {{cookiecutter.package_name}}.catalog.validation import validate


def test_the_assortment_is_the_same_each_time():
    first, second = (
        [(p.name, p.slug, p.price_cents, p.stock, p.updated_at) for p in seed.assortment()]
        for _ in range(2)
    )
    assert first == second
    assert 200 <= len(first) <= 500


def test_every_product_would_pass_the_api():
    slugs = set()
    for product in seed.assortment():
        fields = ("name", "slug", "price_cents", "stock")
        category = product.category.slug
        body = {name: getattr(product, name) for name in fields} | {"category": category}
        assert validate(body, frozenset({category}), partial=False) == (body, {})
        slugs.add(product.slug)
    assert len(slugs) == len(list(seed.assortment()))


def test_seed_fills_empty_tables_once_and_shows_at_once(make_app):
    app = make_app()
    assert "flask seed" in app.test_client().get("/").text
    runner = app.test_cli_runner()
    made, left = (runner.invoke(args=["seed"]) for _ in range(2))
    assert (made.exit_code, made.output) == (0, "Made 8 categories and 288 products.\n")
    assert left.output == "The shop has 288 products: left as they are.\n"
    assert "288 things in 8 categories" in app.test_client().get("/").text


@pytest.fixture
def redis_app(make_app, tmp_path):
    with redis_server(tmp_path) as port:
        if port is None:
            pytest.skip("there is no Redis and no Valkey on this machine")
        url = f"redis://127.0.0.1:{port}/0"
        yield make_app(SECRET_KEY="k" * 40, CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url)


def test_home_list_and_first_products_are_warmed_in_silence(redis_app, caplog, cache_log):
    with redis_app.app_context():
        seed.fill()
        first = queries.products(1, "name", None)
    caplog.clear()
    warm = ["cache", "warm", "--base-url", "http://127.0.0.1:8000", "--json"]
    result = redis_app.test_cli_runner().invoke(args=warm)
    assert "GET" not in caplog.text, "a line for each page is spared"
    told = json.loads(result.stdout)
    expected = {"/", "/products", *(f"/products/{row.slug}" for row in first)}
    assert (result.exit_code, {page["path"] for page in told["pages"]}) == (0, expected)
    redis_app.test_client().get("/products", base_url="http://127.0.0.1:8000")
    cache_log.page("catalog.products").was_hit()
