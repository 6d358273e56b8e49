"""What SQLAlchemy reads and writes drops what was built from it: case by case, by name."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Table,
    column,
    delete,
    event,
    func,
    insert,
    select,
    table,
    text,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    column_property,
    joinedload,
    mapped_column,
    relationship,
)

from flask_coherent_cache._dependencies.dependencies import current_dependencies
from flask_coherent_cache._sqlalchemy.sqlite import begin_before_savepoint

#: What threads have read.
results: list[Any] = []


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)

labelled = Table(
    "labelled",
    Base.metadata,
    Column("item_id", ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("label_id", ForeignKey("label.id", ondelete="CASCADE"), primary_key=True),
)


class Shelf(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    items: Mapped[list["Item"]] = relationship(back_populates="shelf", passive_deletes=True)


class Label(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "label"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Item(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    price: Mapped[int] = mapped_column(default=1)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id", ondelete="CASCADE"))
    shelf: Mapped[Shelf] = relationship(back_populates="items")
    labels: Mapped[list[Label]] = relationship(secondary=labelled)


Shelf.count = column_property(
    select(func.count(Item.id))
    .where(Item.shelf_id == Shelf.id)
    .correlate_except(Item)
    .scalar_subquery()
)


class Node(db.Model):  # type: ignore[name-defined, misc]
    """A tree: a row's column counts other rows of its own table."""

    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))


_child = aliased(Node)
Node.children = column_property(
    select(func.count(_child.id)).where(_child.parent_id == Node.id).scalar_subquery()
)


class Draft(db.Model):  # type: ignore[name-defined, misc]
    """Rows that are deleted softly: the slug is unique among the others only."""

    __tablename__ = "draft"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]
    deleted: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (Index("draft_slug", "slug", unique=True, sqlite_where=text("deleted = 0")),)


class Country(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "country"
    code: Mapped[str] = mapped_column(primary_key=True)
    visits: Mapped[int] = mapped_column(default=0)


class City(db.Model):  # type: ignore[name-defined, misc]
    """A row whose column the database changes with another row's key."""

    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    country: Mapped[str] = mapped_column(ForeignKey("country.code", onupdate="CASCADE"))


class Person(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__: ClassVar[dict[str, Any]] = {
        "polymorphic_on": "kind",
        "polymorphic_identity": "person",
    }


class Manager(Person):
    """A class with a unique key in a table whose other rows have another class."""

    badge: Mapped[str | None] = mapped_column(unique=True)
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "manager"}


class Sale(db.Model):  # type: ignore[name-defined, misc]
    """A row whose flush changes another one by a statement of a listener."""

    __tablename__ = "sale"
    id: Mapped[int] = mapped_column(primary_key=True)


@event.listens_for(Sale, "after_insert")
def _raise_price(mapper: Any, connection: Any, target: Any) -> None:
    connection.execute(update(Item.__table__).where(Item.id == 1).values(price=7))


class Labelled(db.Model):  # type: ignore[name-defined, misc]
    """The table between items and labels, as a class of its own."""

    __table__ = labelled


class Shop:
    """An application with a database, and a function that is filled anew for each read."""

    def __init__(self, app: Flask, cache: Any) -> None:
        self.app = app
        self.cache = cache
        self.fills = 0

    def cached(self, read: Callable[[], Any]) -> Callable[[], Any]:
        """Cache a read, and call it in a context of its own."""

        def function() -> Any:
            self.fills += 1
            return read()

        memoized = self.cache.memoize(60, make_name=lambda name: "read")(function)

        def call() -> Any:
            with self.app.app_context():
                return memoized()

        return call

    def write(self, change: Callable[[], Any]) -> None:
        """Change and commit in a context of its own."""
        with self.app.app_context():
            change()
            db.session.commit()


@pytest.fixture
def shop(make_app: Callable[..., tuple[Flask, Any]], tmp_path: Path) -> Iterator[Shop]:
    # Under a prefix of its own: the doubt that one test leaves is no other's.
    settings = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/shop.sqlite3"}
    app, cache = make_app(CACHE_KEY_PREFIX=tmp_path.name, **settings)
    db.init_app(app)
    with app.app_context():
        cache.clear()
        engine = db.engine

        @event.listens_for(engine, "connect")
        def foreign_keys(connection: Any, record: Any) -> None:
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA journal_mode=WAL")

        db.create_all()
        shelf = Shelf(id=1, name="one")
        labels = [Label(id=1, text="new"), Label(id=2, text="old")]
        items = [Item(id=n, slug=f"item-{n}", shelf=shelf) for n in range(1, 4)]
        db.session.add_all([shelf, Shelf(id=2, name="two"), *labels, *items])
        db.session.add_all([Node(id=1), Person(), Country(code="p")])
        db.session.flush()
        db.session.add(City(id=1, country="p"))
        db.session.add_all([Draft(slug="a"), Draft(slug="a", deleted=True)])
        db.session.commit()
    cache.watch(db)
    yield Shop(app, cache)
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def price_of(number: Any) -> int:
    return int(db.session.get_one(Item, number).price)


def set_price(number: int, price: int = 7) -> None:
    db.session.get_one(Item, number).price = price


def label_item(number: int) -> None:
    item, label = db.session.get_one(Item, number), db.session.get_one(Label, 1)
    item.labels.append(label)


def move_item(number: int, shelf_number: int) -> None:
    item, shelf = db.session.get_one(Item, number), db.session.get_one(Shelf, shelf_number)
    shelf.items.append(item)


def items_named(slug: str) -> Any:
    return db.session.scalar(select(Item).where(Item.slug == slug))


def _in_savepoint(change: Callable[[], Any]) -> None:
    with db.session.begin_nested():
        change()


def _in_own_session() -> None:
    with Session(db.engine) as session:
        session.get_one(Item, 1).price = 7
        session.commit()


def _on_a_connection() -> None:
    with db.engine.begin() as connection:
        connection.execute(update(Item.__table__).where(Item.id == 1).values(price=7))


_other = aliased(Item)

READS_AND_WRITES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a row by its key": (lambda: price_of(1), lambda: set_price(1)),
    "a row by a key of another type": (lambda: price_of("1"), lambda: set_price(1)),
    "a row by a unique key": (lambda: items_named("item-1").price, lambda: set_price(1)),
    "a unique key that moves to another row": (
        lambda: items_named("item-1").id,
        lambda: (
            setattr(items_named("item-1"), "slug", "gone"),
            db.session.flush(),
            setattr(items_named("item-2"), "slug", "item-1"),
        ),
    ),
    "not found, then inserted": (
        lambda: items_named("new") is not None,
        lambda: db.session.add(Item(slug="new", shelf_id=1)),
    ),
    "not found by its key, then inserted": (
        lambda: db.session.get(Item, 9) is not None,
        lambda: db.session.add(Item(id=9, slug="new", shelf_id=1)),
    ),
    "a list, a row inserted": (
        lambda: len(db.session.scalars(select(Item)).all()),
        lambda: db.session.add(Item(slug="new", shelf_id=1)),
    ),
    "a list, a row changed": (
        lambda: db.session.scalars(select(Item.price)).all(),
        lambda: set_price(3),
    ),
    "a list, a row deleted": (
        lambda: len(db.session.scalars(select(Item)).all()),
        lambda: db.session.delete(db.session.get_one(Item, 3)),
    ),
    "a row, deleted": (
        lambda: db.session.get(Item, 3) is None,
        lambda: db.session.delete(db.session.get_one(Item, 3)),
    ),
    "a row, its key changed": (
        lambda: db.session.get(Item, 3) is None,
        lambda: setattr(db.session.get_one(Item, 3), "id", 33),
    ),
    "bulk UPDATE": (
        lambda: price_of(1),
        lambda: db.session.execute(update(Item).where(Item.id == 1).values(price=7)),
    ),
    "bulk DELETE": (
        lambda: db.session.get(Item, 3) is None,
        lambda: db.session.execute(delete(Item).where(Item.id == 3)),
    ),
    "core UPDATE": (
        lambda: price_of(1),
        lambda: db.session.execute(update(Item.__table__).values(price=7)),
    ),
    "core INSERT of many": (
        lambda: db.session.scalar(select(func.count()).select_from(Item)),
        lambda: db.session.execute(
            insert(Item.__table__), [{"slug": s, "shelf_id": 1, "price": 1} for s in "ab"]
        ),
    ),
    "core SELECT by its key": (
        lambda: db.session.scalar(select(Item.price).where(Item.id == 1)),
        lambda: set_price(1),
    ),
    "joined eager load": (
        lambda: (
            db.session.scalar(
                select(Item).where(Item.id == 1).options(joinedload(Item.shelf))
            ).shelf.name
        ),
        lambda: setattr(db.session.get_one(Shelf, 1), "name", "other"),
    ),
    "lazy load": (
        lambda: db.session.get_one(Item, 1).shelf.name,
        lambda: setattr(db.session.get_one(Shelf, 1), "name", "other"),
    ),
    "a subquery in a column": (
        lambda: db.session.get_one(Shelf, 1).count,
        lambda: db.session.add(Item(slug="new", shelf_id=1)),
    ),
    "a subquery in WHERE": (
        lambda: db.session.scalars(
            select(Shelf.name).where(Shelf.id.in_(select(Item.shelf_id).where(Item.price > 5)))
        ).all(),
        lambda: set_price(1),
    ),
    "a CTE": (
        lambda: db.session.scalars(select(select(Item.price).cte().c.price)).all(),
        lambda: set_price(1),
    ),
    "many-to-many": (
        lambda: [label.text for label in db.session.get_one(Item, 1).labels],
        lambda: label_item(1),
    ),
    "ON DELETE CASCADE": (
        lambda: db.session.get(Item, 1) is None,
        lambda: db.session.delete(db.session.get_one(Shelf, 1)),
    ),
    "ON DELETE CASCADE, transitively": (
        lambda: db.session.execute(select(labelled)).all(),
        lambda: db.session.execute(delete(Shelf)),
    ),
    "a foreign key that the flush fills in": (
        lambda: db.session.get_one(Item, 1).shelf_id,
        lambda: move_item(1, 2),
    ),
    "INSERT from SELECT": (
        lambda: db.session.scalar(select(func.count()).select_from(Label)),
        lambda: db.session.execute(
            insert(Label).from_select(["id", "text"], select(Item.id + 10, Item.slug))
        ),
    ),
    "an alias in a subquery": (
        lambda: db.session.scalar(
            select(select(func.max(_other.price)).scalar_subquery()).where(Item.id == 1)
        ),
        lambda: set_price(2),
    ),
    "a tree": (
        lambda: db.session.get_one(Node, 1).children,
        lambda: db.session.add(Node(parent_id=1)),
    ),
    "a key that is unique among some rows": (
        lambda: [row.id for row in db.session.scalars(select(Draft).where(Draft.slug == "a"))],
        lambda: db.session.add(Draft(slug="a", deleted=True)),
    ),
    "ON UPDATE CASCADE": (
        lambda: db.session.get_one(City, 1).country,
        lambda: setattr(db.session.get_one(Country, "p"), "code", "q"),
    ),
    "a listener's statement in a flush": (
        lambda: price_of(1),
        lambda: db.session.add(Sale()),
    ),
    "a table between two, mapped, too": (
        lambda: db.session.get(Labelled, (1, 1)) is not None,
        lambda: label_item(1),
    ),
    "UPDATE of an alias": (
        lambda: price_of(1),
        lambda: db.session.execute(update(aliased(Item)).values(price=7)),
    ),
    "UPDATE of a table that is only named": (
        lambda: price_of(1),
        lambda: db.session.execute(update(table("item", column("price"))).values(price=7)),
    ),
    "SELECT of a table that is only named": (
        lambda: db.session.scalars(select(column("price")).select_from(table("item"))).all(),
        lambda: set_price(1),
    ),
    "not found, then inserted as text": (
        lambda: db.session.get(Item, 9) is not None,
        lambda: db.session.add(Item(id="009", slug="new", shelf_id=1)),
    ),
    "a unique key that one class of the table has": (
        lambda: (
            db.session.scalar(select(Manager).where(Manager.badge == "b")) is not None,
            len(db.session.scalars(select(Person)).all()),
        ),
        lambda: db.session.add_all([Person(), Manager(badge="b")]),
    ),
    "within a savepoint": (lambda: price_of(1), lambda: _in_savepoint(lambda: set_price(1))),
    "in a session of its own": (lambda: price_of(1), _in_own_session),
    "on a connection": (lambda: price_of(1), _on_a_connection),
}


@pytest.mark.parametrize("name", READS_AND_WRITES)
def test_a_commit_drops_what_was_read(shop: Shop, name: str) -> None:
    read, change = READS_AND_WRITES[name]
    if "transitively" in name:
        shop.write(lambda: label_item(1))
    cached = shop.cached(read)
    before = cached()
    assert cached() == before
    assert shop.fills == 1, "the second call was no hit"
    shop.write(change)
    with shop.app.app_context():
        expected = read()
    assert before != expected, "the change changed nothing that was read"
    assert cached() == expected


@pytest.mark.parametrize(
    ("name", "read", "change"),
    [
        ("another row", lambda: price_of(1), lambda: set_price(2)),
        ("another row, by a unique key", lambda: items_named("item-1").price, lambda: set_price(2)),
        ("another table", lambda: price_of(1), lambda: db.session.add(Label(text="x"))),
        ("a new row", lambda: price_of(1), lambda: db.session.add(Item(slug="x", shelf_id=1))),
        ("a rollback", lambda: price_of(1), lambda: (set_price(1), db.session.rollback())),
        ("nothing", lambda: price_of(1), lambda: None),
        (
            "another row, in a function of a column",
            lambda: db.session.scalar(select(func.coalesce(Item.price, 0)).where(Item.id == 1)),
            lambda: set_price(2),
        ),
        (
            "a column that no key refers to, ON UPDATE CASCADE",
            lambda: db.session.get_one(City, 1).country,
            lambda: setattr(db.session.get_one(Country, "p"), "visits", 7),
        ),
    ],
)
def test_a_commit_leaves_what_it_did_not_touch(
    shop: Shop, name: str, read: Callable[[], Any], change: Callable[[], Any]
) -> None:
    cached = shop.cached(read)
    cached()
    shop.write(change)
    cached()
    assert shop.fills == 1


def test_an_object_read_before_the_fill(shop: Shop) -> None:
    shop.cache.memoize(60, make_name=lambda name: "label")
    label = shop.cache.memoize(60, make_name=lambda name: "label")(
        lambda: f"{db.session.get_one(Item, 1).price} ct"
    )

    def read_then_fill() -> str:
        with shop.app.app_context():
            db.session.get_one(Item, 1)
            return str(label())

    assert read_then_fill() == "1 ct"
    shop.write(lambda: set_price(1))
    assert read_then_fill() == "7 ct"


def test_a_snapshot_older_than_the_fill(shop: Shop) -> None:
    cached = shop.cache.memoize(60, make_name=lambda name: "snapshot")(lambda: price_of(1))
    with shop.app.app_context():
        db.session.execute(text("BEGIN"))
        assert db.session.scalar(select(Item.price).where(Item.id == 2)) == 1
        _in_thread(lambda: shop.write(lambda: set_price(1)))
        assert cached() == 1
    with shop.app.app_context():
        assert cached() == 7


def test_a_session_that_is_older_than_the_context(shop: Shop) -> None:
    """A request inside of an application context that a test keeps open shares its session."""

    @shop.app.get("/price")
    @shop.cache.cached(60)
    def price() -> str:
        return str(db.session.get_one(Item, 1).price)

    with shop.app.app_context():
        kept = db.session.get_one(Item, 1)
        _in_thread(lambda: shop.write(lambda: set_price(1)))
        assert shop.app.test_client().get("/price").data in (b"1", b"7")
        assert kept is not None
    assert shop.app.test_client().get("/price").data == b"7"


def test_flushed_read_and_rolled_back(shop: Shop) -> None:
    cached = shop.cache.memoize(60, make_name=lambda name: "rolled")(lambda: price_of(1))
    with shop.app.app_context():
        set_price(1)
        assert cached() == 7
        db.session.flush()
        assert cached() == 7
        db.session.rollback()
        cached()
    with shop.app.app_context():
        assert cached() == 1


def test_pending_changes_go_past_the_cache(shop: Shop) -> None:
    cached = shop.cached(lambda: price_of(1))
    cached()
    memoized = shop.cache.memoize(60, make_name=lambda name: "read")(lambda: price_of(1))
    with shop.app.app_context():
        set_price(1)
        assert memoized() == 7
        db.session.rollback()
    assert cached() == 1


def test_many_rows_of_a_table_become_the_table(shop: Shop) -> None:
    shop.write(lambda: db.session.add_all([Item(slug=f"more-{n}", shelf_id=1) for n in range(100)]))
    cached = shop.cached(lambda: sum(price_of(n) for n in range(1, 90)))
    assert cached() == 89
    shop.write(lambda: set_price(100, 3))
    assert (cached(), shop.fills) == (89, 2)


def test_the_answer_to_commit_is_lost(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = shop.cached(lambda: price_of(1))
    cached()
    with shop.app.app_context():
        set_price(1)
        db.session.flush()
        connection = db.session.connection().connection.dbapi_connection

        class Lost:
            """Commits, and then says that the line is dead."""

            def __getattr__(self, name: str) -> Any:
                return getattr(connection, name)

            def commit(self) -> None:
                connection.commit()
                raise ConnectionResetError("the answer was lost")

        fairy: Any = db.session.connection().connection
        monkeypatch.setattr(fairy, "dbapi_connection", Lost())
        with pytest.raises(ConnectionResetError):
            db.session.commit()
        monkeypatch.undo()
    assert cached() == 7


def test_killed_between_commit_and_invalidation(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = shop.cached(lambda: price_of(1))
    cached()
    monkeypatch.setattr(shop.cache.engine, "invalidate", lambda *_: None)
    shop.write(lambda: set_price(1))
    monkeypatch.undo()
    assert cached() == 7


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("/* why */ UPDATE item SET price = 7", True),
        ("-- why\nUPDATE item SET price = 7", True),
        ("WITH a AS (SELECT 1) UPDATE item SET price = 7", True),
        ("WITH e AS (SELECT 'DELETE' AS a) SELECT a FROM e", False),
        ('WITH e AS (SELECT 1 AS "update") SELECT "update" FROM e', False),
        ("-- UPDATE\nSELECT 1", False),
        ("PRAGMA user_version", False),
        ("SELECT ';UPDATE';", False),
        ("EXPLAIN SELECT 1", False),
        ("EXPLAIN DELETE FROM item", True),
    ],
)
def test_raw_sql_that_writes_is_told_from_what_reads(shop: Shop, sql: str, writes: bool) -> None:
    with shop.app.app_context():
        db.session.execute(text(sql))
        assert current_dependencies().bypass is writes


def test_a_commit_invalidates_while_the_cache_is_switched_off(shop: Shop) -> None:
    price = shop.cached(lambda: price_of(1))
    assert [price(), price(), shop.fills] == [1, 1, 1]
    shop.cache.app.extensions["cache"][shop.cache].kill_switch.switch_off()
    assert [price(), price(), shop.fills] == [1, 1, 3]
    shop.write(lambda: set_price(1))
    assert [price(), shop.fills] == [7, 4]
    shop.cache.app.extensions["cache"][shop.cache].kill_switch.switch_on()
    assert [price(), price(), shop.fills] == [7, 7, 5]


def test_what_one_context_has_not_committed_another_one_in_it_does_not_store(shop: Shop) -> None:
    @shop.app.get("/price")
    @shop.cache.cached(60)
    def price() -> str:
        return f"{price_of(1)}"

    with shop.app.app_context():
        set_price(1)
        db.session.flush()
        shop.app.test_client().get("/price")
        db.session.rollback()
    assert shop.app.test_client().get("/price").text == "1"


@pytest.mark.usefixtures("reports_again")
def test_raw_sql_is_named_in_development(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.app.testing = True
    shop.cached(lambda: db.session.scalar(text("SELECT price FROM item WHERE id = 1")))()
    shop.write(lambda: db.session.execute(text("UPDATE item SET price = 3")))
    said = [record.getMessage() for record in caplog.records]
    assert any("cache.tag" in message and "SELECT price" in message for message in said)
    assert any("cache.invalidate" in message and "UPDATE item" in message for message in said)


def test_raw_sql_that_is_rolled_back_leaves_nothing(shop: Shop) -> None:
    cached = shop.cached(lambda: price_of(1))
    with shop.app.app_context():
        db.session.execute(text("UPDATE item SET price = 7"))
        assert cached() == 1
        assert shop.cache.memoize(60, make_name=lambda name: "read")(lambda: price_of(1))() == 7
        db.session.rollback()
    assert cached() == 1


def test_a_connection_that_commits_by_itself(shop: Shop) -> None:
    cached = shop.cached(lambda: price_of(1))
    assert cached() == 1
    with shop.app.app_context():
        engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(update(Item).values(price=7))
            _in_thread(lambda: results.append(cached()))
    assert results.pop() == 7


def test_a_savepoint_that_is_released_and_rolled_back(shop: Shop) -> None:
    cached = shop.cached(lambda: price_of(1))
    assert cached() == 1
    with shop.app.app_context():
        _in_savepoint(lambda: set_price(1))
        assert cached() == 1
        _in_thread(lambda: results.append(cached()))
        db.session.rollback()
    assert results.pop() == cached() == 1


@pytest.mark.parametrize("how", ["AUTOCOMMIT", "the driver's default"])
def test_a_release_that_commits(shop: Shop, how: str) -> None:
    """A savepoint outside of a transaction is one: what is filled before its release is old."""
    cached = shop.cached(lambda: price_of(1))
    assert cached() == 1
    with shop.app.app_context():
        engine = db.engine
        if how == "AUTOCOMMIT":
            engine = engine.execution_options(isolation_level=how)
        else:
            event.remove(engine, "savepoint", begin_before_savepoint)
        with engine.connect() as connection:
            with connection.begin_nested():
                connection.execute(update(Item).values(price=7))
                with connection.begin_nested():
                    connection.execute(update(Item).values(price=8))
                _in_thread(lambda: results.append(cached()))
            _in_thread(lambda: results.append(cached()))
        assert results == [1, 8]
        results.clear()
    assert cached() == 8


def test_the_doubt_of_a_writer_that_died_ends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = shop.cached(lambda: price_of(1))
    assert cached() == 1
    # Its time is over at once, by the clock of a server that counts in whole seconds, too.
    for module in ("tagstate", "redis"):
        monkeypatch.setattr(f"flask_coherent_cache._stores.{module}.DOUBT_SECONDS", -2)
    with monkeypatch.context() as dying:
        dying.setattr(shop.cache.engine, "invalidate", lambda *_: None)
        shop.write(lambda: set_price(1))
    assert [cached() for _ in range(4)] == [7] * 4
    assert shop.fills < 1 + 4, "it is stored again"


@pytest.mark.usefixtures("reports_again")
def test_a_process_that_no_server_hears_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write(lambda: set_price(1))
    shop.write(lambda: set_price(2))
    said = [record for record in caplog.records if "does not hear of it" in record.getMessage()]
    assert len(said) == (0 if shop.cache.engine.store.shared else 1)


def _in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


#: A session of the application's own, as a command or a service may keep one.
own_session: list[Session] = []


def price_in_own_session(number: int) -> int:
    return int(own_session[0].get_one(Item, number).price)


def price_once_more(number: int) -> int:
    return price_of(number)


@pytest.mark.parametrize("read", [price_in_own_session, price_once_more])
def test_a_fill_depends_on_rows_that_were_read_before_it(
    shop: Shop, read: Callable[[int], int]
) -> None:
    memoized = shop.cache.memoize(60)(read)

    def asked() -> int:
        with shop.app.app_context(), Session(db.engine) as session:
            own_session[:] = [session]
            row = session.get(Item, 1), db.session.get(Item, 1)
            return int(memoized(1)) if row else 0

    before = asked()
    assert asked() == before
    with shop.app.app_context():
        set_price(1, before + 1)
        db.session.commit()
    assert asked() == before + 1
