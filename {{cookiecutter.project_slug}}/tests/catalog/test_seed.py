"""The assortment that `flask seed` makes."""

from typing import Any

from package import load


def test_the_assortment_is_the_same_each_time() -> None:
    seed = load("catalog.seed")
    rows = [[(p.name, p.slug, p.price_cents, p.stock, p.updated_at) for p in seed.assortment()]] * 2
    assert rows[0] == rows[1]
    assert 200 <= len(rows[0]) <= 500


def test_every_product_would_pass_the_api() -> None:
    seed, validation = load("catalog.seed"), load("catalog.validation")
    slugs = set()
    for product in seed.assortment():
        body = {
            "name": product.name,
            "slug": product.slug,
            "price_cents": product.price_cents,
            "stock": product.stock,
            "category": product.category.slug,
        }
        known = frozenset({product.category.slug})
        assert validation.validate(body, known, partial=False) == (body, {})
        slugs.add(product.slug)
    assert len(slugs) == len(list(seed.assortment()))


def test_filling_shows_at_once(make_app: Any) -> None:
    app = make_app()
    client = app.test_client()
    assert "flask seed" in client.get("/").text
    with app.app_context():
        assert load("catalog.seed").fill() == "Made 8 categories and 288 products."
    assert "288 things in 8 categories" in client.get("/").text
