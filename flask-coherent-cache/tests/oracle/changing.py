"""What random changes have in common."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select

from .drawing import Drawing
from .worlds import KEYS, is_set

Change = Callable[[Any], Any]


class EarlyEnd(Exception):
    """What a listener raises before a flush."""


def made(cls: Any, row: dict[str, Any]) -> Any:
    """Make an object with some attributes."""
    one = cls()
    for name, value in row.items():
        setattr(one, name, value)
    return one


class Changing(Drawing):
    """Draws parts of changes of a world."""

    def _table(self) -> Any:
        return self.draw.choice(self.world.tables)

    def _class(self) -> Any:
        again = self.world.second and self._chance(0.3)
        return self.draw.choice([*(self.world.second if again else self.world.classes).values()])

    def _where(self, table: Any) -> Any:
        draw, key = self.draw, list(table.primary_key)
        return draw.choice(
            [
                [column == draw.randint(1, KEYS) for column in key],
                [key[0].in_([draw.randint(1, KEYS), draw.randint(1, KEYS)])],
                [table.c.n == draw.randint(0, 3)],
                [table.c.n.in_(select(func.max(self._other().c.n)))],
                [self._simple_test(table)],
            ]
        )

    def _named(self, table: Any) -> Any:
        """Conditions that name rows by their key."""
        draw, key = self.draw, list(table.primary_key)
        if len(key) == 1 and self._chance(0.3):
            return [key[0].in_(draw.sample(range(1, KEYS + 1), 3))]
        return [column == draw.randint(1, KEYS) for column in key]

    def _given(self, table: Any) -> list[Any]:
        """Return the columns that a statement may set."""
        return [c for c in table.columns if is_set(c) and not c.primary_key]

    def _values(self, table: Any, most: int = 2) -> dict[str, Any]:
        columns = self.draw.sample(self._given(table), self.draw.randint(1, most))
        return {column.key: self.world.value(column) for column in columns}

    def _one(self, cls: Any) -> Callable[[Any], Any]:
        """Return what finds an object, or None."""
        place = self.draw.randint(0, KEYS)

        def find(session: Any) -> Any:
            found = session.scalars(self._every(cls)).unique().all()
            return found[place % len(found)] if found else None

        return find

    def _every(self, cls: Any) -> Any:
        key = self._primary(cls)
        return select(cls).order_by(*(getattr(cls, name) for name in key))

    def _primary(self, cls: Any) -> list[str]:
        mapper = cls.__mapper__
        return [mapper.get_property_by_column(column).key for column in mapper.primary_key]
