"""A shop with two categories: 30 lamps, which are two pages, and one bag."""

import pytest

from {{cookiecutter.package_name}}.catalog.models import Category, Product
from {{cookiecutter.package_name}}.extensions import db

TOKEN = "a-token-for-tests"


@pytest.fixture
def shop(make_app):
    """Make a shop with settings of one's own."""

    def make(**settings):
        app = make_app(**{"API_TOKEN": TOKEN} | settings)
        with app.app_context():
            fill()
        return app

    return make


@pytest.fixture
def app(shop):
    return shop()


def fill():
    lighting = Category(name="Lighting", slug="lighting")
    bags = Category(name="Bags", slug="bags")
    for number in range(1, 31):
        lamp = Product(
            name=f"Lamp {number:02}",
            slug=f"lamp-{number:02}",
            price_cents=1000 + 10 * number,
            stock=number - 1,
            category=lighting,
        )
        db.session.add(lamp)
    db.session.flush()
    db.session.add(Product(name="Tote", slug="tote", price_cents=4200, stock=5, category=bags))
    db.session.commit()


@pytest.fixture
def authorized():
    """The headers of a request that may write."""
    return {"Authorization": f"Bearer {TOKEN}"}
