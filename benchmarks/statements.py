"""What is read from the shop's database: the same statements for each subject."""

import os
from collections.abc import Callable
from typing import Any

from flask import Flask
from sqlalchemy import MetaData, create_engine, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

#: The demo brings at least so many.
PRODUCTS = 50
PAGE_SIZE = 24

Read = Callable[[int], list[tuple[Any, ...]]]


def reader(session: Any, tables: Any) -> Read:
    """Make a function that reads a product by its key, and a page of those of its category."""
    product, category = tables["product"], tables["category"]
    columns = (product.c.id, product.c.name, product.c.price_cents, product.c.stock)

    def read(number: int) -> list[tuple[Any, ...]]:
        by_key = select(*columns, product.c.category_id).where(
            product.c.id == number % PRODUCTS + 1
        )
        found = session.execute(by_key).one()
        beside = (
            select(*columns, category.c.name)
            .join(category, category.c.id == product.c.category_id)
            .where(product.c.category_id == found.category_id)
            .order_by(product.c.name, product.c.id)
            .limit(PAGE_SIZE)
        )
        return [tuple(found), *map(tuple, session.execute(beside))]

    return read


def of_project(app: Flask) -> Read:
    """Read by the session of the generated project's application."""
    db = app.extensions["sqlalchemy"]
    return reader(db.session, db.metadata.tables)


def of_its_own(app: Flask) -> Read:
    """Read by a session of SQLAlchemy alone, as an application without our cache has it."""
    engine = create_engine(os.environ["DATABASE_URL"])
    tables = MetaData()
    tables.reflect(engine)
    session: scoped_session[Session] = scoped_session(sessionmaker(engine))
    app.teardown_appcontext(lambda _: session.remove())
    return reader(session, tables.tables)
