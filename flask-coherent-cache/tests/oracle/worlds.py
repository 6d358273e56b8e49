"""A random database: tables, foreign keys with actions, classes, views, triggers, and rows."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import column_property, registry, relationship

WORDS = ("a", "b", "c", "d")
#: Primary keys, and unique values, are 1 to so many.
KEYS, UNIQUE = 9, 14
#: The schema that is meant where none is named.
DEFAULT = {"sqlite": "main", "postgresql": "public", "mysql": "test"}
_numbers = count()


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
    classes: dict[str, Any] = field(default_factory=dict)
    #: The same tables mapped again, with another spelling of their names.
    second: dict[str, Any] = field(default_factory=dict)
    on_join: Any = None
    again: registry = field(default_factory=registry)
    views: list[Table] = field(default_factory=list)
    ddl: list[str] = field(default_factory=list)

    def create(self) -> None:
        """Create everything in the database, and put rows into the tables."""
        db = self.db
        db.create_all()
        for sql in self.ddl:
            db.session.execute(text(sql).execution_options(cache_writes=[]))
        db.session.commit()
        for table in db.metadata.sorted_tables:
            for _ in range(self.draw.randint(6, 9)):
                with suppress(DBAPIError), db.session.begin_nested():
                    db.session.execute(insert(table).values(self.row(table)))
        db.session.commit()

    def row(self, table: Table) -> dict[str, Any]:
        return {column.key: self.value(column) for column in table.columns}

    def value(self, column: Column[Any]) -> Any:
        draw = self.draw
        if column.primary_key:
            return draw.randint(1, KEYS)
        if column.foreign_keys:
            return draw.choice([*[None] * KEYS, *range(1, KEYS + 1)])
        if column.name == "u":
            return draw.choice([*[None] * UNIQUE, *range(1, UNIQUE + 1)])
        return draw.choice(WORDS) if isinstance(column.type, String) else draw.randint(0, 3)


def make_world(draw: random.Random, kind: str, db: SQLAlchemy) -> World:
    """Draw a world; its classes are mapped, and the database is untouched."""
    world, mark = World(draw, kind, db), f"w{next(_numbers)}"
    size = draw.randint(2, 4)
    names = [f"{mark}t{number}" for number in range(size)]
    composite = draw.randrange(size) if draw.random() < 0.5 else None
    for number in range(size):
        _add_table(world, names, number, is_composite=number == composite)
    if draw.random() < 0.7:
        simple = [table for table in world.tables if len(table.primary_key) == 1]
        left, right = draw.choice(simple), draw.choice(simple)
        world.secondary = Table(
            f"{mark}link",
            db.metadata,
            Column("l_id", ForeignKey(left.c.id, ondelete="CASCADE"), primary_key=True),
            Column("r_id", ForeignKey(right.c.id, ondelete="CASCADE"), primary_key=True),
        )
    _map(world)
    _map_again(world)
    _add_view(world, mark)
    _add_trigger(world, mark)
    return world


def _add_table(world: World, names: list[str], number: int, *, is_composite: bool) -> None:
    draw, name = world.draw, names[number]
    keys = ("k1", "k2") if is_composite else ("id",)
    columns: list[Any] = [
        *(Column(key, Integer, primary_key=True, autoincrement=False) for key in keys),
        Column("n", Integer),
        Column("s", String(10)),
        Column("u", Integer, unique=draw.random() < 0.7),
    ]
    if draw.random() < 0.2:
        columns.append(UniqueConstraint("n", "s"))
    table = Table(name, world.db.metadata, *columns)
    # To tables before and after it, and to itself: there are cycles.
    for target in draw.sample(range(len(names)), k=draw.choice([0, 1, 1, 2])):
        column = Column(f"f{target}", Integer)
        table.append_column(column)
        table.append_constraint(
            ForeignKeyConstraint(
                [column],
                [f"{names[target]}.id"],
                name=f"fk_{name}_{target}",
                use_alter=world.kind != "sqlite",
                ondelete=draw.choice(["CASCADE", "SET NULL", None]),
                onupdate=draw.choice(["CASCADE", "SET NULL", None]),
            )
        )
    world.tables.append(table)


def _links(world: World) -> Iterator[tuple[Table, str, Table]]:
    by_name = {table.name: table for table in world.tables}
    for table in world.tables:
        for key in list(table.foreign_key_constraints):
            target = by_name[key.elements[0].target_fullname.partition(".")[0]]
            if len(target.primary_key) == 1:
                yield table, key.column_keys[0], target
            else:
                table.constraints.discard(key)
                for element in key.elements:
                    table.foreign_keys.discard(element)
                    element.parent.foreign_keys.discard(element)


def _map(world: World) -> None:
    draw, db = world.draw, world.db
    world.links = list(_links(world))
    properties: dict[str, dict[str, Any]] = {table.name: {} for table in world.tables}
    for table, column, target in world.links:
        there, back = f"{column}_to", f"{table.name}_{column}"
        own = properties[table.name]
        own[there] = relationship(
            f"C{target.name}",
            foreign_keys=[table.c[column]],
            remote_side=[target.c.id],
            back_populates=back,
        )
        properties[target.name][back] = relationship(
            f"C{table.name}",
            foreign_keys=[table.c[column]],
            remote_side=[table.c[column]],
            back_populates=there,
            passive_deletes=draw.choice([True, False, "all"]),
            order_by=list(table.primary_key),
        )
    if world.secondary is not None:
        left, right = (next(iter(c.foreign_keys)).column for c in world.secondary.c)
        properties[left.table.name]["others"] = relationship(
            f"C{right.table.name}",
            secondary=world.secondary,
            primaryjoin=left == world.secondary.c.l_id,
            secondaryjoin=right == world.secondary.c.r_id,
            order_by=right,
        )
    for table in world.tables:
        other = draw.choice(world.tables).alias()
        if draw.random() < 0.3:
            properties[table.name]["counted"] = column_property(
                select(other.c.n)
                .where(other.c.n == table.c.n)
                .order_by(*other.primary_key)
                .limit(1)
                .scalar_subquery()
            )
        elif draw.random() < 0.2:
            properties[table.name]["counted"] = column_property(
                literal_column(f"(SELECT max(n) FROM {other.element.name})", Integer)  # noqa: S608
            )
            if draw.random() < 0.5:
                table.info["reads"] = [other.element.name]
        world.classes[table.name] = type(
            f"C{table.name}", (db.Model,), {"__table__": table, **properties[table.name]}
        )
    db.Model.registry.configure()


def _map_again(world: World) -> None:
    """Map the tables in another registry, without foreign keys, and spelled otherwise."""
    draw, again, metadata = world.draw, world.again, MetaData()
    for table in world.tables:
        if draw.random() < 0.5:
            continue
        name = table.name.upper() if world.kind == "sqlite" and draw.random() < 0.5 else table.name
        schema = draw.choice([None, DEFAULT[world.kind]])
        columns = (Column(c.name, c.type, primary_key=c.primary_key) for c in table.columns)
        copied = Table(name, metadata, *columns, schema=schema)
        world.second[table.name] = type("S" + table.name, (), {})
        again.map_imperatively(world.second[table.name], copied)
    if world.links:
        table, column, target = draw.choice(world.links)
        other = target.alias() if table is target else target
        if table is not target:
            joined = table.join(other, table.c[column] == other.c.id)
            world.on_join = type("J" + table.name, (), {})
            named = {f"t_{c.name}": c for c in other.columns}
            again.map_imperatively(world.on_join, joined, properties=named)
    again.configure()


def _add_view(world: World, mark: str) -> None:
    draw = world.draw
    if draw.random() < 0.5:
        return
    table, name = draw.choice(world.tables), f"{mark}view"
    key = next(iter(table.primary_key)).name
    world.ddl.append(f"CREATE VIEW {name} AS SELECT {key} AS id, n, s FROM {table.name}")  # noqa: S608
    columns = [Column("id", Integer, primary_key=True), Column("n", Integer), Column("s", String)]
    info = {"reads": [table.name]} if draw.random() < 0.5 else {}
    world.views.append(Table(name, MetaData(), *columns, info=info))


def _add_trigger(world: World, mark: str) -> None:
    draw = world.draw
    if draw.random() < 0.6:
        return
    source, target = draw.choice(world.tables), draw.choice(world.tables)
    if source is target:
        return
    body = f"UPDATE {target.name} SET s = 'd' WHERE n = 1"  # noqa: S608
    begin = f"CREATE TRIGGER {mark}trigger AFTER UPDATE ON {source.name} FOR EACH ROW"
    if world.kind == "postgresql":
        world.ddl += [
            f"CREATE FUNCTION {mark}f() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body}; RETURN NULL; END $$",
            f"{begin} WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION {mark}f()",
        ]
    elif world.kind == "sqlite":
        world.ddl.append(f"{begin} BEGIN {body}; END")
    else:
        return
    if draw.random() < 0.5:
        source.info["writes"] = [target.name]
