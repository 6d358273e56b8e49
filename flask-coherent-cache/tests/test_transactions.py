"""Whatever happens to a flush, a session, a transaction or a connection: nothing is stale."""

import itertools
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_coherent_cache import Cache
from flask_coherent_cache._dependencies.dependencies import current_dependencies
from flask_coherent_cache.testing import wait_until


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Item(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    price: Mapped[int]


class Note(db.Model):  # type: ignore[name-defined, misc]
    """A row in a database of its own."""

    __tablename__ = "note"
    __bind_key__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


numbers = itertools.count()


class Shop:
    """An application with two databases, and a memoized price."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/shop.sqlite3"
        self.app = Flask("shop", template_folder=None)
        self.app.testing = True
        self.app.config["SQLALCHEMY_DATABASE_URI"] = self.url
        self.app.config["SQLALCHEMY_BINDS"] = {"notes": f"sqlite:///{folder}/notes.sqlite3"}
        db.init_app(self.app)
        self.cache = Cache(self.app)
        self.cache.watch(db)
        self.fills = 0
        with self.app.app_context():
            for engine in db.engines.values():
                event.listen(engine, "connect", _write_ahead)
            db.create_all()
            db.session.add_all([Item(id=n, slug=f"item-{n}", price=1) for n in (1, 2)])
            db.session.add(Note(id=1, text="old"))
            db.session.commit()
        self._price = self.memoized(lambda: db.session.get_one(Item, 1).price)

    def memoized(self, read: Callable[[], Any]) -> Callable[[], Any]:
        def fill() -> Any:
            self.fills += 1
            return read()

        name = f"read {next(numbers)}"
        function: Callable[[], Any] = self.cache.memoize(60, make_name=lambda _: name)(fill)
        return function

    def price(self) -> int:
        """The price as another request is served it."""

        def ask() -> None:
            with self.app.app_context():
                answers.append(self._price())

        answers: list[int] = []
        _in_thread(ask)
        return answers[0]

    def price_here(self) -> int:
        return int(self._price())


def _write_ahead(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    assert [shop.price(), shop.price(), shop.fills] == [1, 1, 1]
    yield shop
    with shop.app.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()


# -- flushes that end early


class StopError(Exception):
    pass


def _raise(*_: Any) -> None:
    raise StopError


def _expunge(session: Session, *_: Any) -> None:
    for new in list(session.new):
        session.expunge(new)


EARLY_ENDS: dict[str, tuple[str, Callable[..., Any]]] = {
    "before_flush raises": ("before_flush", _raise),
    "before_flush expunges": ("before_flush", _expunge),
    "after_flush raises": ("after_flush", _raise),
    "after_flush_postexec raises": ("after_flush_postexec", _raise),
    "the database refuses": ("before_commit", lambda *_: None),
}


@pytest.mark.parametrize("name", EARLY_ENDS)
@pytest.mark.parametrize(
    "write",
    [
        lambda: db.session.execute(update(Item).where(Item.price == 1).values(price=7)),
        lambda: db.session.execute(update(Item), [{"id": 1, "price": 7}]),
        lambda: db.session.bulk_update_mappings(Item, [{"id": 1, "price": 7}]),
    ],
    ids=["UPDATE", "bulk by key", "bulk_update_mappings"],
)
def test_a_bulk_write_after_a_flush_that_ended_early(
    shop: Shop, name: str, write: Callable[[], Any]
) -> None:
    when, listener = EARLY_ENDS[name]
    slug = "item-1" if "refuses" in name else "new"
    event.listen(db.session, when, listener)
    try:
        with shop.app.app_context():
            db.session.add(Item(slug=slug, price=1))
            with suppress(StopError, IntegrityError):
                db.session.flush()
    finally:
        event.remove(db.session, when, listener)
    with shop.app.app_context():
        write()
        db.session.commit()
    assert shop.price() == 7


def test_a_bulk_write_inside_of_a_flush(shop: Shop) -> None:
    """A listener of the unit of work writes rows that no event names."""

    def after_insert(mapper: Any, connection: Any, target: Any) -> None:
        with Session(connection) as inner:
            inner.execute(update(Item), [{"id": 1, "price": 7}])
            inner.flush()

    event.listen(Item, "after_insert", after_insert)
    try:
        with shop.app.app_context():
            db.session.add(Item(slug="new", price=1))
            db.session.commit()
    finally:
        event.remove(Item, "after_insert", after_insert)
    with shop.app.app_context():
        assert shop.price() == db.session.get_one(Item, 1).price


# -- whose changes are seen


def test_a_commit_of_one_database_leaves_the_changes_of_another_uncommitted(shop: Shop) -> None:
    with shop.app.app_context(), Session(db.engines["notes"]) as notes:
        db.session.get_one(Item, 1).price = 7
        db.session.flush()
        notes.get_one(Note, 1).text = "new"
        notes.commit()
        assert shop.price_here() == 7
        db.session.rollback()
    assert shop.price() == 1


def test_a_commit_of_one_session_leaves_the_changes_of_another_uncommitted(shop: Shop) -> None:
    with shop.app.app_context(), Session(db.engines["notes"]) as notes:
        notes.get_one(Note, 1).text = "new"
        notes.flush()
        db.session.get_one(Item, 1).price = 7
        db.session.commit()
        fill = shop.memoized(lambda: notes.get_one(Note, 1).text)
        assert fill() == "new"
        notes.rollback()
        assert fill() == "old"
    with shop.app.app_context(), Session(db.engines["notes"]) as notes:
        assert fill() == "old"


def test_pending_changes_of_a_session_of_ones_own(shop: Shop) -> None:
    with shop.app.app_context(), Session(db.engine) as session:
        item = session.get_one(Item, 1)
        fill = shop.memoized(lambda: session.get_one(Item, 1).price)
        item.price = 7
        assert fill() == 7
        session.rollback()
        del item
    assert shop.price() == 1


def test_a_session_of_an_engine_that_nobody_watches(shop: Shop) -> None:
    """Its changes, and its objects from outside, keep nothing from being stored."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Item(id=1, slug="a", price=3))
        session.flush()
        with shop.app.app_context():
            assert session.get_one(Item, 1).price == 3
            session.add(Item(id=2, slug="b", price=4))
            assert [shop.price_here(), shop.fills] == [1, 1]
    engine.dispose()


def test_a_rollback_by_another_context(shop: Shop) -> None:
    """Who saw a change that somebody else takes back stores nothing of it."""
    with shop.app.app_context():
        session = db.session()
        session.get_one(Item, 1).price = 7
        session.flush()
        _in_thread(session.rollback)
        price = shop.memoized(lambda: 7 if session.is_active else 0)
        price()
        price()
    assert shop.fills == 1 + 2, "neither was stored"


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.connection().execute(update(Item).where(Item.id == 1).values(price=7)),
        lambda s: s.bulk_save_objects([_loaded_with(s, 7)]),
        lambda s: s.bulk_update_mappings(Item, [{"id": 1, "price": 7}]),
        lambda s: s.execute(
            update(Table("item", MetaData(), Column("id", Integer), Column("price", Integer)))
            .values(price=7)
        ),
        lambda s: s.connection().exec_driver_sql("UPDATE item SET price = 7"),
    ],
    ids=["connection", "bulk_save_objects", "bulk_update_mappings", "another metadata", "driver"],
)  # fmt: skip
def test_a_session_writes_past_the_unit_of_work(shop: Shop, write: Callable[..., Any]) -> None:
    with shop.app.app_context():
        write(db.session)
        db.session.commit()
    assert shop.price() == 7


def _loaded_with(session: Any, price: int) -> Item:
    item: Item = session.get_one(Item, 1)
    session.expunge(item)
    item.price = price
    return item


def test_a_row_that_was_missed_and_is_inserted_in_bulk(shop: Shop) -> None:
    found = shop.memoized(lambda: db.session.get(Item, 3) is not None)
    with shop.app.app_context():
        assert found() is False
    with shop.app.app_context():
        db.session.bulk_insert_mappings(Item, [{"slug": "new", "price": 1}])
        db.session.commit()
    with shop.app.app_context():
        assert found() is True


@pytest.mark.parametrize("mode", ["create_savepoint", "conditional_savepoint", "rollback_only"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_session_within_the_transaction_of_a_connection(
    shop: Shop, mode: Any, kept: bool
) -> None:
    with shop.app.app_context(), db.engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode=mode) as session:
            session.get_one(Item, 1).price = 7
            session.commit()
        assert shop.price() == 1
        (transaction.commit if kept else transaction.rollback)()
    assert shop.price() == (7 if kept else 1)


def test_a_transaction_that_began_before_the_watch(tmp_path: Path) -> None:
    app = Flask("late")
    cache, engine = Cache(app), create_engine(f"sqlite:///{tmp_path}/late.sqlite3")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Item(id=1, slug="a", price=1))
        session.commit()

    event.listen(engine, "connect", _write_ahead)
    engine.dispose()
    connections = []

    def read() -> int:
        price: int = connections[-1].execute(select(Item.price).where(Item.id == 1)).scalar_one()
        return price

    memoized = cache.memoize(60, make_name=lambda _: "late")(read)

    def price() -> int:
        with app.app_context():
            return int(memoized())

    with engine.connect() as old, engine.connect() as new:
        old.exec_driver_sql("BEGIN")
        assert old.execute(select(Item)).all()
        new.execute(select(Item)).all()
        cache.watch(engine, metadata=Base)
        connections.append(old)
        _in_thread(lambda: _commit_price(engine))
        assert price() == 1, "its snapshot is older"
        connections.append(new)
        assert price() == 7
        new.rollback()
        assert price() == 7
        new.execute(update(Item).values(price=8))
        new.commit()
        assert price() == 8
    engine.dispose()


def _commit_price(engine: Any) -> None:
    with Session(engine) as session:
        session.get_one(Item, 1).price = 7
        session.commit()


# -- objects that are older than the context


@pytest.fixture
def kept_session(shop: Shop) -> Iterator[Session]:
    """A session that outlives contexts, with objects that no commit expires."""
    with shop.app.app_context():
        session = Session(db.engine, expire_on_commit=False)
    yield session
    session.close()


def _set_price(shop: Shop, price: int = 7) -> None:
    with shop.app.app_context():
        db.session.get_one(Item, 1).price = price
        db.session.commit()


def test_an_object_that_a_commit_did_not_expire(shop: Shop, kept_session: Session) -> None:
    price = shop.memoized(lambda: kept_session.get_one(Item, 1).price)
    with shop.app.app_context():
        kept_item = kept_session.get_one(Item, 1)
        kept_session.commit()
    with shop.app.app_context():
        assert price() == 1
    _set_price(shop)
    kept_session.expire_all()
    with shop.app.app_context():
        assert price() == kept_item.price == 7


def test_an_object_that_one_context_loads_for_the_next(shop: Shop, kept_session: Session) -> None:
    """Each of them uses the session, and the row was read by the first."""
    kept = []
    price = shop.memoized(lambda: kept_session.get_one(Item, 1).price)
    for number in (1, 2):
        with shop.app.app_context():
            kept.append(kept_session.scalars(select(Item).where(Item.id == number)).one())
            kept_session.commit()
    with shop.app.app_context():
        assert price() == 1
    _set_price(shop)
    kept_session.expire_all()
    with shop.app.app_context():
        assert price() == 7


def test_an_object_that_was_loaded_outside_of_every_context(shop: Shop) -> None:
    with shop.app.app_context():
        engine = db.engine
    with Session(engine, expire_on_commit=False) as session:
        item = session.get_one(Item, 1)
        session.commit()
        price = shop.memoized(lambda: session.get_one(Item, 1).price)
        _set_price(shop)
        with shop.app.app_context():
            assert price() == item.price == 1
        session.expire_all()
        with shop.app.app_context():
            assert price() == 7


def _added(item: Item) -> Item:
    db.session.add(item)
    return item


def _pickled(item: Item) -> Item:
    copy: Item = pickle.loads(pickle.dumps(item))  # noqa: S301 - it is ours
    return _added(copy)


@pytest.mark.parametrize(
    "attach",
    [_added, _pickled, lambda item: db.session.merge(item, load=False)],
    ids=["added again", "pickled", "merged without a load"],
)
def test_what_is_made_from_a_detached_object_is_not_stored(
    shop: Shop, attach: Callable[[Item], Item]
) -> None:
    with shop.app.app_context():
        item = db.session.get_one(Item, 1)
        db.session.expunge(item)
    _set_price(shop)
    read = shop.memoized(lambda: attached[0].price)
    with shop.app.app_context():
        attached = [attach(item)]
        assert read() == 1
        db.session.expunge_all()
    with shop.app.app_context():
        attached = [db.session.get_one(Item, 1)]
        assert read() == 7


def test_what_is_made_from_a_refreshed_object_follows_it(shop: Shop) -> None:
    with shop.app.app_context():
        item = db.session.get_one(Item, 1)
        db.session.commit()
        db.session.expunge(item)

    def attached_price() -> int:
        db.session.add(item)
        db.session.refresh(item)
        return item.price

    read = shop.memoized(attached_price)
    for price in (1, 7):
        _set_price(shop, price)
        shop.fills = 0
        for _ in range(2):
            with shop.app.app_context():
                assert read() == price
                if item in db.session:
                    db.session.commit()
                    db.session.expunge(item)
        assert shop.fills == 1, "it is stored"


# -- SQLite's transactions


def test_a_released_savepoint_is_rolled_back(shop: Shop) -> None:
    with shop.app.app_context():
        with db.session.begin_nested():
            db.session.get_one(Item, 1).price = 7
        assert shop.price() == 1
        db.session.rollback()
        assert db.session.get_one(Item, 1).price == 1
    assert shop.price() == 1


def test_readers_do_not_wait_for_a_savepoint(shop: Shop) -> None:
    with shop.app.app_context(), db.session.begin_nested():
        db.session.get_one(Item, 1).price = 7
        db.session.flush()
        answers: list[int] = []
        read = shop.memoized(lambda: db.session.get_one(Item, 2).price)

        def ask() -> None:
            with shop.app.app_context():
                answers.append(read())

        _in_thread(ask)
    assert answers == [1]


def test_a_transaction_that_the_application_begins_by_itself(shop: Shop) -> None:
    """SQLAlchemy's documentation has this recipe: no statement commits by itself."""
    engine = create_engine(shop.url, isolation_level=None)
    event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    shop.cache.watch(engine)
    with shop.app.app_context(), Session(engine) as session:
        session.get_one(Item, 1).price = 7
        session.flush()
        assert [shop.price(), shop.fills] == [1, 1], "nothing is committed yet"
        session.rollback()
        session.get_one(Item, 1).price = 8
        session.commit()
    assert shop.price() == 8
    engine.dispose()


class _Autocommitting(sqlite3.Connection):
    """What Python 3.12's driver makes with ``autocommit=True``."""

    autocommit = True
    isolation_level = property(lambda self: "DEFERRED")  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sqlite3.Connection.isolation_level.__set__(self, None)  # type: ignore[attr-defined]


def test_the_autocommit_attribute_of_the_driver(shop: Shop) -> None:
    engine = create_engine(shop.url, connect_args={"factory": _Autocommitting})
    shop.cache.watch(engine)
    with shop.app.app_context(), engine.connect() as connection:
        connection.execute(update(Item).values(price=7))
        assert shop.price() == 7
        with connection.begin_nested():
            connection.execute(update(Item).values(price=8))
        assert shop.price() == 8
        connection.rollback()
    assert shop.price() == 8
    engine.dispose()


def test_a_statement_that_fails_leaves_no_doubt(shop: Shop) -> None:
    with shop.app.app_context():
        engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection, pytest.raises(IntegrityError):
            connection.execute(update(Item).where(Item.id == 1).values(id=2))
    before = shop.price() and shop.fills
    assert [shop.price(), shop.fills] == [1, before]


def test_a_connection_that_breaks(shop: Shop) -> None:
    """Its transaction is rolled back, and what saw its changes stores nothing."""
    with shop.app.app_context(), db.engine.connect() as connection:
        connection.execute(update(Item).values(price=7))
        connection.invalidate()
        connection.rollback()
        seen = shop.memoized(lambda: 7)
        before = shop.fills
        assert [seen(), seen(), shop.fills - before] == [7, 7, 2]
    assert shop.price() == 1


def test_a_context_that_only_read_goes_on_after_a_rollback(shop: Shop) -> None:
    with shop.app.app_context():
        with pytest.raises(OperationalError):
            db.session.execute(text("SELECT * FROM nowhere"))
        db.session.rollback()
        assert not current_dependencies().bypass


# -- several caches


def test_two_applications_on_one_engine(tmp_path: Path) -> None:
    """A factory makes applications, the engine is the module's."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    Base.metadata.create_all(engine)
    cache = Cache()
    cache.watch(engine, metadata=Base)
    with Session(engine) as session:
        session.add(Item(id=1, slug="a", price=1))
        session.commit()

    @cache.memoize(60, make_name=lambda _: "price")
    def price() -> int:
        with Session(engine) as session:
            return session.get_one(Item, 1).price

    apps = [Flask("one"), Flask("two")]
    for app in apps:
        cache.init_app(app)
        with app.app_context():
            assert price() == 1
    with apps[0].app_context(), Session(engine) as session:
        session.get_one(Item, 1).price = 7
        session.commit()
    for app in apps:
        with app.app_context():
            assert price() == 7
    engine.dispose()


# -- two phases


def test_a_prepared_transaction(shop: Shop, postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    metadata = MetaData()
    table = Table("two_phases", metadata, Column("id", Integer, primary_key=True))
    shop.cache.watch(engine, metadata=metadata)
    metadata.drop_all(engine)
    metadata.create_all(engine)

    def read() -> int:
        with engine.connect() as connection:
            return len(connection.execute(select(table)).all())

    rows = shop.memoized(read)

    def served() -> int:
        with shop.app.app_context():
            return int(rows())

    assert served() == 0
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(insert(table).values(id=1))
        transaction.prepare()
        assert served() == 0
        transaction.commit()
    assert served() == 1
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(insert(table).values(id=2))
        transaction.prepare()
        xid = transaction.xid
        connection.invalidate()
    # Somebody else finishes what was left.
    with engine.connect() as connection:
        connection.commit_prepared(xid, recover=True)
    assert served() == 2
    metadata.drop_all(engine)
    engine.dispose()


# -- replicas


class Replicated:
    """A price that is written in one database, and read in another that is behind."""

    def __init__(self, app: Flask, cache: Any, folder: Path) -> None:
        self.app, self.cache = app, cache
        self.engines = [create_engine(f"sqlite:///{folder}/{name}") for name in ("one", "two")]
        self.primary, self.replica = self.engines
        cache.watch(self.engines, metadata=Base)
        for engine in self.engines:
            Base.metadata.create_all(engine)
            with Session(engine) as session:
                session.add(Item(id=1, slug="a", price=1))
                session.commit()
        self.fills = 0
        self._memoized = cache.memoize(60, make_name=lambda _: "price")(self._read)

    def _read(self) -> int:
        self.fills += 1
        with Session(self.replica) as session:
            return session.get_one(Item, 1).price

    def price(self) -> int:
        with self.app.app_context():
            return int(self._memoized())

    def is_kept(self) -> bool:
        """Tell whether what is asked for comes from the cache."""
        self.fills = 0
        self.price()
        return not self.fills

    def write(self) -> None:
        with self.app.app_context(), Session(self.primary) as session:
            session.get_one(Item, 1).price = 7
            session.commit()

    def catch_up(self) -> None:
        """Have the replica catch up, which no cache hears of."""
        with closing(sqlite3.connect(str(self.replica.url.database))) as connection:
            connection.execute("UPDATE item SET price = 7")
            connection.commit()


@pytest.fixture
def replicated(
    make_app: Callable[..., tuple[Flask, Any]], tmp_path: Path
) -> Iterator[Callable[[float], Replicated]]:
    made: list[Replicated] = []

    def make(lag: float) -> Replicated:
        app, cache = make_app(CACHE_REPLICA_LAG_SECONDS=lag, CACHE_KEY_PREFIX=tmp_path.name)
        made.append(Replicated(app, cache, tmp_path))
        return made[-1]

    yield make
    for one in made:
        for engine in one.engines:
            engine.dispose()


@pytest.mark.parametrize(("lag", "served"), [(0, 1), (3600, 7)])
def test_what_a_replica_has_of_the_time_before_a_commit(
    replicated: Callable[[float], Replicated], lag: float, served: int
) -> None:
    """It is not kept for as long as is said; the control keeps it."""
    shop = replicated(lag)
    shop.write()
    assert [shop.price(), shop.price()] == [1, 1]
    shop.catch_up()
    assert shop.price() == served


def test_what_a_replica_has_is_kept_after_the_lag(
    replicated: Callable[[float], Replicated],
) -> None:
    shop = replicated(0.1)
    shop.write()
    assert not shop.is_kept()
    shop.catch_up()
    wait_until(shop.is_kept)
    assert shop.price() == 7


@pytest.mark.parametrize("lag", [-1, "soon", True, 4000])
def test_a_lag_that_cannot_be_is_refused(lag: Any) -> None:
    app = Flask("shop")
    app.config["CACHE_REPLICA_LAG_SECONDS"] = lag
    with pytest.raises(ValueError, match="CACHE_REPLICA_LAG_SECONDS is"):
        Cache(app)
