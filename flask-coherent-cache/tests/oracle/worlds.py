"""A random database: tables with foreign keys, indexes, computed columns, and their rows."""

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Column,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry

WORDS = ("a", "b", "c", "d")
#: The same words again, for a database that folds text.
SPELLINGS = (*WORDS, *WORDS, "A", "ä", "Ä", "a ", "B", None)
#: Primary keys, and unique values, are 1 to so many.
KEYS, UNIQUE = 9, 14
ACTIONS = ("CASCADE", "SET NULL", None)


@dataclass
class World:
    """Its names are its own: what an earlier world knew means nothing here.

    :param links: foreign keys: the table, its column, the table that it refers to.
    """

    draw: random.Random
    kind: str
    db: SQLAlchemy
    tables: list[Table] = field(default_factory=list)
    links: list[tuple[Table, str, Table]] = field(default_factory=list)
    secondary: Table | None = None
    #: A table that extends the rows of another one: joined inheritance.
    extension: Table | None = None
    classes: dict[str, Any] = field(default_factory=dict)
    #: The same tables mapped again, with another spelling of their names.
    second: dict[str, Any] = field(default_factory=dict)
    on_join: Any = None
    extended: Any = None
    again: registry = field(default_factory=registry)
    views: list[Table] = field(default_factory=list)
    ddl: list[str] = field(default_factory=list)
    #: What `onupdate` sets: drawn while statements are executed.
    updates: random.Random = field(default_factory=lambda: random.Random(0))

    def create(self) -> None:
        """Create everything in the database, and put rows into the tables."""
        db = self.db
        db.create_all()
        for sql in self.ddl:
            db.session.execute(text(sql).execution_options(cache_writes=[]))
        db.session.commit()
        for table in db.metadata.sorted_tables:
            for _ in range(self.draw.randint(6, 11)):
                with suppress(DBAPIError), db.session.begin_nested():
                    db.session.execute(insert(table).values(self.row(table)))
        db.session.commit()

    def row(self, table: Table) -> dict[str, Any]:
        """Draw a row; now and then a default is the database's."""
        row = {column.key: self.value(column) for column in table.columns if is_set(column)}
        return {
            key: value
            for key, value in row.items()
            if table.c[key].server_default is None or self.draw.random() < 0.5
        }

    def value(self, column: Column[Any]) -> Any:
        draw = self.draw
        if column.primary_key:
            return draw.randint(1, KEYS)
        if column.foreign_keys:
            return draw.choice([*[None] * KEYS, *range(1, KEYS + 1)])
        if column.name == "u":
            return draw.choice([*[None] * UNIQUE, *range(1, UNIQUE + 1)])
        if isinstance(column.type, String):
            return draw.choice(SPELLINGS)
        return draw.choice([0, 1, 2, 3, None]) if column.nullable else draw.randint(0, 3)


def is_set(column: Column[Any]) -> bool:
    """Tell whether statements give a column's value."""
    return column.computed is None and column.name not in ("changed", "version")


def narrowing(table: Any) -> list[Column[Any]]:
    """Return the columns whose equality may narrow what a statement depends on."""
    indexed = {c.name for index in table.indexes for c in index.columns}
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            indexed |= {column.name for column in constraint.columns}
    return [c for c in table.columns if c.foreign_keys or c.unique or c.name in indexed]


def unique_keys(table: Table) -> list[list[str]]:
    """Return the names of the columns of each key."""
    keys = [[column.name for column in table.primary_key]]
    keys += [[column.name] for column in table.columns if column.unique]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            keys.append([column.name for column in constraint.columns])
    return keys


def make_tables(world: World, mark: str) -> None:
    """Draw tables, whose names begin with a mark; nothing is in the database yet."""
    draw, metadata = world.draw, world.db.metadata
    size = draw.randint(2, 4)
    names = [f"{mark}t{number}" for number in range(size)]
    composite = draw.randrange(size) if draw.random() < 0.5 else None
    for number in range(size):
        _add_table(world, names, number, is_composite=number == composite)
    simple = [table for table in world.tables if len(table.primary_key) == 1]
    if draw.random() < 0.7:
        left, right = draw.choice(simple), draw.choice(simple)
        world.secondary = Table(
            f"{mark}link",
            metadata,
            Column("l_id", ForeignKey(left.c.id, ondelete="CASCADE"), primary_key=True),
            Column("r_id", ForeignKey(right.c.id, ondelete="CASCADE"), primary_key=True),
        )
    if draw.random() < 0.4:
        whole = ForeignKey(draw.choice(simple).c.id, ondelete="CASCADE", onupdate="CASCADE")
        world.extension = Table(
            f"{mark}more",
            metadata,
            Column("id", whole, primary_key=True),
            Column("extra", Integer),
            Column("word", String(10)),
        )


def _add_table(world: World, names: list[str], number: int, *, is_composite: bool) -> None:
    draw, name = world.draw, names[number]
    keys = ("k1", "k2") if is_composite else ("id",)
    columns = [Column(key, Integer, primary_key=True, autoincrement=False) for key in keys]
    columns += [
        Column("n", Integer, index=draw.random() < 0.4),
        Column("s", String(10, _collation(world)), index=draw.random() < 0.4),
        Column("u", Integer, unique=draw.random() < 0.7),
        *_more_columns(world),
    ]
    table = Table(name, world.db.metadata, *columns)
    if draw.random() < 0.2:
        table.append_constraint(UniqueConstraint("n", "s"))
    if draw.random() < 0.2 and world.kind != "mysql":
        # Neither makes a value unique in the table.
        where = {f"{world.kind}_where": table.c.n == 1}
        partial = Index(f"{name}_partial", table.c.t, unique=True, **where)
        draw.choice([partial, Index(f"{name}_lower", func.lower(table.c.t))])
    # To tables before and after it, and to itself: there are cycles.
    for target in draw.sample(range(len(names)), k=draw.choice([0, 1, 1, 2])):
        _refer(world, table, names, target)
    world.tables.append(table)


def _collation(world: World) -> str | None:
    return "NOCASE" if world.kind == "sqlite" and world.draw.random() < 0.2 else None


def _more_columns(world: World) -> list[Column[Any]]:
    """Draw columns that few tables have, and two that differ in name and key, or have no index."""
    draw, updates = world.draw, world.updates
    columns: list[Column[Any]] = [
        Column("m", Integer, key=draw.choice(["m", "em"])),
        Column("t", String(10)),
    ]
    if draw.random() < 0.3:
        columns.append(Column("twice", Integer, Computed("n * 2", persisted=True)))
    if draw.random() < 0.3:
        set_ = {"default": 0, "onupdate": lambda: updates.randint(0, 3)}
        columns.append(Column("changed", Integer, **set_))  # type: ignore[arg-type]
    if draw.random() < 0.3:
        columns.append(Column("given", Integer, server_default="2", index=draw.random() < 0.6))
    if draw.random() < 0.2:
        columns.append(Column("version", Integer, nullable=False, default=1))
    return columns


def _refer(world: World, table: Table, names: list[str], target: int) -> None:
    draw = world.draw
    actions = [*ACTIONS] if world.kind == "mysql" else [*ACTIONS, *ACTIONS, "SET DEFAULT"]
    ondelete, onupdate = draw.choice(actions), draw.choice(actions)
    default = "3" if "SET DEFAULT" in (ondelete, onupdate) else None
    column = Column(f"f{target}", Integer, server_default=default, index=draw.random() < 0.4)
    table.append_column(column)
    table.append_constraint(
        ForeignKeyConstraint(
            [column],
            [f"{names[target]}.id"],
            name=f"fk_{table.name}_{target}",
            use_alter=world.kind != "sqlite",
            ondelete=ondelete,
            onupdate=onupdate,
        )
    )
