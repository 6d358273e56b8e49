"""``cache.watch`` takes whatever holds the engines, in any order, and refuses the rest in words."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from flask_coherent_cache import Cache
from flask_coherent_cache._sqlalchemy.outbox import NAME
from flask_coherent_cache._sqlalchemy.sqlite import begin_before_savepoint


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Item(id=1, price=1))
        session.commit()
    yield engine
    engine.dispose()


def follows(app: Flask, cache: Any, session: Callable[[], Any]) -> bool:
    """Tell whether a commit drops what was read, and nothing else does."""

    def read() -> int:
        fills.append(1)
        return int(session().get_one(Item, 1).price)

    fills: list[int] = []
    memoized = cache.memoize(60, make_name=lambda _: "price")(read)

    def price() -> int:
        with app.app_context():
            answer = int(memoized())
            session().close()
            return answer

    before = price()
    assert (price(), len(fills)) == (before, 1), "it is no hit"
    with app.app_context():
        session().get_one(Item, 1).price = before + 1
        session().commit()
        session().close()
    return price() == before + 1


#: What is watched, and the sessions that come with it.
SOURCES: dict[str, Callable[[Engine], tuple[Any, Callable[[], Any]]]] = {
    "an engine": lambda engine: (engine, _one_by_one(lambda: Session(engine))),
    "a list": lambda engine: ([engine], _one_by_one(lambda: Session(engine))),
    "a sessionmaker": lambda engine: (
        made := sessionmaker(engine),
        _one_by_one(made),
    ),
    "a sessionmaker with binds": lambda engine: (
        made := sessionmaker(binds={Item: engine}),
        _one_by_one(made),
    ),
    "a scoped session": lambda engine: (
        made := scoped_session(sessionmaker(engine, expire_on_commit=False)),
        lambda: made,
    ),
}


def _one_by_one(make: Callable[[], Session]) -> Callable[[], Session]:
    """Keep a session, also beyond its context, as a module may."""
    kept: list[Session] = []

    def session() -> Session:
        kept[:] = kept or [make()]
        return kept[0]

    return session


@pytest.mark.parametrize(
    "steps", [("init_app", "watch"), ("watch", "init_app"), ("watch", "init_app", "watch")]
)
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_in_any_order(engine: Engine, name: str, steps: tuple[str, ...]) -> None:
    source, session = SOURCES[name](engine)
    app, cache = Flask("shop"), Cache()
    for step in steps:
        if step == "init_app":
            cache.init_app(app)
        else:
            cache.watch(source, metadata=Base)
    assert follows(app, cache, session)
    assert NAME in Base.metadata.tables


def test_what_a_session_got_before_it_was_watched_is_in_no_entry(engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(engine, expire_on_commit=False))
    item = sessions().get_one(Item, 1)
    sessions().commit()
    app = Flask("shop")
    cache = Cache(app)
    cache.watch(sessions, metadata=Base.metadata)

    @cache.memoize(60, make_name=lambda name: "price")
    def price() -> int:
        return int(sessions.registry().get_one(Item, 1).price)

    with app.app_context():
        assert price() == item.price == 1
    with app.app_context(), Session(engine) as session:
        session.get_one(Item, 1).price = 2
        session.commit()
    sessions.remove()
    with app.app_context():
        assert price() == 2
    sessions.remove()


@pytest.mark.parametrize("name", SOURCES)
def test_outside_of_a_context_nothing_is_made_of_what_is_not_committed(
    engine: Engine, name: str
) -> None:
    source, session = SOURCES[name](engine)
    app, cache = Flask("shop"), Cache()
    cache.watch(source, metadata=Base)
    cache.init_app(app)

    @cache.memoize(60, make_name=str)
    def price(what: str) -> int:
        return int(session().get_one(Item, 1).price)

    assert price("before") == 1
    session().get_one(Item, 1).price = 2
    price("changed")
    session().flush()
    price("flushed")
    session().rollback()
    session().close()
    assert {what: price(what) for what in ("before", "changed", "flushed")} == {
        "before": 1, "changed": 1, "flushed": 1,
    }  # fmt: skip
    session().close()
    session().get_one(Item, 1).price = 3
    session().commit()
    session().close()
    assert {price("before"), price("changed"), price("flushed")} == {3}


@pytest.mark.parametrize(
    "steps", list(itertools.permutations(["cache.init_app", "db.init_app", "cache.watch"]))
)
def test_flask_sqlalchemy_in_any_order(tmp_path: Path, steps: tuple[str, ...]) -> None:
    db = SQLAlchemy(metadata=MetaData())

    class Row(db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "item"
        id: Mapped[int] = mapped_column(primary_key=True)
        price: Mapped[int]

    app, cache = Flask("shop"), Cache()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/shop.sqlite3"
    calls = {
        "cache.init_app": lambda: cache.init_app(app),
        "db.init_app": lambda: db.init_app(app),
        "cache.watch": lambda: cache.watch(db),
    }
    for step in steps:
        calls[step]()
    assert NAME in db.metadata.tables
    with app.app_context():
        db.create_all()
        db.session.add(Row(id=1, price=1))
        db.session.commit()

    @cache.memoize(60, make_name=lambda _: "price")
    def price() -> int:
        return int(db.session.get_one(Row, 1).price)

    for expected in (1, 2):
        with app.app_context():
            assert price() == expected
        with app.app_context():
            db.session.get_one(Row, 1).price = expected + 1
            db.session.commit()
    with app.app_context():
        db.engine.dispose()


def test_one_cache_for_several_applications(tmp_path: Path) -> None:
    db, cache = SQLAlchemy(), Cache()
    cache.watch(db)
    for name in "ab":
        app = Flask(name)
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/{name}.sqlite3"
        db.init_app(app)
        cache.init_app(app)
        with app.app_context():
            assert event.contains(db.engine, "savepoint", begin_before_savepoint)
            db.engine.dispose()


def test_the_null_cache_holds_rollbacks_and_watches_nothing(engine: Engine) -> None:
    app, cache = Flask("shop"), Cache(config={"CACHE_TYPE": "NullCache"})
    cache.init_app(app)
    cache.watch(engine, metadata=Base)
    with Session(engine) as session:
        with session.begin_nested():
            session.get_one(Item, 1).price = 7
        session.rollback()
        assert session.get_one(Item, 1).price == 1


class _Asynchronous:
    """Looks like SQLAlchemy's class, whose driver need not be there."""

    __module__ = "sqlalchemy.ext.asyncio.engine"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (_Asynchronous(), "sync_engine"),
        (object(), "give it an Engine"),
        ("sqlite://", "give it an Engine"),
        (None, "give it an Engine"),
        ([None], "give it an Engine"),
    ],
)
@pytest.mark.parametrize("has_app", [True, False])
def test_what_cannot_be_watched_is_refused(source: Any, words: str, has_app: bool) -> None:
    cache = Cache(Flask("shop")) if has_app else Cache()
    with pytest.raises(TypeError, match=words):
        cache.watch(source)


@pytest.mark.parametrize("make", [sessionmaker, lambda: scoped_session(sessionmaker())])
def test_a_sessionmaker_without_an_engine_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="watch the engine itself"):
        Cache().watch(make())


@pytest.mark.usefixtures("reports_again")
def test_an_engine_without_its_tables_is_named(
    engine: Engine,
    make_app: Callable[..., tuple[Flask, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, cache = make_app()
    cache.watch(engine)
    said = [record for record in caplog.records if "metadata=Base.metadata" in record.getMessage()]
    assert len(said) == cache.engine.store.shared
