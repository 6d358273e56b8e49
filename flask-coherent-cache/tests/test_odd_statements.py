"""Statements and values that are seldom seen, each with a write that changes their result."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Integer,
    bindparam,
    column,
    delete,
    event,
    func,
    insert,
    literal,
    not_,
    select,
    text,
    tuple_,
    update,
    values,
)
from sqlalchemy.orm import Bundle, aliased, contains_eager, raiseload, with_polymorphic

from oracle.servers import database
from oracle.shop import Book, Cat, Item, Node, Owner, Shelf, Slot, db, reset, total
from test_columns_and_rows import Shop, add, loaded, put, rows, run

owners, items = Owner.__table__, Item.__table__
one = aliased(Item)
in_group = rows(select(Owner.id, Owner.name).where(Owner.group == 4).order_by(Owner.id))


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
        with shop.app.app_context():
            db.drop_all()
        engine.dispose()
    logging.disable(logging.NOTSET)


def counted(session: Any) -> Any:
    with session.connection().execute(select(items.c.id).where(items.c.cat_id == 1)) as result:
        return result.rowcount


cheap = select(Item.id, Item.name).where(Item.price < 25).subquery()
ranked = select(
    Item.id, Item.name, func.row_number().over(order_by=(Item.price, Item.id)).label("n")
).subquery()
numbers = values(column("k", Integer), name="numbers").data([(1,), (2,)])
both = with_polymorphic(Item, [Book])

CASES: dict[str, tuple[Any, Any]] = {
    "a whole number as a text": (in_group, run(insert(owners), [{"name": "c", "group": "4"}])),
    "asked for as a text": (
        rows(
            select(Owner.id).where(Owner.group == bindparam("g", "4", Integer)).order_by(Owner.id)
        ),
        run(insert(owners), [{"name": "c", "group": 4}]),
    ),
    "a float": (in_group, run(insert(owners), [{"name": "c", "group": 4.0}])),
    "NULL in IN": (
        rows(select(Item.id).where(Item.cat_id.in_([1, None])).order_by(Item.id)),
        put(Item, 1, cat_id=1),
    ),
    "a long IN": (
        rows(select(Item.id).where(Item.cat_id.in_(range(1, 40))).order_by(Item.id)),
        put(Item, 1, cat_id=None),
    ),
    "NOT IN": (
        rows(select(Item.id).where(Item.cat_id.not_in([1])).order_by(Item.id)),
        put(Item, 1, cat_id=1),
    ),
    "not equal": (
        rows(select(Item.id).where(not_(Item.cat_id == 1)).order_by(Item.id)),
        put(Item, 1, cat_id=1),
    ),
    "equality under OR": (
        rows(select(Item.id).where((Item.cat_id == 1) | (Item.price > 45)).order_by(Item.id)),
        put(Item, 1, price=50),
    ),
    "equality with another column": (
        rows(select(Item.id, one.id).where(Item.cat_id == one.cat_id, one.id == 1)),
        put(Item, 2, cat_id=2),
    ),
    "equality the other way round": (
        rows(select(Item.id).where(literal(1) == Item.cat_id).order_by(Item.id)),
        put(Item, 1, cat_id=1),
    ),
    "a tuple": (
        rows(select(Slot.id).where(tuple_(Slot.a, Slot.b).in_([(1, 2)])).order_by(Slot.id)),
        put(Slot, 1, b=2),
    ),
    "half of a key": (
        rows(select(Shelf.a, Shelf.b).where(Shelf.a == 1).order_by(Shelf.b)),
        add(lambda: Shelf(a=1, b=9, label="n")),
    ),
    "a subquery in FROM": (
        rows(select(cheap.c.name).order_by(cheap.c.id)),
        put(Item, 3, price=1),
    ),
    "the first of a window": (
        rows(select(ranked.c.name).where(ranked.c.n == 1)),
        put(Item, 5, price=0),
    ),
    "VALUES in FROM": (
        rows(select(Item.id, Item.name).join(numbers, numbers.c.k == Item.id).order_by(Item.id)),
        put(Item, 2, name="new"),
    ),
    "a bundle": (
        lambda s: [
            tuple(r.b) for r in s.execute(select(Bundle("b", Item.id, Item.name)).order_by(Item.id))
        ],
        put(Item, 2, name="new"),
    ),
    "an object of a statement as text": (
        lambda s: [
            item.name
            for item in s.scalars(
                select(Item).from_statement(text("SELECT * FROM ware ORDER BY id"))
            )
        ],
        put(Item, 2, name="new"),
    ),
    "an object of another SELECT": (
        lambda s: [
            item.name
            for item in s.scalars(
                select(Item).from_statement(select(Item).where(Item.price < 25).order_by(Item.id))
            )
        ],
        put(Item, 4, price=1),
    ),
    "an object of a subquery": (
        lambda s: sorted(
            item.name
            for item in s.scalars(
                select(aliased(Item, select(Item).where(Item.price < 25).subquery()))
            )
        ),
        put(Item, 2, name="new"),
    ),
    "objects of several classes": (
        lambda s: [
            getattr(found, "pages", found.name)
            for found in s.scalars(select(both).order_by(both.id))
        ],
        put(Book, 11, pages=99),
    ),
    "what a join has loaded": (
        lambda s: [
            (cat.id, [item.name for item in cat.items])
            for cat in s.scalars(
                select(Cat)
                .join(Cat.items)
                .where(Item.price > 15)
                .order_by(Cat.id, Item.id)
                .options(contains_eager(Cat.items), raiseload("*"))
            ).unique()
        ],
        put(Item, 1, price=16),
    ),
    "a row that refers to itself": (
        loaded(Node, lambda node: (node.id, node.best and node.best.name)),
        lambda session: put(Node, 1, best=session.get(Node, 1))(session),
    ),
    "a key that is set to its own value, and another": (
        rows(select(Item.id, Item.name).where(Item.id == 3)),
        run(update(items).where(items.c.id == 3).values(id=3, name="new")),
    ),
    "a row that goes and comes again": (
        rows(select(Item.id, Item.name).where(Item.id == 3)),
        lambda session: (
            session.execute(delete(items).where(items.c.id == 3)),
            session.execute(
                insert(items), {"id": 3, "name": "z", "kind": "item", "price": 1, "qty": 1}
            ),
        ),
    ),
    "an UPDATE whose parameter is named like a column": (
        rows(select(Item.id).where(Item.cat_id == 1).order_by(Item.id)),
        lambda session: session.execute(
            update(items).values(cat_id=bindparam("x") - 1).where(items.c.id == bindparam("y")),
            {"x": 2, "y": 1},
        ),
    ),
    "many executions with different parameters": (
        rows(select(Item.id).where(Item.cat_id == 1).order_by(Item.id)),
        lambda session: session.connection().execute(
            update(items).where(items.c.id == bindparam("k")).values(cat_id=bindparam("v")),
            [{"k": 2, "v": 2}, {"k": 1, "v": 1}],
        ),
    ),
    "a number of rows that are not fetched": (
        counted,
        lambda session: session.delete(session.get(Item, 2)),
    ),
    "a row fetched of many, which goes": (
        lambda session: session.scalars(select(Item.id).order_by(Item.id)).first(),
        lambda session: session.delete(session.get(Item, 1)),
    ),
    "a parameter that is rendered": (
        rows(
            select(Item.id)
            .where(Item.cat_id == bindparam("c", 1, literal_execute=True))
            .order_by(Item.id)
        ),
        put(Item, 1, cat_id=1),
    ),
    "a parameter that is called": (
        rows(
            select(Item.id)
            .where(Item.cat_id == bindparam("c", callable_=lambda: 1))
            .order_by(Item.id)
        ),
        put(Item, 1, cat_id=1),
    ),
    "several rows of VALUES": (
        rows(total(Item).where(Item.cat_id == 1)),
        run(
            insert(items).values(
                [
                    {"id": n, "name": "z", "kind": "item", "price": 1, "qty": 1, "cat_id": n - 80}
                    for n in (82, 81)
                ]
            )
        ),
    ),
    "another column's value": (
        rows(total(Item).where(Item.cat_id == 1)),
        lambda session: (
            session.execute(update(items).where(items.c.id == 1).values(qty=1)),
            session.execute(update(items).where(items.c.id == 1).values(cat_id=items.c.qty)),
        ),
    ),
    "a relationship that is replaced": (
        rows(total(Item).where(Item.cat_id == 1)),
        lambda session: setattr(session.get(Cat, 1), "items", []),
    ),
}


NOT_ON_SQLITE = ("VALUES in FROM", "a number of rows that are not fetched")


@pytest.mark.parametrize("name", CASES)
def test_what_differs_is_dropped(shop: Shop, name: str) -> None:
    if shop.kind == "sqlite" and name in NOT_ON_SQLITE:
        pytest.skip("SQLite counts no rows, and names no columns of VALUES")
    before, after, truth, fills = shop.after(*CASES[name])
    assert before != truth
    assert (after, fills) == (truth, 2)


@pytest.mark.parametrize("number", [64, 65, 200])
@pytest.mark.parametrize("by_key", [True, False])
def test_many_rows(shop: Shop, number: int, by_key: bool) -> None:
    """Beyond a bound, columns take the place of rows."""
    more = [{"id": 200 + n, "name": "n", "group": 4} for n in range(number)]
    where = owners.c.id == 200 if by_key else owners.c.name == "n"

    def read(session: Any) -> Any:
        if session.scalar(total(Owner)) < number:
            session.execute(insert(owners), more)
            session.commit()
        statement = select(Owner.id, Owner.name).where(Owner.id >= 200).order_by(Owner.id)
        return [*map(tuple, session.execute(statement))]

    with shop.app.app_context():
        reset()
    filled = shop.after(read, run(update(owners).where(where).values(name="new")))
    before, after, truth, fills = filled
    assert (before != truth, after) == (True, truth)
    assert fills >= 1


@pytest.mark.parametrize("write", ["enters", "leaves", "changes", "goes"])
def test_what_was_loaded_before(shop: Shop, write: str) -> None:
    """A fill finds in the session what was read before it began, and sends no statement."""
    changes: dict[str, Any] = {
        "enters": add(lambda: Item(id=60, name="n", price=1, amount=1, cat_id=1)),
        "leaves": put(Item, 2, cat_id=2),
        "changes": put(Item, 2, name="new"),
        "goes": run(delete(items).where(items.c.id == 4)),
    }

    def read(session: Any) -> Any:
        return [(item.id, item.name) for item in session.get(Cat, 1).items]

    def loading() -> None:
        read(db.session)

    before, after, truth, fills = shop.after(read, changes[write], loading)
    assert before != truth
    assert (after, fills) == (truth, 2)
