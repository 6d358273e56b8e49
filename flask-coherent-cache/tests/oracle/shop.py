"""A small shop, with all that makes rows and columns hard to tell: hand-written cases use it.

Its tables have names of their own: what is mapped anywhere counts everywhere.
"""

import enum
import uuid
from datetime import datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Numeric,
    String,
    TypeDecorator,
    Uuid,
    func,
    select,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, synonym


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
KEY = uuid.UUID(int=5)


class Upper(TypeDecorator[str]):
    """Text that reaches the database in upper case."""

    impl, cache_ok = String(20), True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value.upper()


class Color(enum.Enum):
    RED, BLUE = 1, 2


class Cat(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "genre"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(20))
    slug: Mapped[str] = mapped_column(String(20), unique=True)
    items: Mapped[list["Item"]] = relationship(
        back_populates="cat", passive_deletes=True, order_by="Item.id"
    )
    cheap: Mapped[list["Item"]] = relationship(
        primaryjoin="and_(Cat.id == foreign(Item.cat_id), Item.price < 20)",
        viewonly=True,
        order_by="Item.id",
    )


class Item(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "ware"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(20))
    price: Mapped[int]
    #: Its attribute, its key and its name differ.
    amount: Mapped[int] = mapped_column("stock", key="qty")
    twice: Mapped[int | None] = mapped_column(Computed("price * 2", persisted=True))
    text: Mapped[str | None] = mapped_column(String(20), deferred=True)
    cat_id: Mapped[int | None] = mapped_column(
        ForeignKey("genre.id", ondelete="SET NULL", onupdate="CASCADE"), index=True
    )
    cat: Mapped[Cat | None] = relationship(back_populates="items")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "item"}  # noqa: RUF012


class Book(Item):
    __tablename__ = "tome"
    id: Mapped[int] = mapped_column(ForeignKey("ware.id", ondelete="CASCADE"), primary_key=True)
    pages: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "book"}  # noqa: RUF012


class Shelf(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "rack"
    a: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(20))


class Slot(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "place"
    id: Mapped[int] = mapped_column(primary_key=True)
    a: Mapped[int | None]
    b: Mapped[int | None]
    __table_args__ = (
        ForeignKeyConstraint(
            ["a", "b"], ["rack.a", "rack.b"], ondelete="CASCADE", onupdate="CASCADE"
        ),
    )


class Node(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "knot"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    best_id: Mapped[int | None] = mapped_column(ForeignKey("knot.id", ondelete="SET NULL"))
    best: Mapped["Node | None"] = relationship(remote_side=[id], post_update=True)


class Typed(db.Model):  # type: ignore[name-defined, misc]
    """Values that are equal to the database and not in Python."""

    __tablename__ = "typed"
    code: Mapped[str] = mapped_column(Upper, primary_key=True)
    group: Mapped[str] = mapped_column(Upper, index=True)
    color: Mapped[Color] = mapped_column(index=True)
    when: Mapped[datetime] = mapped_column(index=True)
    ok: Mapped[bool] = mapped_column(index=True)
    price: Mapped[float] = mapped_column(Numeric(10, 2), index=True)
    number: Mapped[int] = mapped_column(index=True)
    v: Mapped[int]


class Spelled(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "spelled"
    code: Mapped[str] = mapped_column(
        String(20).with_variant(String(20, "NOCASE"), "sqlite"), primary_key=True
    )
    v: Mapped[int]


class Unique(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "one_of"
    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    v: Mapped[int]


class Owner(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "holder"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    note: Mapped[str] = mapped_column(String(20), server_default="x")
    group: Mapped[int] = mapped_column(index=True, server_default="4")
    called = synonym("name")

    @hybrid_property
    def both(self) -> Any:
        return self.name + self.note


def reset() -> None:
    """Put the same rows into all tables as ever."""
    with db.engine.begin() as connection:
        for table in reversed(db.metadata.sorted_tables):
            # Past what watches: no test is about it.
            connection.connection.cursor().execute(f'DELETE FROM "{table.name}"')  # noqa: S608
    add = db.session.add_all
    add([Cat(id=i, name=name, slug=f"s{i}") for i, name in ((1, "A"), (2, "B"), (3, None))])
    db.session.flush()
    numbers = range(1, 6)
    add([Item(id=i, name=f"p{i}", price=10 * i, text="t", **_more(i)) for i in numbers])
    add([Book(id=i, name=f"b{i}", price=10, amount=5, pages=i) for i in (11, 12)])
    add([Shelf(a=1, b=1, label="x"), Shelf(a=1, b=2, label="y")])
    add([Node(id=1, name="a"), Node(id=2, name="b")])
    db.session.flush()
    add([Slot(id=1, a=1, b=1), Slot(id=2, a=1, b=2), Slot(id=3, a=None, b=2)])
    add([Spelled(code="Ab", v=1), Unique(id=KEY, v=1), typed("x", "g")])
    add([Owner(id=101, name="a"), Owner(id=102, name="b", group=5)])
    db.session.commit()
    db.session.remove()


def _more(number: int) -> dict[str, int]:
    return {"amount": number % 3, "cat_id": 1 + number % 2}


def typed(code: str, group: str) -> Typed:
    when = datetime(2020, 1, 1)
    given = {"color": Color.RED, "when": when, "ok": True, "price": 1, "number": 1, "v": 1}
    return Typed(code=code, group=group, **given)


def total(cls: Any) -> Any:
    return select(func.count()).select_from(cls)
