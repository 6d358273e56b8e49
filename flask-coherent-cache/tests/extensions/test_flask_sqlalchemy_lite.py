"""Flask-SQLAlchemy-Lite: engines and sessions without a base class of its own."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_coherent_cache import Cache
from visits import NOT_INSTALLED

SQLAlchemy: Any = pytest.importorskip("flask_sqlalchemy_lite", reason=NOT_INSTALLED).SQLAlchemy


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


@pytest.mark.parametrize(
    "steps", list(itertools.permutations(["cache.init_app", "db.init_app", "cache.watch"]))
)
def test_a_commit_drops_what_was_read(tmp_path: Path, steps: tuple[str, ...]) -> None:
    app, cache, db = Flask("shop"), Cache(), SQLAlchemy()
    app.config["SQLALCHEMY_ENGINES"] = {"default": f"sqlite:///{tmp_path}/shop.sqlite3"}
    calls = {
        "cache.init_app": lambda: cache.init_app(app),
        "db.init_app": lambda: db.init_app(app),
        "cache.watch": lambda: cache.watch(db, metadata=Base),
    }
    for step in steps:
        calls[step]()
    with app.app_context():
        Base.metadata.create_all(db.engine)
        db.session.add_all([Item(id=1, price=1), Item(id=2, price=1)])
        db.session.commit()
    fills = []

    @cache.memoize(60, make_name=lambda _: "price")
    def price(number: int) -> int:
        fills.append(number)
        return db.session.get_one(Item, number).price

    def prices() -> list[int]:
        with app.app_context():
            return [price(number) for number in (1, 2)]

    assert [prices(), prices(), fills] == [[1, 1], [1, 1], [1, 2]]
    with app.app_context():
        db.session.get_one(Item, 1).price = 7
        assert price(1) == 7, "its own change"
        db.session.commit()
    assert prices() == [7, 1]
    with app.app_context():
        db.session.execute(update(Item).values(price=8))
        db.session.commit()
    assert prices() == [8, 8]
    with app.app_context():
        db.engine.dispose()


def test_a_page_that_reads_a_row_is_cached(tmp_path: Path) -> None:
    """The session lies on g, and holds nothing of the request."""
    # Its teardown is a coroutine, by which asgiref leaves a context variable set.
    app, cache, db = Flask("shop"), Cache(), SQLAlchemy()
    app.config["SQLALCHEMY_ENGINES"] = {"default": f"sqlite:///{tmp_path}/shop.sqlite3"}
    db.init_app(app)
    cache.init_app(app)
    cache.watch(db, metadata=Base)
    app.before_request(lambda: db.session and None)

    @app.get("/<int:number>")
    @cache.cached(60)
    def page(number: int) -> str:
        return f"{db.session.get_one(Item, number).price}"

    with app.app_context():
        Base.metadata.create_all(db.engine)
        db.session.add(Item(id=1, price=1))
        db.session.commit()
    client = app.test_client()
    answers = [client.get("/1") for _ in range(2)]
    assert [answer.text for answer in answers] == ["1", "1"]
    assert "hit" in answers[1].headers["Cache-Status"]
    with app.app_context():
        db.session.get_one(Item, 1).price = 7
        db.session.commit()
    assert client.get("/1").text == "7"


def test_asynchronous_engines_are_refused(tmp_path: Path) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    pytest.importorskip("aiosqlite")
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.sqlite3")
    with pytest.raises(TypeError, match="sync_engine"):
        Cache(Flask("shop")).watch(engine)
