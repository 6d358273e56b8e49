"""The parts that random statements are made of."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import String, and_, case, cast, exists, func, inspect, literal, not_, or_, select
from sqlalchemy.sql.selectable import Alias

from .worlds import KEYS, WORDS, World, narrowing

Read = Callable[[Any], Any]


def shown(entity: Any) -> Any:
    """The columns of an object."""
    if entity is None:
        return None
    return tuple(getattr(entity, a.key) for a in inspect(type(entity)).column_attrs)


def root(source: Any) -> Any:
    """The table of an alias."""
    return source.element if isinstance(source, Alias) else source


def is_number(column: Any) -> bool:
    return not isinstance(column.type, String)


class Drawing:
    """Draws parts of statements of a world; what it draws is a function of the world's seed."""

    def __init__(self, world: World) -> None:
        self.world, self.draw = world, world.draw

    def _chance(self, share: float) -> bool:
        return self.draw.random() < share

    # ---------------------------------------------------------------- tables and columns

    def _table(self) -> Any:
        table = self.draw.choice(self.world.tables)
        return table.alias() if self._chance(0.4) else table

    def _other(self) -> Any:
        return self.draw.choice(self.world.tables).alias()

    def _class(self) -> Any:
        known = self.world.classes if self._chance(0.7) else self.world.second
        return self.draw.choice([*(known or self.world.classes).values()])

    def _key(self, table: Any) -> Any:
        numbers = tuple(self.draw.randint(1, KEYS) for _ in table.primary_key)
        return numbers if len(numbers) > 1 else numbers[0]

    def _column(self, source: Any) -> Any:
        return self.draw.choice([c for c in source.c if c.name != "version"])

    def _number(self, source: Any) -> Any:
        return self.draw.choice([c for c in source.c if is_number(c)])

    def _joined(self) -> tuple[list[Any], Any]:
        """Draw one table, or some that are joined; return them, and what to select from."""
        draw, first = self.draw, self._table()
        froms, join = [first], first
        if self._chance(0.4):
            return froms, join
        for _ in range(draw.choice([1, 1, 2])):
            base = draw.choice(froms)
            of = root(base)
            links = [link for link in self.world.links if of is link[0] or of is link[2]]
            if not links:
                break
            table, column, target = draw.choice(links)
            if of is table:
                other = target.alias()
                on = base.c[column] == other.c.id
            else:
                other = table.alias()
                on = other.c[column] == base.c.id
            full = self._chance(0.06) and self.world.kind == "postgresql"
            if self._chance(0.2) and not full:
                on = and_(on, self._simple_test(draw.choice([other, base])))
            join = join.join(other, on, isouter=self._chance(0.45), full=full)
            froms.append(other)
        return froms, join

    # ---------------------------------------------------------------- conditions

    def _test(self, source: Any, depth: int = 0) -> Any:
        draw = self.draw
        if depth < 2 and self._chance(0.12):
            parts = (self._test(source, depth + 1), self._test(source, depth + 1))
            return draw.choice([or_(*parts), not_(parts[0]), and_(*parts)])
        if depth < 2 and self._chance(0.3):
            return self._nested_test(source)
        return self._simple_test(source)

    def _simple_test(self, source: Any) -> Any:
        """A condition of one table alone."""
        draw, column, other = self.draw, self._column(source), self._column(source)
        value, low = self.world.value(root(source).c[column.key]), 1 if is_number(column) else "b"
        return draw.choice(
            [
                *[lambda: column == value] * 5,
                lambda: column.in_([value, self.world.value(root(source).c[column.key])]),
                lambda: column.in_([]),
                lambda: column.is_(None),
                lambda: column.is_not(None),
                *[lambda: column > literal(low)] * 2,
                lambda: column != low,
                lambda: func.coalesce(cast(column, String(9)), "x") != "b",
                lambda: cast(column, String(9)) == cast(other, String(9)),
                lambda: or_(source.c.n > 1, source.c.s == draw.choice(WORDS)),
            ]
        )()

    def _nested_test(self, source: Any) -> Any:
        """A condition with a subquery."""
        draw, other = self.draw, self._other()
        mine, theirs = self._number(source), self._number(other)
        more = self._simple_test(other)
        least = select(func.min(theirs)).where(more).scalar_subquery()
        count = select(func.count()).select_from(other).where(theirs == mine).scalar_subquery()
        return draw.choice(
            [
                exists().where(theirs == mine, more),
                ~exists().where(theirs == mine, more),
                mine.in_(select(theirs).where(more)),
                mine.not_in(select(theirs).where(theirs.is_not(None))),
                mine >= least,
                count > 1,
            ]
        )

    def _where(self, statement: Any, froms: list[Any]) -> Any:
        draw = self.draw
        for _ in range(draw.choice([0, 0, 0, 1, 1, 2])):
            statement = statement.where(self._test(draw.choice(froms)))
        if self._chance(0.35):
            source = draw.choice(froms)
            keys = [source.c[column.key] for column in narrowing(root(source))]
            if keys:
                column = draw.choice(keys)
                of = root(source).c[column.key]
                value = draw.randint(1, KEYS) if of.foreign_keys else self.world.value(of)
                tests = [column == value, column.in_([value, self.world.value(of)])]
                statement = statement.where(draw.choice([*tests, *tests, column.is_(None)]))
        return statement

    # ---------------------------------------------------------------- what is shown

    def _expression(self, froms: list[Any]) -> Any:
        draw, source = self.draw, self.draw.choice(froms)
        column = self._column(source)
        if self._chance(0.6):
            return column
        other = self._other()
        mine, theirs = self._number(source), self._number(other)
        what = draw.choice([func.count(), func.max(theirs), func.min(theirs + mine)])
        nested = select(what).select_from(other).where(theirs == mine).scalar_subquery()
        more = column + 1 if is_number(column) else column.concat("!")
        return draw.choice(
            [
                func.coalesce(cast(column, String(9)), "-"),
                case((self._simple_test(source), "yes"), else_="no"),
                cast(column, String(9)),
                nested,
                more,
            ]
        )

    # ---------------------------------------------------------------- results

    def _rows(self, statement: Any, *, ordered: bool = False, folded: bool = False) -> Read:
        """Return what executes a statement.

        :param ordered: whether the order of the rows is part of the result.
        :param folded: whether the database may show any of some texts that it considers equal.
        """
        fold = folded and (self.world.kind == "mysql" or self._folds())

        def read(session: Any) -> Any:
            rows = [tuple(row) for row in session.execute(statement)]
            if fold:
                rows = [tuple(_folded(value) for value in row) for row in rows]
            return rows if ordered else sorted(rows, key=repr)

        return read

    def _folds(self) -> bool:
        columns = [table.c.s for table in self.world.tables]
        return any(column.type.collation for column in columns)

    def _entities(self, statement: Any) -> Read:
        return lambda s: sorted(map(shown, s.scalars(statement).unique().all()), key=repr)


def _folded(value: Any) -> Any:
    return value.lower().replace("ä", "a").strip() if isinstance(value, str) else value
