"""SQLite's savepoints: what they change is committed and rolled back with the transaction."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_coherent_cache import Cache

MakeThings = Callable[..., "Things"]


class Model(DeclarativeBase):
    pass


class Thing(Model):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(default=1)


class Things:
    """Two things of price 1, in the database and through the cache."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.app, self.db, cache = Flask("things"), SQLAlchemy(model_class=Model), Cache()
        self.app.config.update(
            SECRET_KEY="k" * 40,
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{path / 'things.db'}",
            SQLALCHEMY_ENGINE_OPTIONS=options,
        )
        self.db.init_app(self.app)
        cache.init_app(self.app, config={"CACHE_TYPE": "SimpleCache"})
        cache.watch(self.db)
        with self.app.app_context():
            with self.db.engine.connect() as connection:
                # Readers do not wait for a writer.
                connection.execute(text("PRAGMA journal_mode = WAL"))
            self.db.create_all()
            self.db.session.add_all([Thing(id=1), Thing(id=2)])
            self.db.session.commit()
        self.cached = cache.memoize(60, make_name=lambda _: "price of a thing")(self.price)

    def price(self, number: int) -> int:
        return int(self.db.session.get_one(Thing, number).price)

    def set_price(self, price: int, number: int = 1) -> None:
        self.db.session.get_one(Thing, number).price = price
        self.db.session.flush()

    def set_price_in_savepoint(self, price: int, number: int = 1) -> None:
        with self.db.session.begin_nested():
            self.set_price(price, number)

    def seen(self) -> tuple[list[int], list[int]]:
        """What somebody else sees now, in the database and through the cache."""
        answers: list[list[int]] = []

        def look(read: Callable[[int], int]) -> None:
            with self.app.app_context():
                answers.append([read(1), read(2)])

        for read in (self.price, self.cached):
            in_threads(lambda read=read: look(read))
        stored, cached = answers
        return stored, cached


def in_threads(*functions: Callable[[], Any]) -> list[BaseException]:
    """Run each function in a thread of its own, and return what they raised."""
    raised: list[BaseException] = []

    def run(function: Callable[[], Any]) -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.fixture
def make_things(tmp_path: Path) -> Iterator[MakeThings]:
    made: list[Things] = []

    def make(**options: Any) -> Things:
        made.append(Things(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        with each.app.app_context():
            each.db.engine.dispose()


@pytest.fixture
def things(make_things: MakeThings) -> Things:
    return make_things()


def both(first: int, second: int = 1) -> tuple[list[int], list[int]]:
    return [first, second], [first, second]


@pytest.mark.parametrize("order", ["cached before", "cached in between"])
def test_a_released_savepoint_is_rolled_back_with_its_transaction(
    things: Things, order: str
) -> None:
    if order == "cached before":
        assert things.seen() == both(1)
    with things.app.app_context():
        things.set_price_in_savepoint(7)
        assert things.cached(1) == 7
        assert things.seen() == both(1)
        things.db.session.rollback()
        assert things.price(1) == 1
    assert things.seen() == both(1)


@pytest.mark.parametrize("order", ["cached before", "cached in between"])
def test_a_released_savepoint_is_committed_with_its_transaction(things: Things, order: str) -> None:
    if order == "cached before":
        assert things.seen() == both(1)
    with things.app.app_context():
        things.set_price_in_savepoint(7)
        assert things.seen() == both(1)
        things.db.session.commit()
        assert things.seen() == both(7)
    assert things.seen() == both(7)


def test_a_savepoint_that_is_rolled_back_leaves_the_transaction(things: Things) -> None:
    with things.app.app_context():
        savepoint = things.db.session.begin_nested()
        things.set_price(7)
        savepoint.rollback()
        things.set_price(8, 2)
        assert things.seen() == both(1)
        things.db.session.commit()
    assert things.seen() == both(1, 8)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_savepoints_within_savepoints(things: Things, end: str) -> None:
    session = things.db.session
    assert things.seen() == both(1)
    with things.app.app_context():
        with session.begin_nested():
            things.set_price_in_savepoint(7)
            inner = session.begin_nested()
            things.set_price(8, 2)
            inner.rollback()
            assert things.seen() == both(1)
        assert things.seen() == both(1)
        getattr(session, end)()
    assert things.seen() == both(7 if end == "commit" else 1)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_savepoint_after_a_write(things: Things, end: str) -> None:
    assert things.seen() == both(1)
    with things.app.app_context():
        things.set_price(7)
        things.set_price_in_savepoint(8, 2)
        assert things.seen() == both(1)
        getattr(things.db.session, end)()
    assert things.seen() == (both(7, 8) if end == "commit" else both(1))


@pytest.mark.parametrize("first", ["set_price", "set_price_in_savepoint"])
@pytest.mark.parametrize("second", ["set_price", "set_price_in_savepoint"])
def test_writers_that_read_first_wait_for_each_other(
    things: Things, first: str, second: str
) -> None:
    have_read = threading.Barrier(2, timeout=30)

    def write(change: str, number: int) -> None:
        with things.app.app_context():
            assert things.price(number) == 1
            have_read.wait()
            getattr(things, change)(7, number)
            things.db.session.commit()

    assert in_threads(lambda: write(first, 1), lambda: write(second, 2)) == []
    assert things.seen() == both(7, 7)


@pytest.mark.parametrize("other", ["set_price", "set_price_in_savepoint"])
def test_a_savepoint_that_reads_first_has_the_lock_already(things: Things, other: str) -> None:
    has_committed = threading.Event()

    def write() -> None:
        with things.app.app_context():
            getattr(things, other)(8, 2)
            things.db.session.commit()
            has_committed.set()

    def read_and_write() -> None:
        with things.app.app_context():
            with things.db.session.begin_nested():
                assert things.price(1) == 1
                writer = threading.Thread(target=lambda: raised.extend(in_threads(write)))
                writer.start()
                # Without the lock the other one commits now, and the change below fails.
                has_committed.wait(0.5)
                things.set_price(7)
            things.db.session.commit()
        writer.join()

    raised: list[BaseException] = []
    assert in_threads(read_and_write) == raised == []
    assert things.seen() == both(7, 8)


def test_a_savepoint_that_cannot_have_the_lock_says_that_the_file_is_busy(
    make_things: MakeThings,
) -> None:
    things = make_things(connect_args={"timeout": 0})
    session = things.db.session
    with things.app.app_context():
        things.set_price(7)

        def write() -> None:
            with things.app.app_context():
                with pytest.raises(OperationalError, match="database is locked"):
                    things.set_price_in_savepoint(8)
                session.rollback()
                assert things.price(1) == 1

        assert in_threads(write) == []
        session.rollback()
        things.set_price_in_savepoint(8)
        session.commit()
    assert things.seen() == both(8)


AUTOCOMMIT: dict[str, dict[str, Any]] = {"level": {"isolation_level": "AUTOCOMMIT"}}
if sys.version_info >= (3, 12):
    AUTOCOMMIT["attribute"] = {"connect_args": {"autocommit": True}}


@pytest.mark.parametrize("name", AUTOCOMMIT)
def test_a_connection_that_commits_by_itself_commits_at_the_release(
    make_things: MakeThings, name: str
) -> None:
    things = make_things(**AUTOCOMMIT[name])
    assert things.seen() == both(1)
    with things.app.app_context(), things.db.engine.connect() as connection:
        with connection.begin_nested():
            connection.execute(update(Thing).where(Thing.id == 1).values(price=7))
            assert things.seen() == both(1)
        assert things.seen() == both(7)
    assert things.seen() == both(7)
