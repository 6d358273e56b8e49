"""Random writes: functions that change something in a session, which its caller commits."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import bindparam, delete, event, func, insert, inspect, select, text, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from .worlds import KEYS, World

Change = Callable[[Any], Any]


class EarlyEnd(Exception):
    """What a listener raises before a flush."""


class Changes:
    """Draws changes of a world."""

    def __init__(self, world: World) -> None:
        self.world, self.draw = world, world.draw
        self.kinds = [name for name in vars(type(self)) if not name.startswith("_")]
        self.kinds += ["bulk_update", "core_update", "after_an_early_end", "many_to_many"]

    def _any(self) -> tuple[str, Change]:
        while True:
            kind = self.draw.choice(self.kinds)
            change = getattr(self, kind)()
            if change is not None:
                return kind, change

    # ------------------------------------------------------------------------------- parts

    def _table(self) -> Any:
        return self.draw.choice(self.world.tables)

    def _class(self) -> Any:
        again = self.world.second and self.draw.random() < 0.4
        return self.draw.choice([*(self.world.second if again else self.world.classes).values()])

    def _where(self, table: Any) -> Any:
        draw, key = self.draw, list(table.primary_key)
        return draw.choice(
            [
                [column == draw.randint(1, KEYS) for column in key],
                [key[0].in_([draw.randint(1, KEYS), draw.randint(1, KEYS)])],
                [table.c.n == draw.randint(0, 3)],
                [table.c.n.in_(select(func.max(self._table().alias().c.n)))],
            ]
        )

    def _values(self, table: Any) -> dict[str, Any]:
        names = self.draw.sample(["n", "s", "u"], 2)
        links = [name for t, name, _ in self.world.links if t.name == table.name.lower()]
        names += self.draw.sample(links, min(1, len(links)))
        return {name: self.world.value(table.c[name]) for name in names}

    # ----------------------------------------------------------------------- unit of work

    def object_changed(self) -> Change:
        cls = self._class()
        values, place = self._values(inspect(cls).local_table), self.draw.randint(0, 5)

        def change(session: Any) -> None:
            found = session.scalars(select(cls)).all()
            if found:
                for name, value in values.items():
                    setattr(found[place % len(found)], name, value)

        return change

    def object_deleted(self) -> Change:
        cls, place = self._class(), self.draw.randint(0, 5)

        def change(session: Any) -> None:
            found = session.scalars(select(cls)).all()
            if found:
                session.delete(found[place % len(found)])

        return change

    def object_added(self) -> Change:
        cls = self._class()
        row = self.world.row(inspect(cls).local_table)
        return lambda session: session.add(_made(cls, row))

    def key_changed(self) -> Change:
        cls, place, new = self._class(), self.draw.randint(0, 5), self.draw.randint(1, KEYS)
        key = inspect(cls).local_table.primary_key.columns[0].key

        def change(session: Any) -> None:
            found = session.scalars(select(cls)).all()
            if found:
                setattr(found[place % len(found)], key, new)

        return change

    def many_to_many(self) -> Change | None:
        secondary, draw = self.world.secondary, self.draw
        if secondary is None:
            return None
        left, right = (next(iter(c.foreign_keys)).column.table for c in secondary.c)
        cls, other = self.world.classes[left.name], self.world.classes[right.name]
        place, grows = draw.randint(0, KEYS), draw.random() < 0.7

        def change(session: Any) -> None:
            every, others = session.scalars(select(cls)).all(), session.scalars(select(other)).all()
            for found in every[place : place + 3]:
                added = [one for one in others if one not in found.others]
                if added and grows:
                    found.others.append(added[place % len(added)])
                elif found.others:
                    found.others.pop()

        return change

    def related_changed(self) -> Change | None:
        if not self.world.links:
            return None
        table, column, target = self.draw.choice(self.world.links)
        cls, other = self.world.classes[target.name], self.world.classes[table.name]
        one, place = self.draw.randint(1, KEYS), self.draw.randint(0, 5)

        def change(session: Any) -> None:
            found, others = session.get(cls, one), session.scalars(select(other)).all()
            if found is not None and others:
                setattr(others[place % len(others)], f"{column}_to", found)

        return change

    def join_changed(self) -> Change | None:
        cls, value = self.world.on_join, self.draw.choice("abcd")
        if cls is None:
            return None

        def change(session: Any) -> None:
            found = session.scalars(select(cls)).first()
            if found is not None:
                found.s = found.t_s = value

        return change

    def after_an_early_end(self) -> Change:
        """A flush that a listener stops, then bulk statements in the same thread."""
        cls, table = self._class(), self._table()
        row, where, values = self.world.row(table), self._where(table), self._values(table)
        by_key: dict[str, Any] = {}
        if self.draw.random() < 0.6:
            own = inspect(cls).local_table
            by_key = {c.key: self.world.value(c) for c in own.primary_key}
            by_key["n"] = self.draw.randint(0, 3)

        def stop(*_: Any) -> None:
            raise EarlyEnd

        def change(session: Any) -> None:
            session.add(_made(self.world.classes[table.name], row))
            event.listen(session, "before_flush", stop)
            try:
                session.flush()
            except EarlyEnd:
                session.expunge_all()
            finally:
                event.remove(session, "before_flush", stop)
            if by_key:
                session.execute(update(cls), [by_key])
            else:
                session.execute(update(table).where(*where).values(values))

        return change

    # ------------------------------------------------------------------- bulk and core

    def bulk_update(self) -> Change:
        cls = self._class()
        table = inspect(cls).local_table
        statement = update(cls).where(*self._where(table)).values(self._values(table))
        return lambda session: session.execute(statement)

    def bulk_delete(self) -> Change:
        cls = self._class()
        statement = delete(cls).where(*self._where(inspect(cls).local_table))
        return lambda session: session.execute(statement)

    def core_update(self) -> Change:
        table = self._table()
        statement = update(table).where(*self._where(table)).values(self._values(table))
        if self.draw.random() < 0.3 and self.world.kind != "mysql":
            statement = statement.returning(*table.primary_key)
        return lambda session: session.execute(statement)

    def core_delete(self) -> Change:
        table = self._table()
        statement = delete(table).where(*self._where(table))
        return lambda session: session.execute(statement)

    def core_insert(self) -> Change:
        table = self.world.secondary if self.draw.random() < 0.2 else self._table()
        if table is None:
            return self.core_insert()
        rows = [self.world.row(table) for _ in range(self.draw.choice([1, 1, 2]))]
        return lambda session: session.execute(insert(table), rows)

    def secondary_deleted(self) -> Change | None:
        secondary = self.world.secondary
        if secondary is None:
            return None
        number = self.draw.randint(1, KEYS)
        return lambda session: session.execute(delete(secondary).where(secondary.c.l_id == number))

    def many_executed(self) -> Change:
        table = self._table()
        key = list(table.primary_key)
        names = {f"b_{column.name}": column for column in key}
        where = [column == bindparam(name) for name, column in names.items()]
        rows = [
            {**{name: self.draw.randint(1, KEYS) for name in names}, "v": self.draw.randint(0, 3)}
            for _ in range(2)
        ]
        statement = update(table).where(*where).values(n=bindparam("v"))
        return lambda session: session.connection().execute(statement, rows)

    def upsert(self) -> Change:
        table = self._table()
        row, values = self.world.row(table), self._values(table)
        statement: Any
        if self.world.kind == "mysql":
            statement = mysql.insert(table).values(row).on_duplicate_key_update(values)
        else:
            make: Any = sqlite.insert if self.world.kind == "sqlite" else postgresql.insert
            key = [column.name for column in table.primary_key]
            statement = make(table).values(row)
            statement = statement.on_conflict_do_update(index_elements=key, set_=values)
        return lambda session: session.execute(statement)

    def replaced(self) -> Change | None:
        if self.world.kind != "sqlite":
            return None
        table = self._table()
        statement = insert(table).prefix_with("OR REPLACE").values(self.world.row(table))
        return lambda session: session.execute(statement)

    def insert_from_select(self) -> Change | None:
        table, other = self._table(), self._table().alias()
        if len(table.primary_key) > 1:
            return None
        number = self.draw.randint(1, KEYS + 3)
        chosen = select(func.max(other.c.n) * 0 + number, func.max(other.c.s))
        statement = insert(table).from_select(["id", "s"], chosen)
        return lambda session: session.execute(statement)

    def change_in_a_cte(self) -> Change | None:
        if self.world.kind != "postgresql":
            return None
        table = self._table()
        values = self._values(table)
        where = self._where(table)
        cte = update(table).where(*where).values(values).returning(table.c.n).cte()
        return lambda session: session.execute(select(cte))

    def raw(self) -> Change:
        table = self._table().name
        number = self.draw.randint(0, 3)
        sql = self.draw.choice(
            [
                f"UPDATE {table} SET n = {number} WHERE s = 'a'",  # noqa: S608
                f"DELETE FROM {table} WHERE n = {number}",  # noqa: S608
            ]
        )
        return lambda session: session.execute(text(sql))

    def ddl(self) -> Change | None:
        secondary = self.world.secondary
        if secondary is None or self.draw.random() < 0.7:
            return None

        def change(session: Any) -> None:
            secondary.drop(session.connection())
            secondary.create(session.connection())

        return change


def _made(cls: Any, row: dict[str, Any]) -> Any:
    made = cls()
    for name, value in row.items():
        setattr(made, name, value)
    return made
