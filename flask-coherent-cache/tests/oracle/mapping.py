"""The classes of a random database, its views and its triggers."""

import random
from collections.abc import Iterator
from itertools import count
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, Integer, MetaData, String, Table, func, literal_column, select
from sqlalchemy.orm import column_property, relationship

from .worlds import World, make_tables

#: The schema that is meant where none is named.
DEFAULT = {"sqlite": "main", "postgresql": "public", "mysql": "test"}
_numbers = count()


def make_world(draw: random.Random, kind: str, db: SQLAlchemy) -> World:
    """Draw a world; its classes are mapped, and the database is untouched."""
    world, mark = World(draw, kind, db), f"w{next(_numbers)}"
    make_tables(world, mark)
    world.links = list(_links(world))
    _map(world)
    _map_again(world)
    _add_view(world, mark)
    _add_trigger(world, mark)
    return world


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
    db, properties = world.db, _relationships(world)
    for table in world.tables:
        own = properties[table.name]
        counted = _counted(world, table)
        if counted is not None:
            own["counted"] = counted
        if "version" in table.c and world.draw.random() < 0.6:
            own["__mapper_args__"] = {"version_id_col": table.c.version}
        world.classes[table.name] = type(f"C{table.name}", (db.Model,), {"__table__": table, **own})
    if world.extension is not None:
        parent = next(iter(world.extension.c.id.foreign_keys)).column.table
        bases = (world.classes[parent.name],)
        world.extended = type("E" + parent.name, bases, {"__table__": world.extension})
    db.Model.registry.configure()


def _relationships(world: World) -> dict[str, dict[str, Any]]:
    draw = world.draw
    properties: dict[str, dict[str, Any]] = {table.name: {} for table in world.tables}
    for table, column, target in world.links:
        there, back = f"{column}_to", f"{table.name}_{column}"
        properties[table.name][there] = relationship(
            f"C{target.name}",
            foreign_keys=[table.c[column]],
            remote_side=[target.c.id],
            back_populates=back,
            post_update=draw.random() < 0.2,
        )
        properties[target.name][back] = relationship(
            f"C{table.name}",
            foreign_keys=[table.c[column]],
            remote_side=[table.c[column]],
            back_populates=there,
            passive_deletes=draw.choice([True, False, "all"]),
            order_by=list(table.primary_key),
        )
        if draw.random() < 0.3 and table is not target:
            properties[target.name]["few"] = relationship(
                f"C{table.name}",
                viewonly=True,
                primaryjoin=(table.c[column] == target.c.id) & (table.c.n > 1),
                foreign_keys=[table.c[column]],
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
    return properties


def _counted(world: World, table: Table) -> Any:
    """Draw a property that reads another table, or none."""
    draw = world.draw
    other = draw.choice(world.tables).alias()
    if draw.random() < 0.15:
        counted = select(func.count()).select_from(other).where(other.c.n == table.c.n)
        return column_property(counted.scalar_subquery(), deferred=draw.random() < 0.3)
    if draw.random() < 0.25:
        first = select(other.c.n).where(other.c.n == table.c.n).order_by(*other.primary_key)
        return column_property(first.limit(1).scalar_subquery())
    if draw.random() < 0.2:
        if draw.random() < 0.5:
            table.info["reads"] = [other.element.name]
        text = f"(SELECT max(n) FROM {other.element.name})"  # noqa: S608
        return column_property(literal_column(text, Integer))
    return None


def _map_again(world: World) -> None:
    """Map the tables in another registry, without foreign keys, and spelled otherwise."""
    draw, again, metadata = world.draw, world.again, MetaData()
    for table in world.tables:
        if draw.random() < 0.5:
            continue
        name = table.name.upper() if world.kind == "sqlite" and draw.random() < 0.5 else table.name
        schema = draw.choice([None, DEFAULT[world.kind]])
        # Only the other mapping declares what the database computes.
        plain = [column for column in table.columns if column.computed is None]
        columns = (Column(c.name, c.type, primary_key=c.primary_key) for c in plain)
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
    if source is target or world.kind == "mysql":
        world.ddl += _own_row(source.name, mark, world.kind)
    else:
        world.ddl += _other_table(source.name, target.name, mark, world.kind)
    if draw.random() < 0.5:
        source.info["writes"] = [] if source is target else [target.name]


def _own_row(table: str, mark: str, kind: str) -> list[str]:
    """A trigger that sets another column of the row that is written."""
    begin = f"CREATE TRIGGER {mark}trigger {{}} ON {table} FOR EACH ROW"
    if kind == "sqlite":
        key = "rowid = NEW.rowid"
        body = f"UPDATE {table} SET s = 'd' WHERE NEW.n = 1 AND {key}"  # noqa: S608
        return [f"{begin.format('AFTER UPDATE OF n')} BEGIN {body}; END"]
    if kind == "mysql":
        return [f"{begin.format('BEFORE UPDATE')} SET NEW.s = IF(NEW.n = 1, 'd', NEW.s)"]
    body = "IF NEW.n = 1 THEN NEW.s := 'd'; END IF; RETURN NEW;"
    return [
        f"CREATE FUNCTION {mark}f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        f"{begin.format('BEFORE INSERT OR UPDATE')} EXECUTE FUNCTION {mark}f()",
    ]


def _other_table(source: str, target: str, mark: str, kind: str) -> list[str]:
    body = f"UPDATE {target} SET s = 'd' WHERE n = 1"  # noqa: S608
    begin = f"CREATE TRIGGER {mark}trigger AFTER UPDATE ON {source} FOR EACH ROW"
    if kind == "sqlite":
        return [f"{begin} BEGIN {body}; END"]
    return [
        f"CREATE FUNCTION {mark}f() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body}; RETURN NULL; END $$",
        f"{begin} WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION {mark}f()",
    ]
