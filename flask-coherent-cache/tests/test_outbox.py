"""An invalidation that the store could not take is kept where the write was kept."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_coherent_cache import Cache
from flask_coherent_cache._dependencies.inputs import _reported
from flask_coherent_cache.testing import Server, wait_until


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Item(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


class Process:
    """What one process of an application has: a cache of its own, on the shared servers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.app = Flask("shop", template_folder=None)
        self.app.config.update(
            {"SECRET_KEY": "k" * 40, "CACHE_RETRY_SECONDS": 0.2, "CACHE_NEAR_BYTES": 0, **settings}
        )
        db.init_app(self.app)
        self.cache = Cache(self.app)
        self.engine = self.app.extensions["cache"][self.cache]
        self.breaker = self.engine.store.breaker
        with self.app.app_context():
            self.cache.watch(db)
        self._price = self.cache.memoize(300, make_name=lambda _: "price")(self._read)

    def _read(self, number: int) -> int:
        item = db.session.get(Item, number)
        return item.price if item else 0

    def price(self, number: int = 1) -> int:
        with self.app.app_context():
            return int(self._price(number))

    def set_price(self, price: int, number: int = 1) -> None:
        with self.app.app_context():
            db.session.get_one(Item, number).price = price
            db.session.commit()

    def notes(self) -> list[str]:
        with self.app.app_context():
            return list(db.session.execute(text("SELECT tags FROM cache_note")).scalars())

    def lose_the_store(self) -> None:
        """Notice that the server, which is away, is away."""
        wait_until(lambda: self.price(99) == 0 and self.breaker.is_away)

    def end(self) -> None:
        """End as a process does that is killed: nothing is delivered any more."""
        self.engine.close()
        with self.app.app_context():
            for engine in db.engines.values():
                engine.dispose()


@contextmanager
def running(*processes: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.end()


@pytest.fixture(params=["RedisCache", "MemcachedCache"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(request.param, tmp_path)
    if server.command is None:
        pytest.skip(f"no server for {request.param} on this machine")
    with server:
        yield server


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> dict[str, Any]:
    return {**server.settings, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/shop.db"}


@pytest.fixture
def writer(settings: dict[str, Any]) -> Iterator[Process]:
    writer = Process(settings)
    with running(writer):
        with writer.app.app_context():
            db.create_all()
            db.session.add_all([Item(id=1, price=10), Item(id=2, price=20)])
            db.session.commit()
        yield writer


def test_a_write_meanwhile_is_noted_and_worked_off(
    server: Server, settings: dict[str, Any], writer: Process
) -> None:
    idle = Process(settings)
    with running(idle):
        assert (writer.price(), idle.price()) == (10, 10)
        server.pause()
        writer.lose_the_store()
        writer.set_price(11)
        assert writer.price() == 11
        assert ["item:1" in note for note in writer.notes()] == [True]
        server.resume()
        wait_until(lambda: not writer.breaker.is_open)
        # It never lost the store, and is told by the writer.
        assert idle.price() == 11
        assert writer.notes() == []


def test_a_process_that_began_meanwhile_works_off_what_a_dead_one_noted(
    server: Server, settings: dict[str, Any], writer: Process
) -> None:
    assert writer.price() == 10
    server.pause()
    writer.lose_the_store()
    writer.set_price(11)
    writer.end()
    server.resume()
    new = Process(settings)
    with running(new):
        assert new.price() == 11
        assert new.notes() == []


def test_a_process_that_lost_the_store_works_off_what_a_dead_one_noted(
    server: Server, settings: dict[str, Any], writer: Process
) -> None:
    other = Process(settings)
    with running(other):
        assert other.price() == writer.price() == 10
        server.pause()
        other.lose_the_store()
        writer.lose_the_store()
        writer.set_price(11)
        writer.end()
        server.resume()
        wait_until(lambda: not other.breaker.is_open)
        assert other.price() == 11
        assert other.notes() == []


def test_what_is_rolled_back_is_not_noted(server: Server, writer: Process) -> None:
    server.pause()
    writer.lose_the_store()
    with writer.app.app_context():
        db.session.get_one(Item, 1).price = 11
        db.session.flush()
        db.session.rollback()
        db.session.add(Item(id=1, price=12))
        with pytest.raises(IntegrityError):
            db.session.commit()
    assert writer.notes() == []


def test_many_notes_are_one_new_generation(
    server: Server, settings: dict[str, Any], writer: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_coherent_cache._engine.outbox._MOST_UNDELIVERED", 100)
    with writer.app.app_context():
        db.session.add_all([Item(id=number, price=10) for number in range(100, 300)])
        db.session.commit()
    known = writer.price(2)
    server.pause()
    writer.lose_the_store()
    for half in range(2):
        with writer.app.app_context():
            for number in range(100 + half, 300, 2):
                db.session.get_one(Item, number).price += 1
            db.session.commit()
    writer.end()
    server.resume()
    new = Process(settings)
    with running(new):
        store = new.engine.store
        generation = store.get_many(["app:generation"])
        assert new.price(2) == known
        assert store.get_many(["app:generation"]) != generation
        assert new.notes() == []


def test_without_the_table_the_write_itself_succeeds(
    server: Server, writer: Process, caplog: pytest.LogCaptureFixture
) -> None:
    _reported.clear()
    with writer.app.app_context():
        db.session.execute(text("DROP TABLE cache_note"))
        db.session.commit()
    assert writer.price() == 10
    server.pause()
    writer.lose_the_store()
    writer.set_price(11)
    assert writer.price() == 11
    assert "flask db upgrade" in caplog.text
    server.resume()
    wait_until(lambda: not writer.breaker.is_open)
    assert writer.price() == 11


def test_who_cannot_read_the_notes_does_not_trust_the_store(
    server: Server, settings: dict[str, Any], writer: Process, caplog: pytest.LogCaptureFixture
) -> None:
    assert writer.price() == 10
    caplog.set_level(logging.ERROR)
    new = Process(settings)
    with running(new):
        with new.app.app_context():
            engine = db.engine
        refused = [True]

        @event.listens_for(engine, "do_connect")
        def refuse(dialect: Any, *_: Any) -> None:
            if refused:
                raise dialect.loaded_dbapi.OperationalError("the database is away")

        with new.app.app_context():
            assert new.cache.get("anything") is None
        wait_until(lambda: new.breaker.is_away)
        assert "the notes in the database cannot be read" in caplog.text
        refused.clear()
        wait_until(lambda: not new.breaker.is_open)
        assert new.price() == 10


def test_each_statement_that_commits_by_itself_notes_what_it_wrote(
    server: Server, settings: dict[str, Any], writer: Process
) -> None:
    settings = {**settings, "SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "AUTOCOMMIT"}}
    alone = Process(settings)
    with running(alone):
        assert alone.price() == 10
        server.pause()
        alone.lose_the_store()
        alone.set_price(11)
        alone.end()
        assert writer.notes()
    server.resume()
    new = Process(settings)
    with running(new):
        assert new.price() == 11
