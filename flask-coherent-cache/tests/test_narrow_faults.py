"""Faults of narrow dependencies that random cases cannot show: processes that know tables apart."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import (
    Column,
    Computed,
    Integer,
    MetaData,
    Table,
    create_engine,
    func,
    insert,
    select,
    update,
)

from flask_coherent_cache import Cache


class Process:
    """What one process of an application knows: its tables, as its release declares them."""

    def __init__(self, url: str, settings: dict[str, Any], *columns: Any) -> None:
        self.app = Flask("shop", template_folder=None)
        self.app.config.update({"SECRET_KEY": "k" * 40, "CACHE_NEAR_BYTES": 0, **settings})
        self.cache = Cache(self.app)
        self.engine = create_engine(url)
        self.items = Table("item", MetaData(), Column("id", Integer, primary_key=True), *columns)
        with self.app.app_context():
            self.cache.watch(self.engine)

    def execute(self, statement: Any) -> None:
        with self.app.app_context(), self.engine.begin() as connection:
            connection.execute(statement)

    def memoized(self, statement: Any) -> Any:
        def read() -> Any:
            with self.engine.connect() as connection:
                return [tuple(row) for row in connection.execute(statement)]

        ask = self.cache.memoize(300, make_name=lambda _: "entry")(read)

        def answer() -> Any:
            with self.app.app_context():
                return ask()

        return answer


@pytest.fixture
def settings(server_settings: dict[str, Any]) -> dict[str, Any]:
    if "RedisCache" not in server_settings:
        pytest.skip("no Redis on this machine")
    return {"CACHE_TYPE": "RedisCache", **server_settings["RedisCache"]}


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/shop.sqlite3"


def test_a_release_without_the_index_writes(tmp_path: Path, settings: dict[str, Any]) -> None:
    """In a rolling deploy the older release writes rows, and knows no index of the newer one."""
    old = Process(url(tmp_path), settings, Column("cat_id", Integer))
    new = Process(url(tmp_path), settings, Column("cat_id", Integer, index=True))
    new.items.metadata.create_all(new.engine)
    count = new.memoized(select(func.count()).where(new.items.c.cat_id == 7))
    assert count() == [(0,)]
    old.execute(insert(old.items).values(id=1, cat_id=7))
    assert count() == [(1,)]
    old.execute(update(old.items).where(old.items.c.id == 1).values(cat_id=8))
    assert count() == [(0,)]


def test_a_release_without_the_column_writes(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The database fills in what the older release does not know."""
    old = Process(url(tmp_path), settings)
    new = Process(
        url(tmp_path), settings, Column("cat_id", Integer, index=True, server_default="7")
    )
    new.items.metadata.create_all(new.engine)
    count = new.memoized(select(func.count()).where(new.items.c.cat_id == 7))
    assert count() == [(0,)]
    old.execute(insert(old.items).values(id=1))
    assert count() == [(1,)]


def test_a_release_without_the_computed_column_writes(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    price = lambda: Column("price", Integer)  # noqa: E731 - a column belongs to one table
    old = Process(url(tmp_path), settings, price())
    twice = Column("twice", Integer, Computed("price * 2", persisted=True))
    new = Process(url(tmp_path), settings, price(), twice)
    new.items.metadata.create_all(new.engine)
    new.execute(insert(new.items).values(id=1, price=1))
    ask = new.memoized(select(new.items.c.twice))
    assert ask() == [(2,)]
    old.execute(update(old.items).where(old.items.c.id == 1).values(price=2))
    assert ask() == [(4,)]


def test_only_the_database_computes_a_column(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The model says of a generated column that it is one, and indexed, and no more."""
    plain = Process(
        url(tmp_path), settings, Column("price", Integer), Column("twice", Integer, index=True)
    )
    with plain.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, price INTEGER,"
            " twice INTEGER GENERATED ALWAYS AS (price * 2) STORED)"
        )
    plain.execute(insert(plain.items).values(id=1, price=1))
    ask = plain.memoized(select(plain.items.c.id).where(plain.items.c.twice == 4))
    assert ask() == []
    plain.execute(update(plain.items).where(plain.items.c.id == 1).values(price=2))
    assert ask() == [(1,)]
