"""A shop with two categories: 30 lamps, which are two pages, and one bag."""

from collections.abc import Callable

import pytest
from flask import Flask

from package import load

TOKEN = "a-token-for-tests"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(API_TOKEN=TOKEN)
    with app.app_context():
        fill()
    return app


def fill() -> None:
    models, db = load("catalog.models"), load("extensions").db
    lighting = models.Category(name="Lighting", slug="lighting")
    bags = models.Category(name="Bags", slug="bags")
    for number in range(1, 31):
        db.session.add(
            models.Product(
                name=f"Lamp {number:02}",
                slug=f"lamp-{number:02}",
                price_cents=1000 + 10 * number,
                stock=number - 1,
                category=lighting,
            )
        )
    db.session.flush()
    db.session.add(
        models.Product(name="Tote", slug="tote", price_cents=4200, stock=5, category=bags)
    )
    db.session.commit()


@pytest.fixture
def authorized() -> dict[str, str]:
    """The headers of a request that may write."""
    return {"Authorization": f"Bearer {TOKEN}"}
