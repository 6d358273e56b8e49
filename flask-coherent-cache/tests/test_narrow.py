"""A read depends on the rows and columns that it uses: parts of a SELECT, kinds of writes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    and_,
    bindparam,
    case,
    column,
    delete,
    event,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
    union,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from flask_coherent_cache import Cache
from flask_coherent_cache._dependencies.dependencies import current_dependencies
from flask_coherent_cache._dependencies.tags import describe
from flask_coherent_cache._sqlalchemy.rows import value_tag


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Shelf(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "place"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Item(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(default="n")
    price: Mapped[int] = mapped_column(default=1)
    stock: Mapped[int] = mapped_column("amount", default=1)
    twice: Mapped[int | None] = mapped_column(Computed("price * 2"))
    changes: Mapped[int] = mapped_column(default=0, onupdate=lambda context: 1)
    rank: Mapped[Any] = mapped_column(Numeric, default=1, index=True)
    shelf_id: Mapped[int | None] = mapped_column(
        ForeignKey("place.id", ondelete="SET NULL", onupdate="CASCADE")
    )


class Pair(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "pair"
    a: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=1)


ITEM: Any = Item.__table__
other = aliased(Item)


class Shop:
    """Three shelves, nine items on two of them, and what they are cached by."""

    def __init__(self, app: Flask, cache: Any) -> None:
        self.app, self.cache = app, cache
        self.fills = self.asked = 0

    def tags(self, read: Callable[[], Any]) -> set[str]:
        """Return the tags of a read, without the mark that a part of a table is in them."""
        with self.app.app_context():
            read()
            found = current_dependencies().collected()
        return {tag for tag in found if not tag.endswith("!")}

    def drops(self, read: Callable[[], Any], write: Callable[[], Any]) -> bool:
        """Tell whether a write drops a read; that is never stale."""
        self.asked += 1
        number, self.fills = self.asked, 0

        def fill(number: int) -> Any:
            self.fills += 1
            return read()

        memoized = self.cache.memoize(60, make_name=lambda _: "read")(fill)
        for _ in range(2):
            with self.app.app_context():
                memoized(number)
        assert self.fills == 1, "the second call was no hit"
        with self.app.app_context():
            write()
            db.session.commit()
        with self.app.app_context():
            expected = read()
        with self.app.app_context():
            assert memoized(number) == expected, "stale"
        return self.fills == 2


def make_shop(**settings: Any) -> Iterator[Shop]:
    app = Flask("narrow")
    app.config.update(SECRET_KEY="k" * 40, SQLALCHEMY_DATABASE_URI="sqlite://", **settings)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache", **settings})
    db.init_app(app)
    with app.app_context():
        event.listen(db.engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON"))
        db.create_all()
        db.session.add_all([Shelf(id=n, name=f"s{n}") for n in (1, 2, 3)])
        db.session.flush()
        db.session.add_all([Item(id=n, slug=f"i{n}", shelf_id=1 + n % 2) for n in range(1, 10)])
        db.session.add_all([Pair(a=1, b=n) for n in (1, 2)])
        db.session.commit()
    cache.watch(db)
    yield Shop(app, cache)
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
        cache.engine.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    yield from make_shop()


def rows(statement: Any) -> Callable[[], Any]:
    return lambda: sorted(map(tuple, db.session.execute(statement)), key=repr)


def run(statement: Any, *given: Any) -> Callable[[], Any]:
    return lambda: db.session.execute(statement, *given)


def put(number: int, **values: Any) -> Callable[[], Any]:
    """Change a row by its object."""

    def change() -> None:
        found = db.session.get(Item, number)
        for name, value in values.items():
            setattr(found, name, value)

    return change


def add(**values: Any) -> Callable[[], Any]:
    return lambda: db.session.add(Item(**{"slug": "new", **values}))


def gone(number: int) -> Callable[[], Any]:
    return lambda: db.session.delete(db.session.get_one(Item, number))


def named(*numbers: int) -> set[str]:
    return {"thing:*", *(f"thing:{number}" for number in numbers)}


# ---------------------------------------------------------------------- what a SELECT depends on

ALL = named(*range(1, 10))
ODD = named(1, 3, 5, 7, 9)
ON_2 = {"thing[shelf_id=2]", "thing[shelf_id=*]"}

READS: dict[str, tuple[Any, set[str]]] = {
    "rows with their key": (select(Item.id, Item.name), {"thing+", *ALL}),
    "rows without it": (select(Item.name), {"thing+", "thing-", "thing.name"}),
    "WHERE": (select(Item.id).where(Item.price < 5), {"thing+", "thing.price", *ALL}),
    "ORDER BY": (select(Item.id).order_by(Item.price), {"thing+", "thing.price", *ALL}),
    "a computed column": (select(Item.twice), {"thing+", "thing-", "thing.twice"}),
    "a renamed column": (select(Item.stock), {"thing+", "thing-", "thing.amount"}),
    "a function of one row": (
        select(func.lower(Item.name), case((Item.price > 1, 1), else_=2), Item.id),
        {"thing+", *ALL},
    ),
    "an aggregate": (select(func.sum(Item.price)), {"thing+", "thing-", "thing.price"}),
    "GROUP BY": (
        select(Item.shelf_id, func.count()).group_by(Item.shelf_id),
        {"thing+", "thing-", "thing.shelf_id"},
    ),
    "a window": (
        select(Item.id, func.rank().over(order_by=Item.price)),
        {"thing+", "thing-", "thing.id", "thing.price"},
    ),
    "DISTINCT": (select(Item.price).distinct(), {"thing+", "thing-", "thing.price"}),
    "a subquery": (
        select(Shelf.id).where(Shelf.id.in_(select(Item.shelf_id).where(Item.price == 1))),
        {"thing+", "thing-", "thing.shelf_id", "thing.price", "place+", "place.id"}
        | {"place:*", "place:1", "place:2"},
    ),
    "UNION": (
        union(select(Item.name), select(Shelf.name)),
        {"thing+", "thing-", "thing.name", "place+", "place-", "place.name"},
    ),
    "a value of a foreign key": (select(Item.id).where(Item.shelf_id == 2), ON_2 | ODD),
    "a list of values": (
        select(Item.id).where(Item.shelf_id.in_([2, 3])),
        ON_2 | ODD | {"thing[shelf_id=3]"},
    ),
    "NULL": (
        select(Item.id).where(Item.shelf_id.is_(None)),
        {"thing+", "thing.shelf_id"},
    ),
    "a value, and rows that are not named": (
        select(func.count()).where(Item.shelf_id == 2),
        ON_2 | {"thing-", "thing.shelf_id"},
    ),
    "a value of a column without an index": (
        select(Item.id).where(Item.price == 1),
        {"thing+", "thing.price", *ALL},
    ),
    "a type whose values have many names": (
        select(Item.id).where(Item.rank == 1),
        {"thing+", "thing.rank", *ALL},
    ),
    "a primary key": (select(Item.name).where(Item.id == 4), named(4)),
    "a unique key": (select(Item.id, Item.name).where(Item.slug == "i4"), named(4)),
    "a unique key, and another condition": (
        select(Item.id).where(Item.slug == "i4", Item.price == 1),
        named(4),
    ),
    "a whole key of two columns": (
        select(Pair.n).where(Pair.a == 1, Pair.b == 2),
        {"pair:*", "pair:1,2"},
    ),
    "half a key": (
        select(Pair.a, Pair.b, Pair.n).where(Pair.b == 2),
        {"pair[b=2]", "pair[b=*]", "pair:*", "pair:1,2"},
    ),
    "OFFSET": (
        select(Item.id).order_by(Item.id).offset(8),
        {"thing+", "thing-", "thing.id", *named(9)},
    ),
    "OFFSET 0": (
        select(Item.id).order_by(Item.id).limit(1).offset(0),
        {"thing+", "thing.id", *named(1)},
    ),
    "an outer join": (
        select(Shelf.id, Item.id).outerjoin(Item, Item.shelf_id == Shelf.id).where(Shelf.id == 3),
        {"place:*", "place:3", "thing+", "thing-", "thing.shelf_id"},
    ),
    "two aliases": (
        select(Item.id, other.price).join(other, other.id == Item.id + 1).where(Item.id == 1),
        named(1) | {"thing+", "thing-", "thing.id", "thing.price"},
    ),
    "text": (select(Item.id).where(text("amount > 0")), {"thing"}),
    "a position in ORDER BY": (
        select(Item.id, Item.price).order_by(literal_column("2")),
        {"thing"},
    ),
    "a column of no table": (select(column("price")).select_from(ITEM), {"thing"}),
    "a whole row": (select(func.max(ITEM.table_valued())), {"thing"}),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_what_a_select_depends_on(shop: Shop, name: str) -> None:
    statement, expected = READS[name]
    if name == "a whole row":
        with shop.app.app_context():
            tags = _tags_of_compiled(shop, statement)
    else:
        tags = shop.tags(rows(statement))
    assert tags == expected


def _tags_of_compiled(shop: Shop, statement: Any) -> set[str]:
    """Return the tags of a statement that SQLite refuses."""
    try:
        db.session.execute(statement)
    except Exception:  # of the driver
        db.session.rollback()
    found = current_dependencies().collected()
    return {tag for tag in found if not tag.endswith("!")}


def test_an_operator_of_signs_hides_nothing(shop: Shop) -> None:
    statement = select(Item.id).where(Item.price.op("+")(1) > 0)
    assert shop.tags(rows(statement)) == {"thing+", "thing.price", *ALL}


# ------------------------------------------------------------------------------- what a write bumps

WRITES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "INSERT": (add(shelf_id=2), {"thing+", "thing[shelf_id=2]", "thing[slug=#445]"}),
    "INSERT from SELECT": (
        run(insert(ITEM).from_select(["slug", "name"], select(Item.slug + "x", Item.name))),
        {"thing+", "thing[shelf_id=*]", "thing[slug=*]"},
    ),
    "INSERT of several": (
        run(insert(ITEM).values([{"slug": "x", "shelf_id": 1}, {"slug": "y", "shelf_id": 2}])),
        {"thing+", "thing[shelf_id=*]", "thing[slug=*]"},
    ),
    "UPDATE of a row": (
        put(4, price=7),
        {"thing:4", "thing.price", "thing.twice", "thing.changes"},
    ),
    "UPDATE of many": (
        run(update(Item).values(price=7)),
        {"thing:*", "thing.price", "thing.twice", "thing.changes"},
    ),
    "UPDATE by a list of keys": (
        run(update(ITEM).where(Item.id.in_([1, 2])).values(price=7)),
        {"thing:1", "thing:2", "thing.price", "thing.twice", "thing.changes"},
    ),
    "executemany": (
        run(
            update(ITEM).where(ITEM.c.id == bindparam("key")).values(price=bindparam("cents")),
            [{"key": 1, "cents": 7}, {"key": 2, "cents": 8}],
        ),
        {"thing:1", "thing:2", "thing.price", "thing.twice", "thing.changes"},
    ),
    "UPDATE of a foreign key": (
        put(4, shelf_id=2),
        {"thing:4", "thing.shelf_id", "thing[shelf_id=2]", "thing.twice", "thing.changes"},
    ),
    "UPDATE to what SQL computes": (
        run(update(ITEM).where(ITEM.c.id == 4).values(shelf_id=ITEM.c.shelf_id)),
        {"thing:4", "thing.shelf_id", "thing[shelf_id=*]", "thing.twice", "thing.changes"},
    ),
    "a parameter with the name of the column": (
        run(
            update(ITEM).where(ITEM.c.id == 4)
            .values(shelf_id=ITEM.c.shelf_id + bindparam("shelf_id")),
            {"shelf_id": 1},
        ),
        {"thing:4", "thing.shelf_id", "thing[shelf_id=*]", "thing.twice", "thing.changes"},
    ),
    "DELETE of a row": (gone(4), {"thing-", "thing:4"}),
    "DELETE of many": (run(delete(Item)), {"thing-", "thing:*"}),
    "ON DELETE SET NULL": (
        run(delete(Shelf.__table__).where(Shelf.id == 1)),
        {"place", "place-", "place:1"}
        | {"thing:*", "thing.shelf_id", "thing[shelf_id=*]", "thing.twice"},
    ),
    "ON CONFLICT DO UPDATE": (
        run(
            sqlite.insert(ITEM).values(id=1, slug="i1")
            .on_conflict_do_update(index_elements=["id"], set_={"price": 9})
        ),
        {"thing!", "thing:*"},
    ),
    "a prefix": (
        run(insert(ITEM).prefix_with("OR REPLACE").values(id=1, slug="i1")),
        {"thing!", "thing:*"},
    ),
    "text": (run(text("UPDATE thing SET price = 7")), {"thing!", "thing:*"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_what_a_write_bumps(shop: Shop, name: str) -> None:
    write, expected = WRITES[name]
    bumped: set[str] = set()
    shop.cache.on_invalidate(bumped.update)
    with shop.app.app_context():
        write()
        db.session.commit()
    narrows = {tag for tag in bumped if "[" in tag and not tag.startswith(("thing[sh", "thing[sl"))}
    assert bumped - narrows == expected | {"thing", "database:*"}


def test_a_write_names_the_values_of_all_columns_that_it_sets(shop: Shop) -> None:
    """Another release may know an index that this one does not."""
    bumped: set[str] = set()
    shop.cache.on_invalidate(bumped.update)
    with shop.app.app_context():
        put(4, price=7)()
        db.session.commit()
    assert {"thing[price=7]", "thing[changes=1]"} <= bumped
    assert not any(tag.startswith(("thing[rank", "thing[name", "thing[shelf_id")) for tag in bumped)


# ------------------------------------------------------------------------------------------ traps

TRAPS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "ORDER BY a label by its name": (
        lambda: [*db.session.execute(
            select(Item.id, (Item.price * -1).label("x")).order_by("x", Item.id).limit(1)
        )],
        put(4, price=900),
    ),
    "a count has a row though nothing was found": (
        rows(select(func.count(Item.id)).where(Item.id == 70)),
        add(id=70),
    ),
    "an anti-join": (
        rows(
            select(Shelf.id, Item.id)
            .outerjoin(Item, and_(Item.shelf_id == Shelf.id, Item.stock > 0))
            .where(Item.id.is_(None))
        ),
        run(delete(Item).where(Item.shelf_id == 1).execution_options(synchronize_session=False)),
    ),
    "a subquery that aggregates the outer query": (
        rows(select(select(func.sum(Item.price)).correlate(Item).scalar_subquery())
             .select_from(Item)),
        put(4, price=7),
    ),
    "a value that another transaction sets": (
        rows(select(func.count()).where(Item.shelf_id == 3)),
        put(4, shelf_id=3),
    ),
    "rows that are fetched in parts": (
        lambda: [tuple(row) for row in db.session.execute(
            select(Item.id, Item.name).order_by(Item.id), execution_options={"yield_per": 2}
        )],
        put(8, name="x"),
    ),
    "rows that are buffered in parts": (
        lambda: [
            tuple(row)
            for row in db.session.connection().execute(select(Item.id, Item.name)).yield_per(2)
        ],
        put(8, name="x"),
    ),
    "not found, then renamed to it": (
        lambda: db.session.scalar(select(Item).where(Item.slug == "new")) is not None,
        put(4, slug="new"),
    ),
    "not found, and spelled otherwise": (
        rows(select(Item.id).where(func.lower(Item.slug) == "new")),
        add(slug="NEW"),
    ),
    "a row that leaves by its foreign key": (
        rows(select(Item.id, Item.name).where(Item.shelf_id == 2)),
        put(3, shelf_id=1),
    ),
    "a row that a key of another table changes": (
        rows(select(Item.id).where(Item.shelf_id == 1)),
        run(update(Shelf.__table__).where(Shelf.id == 1).values(id=9)),
    ),
    "EXISTS": (rows(select(Shelf.id).where(exists().where(Item.price > 5))), put(4, price=9)),
    "a key that moves to another row": (
        lambda: db.session.scalar(select(Item.id).where(Item.slug == "i4")),
        lambda: (put(4, slug="x")(), db.session.flush(), put(5, slug="i4")()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap(shop: Shop, name: str) -> None:
    read, write = TRAPS[name]
    assert shop.drops(read, write)


KEPT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "another column": (rows(select(Item.name)), put(4, price=7)),
    "another row": (rows(select(Item.id, Item.price).where(Item.id < 4)), put(4, price=7)),
    "a row of another place": (rows(select(Item.id).where(Item.shelf_id == 1)), add(shelf_id=2)),
    "its count": (rows(select(func.count()).where(Item.shelf_id == 1)), add(shelf_id=2)),
    "a row behind the limit": (
        rows(select(Item.id).order_by(Item.id).limit(2)),
        run(delete(ITEM).where(ITEM.c.id == 9)),
    ),
    "another slug": (
        lambda: db.session.scalar(select(Item).where(Item.slug == "none")) is None,
        add(slug="some"),
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_a_write_leaves(shop: Shop, name: str) -> None:
    read, write = KEPT[name]
    assert not shop.drops(read, write)


@pytest.mark.parametrize("count", [60, 70])
def test_past_many_rows_an_entry_depends_on_their_columns(shop: Shop, count: int) -> None:
    with shop.app.app_context():
        db.session.add_all([Item(id=n, slug=f"i{n}") for n in range(10, count + 1)])
        db.session.commit()
    read = lambda: [tuple(rows(select(Item.id, Item.name).where(Item.id == n))())  # noqa: E731
                    for n in range(1, count + 1)]  # fmt: skip
    tags = shop.tags(read)
    many = {"thing-", "thing.id", "thing.name"}
    assert tags == (many if count > 64 else named(*range(1, count + 1)))
    assert shop.drops(read, put(count, name="x"))
    assert shop.drops(rows(select(Item.id, Item.name)), put(3, name="x"))
    assert shop.drops(rows(select(Item.id, Item.name)), gone(count))


def test_an_index_that_another_mapping_declares(shop: Shop) -> None:
    """A writer names the values of all columns, for any of them may narrow a reader."""
    metadata = MetaData()
    indexed = Table("thing", metadata, Column("id", Integer, primary_key=True))
    indexed.append_column(Column("price", Integer))
    Index("thing_price", indexed.c.price)
    assert shop.drops(rows(select(Item.id)), add(slug="first", price=4))
    assert shop.drops(rows(select(indexed.c.id).where(indexed.c.price == 5)), add(price=5))
    assert not shop.drops(rows(select(indexed.c.id).where(indexed.c.price == 6)), add(
        slug="another", price=7
    ))  # fmt: skip


def test_a_column_that_only_the_database_computes(shop: Shop) -> None:
    with shop.app.app_context():
        db.session.execute(text(
            "CREATE TABLE sum (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (a + 1))"
        ))  # fmt: skip
        db.session.execute(text("INSERT INTO sum (id, a) VALUES (1, 1)"))
        db.session.commit()
    columns = (Column("a", Integer), Column("b", Integer))
    table = Table("sum", MetaData(), Column("id", Integer, primary_key=True), *columns)
    assert shop.drops(rows(select(table.c.b)), run(update(table).values(a=5)))
    assert not shop.drops(rows(select(table.c.id)), run(update(table).where(
        table.c.id == 2).values(a=5)))  # fmt: skip


def test_a_trigger_may_change_more_of_the_row(shop: Shop) -> None:
    with shop.app.app_context():
        db.session.execute(text(
            "CREATE TRIGGER more AFTER UPDATE OF price ON thing "
            "BEGIN UPDATE thing SET name = 'changed' WHERE id = new.id; END"
        ))  # fmt: skip
        db.session.commit()
    ITEM.info["writes"] = []
    try:
        assert shop.drops(rows(select(Item.name)), put(4, price=7))
    finally:
        del ITEM.info["writes"]


# ---------------------------------------------------------------------- names, invalidation, words


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ("integer", 7, "7"), ("integer", "007", "7"), ("integer", True, "*"), ("integer", 7.0, "*"),
        ("text", 7, "*"), ("text", " 7", "7"), ("integer", 4095, "4095"), (None, "x", "*"),
        ("integer", None, "NULL"), ("text", None, "NULL"),
    ],
)  # fmt: skip
def test_values_have_names(kind: str, value: Any, name: str) -> None:
    assert value_tag(kind, value) == name


UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


def test_two_mappings_may_give_a_column_other_types() -> None:
    assert value_tag("uuid", UUID.upper()) == value_tag("text", UUID.replace("-", ""))
    assert value_tag("integer", 123456789) == value_tag("text", "123456789") != "123456789"


@pytest.mark.parametrize(("one", "same"), [("a", "A "), ("Straße", "STRASSE"), ("é", "e\u0301")])
def test_a_text_is_named_by_no_more_than_a_few_bits(one: str, same: str) -> None:
    name = value_tag("text", one)
    assert name == value_tag("text", same)
    assert len(name) == len("#fff")
    assert len({value_tag("text", f"{number}@example.org") for number in range(9999)}) <= 4096


@pytest.mark.parametrize(
    "read",
    [
        rows(select(Item.name)),
        rows(select(Item.id)),
        rows(select(Item.id).where(Item.id == 4)),
        rows(select(func.count()).where(Item.shelf_id == 2)),
        rows(select(Item.id).where(text("1 = 1"))),
    ],
)
def test_a_table_is_invalidated_with_all_its_parts(shop: Shop, read: Callable[[], Any]) -> None:
    assert shop.drops(read, lambda: shop.cache.invalidate("thing"))
    assert not shop.drops(read, lambda: shop.cache.invalidate("place"))


def test_an_entry_that_is_tagged_with_a_table_depends_on_all_of_it(shop: Shop) -> None:
    assert shop.drops(lambda: shop.cache.tag("thing"), put(4, price=7))


def test_while_older_processes_write_reads_depend_on_tables() -> None:
    for shop in make_shop(CACHE_NARROW=False):
        assert shop.tags(rows(select(Item.name))) == {"thing"}
        assert shop.tags(rows(select(Item.name).where(Item.id == 4))) == named(4)
        assert shop.tags(rows(select(Item.name).where(Item.id == 70))) == {"thing"}
        bumped: set[str] = set()
        shop.cache.on_invalidate(bumped.update)
        with shop.app.app_context():
            put(4, price=7)()
            db.session.commit()
        assert {"thing", "thing:4", "thing.price"} <= bumped


def test_outside_of_any_context_nothing_is_noted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop.app.app_context():
        engine = db.engine
    read: list[Any] = []
    monkeypatch.setattr(
        "flask_coherent_cache._sqlalchemy.engines.read", lambda *a, **k: read.append(a)
    )
    with engine.connect() as connection:
        connection.execute(select(Item.id)).all()
    assert not read


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("product.price_cents", "any change of product.price_cents"),
        ("product+", "any new product row"),
        ("product-", "the end of any product row"),
        ("product:42", "a change or the end of the product row 42"),
        ("product:*", "a change of product rows that the statement does not name"),
        ("product[shelf_id=7]", "a product row that comes with, or gets, the shelf_id 7"),
        ("product[shelf_id=*]", "a product row whose shelf_id is set to a value that is not known"),
        (
            "user[mail=#3fa]",
            "a user row that comes with, or gets, a mail like the one that was asked for",
        ),
        ("product", 'any write to product, or cache.invalidate("product")'),
        ("product!", 'a write to product of unknown extent, or cache.invalidate("product")'),
        ("fn:shop.top", "the deletion of a memoized function's entries"),
        ("key:fn:shop.top()", "the deletion of one entry"),
        ("database:*", "any write to the database"),
    ],
)  # fmt: skip
def test_a_tag_is_said_in_words(tag: str, words: str) -> None:
    assert describe(tag) == words


def test_a_table_in_a_schema_is_no_column() -> None:
    assert describe("other.thing", {"other.thing"}).startswith("any write to other.thing")
    assert describe("other.thing", {"other!"}) == "any change of other.thing"
