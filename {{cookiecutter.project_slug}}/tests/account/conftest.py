"""A shop with two products and two users."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from flask import Flask
from werkzeug.security import generate_password_hash

from package import load

PASSWORD = "correct horse"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(API_TOKEN="t")
    fill(app)
    return app


def fill(app: Flask) -> None:
    catalog, account = load("catalog.models"), load("account.models")
    db = load("extensions").db
    with app.app_context():
        bags = catalog.Category(name="Bags", slug="bags")
        for name in ("Tote", "Backpack"):
            product = catalog.Product(name=name, slug=name.lower(), price_cents=4200, category=bags)
            db.session.add(product)
        for name in ("Ada", "Bob"):
            db.session.add(account.User(name=name, password_hash=password_hash()))
        db.session.commit()


@cache
def password_hash() -> str:
    """The hash of PASSWORD, which takes a while to make."""
    return generate_password_hash(PASSWORD)


@pytest.fixture
def sign_in(app: Flask) -> Callable[[str], Any]:
    """Sign a user in; returns that user's browser."""

    def sign_in(name: str) -> Any:
        client = app.test_client()
        form = {"name": name, "password": PASSWORD}
        assert client.post("/account/sign-in", data=form).status_code == 303
        return client

    return sign_in
