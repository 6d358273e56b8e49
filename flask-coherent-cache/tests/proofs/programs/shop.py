"""A small application with a database, which the proofs read through the cache and write to."""

import threading
import time
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from harness import make_app, prepare_sqlite

ROWS = 20
T = TypeVar("T")


class Model(DeclarativeBase):
    """The base of the model."""


db = SQLAlchemy(model_class=Model)
#: How many computations each thread has done, and how many copies of its near cache it has used.
done = threading.local()


class Product(db.Model):  # type: ignore[name-defined,misc]
    """A row whose version only ever rises."""

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    version: Mapped[int] = mapped_column(default=0)


def version_of(number: int) -> int:
    """Find a row by its primary key."""
    return worked_on(db.session.get_one(Product, number).version)


def version_of_slug(slug: str) -> int:
    """Find a row by another key."""
    return worked_on(db.session.scalars(select(Product.version).where(Product.slug == slug)).one())


def first_version() -> int:
    """Call what has no arguments."""
    return version_of(1)


def sum_of_versions() -> int:
    """Read the table."""
    return worked_on(db.session.scalars(select(func.sum(Product.version))).one())


def worked_on(value: T) -> T:
    """Count a computation, and let time pass between what it read and its end."""
    done.count = getattr(done, "count", 0) + 1
    time.sleep(0.002)
    return value


class Shop:
    """The application of one process."""

    def __init__(self, subject: str, settings: dict[str, Any], file: Path, **more: Any) -> None:
        self.subject = subject
        url = f"sqlite:///{file}"
        more |= {"SQLALCHEMY_DATABASE_URI": url}
        # Writers wait for each other, on a busy machine, too.
        more |= {"SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"timeout": 30}}}
        self.app, self.cache = make_app(subject, settings, **more)
        db.init_app(self.app)
        self.version_of = self.cache.memoize()(version_of)
        self.version_of_slug = self.cache.memoize()(version_of_slug)
        self.sum_of_versions = self.cache.memoize()(sum_of_versions)
        self.first_version = self.cache.cached(key_prefix="first version")(first_version)
        self.add_pages(self.app)
        with self.app.app_context():
            prepare_sqlite(db.engine)
            if subject == "ours":
                self.cache.watch(db)
                count_copies(self.cache.engine.near)

    def add_pages(self, app: Flask) -> None:
        """Add pages of a row, of all rows, and of what memoized functions return."""

        @app.get("/row/<int:number>")
        @self.cache.cached()
        def row(number: int) -> str:
            return f"{worked_on(db.session.get_one(Product, number).version)}"

        @app.get("/rows")
        @self.cache.cached()
        def rows() -> str:
            products = db.session.scalars(select(Product).order_by(Product.id)).all()
            return worked_on(" ".join(f"{product.version}" for product in products))

        @app.get("/nested/<int:number>")
        @self.cache.cached()
        def nested(number: int) -> str:
            return worked_on(f"{self.version_of(number)}")

    def create(self) -> None:
        with self.app.app_context():
            db.create_all()
            db.session.add_all(Product(id=n, slug=f"product-{n}") for n in range(1, ROWS + 1))
            db.session.commit()

    def get_or_set(self, number: int) -> int:
        """Cache by hand, as one does with Flask-Caching's get and set."""
        version: int | None = self.cache.get(f"version:{number}")
        if version is None:
            version = version_of(number)
            self.cache.set(f"version:{number}", version)
        return version

    def committed(self, numbers: list[int]) -> None:
        """Drop by hand what stock Flask-Caching keeps of rows: the best that one can do there."""
        if self.subject == "ours":
            return
        with self.app.app_context():
            self.cache.delete("view//rows")
            self.cache.delete_memoized(self.sum_of_versions)
            for number in numbers:
                self.cache.delete(f"version:{number}")
                self.cache.delete_memoized(self.version_of, number)
                self.cache.delete_memoized(self.version_of_slug, f"product-{number}")
                self.cache.delete(f"view//row/{number}")
                self.cache.delete(f"view//nested/{number}")

    def raise_rows(self, numbers: list[int]) -> None:
        """Raise the versions of rows in one commit."""
        with self.app.app_context():
            for number in numbers:
                db.session.get_one(Product, number).version += 1
            db.session.commit()
        self.committed(numbers)

    def raise_all(self) -> None:
        """Raise the versions of all rows by one statement."""
        with self.app.app_context():
            db.session.execute(update(Product).values(version=Product.version + 1))
            db.session.commit()
        self.committed(list(range(1, ROWS + 1)))


def count_copies(near: Any) -> None:
    """Count what a near cache finds."""
    if near is None:
        return
    find = near.find

    def counted(*arguments: Any) -> Any:
        copy = find(*arguments)
        done.copies = getattr(done, "copies", 0) + (copy is not None)
        return copy

    near.find = counted
