"""Random changes by INSERT, UPDATE and DELETE, and by text."""

from typing import Any

from sqlalchemy import (
    bindparam,
    delete,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from .changing import Change, Changing
from .worlds import KEYS


class BulkChanges(Changing):
    """Draws changes by statements."""

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
        rows = self._alike(table, self.draw.choice([1, 1, 2]))
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

    def _alike(self, table: Any, number: int) -> list[dict[str, Any]]:
        """Draw rows that give the same columns."""
        rows = [self.world.row(table) for _ in range(number)]
        names = [name for name in rows[0] if name in rows[-1]]
        return [{name: row[name] for name in names} for row in rows]

    def named(self) -> Change:
        """UPDATE or DELETE of rows that are named, perhaps with another condition."""
        table = self._table()
        where = self._named(table)
        if self._chance(0.3):
            where.append(self._simple_test(table))
        if self._chance(0.25):
            return lambda session: session.execute(delete(table).where(*where))
        statement = update(table).where(*where).values(self._values(table))
        return lambda session: session.execute(statement)

    def unnamed(self) -> Change:
        """UPDATE whose values are SQL."""
        draw, table = self.draw, self._table()
        number = table.c.n
        value = draw.choice([number + 1, table.c.u, literal(2), bindparam("wanted", 1)])
        names = [c.key for c in self._given(table) if not c.foreign_keys and c.name in ("n", "m")]
        statement = update(table).where(*self._where(table)).values({draw.choice(names): value})
        return lambda session: session.execute(statement)

    def from_another(self) -> Change:
        """UPDATE or DELETE by the rows of another table."""
        draw, table, other = self.draw, self._table(), self._other()
        best = select(func.max(other.c.t)).where(other.c.n == table.c.n).scalar_subquery()
        by_row = update(table).values(t=other.c.s).where(table.c.n == other.c.n)
        by_row = by_row.where(self._simple_test(other))
        statements: list[Any] = [update(table).values(s=best), by_row]
        if self.world.kind != "sqlite":
            gone = delete(table).where(table.c.n == other.c.n, other.c.s == "a", other.c.n == 3)
            statements.append(gone)
        statement = draw.choice(statements)
        return lambda session: session.execute(statement)

    def keys_moved(self) -> Change:
        """UPDATE of a primary key."""
        table = self._table()
        key = next(iter(table.primary_key))
        new = self.draw.choice([self.draw.randint(1, KEYS), key + KEYS])
        statement = update(table).where(*self._named(table)).values({key.key: new})
        return lambda session: session.execute(statement)

    def bulk_by_key(self) -> Change:
        """``session.execute(update(cls), rows)``: the rows are named by their parameters."""
        cls = self._class()
        table = inspect(cls).local_table
        names = [*self._values(table)]
        rows = [
            {
                **{c.key: self.draw.randint(1, KEYS) for c in table.primary_key},
                **{name: self.world.value(table.c[name]) for name in names},
                **({"version": 1} if "version" in table.c else {}),
            }
            for _ in range(self.draw.choice([1, 2]))
        ]
        return lambda session: session.execute(update(cls), rows)

    def bulk_insert(self) -> Change:
        """Several rows of a class, or several VALUES of one statement."""
        cls = self._class()
        table = inspect(cls).local_table
        rows = self._alike(table, 2)
        if self._chance(0.5):
            return lambda session: session.execute(insert(cls), rows)
        return lambda session: session.execute(insert(table).values(rows))

    def partly_inserted(self) -> Change:
        """A row whose values are defaults of the database, or SQL."""
        table = self._table()
        row = self.world.row(table)
        gone = [c.key for c in self._given(table)]
        for name in self.draw.sample(gone, 2):
            row.pop(name, None)
        if self._chance(0.4):
            other = self._other()
            row["n"] = select(func.max(other.c.n)).scalar_subquery()
        return lambda session: session.execute(insert(table).values(row))

    def copied(self) -> Change:
        """INSERT from a SELECT of all columns."""
        table, other = self._table(), self.draw.choice(self.world.tables)
        names = [c.key for c in self._given(table) if c.key in other.c and c.name != "u"]
        keys = [c.key for c in table.primary_key]
        numbers = [literal(self.draw.randint(1, KEYS + 3)) for _ in keys]
        chosen = select(*numbers, *(other.c[name] for name in names)).limit(1)
        chosen = chosen.where(self._simple_test(other)).order_by(*other.primary_key)
        statement = insert(table).from_select([*keys, *names], chosen)
        return lambda session: session.execute(statement)

    def upserted(self) -> Change:
        """An upsert that does nothing, sets what was refused, or is by another key."""
        draw, table = self.draw, self._table()
        row, names = self.world.row(table), [*self._values(table)]
        statement: Any
        if self.world.kind == "mysql":
            statement = mysql.insert(table).values(row)
            given = {name: statement.inserted[name] for name in names}
            statement = statement.on_duplicate_key_update(given)
            if self._chance(0.25):
                statement = insert(table).prefix_with("IGNORE").values(row)
            return lambda session: session.execute(statement)
        make: Any = sqlite.insert if self.world.kind == "sqlite" else postgresql.insert
        statement = make(table).values(row)
        if self._chance(0.25):
            statement = statement.on_conflict_do_nothing()
        else:
            key = ["u"] if table.c.u.unique and self._chance(0.4) else [*table.primary_key]
            given = {name: statement.excluded[name] for name in names}
            where = table.c.n == draw.randint(0, 3) if self._chance(0.2) else None
            statement = statement.on_conflict_do_update(index_elements=key, set_=given, where=where)
        return lambda session: session.execute(statement)

    def swapped(self) -> Change:
        """Change, and change back, in one transaction."""
        table = self._table()

        def change(session: Any) -> None:
            session.execute(update(table).where(table.c.n == 1).values(n=2))
            session.execute(update(table).where(table.c.n == 2).values(n=1))

        return change

    def written_out(self) -> Change:
        """SQL as text, with parameters."""
        table, draw = self._table(), self.draw
        key = next(iter(table.primary_key)).name
        sql = draw.choice(
            [
                f"UPDATE {table.name} SET t = :value WHERE {key} = :key",  # noqa: S608
                f"UPDATE {table.name} SET m = m + 1 WHERE {key} > :key AND :value = :value",  # noqa: S608
                f"DELETE FROM {table.name} WHERE {key} = :key AND :value = :value",  # noqa: S608
            ]
        )
        given = {"key": draw.randint(1, KEYS), "value": draw.choice("abcd")}
        return lambda session: session.execute(text(sql), given)
