"""A table is what the database means by a name, and a row is named by its table's own key."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from importlib import import_module
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import (
    DDL,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    column,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import registry, sessionmaker
from sqlalchemy.sql import ColumnElement

from flask_coherent_cache._sqlalchemy.compiling import note_what_is_rendered
from flask_coherent_cache._sqlalchemy.rows import row_name
from flask_coherent_cache._sqlalchemy.statements import analyse
from oracle.oracle import Run, application
from oracle.servers import database


class Shop:
    """Two tables, ``item`` and ``stock``, each with the rows 1 to 3; ``item`` refers to itself."""

    def __init__(self, app: Any, cache: Any, db: Any) -> None:
        self.app, self.cache, self.db = app, cache, db
        self.fills = self.asked = 0
        metadata = db.metadata
        self.stock = Table(
            "stock", metadata, Column("id", Integer, primary_key=True), Column("n", Integer)
        )
        self.item = Table(
            "item",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("n", Integer),
            Column("parent_id", ForeignKey("item.id", ondelete="CASCADE")),
        )
        self.Item = type("Item", (db.Model,), {"__table__": self.item})

    def start(self, *ddl: str) -> None:
        """Create the tables and what else the database has, and begin to watch."""
        db = self.db
        with db.engine.begin() as connection:
            db.metadata.create_all(connection)
            for sql in ddl:
                connection.exec_driver_sql(sql)
            for table in (self.stock, self.item):
                connection.execute(insert(table), [{"id": i, "n": 1} for i in (1, 2, 3)])
        self.cache.watch(db)

    def cached(self, read: Callable[[], Any]) -> Callable[[], Any]:
        self.asked += 1
        number = self.asked

        def function(number: int) -> Any:
            self.fills += 1
            return read()

        memoized = self.cache.memoize(60, make_name=lambda name: "read")(function)

        def call() -> Any:
            with self.app.app_context():
                return memoized(number)

        return call

    def read_rows(self, statement: Any) -> Callable[[], Any]:
        return lambda: sorted(map(tuple, self.db.session.execute(statement)))

    def write(self, *statements: Any) -> None:
        with self.app.app_context():
            for statement in statements:
                if callable(statement):
                    statement()
                else:
                    self.db.session.execute(statement)
            self.db.session.commit()

    def drops(self, read: Any, *writes: Any) -> bool:
        """Tell whether a write drops a read; that is never stale."""
        ask = read if callable(read) else self.read_rows(read)
        cached, self.fills = self.cached(ask), 0
        assert cached() == cached()
        assert self.fills == 1, "the second call was no hit"
        self.write(*writes)
        with self.app.app_context():
            now = ask()
        assert cached() == now, "stale"
        return self.fills == 2


@pytest.fixture
def shop() -> Iterator[Shop]:
    with application(Run("sqlite", "sqlite://")) as parts:
        yield Shop(*parts)


@pytest.fixture(scope="module")
def postgresql_url() -> Iterator[str]:
    with database("postgresql") as url:
        if url is None:
            pytest.skip("there is no postgresql on this machine")
        yield url


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Shop]:
    with application(Run("postgresql", postgresql_url)) as parts:
        with parts[2].engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other")
        yield Shop(*parts)


@pytest.fixture
def mariadb() -> Iterator[Shop]:
    with database("mysql") as url:
        if url is None:
            pytest.skip("there is no mariadb, or no driver for it, on this machine")
        with application(Run("mysql", url)) as parts:
            yield Shop(*parts)


@pytest.fixture
def said(reports_again: None, caplog: pytest.LogCaptureFixture) -> Callable[[str], int]:
    """Count the messages that have a text in them."""
    return lambda part: sum(part in record.getMessage() for record in caplog.records)


def twin(name: str, schema: str | None = None, **info: Any) -> Table:
    """The same table, declared elsewhere."""
    columns = (Column("id", Integer, primary_key=True), Column("n", Integer))
    return Table(name, MetaData(), *columns, schema=schema, info=info)


# ----------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize(("name", "schema"), [("item", "main"), ("ITEM", None), ("Item", "MAIN")])
def test_one_table_has_many_spellings(shop: Shop, name: str, schema: str | None) -> None:
    shop.start()
    other, one = twin(name, schema), shop.item
    assert shop.drops(select(one.c.n), update(other).where(other.c.id == 1).values(n=2))
    assert shop.drops(select(other.c.n), update(one).where(one.c.id == 1).values(n=3))
    found = select(one.c.n).where(one.c.id == 1)
    assert shop.drops(found, update(other).where(other.c.id == 1).values(n=4))
    assert not shop.drops(found, update(other).where(other.c.id == 2).values(n=4))
    assert not shop.drops(found, update(shop.stock).values(n=4))


def test_a_schema_is_translated(postgresql: Shop) -> None:
    shop = postgresql
    shop.start("CREATE TABLE other.item (id int primary key, n int)")
    with shop.db.engine.begin() as connection:
        connection.execute(insert(twin("item", "other")), [{"id": 1, "n": 1}, {"id": 2, "n": 1}])
    symbol, named, own = twin("item", "tenant"), twin("item", "other"), shop.item
    options = {"schema_translate_map": {"tenant": "other"}}

    def translated(statement: Any) -> Any:
        return lambda: (
            shop.db.session.connection().execute(statement, execution_options=options) and None
        )

    by_key = select(named.c.n).where(named.c.id == 1)
    for read in (select(named.c.n), by_key):
        assert shop.drops(
            read,
            translated(update(symbol).where(symbol.c.id == 1).values(n=symbol.c.n + 1)),
        )

    def reading() -> Any:
        connection = shop.db.session.connection()
        return connection.execute(select(symbol.c.n), execution_options=options).all()

    assert shop.drops(reading, update(named).where(named.c.id == 1).values(n=7))
    assert not shop.drops(by_key, update(named).where(named.c.id == 2).values(n=7))
    assert not shop.drops(select(own.c.n), update(named).values(n=8))


def test_the_default_schema_can_be_named(postgresql: Shop) -> None:
    shop, public = postgresql, twin("item", "public")
    shop.start()
    read = select(public.c.n).where(public.c.id == 1)
    assert shop.drops(read, update(shop.item).where(shop.item.c.id == 1).values(n=2))
    assert shop.drops(select(shop.item.c.n), update(public).where(public.c.id == 1).values(n=3))


@pytest.mark.parametrize(
    "path",
    [
        text("SET LOCAL search_path TO other"),
        select(func.set_config("search_path", "other", True)),
    ],
)
def test_a_search_path_is_not_trusted(
    postgresql: Shop, path: Any, said: Callable[[str], int]
) -> None:
    shop = postgresql
    shop.start("CREATE TABLE other.item (id int primary key, n int)")
    named = twin("item", "other")
    shop.write(insert(named).values(id=1, n=1))
    plain = twin("item")
    unnamed = update(plain).values(n=plain.c.n + 1)
    assert shop.drops(select(named.c.n).where(named.c.id == 1), path, unnamed)
    assert said("which table a name means") == 1


def test_two_engines_with_other_defaults_mean_one_table(postgresql: Shop) -> None:
    shop = postgresql
    shop.start("CREATE TABLE other.item (id int primary key, n int)")
    engine = create_engine(shop.db.engine.url, connect_args={"options": "-csearch_path=other"})
    shop.cache.watch(engine)
    named, plain = twin("item", "other"), twin("item")

    def elsewhere(statement: Any) -> Callable[[], None]:
        def run() -> None:
            with engine.begin() as connection:
                connection.execute(statement)

        return run

    assert shop.drops(select(named.c.n), elsewhere(insert(plain).values(id=1, n=1)))

    def read() -> Any:
        with engine.connect() as connection:
            return connection.execute(select(plain.c.n).where(plain.c.id == 1)).all()

    assert shop.drops(read, update(named).where(named.c.id == 1).values(n=5))
    engine.dispose()


# ------------------------------------------------------------------------------------ classes


def test_a_class_of_another_registry_writes_the_same_rows(shop: Shop) -> None:
    again, cls = registry(), type("Again", (), {})
    again.map_imperatively(cls, twin("item"))
    shop.start()

    def change() -> None:
        shop.db.session.get(cls, 1).n += 1

    read = lambda: shop.db.session.get(shop.Item, 1).n  # noqa: E731
    assert shop.drops(read, change)
    assert not shop.drops(read, lambda: setattr(shop.db.session.get(cls, 2), "n", 9))
    assert shop.drops(lambda: shop.db.session.get(cls, 1).n, update(shop.item).values(n=5))
    again.dispose()


def test_a_class_on_a_join_writes_rows_of_both_tables(shop: Shop) -> None:
    again, cls = registry(), type("Joined", (), {})
    join = shop.item.join(shop.stock, shop.item.c.id == shop.stock.c.id)
    properties = {"id": [shop.item.c.id, shop.stock.c.id], "left": shop.stock.c.n}
    again.map_imperatively(cls, join, properties=properties)
    shop.start()

    def change() -> None:
        shop.db.session.scalars(select(cls).where(shop.item.c.id == 1)).one().left += 1

    read = select(shop.stock.c.n).where(shop.stock.c.id == 1)
    assert shop.drops(read, change)
    assert not shop.drops(select(shop.stock.c.n).where(shop.stock.c.id == 2), change)
    again.dispose()


def test_a_joined_subclass_has_a_key_of_its_own(shop: Shop) -> None:
    table = Table(
        "special",
        shop.db.metadata,
        Column("number", Integer, primary_key=True),
        Column("item_id", ForeignKey("item.id")),
        Column("m", Integer),
    )
    mapped = {"__table__": table, "__mapper_args__": {"inherit_condition": None}}
    mapped["__mapper_args__"] = {"inherit_condition": table.c.item_id == shop.item.c.id}
    cls = type("Special", (shop.Item,), mapped)
    shop.start()
    shop.write(insert(table).values(number=70, item_id=1, m=1))

    def change() -> None:
        found = shop.db.session.get(cls, 1)
        found.m += 1
        found.n += 1

    for read in (
        select(table.c.m).where(table.c.number == 70),
        select(shop.item.c.n).where(shop.item.c.id == 1),
    ):
        assert shop.drops(read, change)
    assert not shop.drops(select(shop.item.c.n).where(shop.item.c.id == 2), change)


@pytest.mark.parametrize("way", ["itself", "in a circle"])
def test_rows_that_the_database_deletes(shop: Shop, way: str) -> None:
    """Of the table that is written itself, and of tables that refer to each other."""
    item, stock = shop.item, shop.stock
    if way == "in a circle":
        item.append_column(Column("stock_id", ForeignKey(stock.c.id, ondelete="CASCADE")))
        link = ForeignKey("item.id", ondelete="CASCADE", use_alter=True, name="back")
        stock.append_column(Column("item_id", link))
    shop.start()
    if way == "in a circle":
        shop.write(update(stock).where(stock.c.id == 1).values(item_id=1))
        shop.write(update(item).where(item.c.id == 3).values(stock_id=1))
    else:
        shop.write(update(item).where(item.c.id == 3).values(parent_id=1))

    def change() -> None:
        shop.db.session.delete(shop.db.session.get(shop.Item, 1))

    assert shop.drops(lambda: shop.db.session.get(shop.Item, 3) is None, change)


def test_a_flush_that_ends_early_leaves_nothing(shop: Shop) -> None:
    shop.start()

    def stop(*_: Any) -> None:
        raise RuntimeError

    def change() -> None:
        session = shop.db.session
        session.add(shop.Item(id=9))
        event.listen(session, "before_flush", stop)
        with suppress(RuntimeError):
            session.flush()
        event.remove(session, "before_flush", stop)
        session.expunge_all()
        session.execute(update(shop.Item), [{"id": 1, "n": 8}])

    assert shop.drops(select(shop.item.c.n).where(shop.item.c.id == 1), change)


# ----------------------------------------------------------------- text, views, triggers


class Largest(ColumnElement[int]):
    """A construct of an application's own."""

    type = Integer()
    inherit_cache = True


@compiles(Largest)
def _largest(element: Largest, compiler: Any, **_: Any) -> str:
    return "(SELECT max(n) FROM stock)"


EMBEDDED: dict[str, Callable[[Shop], Any]] = {
    "text": lambda shop: select(shop.item.c.id).where(text("n < (SELECT max(n) FROM stock)")),
    "literal_column": lambda shop: select(literal_column("(SELECT max(n) FROM stock)")),
    "op": lambda shop: select(shop.item.c.n.op("in (select n from stock) and 1 =")(1)),
    "suffix": lambda shop: select(shop.item.c.n).suffix_with("UNION ALL SELECT n FROM stock"),
    "another table in a suffix": lambda shop: select(shop.item.c.n).suffix_with(", stock"),
    "prefix": lambda shop: select(shop.item.c.n).prefix_with("(SELECT max(n) FROM stock),"),
    "FROM": lambda shop: select(func.sum(column("n"))).select_from(text("stock")),
    "a CTE of text": lambda shop: select(
        text("SELECT n FROM stock").columns(column("n", Integer)).cte().c.n
    ),
    "a construct": lambda shop: select(shop.item.c.id, Largest()),
    "EXISTS": lambda shop: select(shop.item.c.id).where(
        exists(select(literal_column("1")).where(text("2 IN (SELECT n FROM stock)")))
    ),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_text_in_a_statement_is_not_trusted(
    shop: Shop, name: str, said: Callable[[str], int]
) -> None:
    shop.start()
    read = EMBEDDED[name](shop)
    assert shop.drops(read, update(shop.stock).where(shop.stock.c.id == 1).values(n=2))
    assert said("The cache cannot see which tables") == 1


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_text_reads_is_declared(shop: Shop, name: str, said: Callable[[str], int]) -> None:
    other = Table("other", shop.db.metadata, Column("id", Integer, primary_key=True))
    shop.start()
    read = EMBEDDED[name](shop).execution_options(cache_reads=["stock"])
    assert shop.drops(read, update(shop.stock).where(shop.stock.c.id == 1).values(n=2))
    assert not shop.drops(read, insert(other).values(id=1))
    assert said("The cache cannot see") == 0


@pytest.mark.parametrize("harmless", ["n DESC", "n IS NOT DISTINCT FROM 1", "lower('FROM stock')"])
def test_text_that_reads_no_table_costs_nothing(shop: Shop, harmless: str) -> None:
    shop.start()
    read = select(shop.item.c.id).order_by(text(harmless))
    assert not shop.drops(read, update(shop.stock).values(n=2))


VIEW = "CREATE VIEW shown AS SELECT id, n FROM stock"


@pytest.mark.parametrize("info", [{}, {"reads": ["stock"]}])
@pytest.mark.parametrize("whole", [True, False])
def test_a_view(shop: Shop, info: dict[str, Any], whole: bool, said: Callable[[str], int]) -> None:
    shop.start(VIEW)
    view = twin("shown", **info)
    read = select(view.c.n) if whole else select(view.c.n).where(view.c.id == 1)
    assert shop.drops(read, update(shop.stock).where(shop.stock.c.id == 1).values(n=2))
    assert shop.drops(read, update(shop.item).values(n=2)) is not bool(info)
    assert said("shown is a view") == (0 if info else 1)


TRIGGER = "CREATE TRIGGER noticing AFTER UPDATE ON item BEGIN UPDATE stock SET n = n + 1; END"


@pytest.mark.parametrize("info", [{}, {"writes": ["stock"]}])
def test_a_trigger(shop: Shop, info: dict[str, Any], said: Callable[[str], int]) -> None:
    other = Table("other", shop.db.metadata, Column("id", Integer, primary_key=True))
    shop.item.info.update(info)
    shop.start(TRIGGER)
    change = update(shop.item).where(shop.item.c.id == 1).values(n=2)
    assert shop.drops(select(shop.stock.c.n).where(shop.stock.c.id == 3), change)
    assert shop.drops(select(other.c.id), change) is not bool(info)
    assert said("item has a trigger") == (0 if info else 1)


def test_views_and_triggers_of_an_attached_database(shop: Shop) -> None:
    event.listen(shop.db.engine, "connect", lambda driver, _: driver.execute("ATTACH '' AS more"))
    written, shown = twin("written", "more"), twin("shown", "more")
    shop.start(
        "CREATE TABLE more.written (id INTEGER PRIMARY KEY, n INTEGER, parent_id INTEGER)",
        "CREATE VIEW more.shown AS SELECT * FROM hidden",
        "CREATE TABLE more.hidden (id INTEGER PRIMARY KEY, n INTEGER, parent_id INTEGER)",
        "CREATE TRIGGER more.hides AFTER UPDATE ON written BEGIN UPDATE hidden SET n = 7; END",
        "INSERT INTO more.written VALUES (1, 1, 1)",
        "INSERT INTO more.hidden VALUES (1, 1, 1)",
    )
    hidden = twin("hidden", "more")
    assert shop.drops(select(hidden.c.n), update(written).values(n=2))
    assert shop.drops(select(shown.c.n), update(hidden).values(n=8))


def test_a_trigger_that_came_while_the_process_runs(shop: Shop) -> None:
    shop.start()
    read = select(shop.stock.c.n)
    change = update(shop.item).where(shop.item.c.id == 1).values(n=shop.item.c.n + 1)
    assert not shop.drops(read, change)
    shop.write(text(TRIGGER))
    assert shop.drops(read, change)


@pytest.mark.parametrize("kind", ["STABLE", "VOLATILE", "IMMUTABLE"])
def test_a_function_of_the_database(postgresql: Shop, kind: str) -> None:
    shop = postgresql
    body = "SELECT 1" if kind == "IMMUTABLE" else "SELECT max(n) FROM stock"
    if kind == "VOLATILE":
        body = "UPDATE stock SET n = n + 1 RETURNING n"
    shop.start(f"CREATE FUNCTION largest() RETURNS int LANGUAGE sql {kind} AS '{body}'")
    called = select(func.largest(), shop.item.c.id).where(shop.item.c.id == 1)
    if kind == "VOLATILE":
        assert shop.drops(select(shop.stock.c.n), called)
    else:
        assert shop.drops(called, update(shop.stock).values(n=5)) is (kind == "STABLE")


def test_a_partition_is_its_table(postgresql: Shop) -> None:
    shop = postgresql
    shop.start(
        "CREATE TABLE whole (id int, n int, primary key (id)) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (9)",
    )
    whole, part = twin("whole"), twin("part")
    shop.write(insert(whole).values(id=1, n=1))
    assert shop.drops(select(whole.c.n).where(whole.c.id == 1), update(part).values(n=2))
    assert shop.drops(select(part.c.n).where(part.c.id == 1), update(whole).values(n=3))


# ------------------------------------------------------------------------------------- writes


WRITES: dict[str, Callable[[Shop], tuple[Any, ...]]] = {
    "drop_all and create_all": lambda shop: (lambda: (shop.db.drop_all(), shop.db.create_all()),),
    "DROP TABLE": lambda shop: (
        lambda: shop.item.drop(shop.db.session.connection()),
        lambda: shop.item.create(shop.db.session.connection()),
    ),
    "ALTER TABLE as text": lambda shop: (
        text("ALTER TABLE item RENAME TO old"),
        text("CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER, parent_id INTEGER)"),
    ),
    "a DDL element": lambda shop: (
        lambda: shop.db.session.execute(DDL("DROP TABLE item")),
        lambda: shop.db.session.execute(DDL("CREATE TABLE item (id INTEGER, n INTEGER)")),
    ),
    "UPDATE as text": lambda shop: (text("UPDATE item SET n = 7"),),
    "quoted in text": lambda shop: (text('UPDATE "item" SET n = 7'),),
    "OR REPLACE": lambda shop: (insert(shop.item).prefix_with("OR REPLACE").values(id=1, n=7),),
    "RETURNING": lambda shop: (update(shop.item).values(n=7).returning(shop.item.c.id),),
    "an UPDATE that another table narrows": lambda shop: (
        update(shop.item).where(shop.item.c.id == shop.stock.c.id).values(n=7),
    ),
    "what is declared": lambda shop: (
        text("PRAGMA user_version").execution_options(cache_writes=["item"]),
        lambda: shop.db.session.connection().connection.execute("UPDATE item SET n = 7"),
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_drops_a_row(shop: Shop, name: str) -> None:
    shop.start()
    read = select(shop.item.c.n).where(shop.item.c.id == 1)
    assert shop.drops(read, *WRITES[name](shop))


def test_ddl_outside_of_a_transaction_is_seen_at_once(shop: Shop) -> None:
    """Python's driver for SQLite has begun none: what DDL does stays, whatever comes after it."""
    shop.start()

    def change() -> None:
        shop.db.session.execute(text("DROP TABLE stock"))
        shop.db.session.rollback()

    def read() -> bool:
        try:
            return bool(shop.db.session.execute(select(shop.stock)).all())
        except OperationalError:
            shop.db.session.rollback()
            return False

    assert shop.drops(read, change)


def test_mariadb_commits_before_ddl_and_knows_its_own_schema(mariadb: Shop) -> None:
    shop, stock = mariadb, twin("stock", "test")
    shop.start("CREATE VIEW shown AS SELECT id, n FROM stock")

    def change() -> None:
        shop.db.session.execute(update(stock).values(n=7))
        shop.db.session.execute(text("CREATE TABLE extra (id int)"))
        shop.db.session.rollback()

    assert shop.drops(select(shop.stock.c.n).where(shop.stock.c.id == 1), change)
    assert shop.drops(select(twin("shown").c.n), update(stock).values(n=8))


def test_a_row_that_a_constraint_replaces(shop: Shop) -> None:
    unique = Table(
        "chosen",
        shop.db.metadata,
        Column("id", Integer, primary_key=True),
        Column("n", Integer),
        UniqueConstraint("n", sqlite_on_conflict="REPLACE"),
    )
    shop.start()
    shop.write(insert(unique).values(id=1, n=1))
    assert shop.drops(select(unique.c.n).where(unique.c.id == 1), insert(unique).values(id=2, n=1))


@pytest.mark.parametrize(
    "sql",
    [
        "TRUNCATE item",
        "WITH a AS (SELECT 1) DELETE FROM item",
        "SET LOCAL lock_timeout = '1s'; UPDATE item SET n = 7",
        "EXPLAIN ANALYZE UPDATE item SET n = 8",
    ],
)
def test_a_write_in_text(postgresql: Shop, sql: str) -> None:
    postgresql.start()
    item = postgresql.item
    assert postgresql.drops(select(item.c.n).where(item.c.id == 1), text(sql))


def test_a_statement_that_was_compiled_before_the_watch(shop: Shop) -> None:
    read, change = (
        select(shop.item.c.n),
        lambda: setattr(
            shop.db.session.get(shop.Item, 1), "n", shop.db.session.get(shop.Item, 1).n + 1
        ),
    )
    with shop.db.engine.begin() as connection:
        shop.db.metadata.create_all(connection)
    shop.write(insert(shop.item).values(id=1, n=1), change, read)
    shop.write(delete(shop.item))
    shop.start()
    assert shop.drops(read, change)
    assert shop.drops(select(shop.item.c.n).where(shop.item.c.id == 1), change)


def test_an_analysis_that_fails_means_everything(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, said: Callable[[str], int]
) -> None:
    shop.start()

    def fail(*_: Any) -> Any:
        raise LookupError("a new SQLAlchemy")

    with monkeypatch.context() as broken:
        broken.setattr("flask_coherent_cache._sqlalchemy.statements._analysed", fail)
        read, change = select(shop.item.c.n), update(shop.stock).values(n=5)
        assert shop.drops(read, change)
        assert shop.drops(select(shop.item.c.n).where(shop.item.c.id == 2), change)
    assert said("could not analyse") >= 1


def test_a_count_of_a_row_has_a_row_though_nothing_is_found(shop: Shop) -> None:
    shop.start()
    read = select(func.count()).select_from(shop.item).where(shop.item.c.id == 9)
    assert shop.drops(read, insert(shop.item).values(id=9))


@pytest.mark.parametrize(
    ("value", "name"),
    [(7, "7"), ("007", "7"), ("-7", "-7"), ("7.0", None), (True, None), (7.0, None), (None, None)],
)
def test_equal_keys_have_one_name(value: Any, name: str | None) -> None:
    assert row_name(twin("item"), [value], "sqlite") == name


class Shouting(TypeDecorator[str]):
    """Sends a text in capitals."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value and value.upper()


class Code(str, Enum):  # noqa: UP042 - its str() is no text of the database
    A = "A"


def land(shop: Shop, type_: Any = None) -> Table:
    """A table whose key ``code`` is a text."""
    return Table(
        "land",
        shop.db.metadata,
        Column("code", type_ or String(9), primary_key=True),
        Column("n", Integer),
    )


def test_a_row_is_found_by_another_spelling_than_its_model_knows(shop: Shop) -> None:
    """What is reflected from SQLite has no collation."""
    shop.start(
        "CREATE TABLE land (code TEXT COLLATE NOCASE PRIMARY KEY, n INTEGER)",
        "INSERT INTO land VALUES ('A', 1)",
    )
    land = Table("land", MetaData(), autoload_with=shop.db.engine)
    read = select(land.c.n).where(land.c.code == "a")
    assert shop.drops(read, update(land).where(land.c.code == "A").values(n=2))


def test_a_database_has_a_collation_of_its_own(shop: Shop) -> None:
    table = land(shop, type_=String(9).with_variant(String(9, collation="NOCASE"), "sqlite"))
    shop.start()
    shop.write(insert(table).values(code="A", n=1))
    read = select(table.c.n).where(table.c.code == "a")
    assert shop.drops(read, update(table).where(table.c.code == "A").values(n=2))


@pytest.mark.parametrize("type_", ["char(9)", "text COLLATE folding"])
def test_a_type_of_postgresql_has_many_spellings(postgresql: Shop, type_: str) -> None:
    shop, table = postgresql, land(postgresql)
    shop.start(
        "DROP TABLE IF EXISTS land",
        "CREATE COLLATION IF NOT EXISTS folding "
        "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        f"CREATE TABLE spelled (code {type_} PRIMARY KEY, n int)",
        "ALTER TABLE spelled RENAME TO land",
    )
    shop.write(insert(table).values(code="A", n=1))
    other = "A  " if type_ == "char(9)" else "a"
    read = select(table.c.n).where(table.c.code == other)
    assert shop.drops(read, update(table).where(table.c.code == "A").values(n=2))


@pytest.mark.parametrize("key", [Code.A, literal("a", Shouting())])
def test_a_row_is_named_by_what_the_database_gets(shop: Shop, key: Any) -> None:
    table = land(shop)
    shop.start()
    shop.write(insert(table).values(code="A", n=1))
    read = select(table.c.n).where(table.c.code == key)
    assert shop.drops(read, update(table).where(table.c.code == "A").values(n=2))
    assert shop.drops(read, delete(table).where(table.c.code == "A"))


def test_a_key_may_be_empty(shop: Shop) -> None:
    table = land(shop)
    shop.start()
    shop.write(insert(table).values(code="", n=1))
    read = select(table.c.n).where(table.c.code == "")
    assert shop.drops(read, update(table).where(table.c.code == "").values(n=2))


def test_a_row_that_comes_between_two_lookups_of_it(shop: Shop) -> None:
    """A fill that did not find a row and then does depends on the first answer, too."""
    shop.start()
    read = select(shop.item.c.n).where(shop.item.c.id == 9)
    threads = [Thread(target=lambda: shop.write(insert(shop.item).values(id=9, n=9)))]

    def both() -> Any:
        before = shop.db.session.scalar(read)
        shop.db.session.rollback()
        if before is None and threads:
            (thread,) = threads
            threads.clear()
            thread.start()
            thread.join()
        return before, shop.db.session.scalar(read)

    shop.write(insert(shop.item).values(id=9, n=9))
    cached = shop.cached(both)
    # The store knows the tags of the row from now on.
    assert cached() == (9, 9)
    shop.write(delete(shop.item).where(shop.item.c.id == 9))
    assert (cached(), cached()) == ((None, 9), (9, 9))


def test_a_row_that_a_constraint_of_the_database_alone_replaces(shop: Shop) -> None:
    shop.start(
        "CREATE TABLE chosen (id INTEGER PRIMARY KEY, n INTEGER UNIQUE ON CONFLICT REPLACE)",
        "INSERT INTO chosen VALUES (1, 1)",
    )
    chosen = Table("chosen", MetaData(), autoload_with=shop.db.engine)
    assert shop.drops(select(chosen.c.n).where(chosen.c.id == 1), insert(chosen).values(id=2, n=1))


@pytest.mark.parametrize(
    ("read", "write"),
    [
        ("SELECT n FROM old WHERE id = 1", "UPDATE OLD SET n = 2"),
        ("SELECT o.n FROM stock s, main.old AS o", "DELETE FROM old"),
        ("SELECT n FROM stock JOIN (SELECT id AS i FROM (old)) ON i = id", "DELETE FROM old"),
        ('SELECT n FROM "Order Details"', 'UPDATE "Order Details" SET n = 2'),
        ("SELECT n FROM shown", "UPDATE item SET n = 2"),
    ],
)
def test_text_names_what_no_model_does(shop: Shop, read: str, write: str) -> None:
    shop.start(
        "CREATE TABLE old (id INTEGER, n INTEGER)",
        "INSERT INTO old VALUES (1, 1)",
        'CREATE TABLE "Order Details" (id INTEGER, n INTEGER)',
        'INSERT INTO "Order Details" VALUES (1, 1)',
        "CREATE VIEW shown AS SELECT n FROM item",
    )
    assert shop.drops(text(read), text(write))
    assert shop.drops(text(read), update(shop.item).values(n=3)) == ("shown" in read)


def test_a_name_with_a_space_is_in_a_text(shop: Shop) -> None:
    details = Table(
        "Order Details",
        shop.db.metadata,
        Column("id", Integer, primary_key=True),
        Column("n", Integer),
    )
    shop.start()
    shop.write(insert(details).values(id=1, n=1))
    one = select(details.c.n).where(details.c.id == 1)
    assert shop.drops(one, text('UPDATE "Order Details" SET n = 2'))
    assert shop.drops(text('SELECT n FROM "Order Details"'), update(details).values(n=3))


def test_text_calls_a_function_of_the_database(postgresql: Shop) -> None:
    postgresql.start(
        "CREATE OR REPLACE FUNCTION raise_all() RETURNS void LANGUAGE sql AS 'UPDATE item SET n=9'"
    )
    item = postgresql.item
    assert postgresql.drops(select(item.c.n).where(item.c.id == 1), text("SELECT raise_all()"))


def test_commit_as_text(shop: Shop) -> None:
    shop.start()

    def change() -> None:
        engine = shop.db.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.execute(update(shop.item).values(n=7))
            connection.exec_driver_sql("COMMIT")

    assert shop.drops(select(shop.item.c.n), change)


def test_a_connection_of_the_driver_that_two_share(shop: Shop) -> None:
    """In a database in memory they do, and whoever commits first commits what the other wrote."""
    shop.start()

    def change() -> None:
        shop.db.session.execute(update(shop.item).values(n=7))
        with shop.db.engine.begin() as connection:
            connection.execute(update(shop.stock).values(n=8))

    assert shop.drops(select(shop.item.c.n), change)
    assert shop.drops(select(shop.stock.c.n), change)


@pytest.mark.parametrize("mode", ["create_savepoint", "conditional_savepoint"])
@pytest.mark.parametrize("own", [True, False])
def test_a_session_in_a_transaction_of_a_test(shop: Shop, mode: Any, own: bool) -> None:
    """SQLAlchemy's recipe for test suites: what the session commits can be rolled back."""
    shop.start()
    with shop.db.engine.connect() as connection:
        transaction = connection.begin()
        sessions = sessionmaker(connection, join_transaction_mode=mode)
        if not own:
            # Flask-SQLAlchemy's session asks its extension each time.
            shop.db.engines[None] = connection
            sessions = shop.db.session.session_factory

        def read() -> Any:
            with sessions() as session:
                return session.scalar(select(shop.item.c.n).where(shop.item.c.id == 1))

        cached = shop.cached(read)
        assert (cached(), cached(), shop.fills) == (1, 1, 1)
        with sessions() as session:
            session.execute(update(shop.item).values(n=7))
            session.commit()
        assert (cached(), cached()) == (7, 7)
        transaction.rollback()
        assert cached() == 1


@pytest.mark.parametrize("name", ["postgresql", "sqlite"])
def test_an_insert_that_may_update_is_known_from_one_that_does_nothing(name: str) -> None:
    dialect: Any = import_module(f"sqlalchemy.dialects.{name}")
    table = Table(
        "thing", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer)
    )
    adding = dialect.insert(table).values(id=1, n=1)
    made = dialect.dialect()
    note_what_is_rendered(made)
    kinds = {
        "insert": (adding, adding.on_conflict_do_nothing()),
        "any": (adding.on_conflict_do_update(index_elements=["id"], set_={"n": 2}),),
    }
    for kind, statements in kinds.items():
        for statement in statements:
            (write,) = analyse(statement.compile(dialect=made)).writes
            assert write.kind == kind
