"""What a statement depends on by its parameters and its rows, worked out as far as it can be."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import String, Table

from .._dependencies.rows import MANY_ROWS, Rows, add_rows
from .catalog import Tables
from .compiling import Role
from .expressions import Equality
from .rows import row_name, row_names, value_tag
from .shapes import Shape, unique_keys

#: A longer IN narrows nothing.
_MANY_VALUES = 16

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What is known of a role before it is executed.

    :param names: of its table, each of which has tags.
    :param key_in: takes the primary key out of a row of the result; ``None`` where it has none.
    :param keys: the parameters that whole unique keys are compared with.
    :param primary: those that the primary key is compared with.
    :param texts: those that are to be texts.
    :param conditions: what narrows which rows come: column, kind, parameter, whether it is a list.
    :param whole: the tags to depend on where nothing finds one row; empty: on parts of the table.
    """

    table: Table
    names: tuple[str, ...]
    dialect: str
    deciding: frozenset[str]
    shown: frozenset[str]
    nullable: bool
    key_in: Callable[[Any], Any] | None = None
    keys: tuple[tuple[str, ...], ...] = ()
    primary: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()
    conditions: tuple[tuple[str, str, str | None, bool], ...] = ()
    whole: frozenset[str] = frozenset()

    def add_to(
        self,
        tags: set[str],
        rows: dict[str, Rows],
        parameters: Parameters,
        keys: set[Any] | None,
        *,
        found: bool = False,
        hides: bool = True,
    ) -> None:
        """Add what an execution depends on.

        :param keys: of the rows that it returned; ``None`` where they are not known.
        :param found: whether it returned rows, each of which shows one of the role's.
        :param hides: whether a row that it did not return can change the result by leaving.
        """
        named = None if keys is None else row_names(self.table, keys, self.dialect)
        if found and self._finds_one(parameters):
            one = named or self._asked_for(parameters)
            if one is not None and len(one) == 1:
                # Whatever else is written, only this row takes part as long as it is there.
                self._add_rows(tags, rows, one, self.shown | self.deciding)
                return
        if self.whole:
            tags |= self.whole
            return
        hides = hides or named is None or self.nullable
        column, values = self._condition(parameters)
        members = self.deciding - {column}
        for name in self.names:
            tags.add(f"{name}!")
            if column:
                tags.update([f"{name}[{column}={value}]" for value in (*values, "*")])
            else:
                tags.add(f"{name}+")
            if hides:
                tags.add(f"{name}-")
                if column:
                    tags.add(f"{name}.{column}")
            tags.update([f"{name}.{member}" for member in members])
        shown = self.shown | {column} if column else self.shown
        self._add_rows(tags, rows, named, shown)

    def _add_rows(
        self, tags: set[str], rows: dict[str, Rows], named: set[str] | None, shown: Iterable[str]
    ) -> None:
        """Add rows by their names, or else the columns that they show."""
        if named is not None and not named:
            return  # It returned none that could change or leave.
        for name in self.names:
            columns = {f"{name}!", f"{name}-", *[f"{name}.{column}" for column in shown]}
            if named is None:
                tags |= columns
            else:
                add_rows(rows, name, named, set(self.whole) or columns)

    def _finds_one(self, parameters: Parameters) -> bool:
        """Tell whether the parameters find at most one row."""
        return any(all(self._is_usual(parameters, name) for name in key) for key in self.keys)

    def _is_usual(self, parameters: Parameters, name: str) -> bool:
        """Tell whether a parameter is of its column's type: else many rows may equal it."""
        value = parameters.get(name)
        return value is not None and (isinstance(value, str) or name not in self.texts)

    def _asked_for(self, parameters: Parameters) -> set[str] | None:
        """Name the row by the parameters, where the result does not have its key."""
        if not self.primary:
            return None
        name = row_name(self.table, [parameters.get(each) for each in self.primary], self.dialect)
        return None if name is None else {name}

    def _condition(self, parameters: Parameters) -> tuple[str, set[str]]:
        """Choose the column that narrows most which rows come, with the names of its values."""
        best, fewest = "", set[str]()
        for column, kind, parameter, is_list in self.conditions:
            given = None if parameter is None else parameters.get(parameter)
            values = given if is_list else [given]
            if not values or len(values) > _MANY_VALUES:
                continue
            if parameter is not None and None in values:
                continue  # It equals nothing, which is too rare to be of use.
            names = {value_tag(kind, value) for value in values}
            if "*" not in names and (not best or len(names) < len(fewest)):
                best, fewest = column, names
        return best, fewest


@dataclass(frozen=True, slots=True)
class Plan:
    """What a statement depends on in one database.

    :param tags: whatever its parameters and rows.
    :param roles: those that depend on these.
    :param observes: whether its rows have to be seen.
    """

    tags: frozenset[str]
    roles: tuple[RolePlan, ...] = ()
    observes: bool = False
    offset: str | None = None

    def hides(self, parameters: Parameters) -> bool:
        """Tell whether rows before those of the result are left out."""
        if self.offset is None:
            return False
        return not self.offset or parameters.get(self.offset) != 0


class RowReading:
    """One execution: notes the keys of its rows as they are fetched."""

    __slots__ = ("_found", "_known", "_parameters", "_plan", "is_over", "keys")

    def __init__(self, plan: Plan, parameters: Parameters) -> None:
        self._plan, self._parameters = plan, parameters
        self.keys: list[set[Any] | None] = [
            None if role.key_in is None else set() for role in plan.roles
        ]
        self._found = self.is_over = False
        self._known: tuple[set[str], dict[str, Rows]] | None = None

    def note(self, fetched: Any) -> None:
        """Note rows of the result as the driver returned them; none: there are no more."""
        if not fetched:
            self.is_over = True
            return
        self._found = True
        for number, role in enumerate(self._plan.roles):
            keys = self.keys[number]
            if keys is not None and role.key_in is not None:
                keys.update(map(role.key_in, fetched))
                if len(keys) > MANY_ROWS:
                    self.keys[number] = None

    def add_to(self, tags: set[str], rows: dict[str, Rows]) -> None:
        """Add what it depends on, by the rows that were fetched so far."""
        known = self._known
        if known is None:
            known = self._work_out()
            if self.is_over:
                self._known = known
        tags |= known[0]
        for name, found in known[1].items():
            add_rows(rows, name, found.names, found.instead)

    def _work_out(self) -> tuple[set[str], dict[str, Rows]]:
        tags, rows = set[str](), dict[str, Rows]()
        hides = self._plan.hides(self._parameters)
        for role, keys in zip(self._plan.roles, self.keys, strict=True):
            # Another thread may be fetching.
            own = None if keys is None else set(keys)
            role.add_to(tags, rows, self._parameters, own, found=self._found, hides=hides)
        return tags, rows


def plan_roles(
    shape: Shape, names: Callable[[Table], tuple[str, ...]], tables: Tables, *, narrow: bool
) -> list[RolePlan]:
    """Plan the roles of a statement.

    :param names: of a role's table; none, if it cannot be narrowed.
    :param narrow: whether to depend on parts of tables; else only on rows that a key finds.
    """
    found = []
    for role, required in shape.roles:
        of_table = names(role.table)
        if of_table:
            found.append(_plan_role(role, required, of_table, shape, tables, narrow=narrow))
    return found


def _plan_role(
    role: Role,
    required: tuple[Equality, ...],
    names: tuple[str, ...],
    shape: Shape,
    tables: Tables,
    *,
    narrow: bool,
) -> RolePlan:
    table, folded = role.table, tables.folded_column
    primary = [column.name for column in table.primary_key]
    single = {e.column.name: e.parameter for e in required if e.parameter and not e.is_list}
    keys = [key for key in unique_keys(table) if all(name in single for name in key)]
    by_key = primary and all(name in single for name in primary)
    if by_key and tables.has_many_spellings(table):
        by_key = False
    nullable = role.nullable and all(equality.parameter is None for equality in required)
    shows_key = shape.row_wise and primary and all(name in role.at for name in primary)
    texts = {e.parameter for e in required if isinstance(e.column.type, String)}
    return RolePlan(
        table,
        names,
        tables.dialect_name,
        frozenset(map(folded, role.deciding)),
        frozenset(map(folded, role.shown)),
        nullable,
        itemgetter(*(role.at[name] for name in primary)) if shows_key else None,
        tuple(_parameters(single, key) for key in keys) if shape.row_wise else (),
        _parameters(single, primary) if by_key else (),
        frozenset(name for name in texts if name),
        () if nullable or not narrow else tuple(_conditions(required, table, names, tables)),
        frozenset() if narrow else frozenset(names),
    )


def _parameters(single: Mapping[str, str | None], columns: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for column in columns if (name := single[column]) is not None)


def _conditions(
    required: Iterable[Equality], table: Table, names: tuple[str, ...], tables: Tables
) -> Iterable[tuple[str, str, str | None, bool]]:
    narrowing = tables.narrowing(table, names)
    for column, parameter, is_list in required:
        name = tables.folded_column(column.name)
        kind = narrowing.get(name)
        if kind and tables.may_narrow(table, names, name, kind):
            yield name, kind, parameter, is_list
