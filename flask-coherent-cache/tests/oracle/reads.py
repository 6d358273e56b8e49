"""Random reads: functions from a session to a value that can be compared."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    String,
    and_,
    case,
    cast,
    distinct,
    func,
    inspect,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased, joinedload, selectinload, with_loader_criteria
from sqlalchemy.sql.expression import ColumnElement

from .core_reads import CoreReads
from .drawing import Read, root, shown
from .object_reads import ObjectReads
from .worlds import KEYS, UNIQUE, World


class First(ColumnElement[Any]):
    """The first of a table's numbers: a construct that nothing but its SQL tells about."""

    inherit_cache = False

    def __init__(self, table: str) -> None:
        self.table = table


@compiles(First)
def _first(element: First, *_: Any, **__: Any) -> str:
    return f"(SELECT max(n) FROM {element.table})"  # noqa: S608


class Reads(CoreReads, ObjectReads):
    """Draws reads of a world.

    :param kinds: the names of the only kinds that are drawn; all where there are none.
    """

    def __init__(self, world: World, kinds: Iterable[str] = ()) -> None:
        super().__init__(world)
        self.kinds = [*kinds] or self._biased()

    def _biased(self) -> list[str]:
        """Ask much of some kinds and nothing of others: rare pairs of kinds meet more often."""
        # What finds one row is half of what an application asks.
        often = dict.fromkeys(("got", "unique", "unique_entity", "by_key", "many_to_many"), 4)
        often |= dict.fromkeys(("selected", "loaded", "looked_up"), 3)
        often |= dict.fromkeys(("narrowed", "paged", "aggregated"), 2)
        every = [name for name in dir(type(self)) if not name.startswith("_")]
        many = {name: self.draw.choice([0, 1, 1, 3]) * often.get(name, 1) for name in every}
        return [name for name in every for _ in range(many[name])] or every

    def _any(self) -> tuple[str, Read]:
        for _ in range(100):
            kind = self.draw.choice(self.kinds)
            read = getattr(self, kind)()
            if read is not None:
                return kind, read
        return "by_key", self.by_key()

    # ------------------------------------------------------------------------------- reads

    def got(self) -> Read:
        cls = self._class()
        key = self._key(inspect(cls).local_table)
        return lambda session: shown(session.get(cls, key))

    def unique(self) -> Read:
        table = self.draw.choice(self.world.tables)
        statement = select(table).where(table.c.u == self.draw.randint(1, UNIQUE))
        return self._rows(statement)

    def unique_entity(self) -> Read:
        cls = self._class()
        return self._entities(select(cls).where(cls.u == self.draw.randint(1, UNIQUE)))

    def by_key(self) -> Read:
        """A column of a row, a count of it, and what hangs on a second condition."""
        table = self.draw.choice(self.world.tables)
        key = self._key(table)
        values = key if isinstance(key, tuple) else (key,)
        where = [column == value for column, value in zip(table.primary_key, values, strict=True)]
        what = self.draw.choice([table.c.n, func.count(), func.max(table.c.n), table.c.s])
        more = [self._test(table)] if self.draw.random() < 0.4 else []
        return self._rows(select(what).select_from(table).where(*where, *more))

    def core(self) -> Read:
        table = self._table()
        chosen = self.draw.sample([*table.c], 2)
        return self._rows(select(*chosen).where(self._test(table)))

    def column_subquery(self) -> Read:
        table, other = self._table(), self.draw.choice(self.world.tables).alias()
        inner = select(func.max(other.c.n)).where(other.c.n != table.c.n).scalar_subquery()
        return self._rows(select(*table.primary_key, inner).where(table.c.n == 1))

    def lonely_subquery(self) -> Read:
        inner = select(func.sum(self.draw.choice(self.world.tables).c.n)).scalar_subquery()
        return self._rows(select(inner))

    def entities(self) -> Read:
        cls = self._class()
        table = inspect(cls).local_table
        return self._entities(select(cls).where(self._test(table)))

    def criteria(self) -> Read | None:
        if not self.world.links:
            return None
        table, column, target = self.draw.choice(self.world.links)
        cls, remote = self.world.classes[table.name], self.world.classes[target.name]
        other = self.draw.choice(self.world.tables).alias()
        hidden = with_loader_criteria(remote, remote.n.in_(select(other.c.n)))
        attribute = getattr(cls, f"{column}_to")
        load = self.draw.choice([joinedload, selectinload])(attribute)
        statement = select(cls).options(load, hidden)
        return lambda session: sorted(
            (
                (shown(found), shown(getattr(found, f"{column}_to")))
                for found in session.scalars(statement).unique()
            ),
            key=repr,
        )

    def joined(self) -> Read | None:
        if not self.world.links:
            return None
        table, column, target = self.draw.choice(self.world.links)
        cls, remote = self.world.classes[table.name], aliased(self.world.classes[target.name])
        on = getattr(cls, f"{column}_to").of_type(remote)
        if self.draw.random() < 0.3:
            # Only in ON does another table appear.
            other = self.draw.choice(self.world.tables).alias()
            statement = select(cls.n, remote.n).join(
                remote, and_(getattr(cls, column) == remote.id, remote.n.in_(select(other.c.n)))
            )
        else:
            statement = select(cls.n, remote.s).join(on, isouter=self.draw.random() < 0.4)
        return self._rows(statement)

    def related(self) -> Read | None:
        if not self.world.links:
            return None
        table, column, target = self.draw.choice(self.world.links)
        cls, back = self.world.classes[target.name], f"{table.name}_{column}"
        key = self._key(target)

        def read(session: Any) -> Any:
            found = session.get(cls, key)
            return found and [shown(other) for other in getattr(found, back)]

        return read

    def many_to_many(self) -> Read | None:
        secondary = self.world.secondary
        if secondary is None:
            return None
        left = next(iter(secondary.c.l_id.foreign_keys)).column.table
        cls = self.world.classes[left.name]
        if self.draw.random() < 0.3:
            return self._rows(select(secondary))
        if self.draw.random() < 0.5:
            remote = aliased(inspect(cls).relationships["others"].mapper.class_)
            joined = select(cls.id, func.count()).join(cls.others.of_type(remote))
            return self._rows(joined.group_by(cls.id))
        key = self._key(left)

        def read(session: Any) -> Any:
            found = session.get(cls, key)
            return found and [shown(other) for other in found.others]

        return read

    def grouped(self) -> Read:
        table = self._table()
        what = self.draw.choice(
            [func.count(), func.max(table.c.n), func.count(distinct(table.c.s))]
        )
        return self._rows(select(table.c.s, what).group_by(table.c.s))

    def window(self) -> Read:
        table = self._table()
        key = list(table.primary_key)
        number = func.row_number().over(partition_by=table.c.s, order_by=[table.c.n, *key])
        return self._rows(select(*key, number))

    def cte(self) -> Read:
        table = self._table()
        inner = select(table.c.n, table.c.s).where(self._test(table)).cte()
        return self._rows(select(func.count(), func.min(inner.c.n)).select_from(inner))

    def union(self) -> Read:
        one, two = self._table(), self._table()
        return self._rows(union_all(select(one.c.n), select(two.c.u)))

    def shape(self) -> Read:
        table = self._table()
        what = case((self._test(table), cast(table.c.n, String(9))), else_="-")
        return self._rows(select(*table.primary_key, what))

    def on_join(self) -> Read | None:
        cls = self.world.on_join
        return self._entities(select(cls)) if cls is not None else None

    def view(self) -> Read | None:
        if not self.world.views:
            return None
        view = self.world.views[0]
        return self._rows(
            select(view.c.id, view.c.n).where(view.c.id == self.draw.randint(1, KEYS))
        )

    def embedded(self) -> Read:
        """Text inside a statement, which nothing declares."""
        table, other = self._table(), self.draw.choice(self.world.tables).name
        numbers, declared = f"SELECT n FROM {other}", "reads" in root(table).info  # noqa: S608
        statement = self.draw.choice(
            [
                lambda: select(literal_column(f"({numbers} ORDER BY n LIMIT 1)"), table.c.n),
                lambda: select(table.c.n).where(text(f"2 IN ({numbers})")),
                lambda: select(table.c.n, table.c.n.op(f"IN ({numbers}) AND 1 =")(1)),
                lambda: select(func.count()).select_from(text(other)),
                lambda: select(table.c.n).suffix_with(f"UNION {numbers}"),
                # What a table is declared to read counts for the whole statement.
                lambda: select(table.c.t if declared else First(other), table.c.n),
            ]
        )
        return self._rows(statement())
