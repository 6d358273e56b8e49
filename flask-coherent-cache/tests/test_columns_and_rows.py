"""Hand-written cases of what a write of some columns of some rows drops, and what it keeps."""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import String as Text
from sqlalchemy import (
    and_,
    case,
    cast,
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
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import (
    Session,
    aliased,
    joinedload,
    load_only,
    selectinload,
    with_loader_criteria,
)

from flask_coherent_cache import Cache
from oracle.servers import database
from oracle.shop import (
    KEY,
    Book,
    Cat,
    Color,
    Item,
    Node,
    Owner,
    Shelf,
    Slot,
    Spelled,
    Typed,
    Unique,
    db,
    reset,
    total,
    typed,
)

Step = Callable[[Any], Any]
items, owners = Item.__table__, Owner.__table__
one, other = aliased(Item), aliased(Item)


class Shop:
    """An application whose entries are compared after a write."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.app = Flask("shop")
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        db.init_app(self.app)
        self.cache = Cache(self.app)
        self.cache.watch(db)
        self.names = 0

    def after(
        self, read: Step, write: Step, earlier: Callable[[], None] = lambda: None
    ) -> tuple[Any, Any, Any, int]:
        """Return an entry before and after a write, what is right then, and how often it filled.

        :param earlier: what its first context does before it.
        """
        fills = []

        def fill() -> Any:
            fills.append(1)
            return read(db.session)

        self.names += 1
        name = f"entry {self.names}"
        ask = self.cache.memoize(600, make_name=lambda _: name)(fill)
        with self.app.app_context():
            reset()
        with self.app.app_context():
            earlier()
            before = ask()
        with self.app.app_context():
            write(db.session)
            db.session.commit()
        with self.app.app_context():
            truth = read(db.session)
        with self.app.app_context():
            return before, ask(), truth, len(fills)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    logging.disable(logging.WARNING)
    with database(request.param) as url:
        if url is None:
            pytest.skip(f"there is no {request.param} on this machine")
        shop = Shop(request.param, url)
        with shop.app.app_context():
            engine = db.engine
            if request.param == "sqlite":
                event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON"))
            db.create_all()
        yield shop
        engine.dispose()
    logging.disable(logging.NOTSET)


def rows(statement: Any) -> Step:
    return lambda session: [tuple(row) for row in session.execute(statement)]


def put(cls: Any, key: Any, **values: Any) -> Step:
    def change(session: Any) -> None:
        found = session.get(cls, key)
        for name, value in values.items():
            setattr(found, name, value)

    return change


def run(statement: Any, *given: Any) -> Step:
    unsynchronized = {"synchronize_session": False} if not given else {}
    return lambda session: session.execute(statement, *given, execution_options=unsynchronized)


def add(*objects: Callable[[], Any]) -> Step:
    return lambda session: session.add_all([make() for make in objects])


def new_item(**values: Any) -> Callable[[], Item]:
    return lambda: Item(**{"id": 60, "name": "n", "price": 1, "amount": 1, **values})


def loaded(cls: Any, see: Callable[[Any], Any], *options: Any) -> Step:
    statement = select(cls).order_by(cls.id).options(*options)
    return lambda session: [see(found) for found in session.scalars(statement).unique()]


def refreshed(session: Any) -> Any:
    found = session.get(Item, 1)
    session.expire(found)
    return found.price, found.amount


def late(session: Any) -> Any:
    found = session.scalars(select(Item).where(Item.id == 1)).one()
    session.execute(select(Item.id, Item.name)).all()
    return found.text


def loaded_twice(session: Any) -> Any:
    """The second statement does not ask for all that it shows: the session has it."""
    kept = session.scalars(select(Item).where(Item.id < 3)).all()
    again = select(Item).options(load_only(Item.price)).order_by(Item.id)
    return [found.name for found in session.scalars(again)], len(kept)


def upsert(shop: Shop, cls: Any) -> Any:
    return (postgresql.insert if shop.kind == "postgresql" else sqlite.insert)(cls)


groups = (
    select(Item.cat_id, func.sum(Item.price).label("x")).where(Item.price > 0).group_by(Item.cat_id)
)
in_groups = groups.cte()
A_ITEM = {"id": 70, "name": "q", "kind": "item", "price": 1, "qty": 1}

#: What must be dropped: the entry's read, and a write that changes what it reads.
DROPPED: dict[str, tuple[Step, Step]] = {
    "a subquery of other rows": (
        rows(
            select(
                Item.id,
                select(func.max(other.price)).where(other.cat_id == Item.cat_id).scalar_subquery(),
            )
        ),
        put(Item, 3, price=99),
    ),
    "a window over a column that is not shown": (
        rows(select(Item.id, func.rank().over(order_by=Item.price))),
        put(Item, 1, price=45),
    ),
    "GROUP BY a function": (
        rows(select(func.lower(Item.name), func.count()).group_by(func.lower(Item.name))),
        put(Item, 1, name="P2"),
    ),
    "HAVING on a column that is not shown": (
        rows(
            select(Item.cat_id, func.count())
            .group_by(Item.cat_id)
            .having(func.sum(Item.price) > 50)
        ),
        put(Item, 2, price=1),
    ),
    "LIMIT 1 by an order": (
        rows(select(Item.name).order_by(Item.price.desc(), Item.id).limit(1)),
        put(Item, 1, price=900),
    ),
    "OFFSET 1, and a row before it goes": (
        rows(select(Item.id, Item.name).order_by(Item.price, Item.id).limit(2).offset(1)),
        lambda session: session.delete(session.get(Item, 1)),
    ),
    "a join with itself": (
        rows(
            select(one.id, other.name)
            .join(other, one.cat_id == other.cat_id)
            .where(one.id == 1)
            .order_by(other.id)
        ),
        put(Item, 3, name="zz"),
    ),
    "a join with itself by an inequality": (
        rows(
            select(one.id, other.id)
            .join(other, one.price < other.price)
            .where(one.id == 1)
            .order_by(other.id)
        ),
        put(Item, 3, price=1),
    ),
    "what has no partner": (
        rows(
            select(Cat.id, Item.id)
            .outerjoin(Item, and_(Item.cat_id == Cat.id, Item.amount > 0))
            .where(Item.id.is_(None))
        ),
        run(delete(Item).where(Item.cat_id == 1)),
    ),
    "UPDATE FROM": (
        rows(select(Item.id, Item.name).order_by(Item.id)),
        run(update(Item).values(name=Cat.slug).where(Item.cat_id == Cat.id)),
    ),
    "INSERT FROM SELECT": (
        rows(total(Item)),
        run(
            insert(items).from_select(
                ["id", "name", "kind", "price", "qty"],
                select(items.c.id + 50, items.c.name, items.c.kind, items.c.price, items.c.qty),
            )
        ),
    ),
    "ON DELETE SET NULL, shown": (
        rows(select(Item.id, Item.cat_id).order_by(Item.id)),
        run(delete(Cat).where(Cat.id == 1)),
    ),
    "ON DELETE SET NULL, IS NULL": (
        rows(select(Item.id).where(Item.cat_id.is_(None)).order_by(Item.id)),
        lambda session: session.delete(session.get(Cat, 1)),
    ),
    "ON UPDATE CASCADE": (
        rows(select(Item.id, Item.cat_id).where(Item.cat_id == 1)),
        run(update(Cat).where(Cat.id == 1).values(id=9)),
    ),
    "ON UPDATE CASCADE into an equality": (
        rows(select(func.count()).where(Item.cat_id == 9)),
        run(update(Cat).where(Cat.id == 1).values(id=9)),
    ),
    "a key of two columns goes": (
        rows(select(Slot.id, Slot.a).order_by(Slot.id)),
        run(delete(Shelf).where(Shelf.a == 1, Shelf.b == 2)),
    ),
    "a key of two columns changes": (
        rows(select(Slot.id, Slot.b).order_by(Slot.id)),
        put(Shelf, (1, 2), b=7),
    ),
    "a row by two columns": (
        lambda session: session.get(Shelf, (1, 2)).label,
        put(Shelf, (1, 2), label="n"),
    ),
    "a column by another name": (
        rows(select(Item.id).where(Item.amount > 1).order_by(Item.id)),
        put(Item, 1, amount=9),
    ),
    "a column set by its key": (
        rows(select(Item.id, Item.amount).order_by(Item.id)),
        run(update(items).where(items.c.id == 1).values(qty=7)),
    ),
    "a computed column, shown": (
        rows(select(Item.id, Item.twice).order_by(Item.id)),
        put(Item, 1, price=3),
    ),
    "a computed column in WHERE": (
        rows(select(Item.id).where(Item.twice > 50).order_by(Item.id)),
        run(update(Item).values(price=Item.price + 20).where(Item.id == 2)),
    ),
    "inheritance: a column of the parent": (
        loaded(Book, lambda book: (book.id, book.price)),
        run(update(items).where(items.c.id == 11).values(price=77)),
    ),
    "inheritance: WHERE by the parent": (
        rows(select(Book.id, Book.pages).where(Book.price == 10).order_by(Book.id)),
        put(Book, 11, price=11),
    ),
    "inheritance: a column of the child": (
        lambda session: session.get(Book, 11).pages,
        put(Book, 11, pages=5),
    ),
    "criteria of a loader": (
        loaded(
            Cat,
            lambda cat: [item.id for item in cat.items],
            selectinload(Cat.items),
            with_loader_criteria(Item, Item.amount > 0),
        ),
        put(Item, 3, amount=4),
    ),
    "criteria of a loader in EXISTS": (
        rows(
            select(Cat.id)
            .where(Cat.items.any())
            .order_by(Cat.id)
            .options(with_loader_criteria(Item, Item.price > 40))
        ),
        put(Item, 5, price=3),
    ),
    "a relationship's own condition": (
        loaded(Cat, lambda cat: [item.id for item in cat.cheap]),
        put(Item, 3, price=2),
    ),
    "a count by equality": (
        rows(total(Item).where(Item.cat_id == 1)),
        put(Item, 1, cat_id=1),
    ),
    "a count by a primary key, not found": (
        rows(select(func.count(Item.id)).where(Item.id == 70)),
        run(insert(items), A_ITEM),
    ),
    "a row with a number where none is found": (
        rows(select(func.coalesce(func.max(Item.price), 7)).where(Item.id == 70)),
        run(insert(items), A_ITEM),
    ),
    "EXISTS": (
        rows(
            select(Cat.id)
            .where(exists().where(Item.cat_id == Cat.id, Item.amount == 2))
            .order_by(Cat.id)
        ),
        run(update(Item).where(Item.amount == 2).values(amount=0)),
    ),
    "EXISTS alone": (rows(select(exists().where(Item.price > 45))), put(Item, 5, price=1)),
    "text with a parameter": (
        rows(select(Item.id).where(text("stock > :least")).params(least=1).order_by(Item.id)),
        put(Item, 1, amount=9),
    ),
    "a column as text": (
        rows(select(Item.id).where(literal_column("stock") > 1).order_by(Item.id)),
        put(Item, 1, amount=9),
    ),
    "ORDER BY a position": (
        rows(select(Item.id, Item.price).order_by(literal_column("2")).limit(2)),
        put(Item, 1, price=35),
    ),
    "ORDER BY a label's name": (
        rows(select(Item.id, (Item.price * -1).label("x")).order_by("x").limit(1)),
        put(Item, 1, price=900),
    ),
    "ORDER BY a labelled column": (
        rows(select(Item.price.label("x"), Item.id).order_by("x").limit(2)),
        put(Item, 5, price=1),
    ),
    "ORDER BY the name of an expression": (
        rows(
            select(Item.id, case((Item.price > 25, "y"), else_="n").label("x"))
            .order_by("x", Item.id)
            .limit(1)
        ),
        put(Item, 1, price=30),
    ),
    "a deferred column, loaded late": (late, put(Item, 1, text="new")),
    "an expired object, loaded again": (refreshed, put(Item, 1, amount=7)),
    "an object that the session knows": (loaded_twice, put(Item, 4, name="new")),
    "a lazy relationship": (
        loaded(Cat, lambda cat: [item.name for item in cat.items]),
        put(Item, 1, cat_id=1),
    ),
    "a compound": (
        rows(union(select(Item.name), select(Cat.name).where(Cat.id == 2)).order_by("name")),
        put(Cat, 2, name="q"),
    ),
    "a common table expression": (
        rows(select(in_groups.c.x).join(Cat, in_groups.c.cat_id == Cat.id).order_by(Cat.id)),
        put(Item, 2, price=1),
    ),
    "IN with a new member": (
        rows(select(Item.id).where(Item.cat_id.in_([1, None])).order_by(Item.id)),
        run(update(Item).where(Item.id == 1).values(cat_id=1)),
    ),
    "a key that is not found": (
        lambda session: session.get(Item, 60) is None,
        add(new_item()),
    ),
    "a unique value that is not found, set": (
        rows(select(Cat.id).where(Cat.slug == "new")),
        put(Cat, 1, slug="new"),
    ),
    "a unique value that is not found, inserted": (
        rows(select(Cat.id).where(Cat.slug == "new")),
        add(lambda: Cat(id=8, slug="new")),
    ),
    "a unique value and a condition": (
        rows(select(Cat.id, Cat.slug).where(Cat.slug == "s1", Cat.name == "A")),
        put(Cat, 1, name="x"),
    ),
    "a unique value that moves to another row": (
        rows(select(Cat.id, Cat.name).where(Cat.slug == "s1")),
        lambda session: (
            put(Cat, 1, slug="s9")(session),
            session.flush(),
            put(Cat, 2, slug="s1")(session),
        ),
    ),
    "a row by its key, and what it is joined with": (
        rows(select(Item.id, Cat.name).join(Cat).where(Item.id == 1)),
        put(Cat, 2, name="x"),
    ),
    "an aggregate of the query around it": (
        rows(
            select(select(func.sum(Item.price)).correlate(Item).scalar_subquery()).select_from(Item)
        ),
        put(Item, 2, price=1),
    ),
    "equality in ON of an outer join": (
        rows(
            select(Cat.id, Item.id)
            .outerjoin(Item, and_(Item.cat_id == Cat.id, Item.cat_id == 1))
            .order_by(Cat.id, Item.id)
        ),
        put(Item, 1, cat_id=1),
    ),
    "a list by equality, which a row leaves": (
        rows(select(Item.id, Item.name).where(Item.cat_id == 1).order_by(Item.id)),
        put(Item, 2, cat_id=2),
    ),
    "a list by equality, which a row enters by SQL": (
        rows(select(Item.id, Item.name).where(Item.cat_id == 1).order_by(Item.id)),
        run(update(items).where(items.c.id == 1).values(cat_id=items.c.cat_id - 1)),
    ),
    "a list by equality without its keys, which a row leaves": (
        rows(select(Item.name).where(Item.cat_id == 1).order_by(Item.name)),
        run(update(Item).where(Item.id == 2).values(cat_id=2)),
    ),
    "primary keys that move": (
        rows(select(Cat.id, Cat.name).order_by(Cat.id)),
        lambda session: [
            session.execute(update(Cat).where(Cat.id == old).values(id=new))
            for old, new in ((3, 30), (2, 3))
        ],
    ),
    "rows in bulk, by their keys": (
        rows(select(Item.id, Item.price).order_by(Item.id)),
        run(update(Item), [{"id": 1, "price": 5}, {"id": 2, "price": 6}]),
    ),
    "a joined load with LIMIT": (
        lambda session: [
            (item.id, item.cat and item.cat.name)
            for item in session.scalars(
                select(Item).options(joinedload(Item.cat)).order_by(Item.id).limit(2)
            )
        ],
        put(Cat, 2, name="x"),
    ),
    "a relationship that is set after the row": (
        rows(select(Node.id, Node.best_id).order_by(Node.id)),
        lambda session: put(Node, 1, best=session.get(Node, 2))(session),
    ),
    "a type of the application as a key": (
        lambda session: session.get(Typed, "x").v,
        run(update(Typed).where(Typed.code == "X").values(v=3)),
    ),
    **{
        f"equality of {name}": (
            rows(select(Typed.code).where(test).order_by(Typed.code)),
            add(lambda: typed("n", "G")),
        )
        for name, test in {
            "a type of the application": Typed.group == "g",
            "an enumeration": Typed.color == Color.RED,
            "a boolean": Typed.ok.is_(True),
            "a decimal": Typed.price == 1,
            "a time": Typed.when == datetime(2020, 1, 1),
            "a number": Typed.number == 1,
        }.items()
    },
    "a key of text, changed": (
        lambda session: session.get(Spelled, "Ab").v,
        run(update(Spelled).where(Spelled.code == "Ab").values(v=5)),
    ),
    "a UUID": (
        rows(select(Unique.id, Unique.v)),
        run(update(Unique).where(Unique.id == KEY).values(v=3)),
    ),
    "the database's default is the value": (
        rows(select(Owner.id, Owner.name).where(Owner.group == 4).order_by(Owner.id)),
        add(lambda: Owner(name="c")),
    ),
    "the database's default, of many rows": (
        rows(total(Owner).where(Owner.group == 4)),
        run(insert(owners), [{"name": "c"}, {"name": "d"}]),
    ),
    "a synonym": (rows(select(Owner.id).where(Owner.called == "a")), put(Owner, 101, name="z")),
    "a hybrid": (rows(select(Owner.id, Owner.both).order_by(Owner.id)), put(Owner, 101, note="z")),
    "a hybrid in WHERE": (
        rows(select(Owner.id).where(Owner.both == "ax")),
        put(Owner, 101, note="z"),
    ),
    "merge": (
        lambda session: session.get(Owner, 101).name,
        lambda session: session.merge(Owner(id=101, name="m")),
    ),
    "bulk_save_objects": (
        rows(total(Owner)),
        lambda session: session.bulk_save_objects([Owner(id=9, name="o")]),
    ),
    "bulk_update_mappings": (
        rows(select(Owner.id, Owner.name).order_by(Owner.id)),
        lambda session: session.bulk_update_mappings(Owner, [{"id": 101, "name": "u"}]),
    ),
    "SQL set by the unit of work": (
        rows(select(Owner.id).where(Owner.group == 6)),
        put(Owner, 102, group=Owner.group + 1),
    ),
    "values by attributes": (
        rows(select(Owner.id, Owner.name).order_by(Owner.id)),
        run(update(Owner).where(Owner.id == 101).values({Owner.name: "v"})),
    ),
    "values in order": (
        rows(select(Owner.id, Owner.name).order_by(Owner.id)),
        run(update(owners).ordered_values((owners.c.name, "v"), (owners.c.note, "w"))),
    ),
    **{
        f"rows read in parts by {name}": (
            rows(select(Owner.id, Owner.name).order_by(Owner.id).execution_options(**option)),
            put(Owner, 102, name="p"),
        )
        for name, option in {
            "yield_per": {"yield_per": 1},
            "streams": {"stream_results": True},
        }.items()
    },
    "a connection's own statement": (
        lambda s: [
            *map(tuple, s.connection().execute(select(Owner.id, Owner.name).order_by(Owner.id)))
        ],
        put(Owner, 102, name="p"),
    ),
    "CAST": (
        rows(select(Owner.id, cast(Owner.group, Text(9))).order_by(Owner.id)),
        put(Owner, 102, group=8),
    ),
}

#: What must be kept: the write changes nothing of what is read.
KEPT: dict[str, tuple[Step, Step]] = {
    "a name is shown, the stock changes": (
        rows(select(Item.name).order_by(Item.id)),
        put(Item, 1, amount=9),
    ),
    "a row is shown, another one changes": (
        rows(select(Item.id, Item.name).where(Item.price < 15).order_by(Item.id)),
        put(Item, 5, name="new"),
    ),
    "a list by equality, and a row of another value": (
        rows(select(Item.id, Item.name).where(Item.cat_id == 1).order_by(Item.id)),
        add(new_item(cat_id=2)),
    ),
    "a count by equality, and a row of another value": (
        rows(total(Item).where(Item.cat_id == 1)),
        add(new_item(cat_id=2)),
    ),
    "a row by its key, and another one": (
        rows(select(Item.id, Item.name).where(Item.id == 1)),
        put(Item, 2, name="new"),
    ),
    "a row by a unique value, and another one": (
        rows(select(Cat.id, Cat.name).where(Cat.slug == "s1")),
        put(Cat, 2, name="new"),
    ),
    "a count, and another column": (rows(total(Item)), put(Item, 1, name="new")),
}


@pytest.mark.parametrize("name", DROPPED)
def test_what_differs_is_dropped(shop: Shop, name: str) -> None:
    before, after, truth, fills = shop.after(*DROPPED[name])
    assert before != truth
    assert (after, fills) == (truth, 2)


@pytest.mark.parametrize("name", KEPT)
def test_what_stays_is_kept(shop: Shop, name: str) -> None:
    before, after, truth, fills = shop.after(*KEPT[name])
    assert before == after == truth
    assert fills == 1


def test_no_old_value_is_trusted(shop: Shop) -> None:
    """A session that loaded a row before others moved it does not know what it moves it from."""
    if shop.kind == "sqlite":
        pytest.skip("one connection at a time writes to SQLite")
    count = shop.cache.memoize(600, make_name=lambda _: "count of 3")(
        lambda: db.session.scalar(total(Item).where(Item.cat_id == 3))
    )

    def ask() -> Any:
        with shop.app.app_context():
            return count()

    with shop.app.app_context():
        reset()
        engine = db.engine
    assert ask() == 0
    with shop.app.app_context(), Session(engine) as ours, Session(engine) as theirs:
        mine = ours.get_one(Item, 1)
        assert mine.cat_id == 2
        theirs.get_one(Item, 1).cat_id = 3
        theirs.commit()
        assert ask() == 1
        mine.cat_id = 1
        ours.commit()
    assert ask() == 0


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_what_is_not_committed_is_nobody_elses(shop: Shop, ends: str) -> None:
    """A list that is computed while a row is about to enter it."""
    if shop.kind == "sqlite":
        pytest.skip("one connection at a time writes to SQLite")
    reading = select(Item.id, Item.name).where(Item.cat_id == 3)
    listed = shop.cache.memoize(600, make_name=lambda _: f"list, {ends}")(
        lambda: [*map(tuple, db.session.execute(reading))]
    )

    def ask() -> Any:
        with shop.app.app_context():
            return listed()

    with shop.app.app_context():
        reset()
        engine = db.engine
    with shop.app.app_context(), Session(engine) as ours:
        ours.get_one(Item, 1).cat_id = 3
        ours.flush()
        answers: list[Any] = []
        beside = threading.Thread(target=lambda: answers.append(ask()))
        beside.start()
        beside.join()
        assert answers == [[]]
        getattr(ours, ends)()
    assert ask() == ([(1, "p1")] if ends == "commit" else [])


def test_a_row_enters_while_a_list_is_computed(shop: Shop) -> None:
    """The entry is stored after the write that it does not show."""
    if shop.kind == "sqlite":
        pytest.skip("one connection at a time writes to SQLite")
    reading = select(Item.id, Item.name).where(Item.cat_id == 3)
    entering: list[Callable[[], None]] = []

    def read() -> Any:
        found = [*map(tuple, db.session.execute(reading))]
        while entering:
            thread = threading.Thread(target=entering.pop())
            thread.start()
            thread.join()
        return found

    listed = shop.cache.memoize(600, make_name=lambda _: "list, beside a write")(read)

    def enter() -> None:
        with shop.app.app_context():
            db.session.get_one(Item, 1).cat_id = 3
            db.session.commit()

    def ask() -> Any:
        with shop.app.app_context():
            return listed()

    with shop.app.app_context():
        reset()
    entering.append(enter)
    assert ask() == []
    assert ask() == [(1, "p1")]
