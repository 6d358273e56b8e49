"""A shop with two categories: 30 lamps, which are two pages, and one bag."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

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


@pytest.fixture
def count_queries(app: Flask, db: Any) -> Callable[[], Any]:
    """Collect the statements that run inside a `with` block."""
    with app.app_context():
        engine = db.engine

    @contextmanager
    def count() -> Iterator[list[str]]:
        statements: list[str] = []

        def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return count
