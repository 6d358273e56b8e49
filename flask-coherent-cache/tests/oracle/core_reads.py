"""Random statements that are built of tables and expressions."""

from typing import Any

from sqlalchemy import String as Text
from sqlalchemy import (
    and_,
    case,
    cast,
    distinct,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union,
    union_all,
)

from .drawing import Drawing, Read, root
from .worlds import KEYS, unique_keys


class CoreReads(Drawing):
    """Draws reads of tables."""

    def selected(self) -> Read:
        """Columns and expressions of some tables, ordered, limited, read in parts."""
        draw = self.draw
        froms, join = self._joined()
        columns = [self._expression(froms) for _ in range(draw.randint(1, 4))]
        if self._chance(0.6):
            columns += [key for f in froms if self._chance(0.8) for key in f.primary_key]
        named = [c.label(f"x{i}") if self._chance(0.4) else c for i, c in enumerate(columns)]
        statement = self._where(select(*named).select_from(join), froms)
        if self._chance(0.3):
            return self._rows(statement)
        statement = self._ordered(statement, froms, named)
        if self._chance(0.05):
            statement = statement.with_for_update()
        mode = draw.random()
        if mode < 0.1:
            inner = statement.subquery()
            return self._rows(select(*inner.c))
        if mode < 0.2:
            statement = statement.execution_options(yield_per=2)
        elif mode < 0.25:
            return lambda session: session.execute(statement).first()
        elif mode < 0.3:
            parts = statement.execution_options(stream_results=True)
            return lambda s: [tuple(row) for p in s.execute(parts).partitions(2) for row in p]
        return self._rows(statement, ordered=True)

    def _ordered(self, statement: Any, froms: list[Any], named: list[Any]) -> Any:
        draw = self.draw
        by: list[Any] = []
        for _ in range(draw.choice([0, 1, 1, 2])):
            what = draw.choice([self._column(draw.choice(froms)), draw.choice(named)])
            by.append(what.desc() if self._chance(0.4) else what)
        labels = [c.name for c in named if getattr(c, "name", None) and str(c.name)[0] == "x"]
        if labels and self._chance(0.2):
            by.insert(0, draw.choice(labels))
        elif self._chance(0.05):
            by.insert(0, literal_column("1"))
        statement = statement.order_by(*by, *(key for f in froms for key in f.primary_key))
        if self._chance(0.5):
            statement = statement.limit(draw.randint(1, 4))
        return statement.offset(draw.randint(0, 2)) if self._chance(0.25) else statement

    def paged(self) -> Read:
        """Few rows, in the order of a column, a label or an expression."""
        draw, source = self.draw, self._table()
        shown: Any = self._column(source)
        by: Any = self._column(source)
        if self._chance(0.4):
            more = [
                shown,
                func.coalesce(cast(shown, Text(9)), "-"),
                case((self._simple_test(source), "y"), else_="n"),
            ]
            shown = by = draw.choice(more).label("x9")
            by = draw.choice(["x9", by, by.desc()])
        elif self._chance(0.5):
            by = by.desc()
        statement = select(*source.primary_key, shown).order_by(by, *source.primary_key)
        if self._chance(0.5):
            statement = self._where(statement, [source])
        limited = statement.limit(draw.choice([1, 2, 3])).offset(draw.choice([None, 0, 1, 1, 2]))
        return self._rows(limited, ordered=True)

    def looked_up(self) -> Read:
        """The row of a whole key, found or not, perhaps beside others, perhaps counted."""
        draw = self.draw
        froms, join = self._joined()
        source = draw.choice(froms)
        by_name = {column.name: column for column in source.c}
        key = [by_name[name] for name in draw.choice(unique_keys(root(source)))]
        wanted = [self.world.value(root(source).c[column.key]) for column in key]
        where = [column == value for column, value in zip(key, wanted, strict=True)]
        shown = [self._expression(froms) for _ in range(2)]
        if self._chance(0.6):
            shown += source.primary_key
        if self._chance(0.25):
            counts = [func.count(), func.count(shown[0]), func.min(shown[0])]
            counts.append(func.coalesce(func.max(self._number(source)), 7))
            return self._rows(select(draw.choice(counts)).select_from(join).where(*where))
        statement = select(*shown).select_from(join).where(*where)
        return self._rows(self._where(statement, froms) if self._chance(0.5) else statement)

    def counted(self) -> Read:
        froms, join = self._joined()
        statement = self._where(select(func.count()).select_from(join), froms)
        if self._chance(0.2):
            statement = select(self._where(select(*froms[0].primary_key), froms[:1]).exists())
        return self._rows(statement)

    def aggregated(self) -> Read:
        """Groups with and without their key, and conditions on groups."""
        draw = self.draw
        froms, join = self._joined()
        source = draw.choice(froms)
        keys: list[Any] = [
            self._column(draw.choice(froms)) for _ in range(draw.choice([0, 1, 1, 2]))
        ]
        if keys and self._chance(0.2):
            keys = [func.coalesce(cast(keys[0], Text(9)), "")]
        what = [
            func.count(),
            func.count(self._column(source)),
            func.max(self._column(source)),
            func.sum(self._number(source)),
            func.count(distinct(self._column(source))),
            func.count().filter(self._simple_test(source)) if self._filters() else func.count(),
        ]
        chosen = draw.sample(what, draw.choice([1, 2]))
        shown = keys if self._chance(0.6) else keys[:-1]
        statement = self._where(select(*shown, *chosen).select_from(join), froms)
        statement = statement.group_by(*keys) if keys else statement
        if self._chance(0.4):
            having = [func.count() > 1, func.max(self._column(source)).is_not(None)]
            statement = statement.having(draw.choice([*having, func.sum(self._number(source)) > 2]))
        return self._rows(statement, folded=True)

    def _filters(self) -> bool:
        return self.world.kind != "mysql"

    def outer_aggregate(self) -> Read:
        """A subquery whose function aggregates the rows of the query around it."""
        table = self.draw.choice(self.world.tables)
        number = self._number(table)
        if self.world.kind == "mysql":
            return self._rows(select(func.sum(number)))
        inner = select(func.sum(number)).correlate(table).scalar_subquery()
        return self._rows(select(inner).select_from(table))

    def unlike(self) -> Read:
        """Rows without those that are alike."""
        draw, table = self.draw, self._table()
        if self.world.kind == "postgresql" and self._chance(0.4):
            column = self._column(table)
            by = [column, self._column(table), *table.primary_key]
            statement = select(*table.primary_key, self._column(table)).distinct(column)
            return self._rows(self._where(statement.order_by(*by), [table]), ordered=True)
        froms, join = self._joined()
        columns = [self._expression(froms) for _ in range(2)]
        if self._chance(0.3):
            columns += draw.choice(froms).primary_key
        statement = select(*columns).select_from(join).distinct()
        return self._rows(self._where(statement, froms), folded=True)

    def lateral(self) -> Read | None:
        if self.world.kind != "postgresql":
            return None
        table, other = self._table(), self._other()
        inner = select(other.c.n, other.c.s).where(other.c.n == table.c.n, self._simple_test(other))
        part = inner.order_by(*other.primary_key).limit(1).lateral()
        join = table.join(part, true(), isouter=self._chance(0.5))
        return self._rows(select(*table.primary_key, table.c.t, part.c.s).select_from(join))

    def compound(self) -> Read:
        one, two = self._table(), self._table()
        left = self._where(select(one.c.n, one.c.s), [one])
        right = self._where(select(two.c.n, two.c.t), [two])
        both = self.draw.choice([union, union_all])(left, right)
        if self._chance(0.3):
            inner = both.subquery()
            return self._rows(select(inner.c.n, func.count()).group_by(inner.c.n))
        return self._rows(both, folded=True)

    def common(self) -> Read:
        """A join with a common table expression, or one that refers to itself."""
        draw, table, other = self.draw, self._table(), self._other()
        ours = [link for link in self.world.links if link[0] is link[2]]
        if ours and self._chance(0.5):
            table, column, _ = draw.choice(ours)
            start = select(table.c.id, literal(0).label("depth")).where(self._simple_test(table))
            found, again = start.cte(recursive=True), table.alias()
            step = select(again.c.id, found.c.depth + 1)
            step = step.where(again.c[column] == found.c.id, found.c.depth < 3)
            whole = found.union_all(step)
            return self._rows(select(whole.c.id, whole.c.depth))
        inner = self._where(select(*table.primary_key, table.c.n, table.c.s), [table]).cte()
        join = other.join(inner, inner.c.n == other.c.n, isouter=self._chance(0.5))
        statement = select(inner.c.s, other.c.t, *other.primary_key).select_from(join)
        return self._rows(self._where(statement, [other]))

    def over(self) -> Read:
        """Windows."""
        draw = self.draw
        froms, join = self._joined()
        source = draw.choice(froms)
        function = draw.choice([func.count(), func.rank(), func.sum(self._number(source))])
        by = self._column(source) if self._chance(0.7) or function.name == "rank" else None
        parts = self._column(source) if self._chance(0.6) else None
        window = function.over(partition_by=parts, order_by=by)
        shown = [*source.primary_key, window, self._column(source)]
        if self._chance(0.4):
            statement = select(*shown).order_by(*source.primary_key).limit(draw.choice([1, 2, 3]))
            return self._rows(statement, ordered=True)
        return self._rows(self._where(select(*shown).select_from(join), froms))

    def without(self) -> Read | None:
        """Rows to which none of another table belongs."""
        if not self.world.links:
            return None
        draw = self.draw
        table, column, target = draw.choice(self.world.links)
        child, parent = (table.alias(), target) if self._chance(0.7) else (table, target.alias())
        near, far = (parent, child) if parent is target else (child, parent)
        on = [child.c[column] == parent.c.id]
        if self._chance(0.4):
            on.append(self._simple_test(far))
        shown = [*near.primary_key, *far.primary_key, self._column(near)]
        statement = select(*shown).select_from(near.outerjoin(far, and_(*on)))
        missing = next(iter(far.primary_key)).is_(None)
        if self._chance(0.7):
            test = or_(missing, self._simple_test(far)) if self._chance(0.3) else missing
            statement = statement.where(test)
        if self._chance(0.5):
            return self._rows(statement)
        by = [*near.primary_key, *far.primary_key]
        return self._rows(statement.order_by(*by).limit(draw.choice([1, 2, 50])), ordered=True)

    def existing(self) -> Read:
        table = self._table()
        statement = select(*table.primary_key, self._column(table)).where(self._nested_test(table))
        more = [self._nested_test(table)] if self._chance(0.5) else []
        return self._rows(statement.where(*more))

    def narrowed(self) -> Read:
        """A list of the rows that refer to one row."""
        draw = self.draw
        if not self.world.links:
            return self.counted()
        table, column, _ = draw.choice(self.world.links)
        source = table.alias() if self._chance(0.3) else table
        value = draw.randint(1, KEYS)
        if self._chance(0.3):
            counted = select(func.count()).select_from(source)
            return self._rows(counted.where(source.c[column] == value))
        shown = [*source.primary_key] if self._chance(0.7) else []
        statement = select(*shown, self._column(source)).where(source.c[column] == value)
        if self._chance(0.3):
            statement = statement.where(self._simple_test(source))
        if self._chance(0.5):
            return self._rows(statement)
        statement = statement.order_by(self._column(source), *source.primary_key)
        return self._rows(statement.limit(draw.choice([None, 1, 2])), ordered=True)
