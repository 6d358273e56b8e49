"""A small shop: rows, a memoized function that reads them, and writers that commit."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from harness import make_app, prepare_sqlite


class Model(DeclarativeBase):
    """The base of the model."""


db = SQLAlchemy(model_class=Model)


class Item(db.Model):  # type: ignore[name-defined, misc]
    """A thing with a price."""

    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(default=1)


class Shop:
    """An application on a database, with the project's cache ("ours") or "stock"."""

    def __init__(self, name: str, settings: dict[str, Any], url: str, **more: Any) -> None:
        self.name = name
        self.calls = Counter[int]()
        self.app, self.cache = make_app(name, settings, SQLALCHEMY_DATABASE_URI=url, **more)
        db.init_app(self.app)
        self.memoized = self.cache.memoize(600, make_name=lambda name: "price")(self._price)
        with self.app.app_context():
            prepare_sqlite(db.engine)
            if name == "ours":
                self.cache.watch(db)

    def __repr__(self) -> str:
        # Stock's memoize keys hold it: the same in every process.
        return f"Shop({self.name})"

    def _price(self, number: int) -> int:
        self.calls[number] += 1
        return db.session.get_one(Item, number).price

    def price(self, number: int = 1) -> int:
        """Read a price through the cache, in a context of its own."""
        with self.app.app_context():
            return int(self.memoized(number))

    def stored_price(self, number: int = 1) -> int:
        """Read a price from the database."""
        with self.app.app_context():
            return db.session.get_one(Item, number).price

    def write(self, price: int, number: int = 1) -> None:
        """Commit a price; on stock, drop by hand what was built on it, as its users do."""
        with self.app.app_context():
            db.session.get_one(Item, number).price = price
            db.session.commit()
            if self.name == "stock":
                self.cache.delete_memoized(self.memoized, number)


@contextmanager
def open_shop(name: str, settings: dict[str, Any], url: str, **more: Any) -> Iterator[Shop]:
    """Open a shop with four items of price 1, and an empty cache."""
    shop = Shop(name, settings, url, **more)
    with shop.app.app_context():
        shop.cache.clear()
        db.drop_all()
        db.create_all()
        db.session.add_all(Item(id=number) for number in range(1, 5))
        db.session.commit()
    yield shop
    with shop.app.app_context():
        db.session.remove()
        db.engine.dispose()
