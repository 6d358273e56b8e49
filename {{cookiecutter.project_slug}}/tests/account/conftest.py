"""A shop with two products and two users."""

import pytest
from werkzeug.security import generate_password_hash

from {{cookiecutter.package_name}}.account.models import User
from {{cookiecutter.package_name}}.catalog.models import Category, Product
from {{cookiecutter.package_name}}.extensions import db

PASSWORD = "correct horse"
# As `flask user create` makes it, but for its cost.
PASSWORD_HASH = generate_password_hash(PASSWORD, "scrypt:1024:8:1")


@pytest.fixture
def shop(make_app):
    """Make a shop with settings of one's own."""

    def make(**settings):
        app = make_app(**{"API_TOKEN": "t"} | settings)
        fill(app)
        return app

    return make


@pytest.fixture
def app(shop):
    return shop()


def fill(app):
    with app.app_context():
        bags = Category(name="Bags", slug="bags")
        for name in ("Tote", "Backpack"):
            db.session.add(Product(name=name, slug=name.lower(), price_cents=4200, category=bags))
        for name in ("Ada", "Bob"):
            db.session.add(User(name=name, password_hash=PASSWORD_HASH))
        db.session.commit()


@pytest.fixture
def sign_in(app):
    """Sign a user in; returns that user's browser."""

    def sign_in(name):
        client = app.test_client()
        form = {"name": name, "password": PASSWORD}
        assert client.post("/account/sign-in", data=form).status_code == 303
        return client

    return sign_in
