"""Random changes of objects, which a session flushes."""

from typing import Any

from sqlalchemy import event, inspect, select, update
from sqlalchemy.orm import defer

from .changing import Change, Changing, EarlyEnd, made
from .worlds import KEYS


class ObjectChanges(Changing):
    """Draws changes by the unit of work."""

    def object_changed(self) -> Change:
        cls = self._class()
        values, find = self._values(inspect(cls).local_table), self._one(cls)

        def change(session: Any) -> None:
            one = find(session)
            if one is not None:
                for name, value in values.items():
                    setattr(one, name, value)

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
        return lambda session: session.add(made(cls, row))

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
            if "version" in own.c:
                by_key["version"] = 1

        def stop(*_: Any) -> None:
            raise EarlyEnd

        def change(session: Any) -> None:
            session.add(made(self.world.classes[table.name], row))
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

    def column_changed(self) -> Change:
        """One column of an object that was loaded whole, in part, or has expired."""
        draw, cls = self.draw, self._class()
        column = draw.choice(self._given(inspect(cls).local_table))
        value, find, mode = self.world.value(column), self._one(cls), draw.random()
        if column.key == "n" and self._chance(0.2):
            value = cls.n + 1
        key = tuple(draw.randint(1, KEYS) for _ in inspect(cls).primary_key)
        deferring = [defer(getattr(cls, column.key))] if not column.primary_key else []

        def change(session: Any) -> None:
            one = find(session) if mode < 0.6 else session.get(cls, key, options=deferring)
            if one is not None:
                if mode < 0.1:
                    session.expire(one)
                setattr(one, column.key, value)
                session.flush()

        return change

    def moved(self) -> Change | None:
        """An object that comes to belong to another one, or to none."""
        draw = self.draw
        if not self.world.links:
            return None
        table, column, target = draw.choice(self.world.links)
        cls, other = self.world.classes[table.name], self.world.classes[target.name]
        find, find_other = self._one(cls), self._one(other)
        back, mode = f"{table.name}_{column}", draw.random()

        def change(session: Any) -> None:
            one, to = find(session), find_other(session)
            if one is None or to is None:
                return
            if mode < 0.4:
                setattr(one, f"{column}_to", to if mode < 0.3 else None)
            elif one not in getattr(to, back):
                getattr(to, back).append(one)
            else:
                getattr(to, back).remove(one)
            session.flush()

        return change

    def extended_changed(self) -> Change | None:
        """A row of joined inheritance, in either of its tables."""
        draw, cls, own = self.draw, self.world.extended, self.world.extension
        if cls is None or own is None:
            return None
        column = draw.choice(
            [own.c.extra, own.c.word, *self._given(inspect(cls.__bases__[0]).local_table)]
        )
        value, find, mode = self.world.value(column), self._one(cls), draw.random()
        key = draw.randint(1, KEYS)

        def change(session: Any) -> None:
            one = find(session)
            if mode < 0.2:
                session.execute(update(own).where(own.c.id == key).values(extra=value_of(value)))
            elif one is not None and mode < 0.85:
                setattr(one, column.key, value)
            elif one is not None:
                session.delete(one)

        return change

    def taken_back(self) -> Change:
        """What a savepoint changed, and was rolled back or not, then something else."""
        first, second = self.column_changed(), self.object_changed()
        rolls_back, goes_on = self._chance(0.6), self._chance(0.5)

        def change(session: Any) -> None:
            point = session.begin_nested()
            first(session)
            session.flush()
            if rolls_back:
                point.rollback()
            else:
                point.commit()
            if goes_on:
                second(session)

        return change

    def merged(self) -> Change:
        """A copy of a row that is merged into the session."""
        cls = self.draw.choice([*self.world.classes.values()])
        row = self.world.row(inspect(cls).local_table)
        return lambda session: session.merge(made(cls, row))


def value_of(value: Any) -> int:
    """A number in place of what may be a text."""
    return value if isinstance(value, int) else 1
