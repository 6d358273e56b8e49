"""Random reads of mapped objects: how they are loaded, and what hangs on them."""

from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import (
    aliased,
    defer,
    joinedload,
    load_only,
    selectinload,
    subqueryload,
    undefer,
    with_loader_criteria,
)

from .drawing import Drawing, Read, shown
from .worlds import KEYS


def graph(one: Any, names: list[str]) -> Any:
    """The columns of an object, and those of what some of its relationships lead to."""
    if one is None:
        return None
    parts = [shown(one)]
    for name in names:
        found = getattr(one, name)
        many = found if isinstance(found, list) else [found]
        parts.append(tuple(map(shown, many)))
    return tuple(parts)


class ObjectReads(Drawing):
    """Draws reads of mapped classes."""

    def loaded(self) -> Read:
        """Objects with what belongs to them, by any strategy."""
        cls = self.draw.choice([*self.world.classes.values()])
        entity = aliased(cls) if self._chance(0.2) else cls
        options, used = self._strategies(entity)
        statement = self._found(select(entity), entity)
        ordered = self._chance(0.6)
        if ordered:
            statement = self._sorted(statement, entity)
        statement = statement.options(*options)
        refreshed = self._chance(0.15)

        def read(session: Any) -> Any:
            found = session.scalars(statement).unique().all()
            if refreshed:
                for one in found:
                    session.refresh(one)
            graphs = [graph(one, used) for one in found]
            return graphs if ordered else sorted(graphs, key=repr)

        return read

    def _strategies(self, entity: Any) -> tuple[list[Any], list[str]]:
        draw, mapper = self.draw, inspect(entity).mapper
        options: list[Any] = []
        used = [name for name in mapper.relationships.keys() if self._chance(0.5)]  # noqa: SIM118
        for name in used:
            load = draw.choice([joinedload, selectinload, subqueryload, None])
            if load is None:
                continue
            option, remote = load(getattr(entity, name)), mapper.relationships[name].mapper
            deeper = [*remote.relationships.keys()]
            if deeper and self._chance(0.3):
                attribute = getattr(remote.class_, draw.choice(deeper))
                option = option.options(draw.choice([joinedload, selectinload])(attribute))
            options.append(option)
        if self._chance(0.3):
            attribute = getattr(entity, draw.choice(self._attributes(mapper)))
            options.append(draw.choice([defer, load_only])(attribute))
        if self._chance(0.2):
            other = draw.choice([*self.world.classes.values()])
            options.append(with_loader_criteria(other, other.n > 0, include_aliases=True))
        if "counted" in mapper.attrs and self._chance(0.4):
            options.append(undefer(entity.counted))
        return options, used

    def _attributes(self, mapper: Any) -> list[str]:
        """Return the names of the attributes that are a column each."""
        hidden = {"counted", mapper.version_id_col is not None and "version"}
        return [a.key for a in mapper.column_attrs if a.key not in hidden]

    def _found(self, statement: Any, entity: Any) -> Any:
        """Draw conditions, some on what belongs to the objects."""
        draw, mapper = self.draw, inspect(entity).mapper
        for _ in range(draw.choice([0, 0, 0, 1])):
            name = draw.choice(self._attributes(mapper))
            column = getattr(entity, name)
            value = self.world.value(mapper.column_attrs[name].columns[0])
            tests = [column == value, column == value, column.is_(None), column.is_not(None)]
            statement = statement.where(draw.choice(tests))
        relations = [*mapper.relationships]
        if not relations or self._chance(0.4):
            return statement
        relation = draw.choice(relations)
        attribute, remote = getattr(entity, relation.key), relation.mapper
        if self._chance(0.5):
            test = attribute.any if relation.uselist else attribute.has
            return statement.where(test(*draw.choice([(), (remote.class_.n == 1,)])))
        if remote is not mapper:
            statement = statement.join(attribute, isouter=self._chance(0.5))
            if self._chance(0.5):
                statement = statement.where(remote.class_.s == "a")
        return statement

    def _sorted(self, statement: Any, entity: Any) -> Any:
        draw, mapper = self.draw, inspect(entity).mapper
        by = [getattr(entity, mapper.get_property_by_column(c).key) for c in mapper.primary_key]
        if self._chance(0.6):
            by.insert(0, getattr(entity, draw.choice(self._attributes(mapper))))
        statement = statement.order_by(*by)
        if self._chance(0.4):
            statement = statement.limit(draw.randint(1, 3))
            if self._chance(0.3):
                statement = statement.offset(draw.randint(0, 2))
        return statement

    def reached(self) -> Read:
        """An object by its key, and what is loaded from it later."""
        cls = self.draw.choice([*self.world.classes.values()])
        key = self._key(inspect(cls).local_table)
        names = inspect(cls).relationships.keys()
        used = [name for name in names if self._chance(0.4)]
        return lambda session: graph(session.get(cls, key), used)

    def late(self) -> Read:
        """Columns that are loaded late or again, of objects that the session knows already."""
        draw = self.draw
        cls = draw.choice([*self.world.classes.values()])
        name = draw.choice(self._attributes(inspect(cls)))
        some = select(cls).where(cls.n == draw.choice([0, 1, 2])).options(defer(getattr(cls, name)))
        again = select(cls).options(load_only(cls.n))
        mode = draw.random()

        def read(session: Any) -> Any:
            found = session.scalars(some).unique().all()
            if mode < 0.4:
                session.expire_all()
            values: list[Any] = [getattr(one, name) for one in found]
            if mode > 0.7:
                # Their rows are in the identity map; other columns of theirs are not asked for.
                values += [getattr(one, name) for one in session.scalars(again).unique()]
            return sorted(values, key=repr)

        return read

    def inherited(self) -> Read | None:
        cls = self.world.extended
        if cls is None:
            return None
        draw = self.draw
        if self._chance(0.3):
            key = draw.randint(1, KEYS)
            return lambda session: shown(session.get(cls, key))
        if self._chance(0.5):
            test = draw.choice([cls.n > 0, cls.extra == 1, cls.s == "a"])
            found = select(cls).where(test).order_by(cls.id).limit(draw.choice([2, 50]))
            return lambda session: [shown(one) for one in session.scalars(found).unique()]
        by = draw.choice([cls.extra, cls.m if hasattr(cls, "m") else cls.em, cls.s])
        statement = select(cls.id, cls.t, cls.word).where(cls.n.is_not(None)).order_by(by, cls.id)
        return self._rows(statement, ordered=True)

    def crossing(self) -> Read | None:
        """What two rows of a table between have in common."""
        if self.world.secondary is None:
            return None
        left = next(iter(self.world.secondary.c.l_id.foreign_keys)).column.table
        cls = self.world.classes[left.name]
        other = aliased(inspect(cls).relationships["others"].mapper.class_)
        mode = self.draw.random()
        if mode < 0.4:
            load = self.draw.choice([selectinload, joinedload, subqueryload])(cls.others)
            found = select(cls).options(load)
            return lambda session: sorted(
                (graph(one, ["others"]) for one in session.scalars(found).unique()), key=repr
            )
        if mode < 0.7:
            return self._rows(select(cls.id, other.t).join(cls.others.of_type(other)))
        return self._rows(select(cls.s).where(cls.others.of_type(other).any(other.n == 1)))
