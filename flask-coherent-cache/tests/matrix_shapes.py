"""The matrix's classes: ten ways to map one thing, each on tables of its own.

Each shape has a thing ``a`` with the value 1, in the group 1, with the label 1; a write makes the
value 9, adds the label 2, or ends the thing.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import column_property, foreign, registry, relationship

CASCADE = {"ondelete": "CASCADE", "onupdate": "CASCADE"}


class Shape:
    """Tables, and two classes of a thing: one that writers use, and one that readers use.

    :param name: of the shape.
    :param prefix: what its tables' names begin with.
    """

    def __init__(self, name: str, define: "Callable[[Shape], None]", prefix: str) -> None:
        self.name = name
        self.prefix = prefix
        self.metadata = MetaData()
        self.registry = registry(metadata=self.metadata)
        #: Of the mappings beside the writer's.
        self.others = MetaData()
        self.key: Any = 1
        self.view_sql = ""
        self.main: Table
        #: The table with the column ``value``.
        self.value: Table
        self.group = self._table("group", Column("id", Integer, primary_key=True))
        self.label = self._table("label", *_id_and_text())
        self.board = self._table("board", *_id_and_text())
        self.bystander = self._table("bystander", *_id_and_text())
        self.Label = self.class_("Label")
        self.Board = self.class_("Board")
        self.Group = self.class_("Group")
        self.registry.map_imperatively(self.Label, self.label)
        self.thing_key = [Column("thing_id", ForeignKey(f"{self.prefix}_main.id", **CASCADE))]
        define(self)
        self.inbox = self._table(
            "inbox", Column("id", Integer, primary_key=True), info={"writes": [self.value.name]}
        )
        self._map_board()

    # -- what the shapes are made with

    def class_(self, name: str, *bases: type) -> Any:
        return type(name, bases, {"__module__": self.prefix})

    def _table(self, name: str, *columns: Any, **options: Any) -> Table:
        return Table(f"{self.prefix}_{name}", self.metadata, *columns, **options)

    def table(self, name: str, *columns: Any, metadata: MetaData | None = None) -> Table:
        return Table(f"{self.prefix}_{name}", metadata or self.metadata, *columns)

    def main_columns(self, *more: Any) -> list[Any]:
        group = Column("group_id", ForeignKey(f"{self.prefix}_group.id", **CASCADE))
        return [Column("id", Integer, primary_key=True), Column("slug", String(9), unique=True),
                group, *more]  # fmt: skip

    def labels(self, **options: Any) -> Any:
        """A relationship to the labels, by a table between."""
        return relationship(self.Label, secondary=self.labelled(), **options)

    def labelled(self) -> Table:
        name = f"{self.prefix}_labelled"
        if name not in self.metadata.tables:
            label = Column("label_id", ForeignKey(f"{self.prefix}_label.id", **CASCADE))
            self._table("labelled", *self.thing_key, label)
        return self.metadata.tables[name]

    def map_group(self, thing: Any, **options: Any) -> None:
        things = relationship(thing, cascade="all, delete-orphan", **options)
        self.registry.map_imperatively(self.Group, self.group, properties={"things": things})

    def _map_board(self) -> None:
        """Map a row of another table, with columns that count and sum the things."""
        labelled = self.labelled()
        total = select(func.sum(self.R.value)).scalar_subquery()
        number = select(func.count(labelled.c.label_id)).scalar_subquery()
        properties = {
            "total": column_property(total),
            "labelled": column_property(number),
        }
        self.registry.map_imperatively(self.Board, self.board, properties=properties)

    # -- what is done with them

    @property
    def metadatas(self) -> list[MetaData]:
        return [self.metadata, self.others]

    def create(self, connection: Connection) -> None:
        self.metadata.create_all(connection)
        if self.view_sql:
            self._alter_view(connection, f"CREATE VIEW {self.prefix}_view AS {self.view_sql}")

    def drop(self, connection: Connection) -> None:
        """Drop the thing's tables."""
        if self.view_sql:
            self._alter_view(connection, f"DROP VIEW {self.prefix}_view")
        tables = [self.labelled(), self.main, self.value]
        if self.name == "cyclic":
            tables.append(self.group)
        self.metadata.drop_all(connection, tables=list(dict.fromkeys(tables)))

    def _alter_view(self, connection: Connection, sql: str) -> None:
        # Undeclared, it would drop what is built on any table.
        declared = {"cache_writes": [self.main.name]}
        connection.execute(text(sql), execution_options=declared)

    def create_trigger(self, connection: Connection) -> None:
        """Have a new row of the inbox change the thing."""
        change = f"UPDATE {self.value.name} SET value = 9 WHERE value = 1"  # noqa: S608
        name, on = f"{self.prefix}_trigger", f"AFTER INSERT ON {self.inbox.name}"
        if connection.dialect.name == "sqlite":
            connection.execute(text(f"CREATE TRIGGER {name} {on} BEGIN {change}; END"))
        else:
            body = f"$$ BEGIN {change}; RETURN NEW; END $$ LANGUAGE plpgsql"
            connection.execute(text(f"CREATE FUNCTION {name}() RETURNS trigger AS {body}"))
            run = f"FOR EACH ROW EXECUTE FUNCTION {name}()"
            connection.execute(text(f"CREATE TRIGGER {name} {on} {run}"))

    def fill(self, connection: Connection) -> None:
        """Have the same rows as in the beginning."""
        for table in (self.group, self.main, self.value, self.label, self.board):
            connection.execute(delete(table))
        for table in (self.inbox, self.bystander):
            connection.execute(delete(table))
        if self.group is not self.main:
            self._insert(connection, self.group, [{"id": 1}, {"id": 2}])
        self._insert(connection, self.label, [{"id": 1, "text": "old"}, {"id": 2, "text": "new"}])
        for table in (self.board, self.bystander):
            self._insert(connection, table, [{"id": 1, "text": "one"}])
        rows = [self._row(number) for number in (1, 2, 3)]
        if self.name == "self referencing":
            root = {**self._row(4), "group_id": None}
            rows = [root, *({**row, "group_id": 4} for row in rows)]
        self._insert(connection, self.main, rows)
        if self.value is not self.main:
            self._insert(connection, self.value, rows)
        self._insert(connection, self.labelled(), [{**rows[-3], "label_id": 1}])
        if "main_id" in self.group.c:
            connection.execute(update(self.group).where(self.group.c.id == 2).values(main_id=1))

    def _row(self, number: int) -> dict[str, Any]:
        """All columns that any of the shapes gives a thing."""
        keys = dict.fromkeys(["id", "base_id", "own_id", "thing_id", "x", "y", "thing_x"], number)
        keys = {**keys, "own_id": number + 100, "y": 1, "thing_y": 1}
        slug = "abcd"[number - 1]
        group = 1 if number == 1 else 2
        return {**keys, "slug": slug, "value": number, "group_id": group, "kind": "child"}

    @staticmethod
    def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        known = [{k: v for k, v in row.items() if k in table.c} for row in rows]
        connection.execute(insert(table), known)


def _id_and_text() -> list[Column[Any]]:
    return [Column("id", Integer, primary_key=True), Column("text", String(9))]


def _plain(shape: Shape) -> None:
    shape.main = shape.value = shape.table("main", *shape.main_columns(Column("value", Integer)))
    shape.W = shape.R = shape.class_("Thing")
    shape.registry.map_imperatively(shape.W, shape.main, properties={"labels": shape.labels()})
    shape.map_group(shape.W)


def _base(shape: Shape, *columns: Any) -> Any:
    """Map a base with a subclass, which readers and writers use."""
    shape.main = shape.table("main", *shape.main_columns(Column("kind", String(9)), *columns))
    base = shape.class_("Base")
    shape.registry.map_imperatively(
        base,
        shape.main,
        polymorphic_on=shape.main.c.kind,
        polymorphic_identity="base",
        properties={"labels": shape.labels()},
    )
    shape.W = shape.R = shape.class_("Child", base)
    shape.map_group(base)
    return base


def _joined(shape: Shape) -> None:
    base = _base(shape)
    key = Column("id", ForeignKey(shape.main.c.id, **CASCADE), primary_key=True)
    shape.value = shape.table("value", key, Column("value", Integer))
    shape.registry.map_imperatively(
        shape.W, shape.value, inherits=base, polymorphic_identity="child"
    )


def _own_key(shape: Shape) -> None:
    base = _base(shape)
    shape.value = shape.table(
        "value",
        Column("own_id", Integer, primary_key=True),
        Column("base_id", ForeignKey(shape.main.c.id, **CASCADE), unique=True),
        Column("value", Integer),
    )
    shape.registry.map_imperatively(
        shape.W, shape.value, inherits=base, polymorphic_identity="child"
    )


def _single(shape: Shape) -> None:
    base = _base(shape, Column("value", Integer))
    shape.value = shape.main
    shape.registry.map_imperatively(shape.W, None, inherits=base, polymorphic_identity="child")


def _on_a_join(shape: Shape) -> None:
    shape.main = shape.table("main", *shape.main_columns())
    key = Column("thing_id", ForeignKey(shape.main.c.id, **CASCADE), primary_key=True)
    shape.value = shape.table("value", key, Column("value", Integer))
    shape.W = shape.R = shape.class_("Thing")
    properties = {"id": [shape.main.c.id, shape.value.c.thing_id], "labels": shape.labels()}
    shape.registry.map_imperatively(shape.W, shape.main.join(shape.value), properties=properties)
    shape.map_group(shape.W)


def _mapped_twice(shape: Shape) -> None:
    """Readers have classes of another registry, on tables of another metadata without keys."""
    _plain(shape)
    second = Table(
        shape.main.name,
        shape.others,
        Column("id", Integer, primary_key=True),
        Column("slug", String(9), unique=True),
        Column("value", Integer),
        Column("group_id", Integer),
    )
    shape.R = shape.class_("Second")
    _map_reader(shape, second)


def _map_reader(shape: Shape, table: Table) -> None:
    """Map a class of readers in a registry of its own."""
    labelled, label = shape.labelled(), shape.Label
    labels = relationship(
        label,
        secondary=labelled,
        primaryjoin=table.c.id == foreign(labelled.c.thing_id),
        secondaryjoin=shape.label.c.id == foreign(labelled.c.label_id),
        viewonly=True,
    )
    registry(metadata=shape.others).map_imperatively(shape.R, table, properties={"labels": labels})


def _view(shape: Shape) -> None:
    _plain(shape)
    names = ("id", "slug", "value", "group_id")
    shape.view_sql = f"SELECT {', '.join(names)} FROM {shape.main.name}"  # noqa: S608
    types = {"slug": String(9)}
    view = Table(
        f"{shape.prefix}_view",
        shape.others,
        *(Column(name, types.get(name, Integer), primary_key=name == "id") for name in names),
        info={"reads": [shape.main.name]},
    )
    shape.R = shape.class_("View")
    _map_reader(shape, view)


def _composite(shape: Shape) -> None:
    group = Column("group_id", ForeignKey(f"{shape.prefix}_group.id", **CASCADE))
    shape.main = shape.value = shape.table(
        "main",
        Column("x", Integer, primary_key=True),
        Column("y", Integer, primary_key=True),
        Column("slug", String(9), unique=True),
        Column("value", Integer),
        group,
    )
    shape.key = (1, 1)
    both = [f"{shape.prefix}_main.x", f"{shape.prefix}_main.y"]
    shape.thing_key = [
        Column("thing_x", Integer),
        Column("thing_y", Integer),
        ForeignKeyConstraint(["thing_x", "thing_y"], both, **CASCADE),
    ]
    shape.W = shape.R = shape.class_("Thing")
    shape.registry.map_imperatively(shape.W, shape.main, properties={"labels": shape.labels()})
    shape.map_group(shape.W)


def _self_referencing(shape: Shape) -> None:
    """The group of a thing is a thing."""
    shape.metadata.remove(shape.group)
    shape.main = shape.value = shape.group = shape.table(
        "main",
        Column("id", Integer, primary_key=True),
        Column("slug", String(9), unique=True),
        Column("value", Integer),
        Column("group_id", ForeignKey(f"{shape.prefix}_main.id", **CASCADE)),
    )
    shape.W = shape.R = shape.Group = shape.class_("Thing")
    things = relationship(shape.W, cascade="all, delete-orphan", single_parent=True, join_depth=1)
    properties = {"labels": shape.labels(), "things": things}
    shape.registry.map_imperatively(shape.W, shape.main, properties=properties)


def _cyclic(shape: Shape) -> None:
    """A group has a main thing, which the end of that thing takes away."""
    end = ForeignKey(
        f"{shape.prefix}_main.id", ondelete="SET NULL", use_alter=True, name=f"{shape.prefix}_fk"
    )
    shape.group.append_column(Column("main_id", Integer, end))
    shape.main = shape.value = shape.table("main", *shape.main_columns(Column("value", Integer)))
    shape.W = shape.R = shape.class_("Thing")
    shape.registry.map_imperatively(shape.W, shape.main, properties={"labels": shape.labels()})
    shape.map_group(shape.W, primaryjoin=shape.group.c.id == foreign(shape.main.c.group_id))


SHAPES: dict[str, Callable[[Shape], None]] = {
    "plain": _plain,
    "joined inheritance": _joined,
    "own key": _own_key,
    "single table": _single,
    "on a join": _on_a_join,
    "mapped twice": _mapped_twice,
    "view declared": _view,
    "composite key": _composite,
    "self referencing": _self_referencing,
    "cyclic": _cyclic,
}
