"""What a statement depends on by its parameters and its rows, worked out as far as it can be."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import String, Table

from .._dependencies.rows import MANY_ROWS, Found
from .catalog import Tables
from .compiling import Role
from .expressions import Equality
from .rows import Namer, kind_of, narrowing_columns, row_name, row_namer, value_tag
from .shapes import Shape, unique_keys

_FIRST_ROWS = 2 * MANY_ROWS
#: A longer IN narrows nothing.
_MANY_VALUES = 16

#: What no column narrows.
_NOTHING: tuple[str, set[str]] = "", set()

Parameters = Mapping[str, Any]


class Parts(NamedTuple):
    """The parts of a table that a role depends on, as tags of each name of the table.

    :param entering: of rows that come, and of the columns that decide which there are.
    :param leaving: of any row that goes.
    :param shown: of what is shown of rows that have no name.
    """

    entering: frozenset[str]
    leaving: frozenset[str]
    shown: frozenset[str]


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What is known of a role before it is executed.

    :param names: of its table, each of which has tags.
    :param key_in: takes the primary key out of a row of the result; ``None`` where it has none.
    :param namer: names rows by that.
    :param keys: the parameters that whole unique keys are compared with, and which are to be texts.
    :param primary: those that the primary key is compared with.
    :param name_of: names a row by these.
    :param conditions: what narrows which rows come: column, kind, parameter, whether it is a list.
    :param parts: what it depends on, by the column that narrows, ``""`` where none does.
    :param one: the tags that take the place of the row that a key found.
    :param whole: the tags to depend on where nothing finds one row; empty: on parts of the table.
    """

    names: tuple[str, ...]
    nullable: bool
    key_in: Callable[[Any], Any] | None
    namer: Namer
    keys: tuple[tuple[tuple[str, bool], ...], ...]
    primary: tuple[str, ...]
    name_of: Callable[[list[Any]], str | None]
    conditions: tuple[tuple[str, str, str, bool], ...]
    parts: Mapping[str, Parts]
    one: frozenset[str]
    whole: frozenset[str]

    @property
    def varies(self) -> bool:
        """Whether what it depends on is told by parameters or rows."""
        return bool(self.key_in or self.keys or self.conditions)

    def depend(
        self,
        tags: set[str],
        rows: list[Found],
        parameters: Parameters,
        keys: list[Any] | None,
        found: bool,
        hides: bool,
    ) -> None:
        """Add what an execution depends on.

        :param keys: of the rows that it returned; ``None`` where they are not known.
        :param found: whether it returned rows, each of which shows one of the role's.
        :param hides: whether a row that it did not return can change the result by leaving.
        """
        named = None if keys is None else self.namer(keys)
        if found and self.keys and self._finds_one(parameters):
            one = named or self._asked_for(parameters)
            if one is not None and len(one) == 1:
                # Whatever else is written, only this row takes part as long as it is there.
                self._add_rows(rows, one, self.one)
                return
        if self.whole:
            tags |= self.whole
            return
        column, values = self._condition(parameters) if self.conditions else _NOTHING
        entering, leaving, shown = self.parts[column]
        tags |= entering
        for value in values:
            tags.update([f"{name}[{column}={value}]" for name in self.names])
        if named is None:
            tags |= shown
        if hides or named is None or self.nullable:
            tags |= leaving
        if named:
            self._add_rows(rows, named, shown)

    def _add_rows(self, rows: list[Found], named: list[Any], instead: frozenset[str]) -> None:
        for name in self.names:
            rows.append(Found(name, {f"{name}:{row}" for row in named}, instead))

    def _finds_one(self, parameters: Parameters) -> bool:
        """Tell whether the parameters find at most one row."""
        for key in self.keys:
            for name, is_text in key:
                value = parameters.get(name)
                # Many texts may equal what is none.
                if value is None or (is_text and not isinstance(value, str)):
                    break
            else:
                return True
        return False

    def _asked_for(self, parameters: Parameters) -> list[str] | None:
        """Name the row by the parameters, where the result does not have its key."""
        if not self.primary:
            return None
        name = self.name_of([parameters.get(each) for each in self.primary])
        return None if name is None else [name]

    def _condition(self, parameters: Parameters) -> tuple[str, set[str]]:
        """Choose the column that narrows most which rows come, with the names of its values."""
        best, fewest = "", set[str]()
        for column, kind, parameter, is_list in self.conditions:
            given = parameters.get(parameter)
            values: Any = given if is_list else [given]
            # NULL equals nothing, which is too rare to be of use.
            if not values or len(values) > _MANY_VALUES or None in values:
                continue
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
    :param offset: see :class:`~.shapes.Shape`.
    """

    tags: frozenset[str]
    roles: tuple[RolePlan, ...] = ()
    observes: bool = False
    offset: str | None = None


class RowReading:
    """One execution: notes the keys of its rows as they are fetched."""

    __slots__ = ("_found", "_keys", "_known", "_parameters", "_plan", "is_over")

    def __init__(self, plan: Plan, parameters: Parameters) -> None:
        self._plan, self._parameters = plan, parameters
        self._keys: list[set[Any] | None] = [
            None if role.key_in is None else set() for role in plan.roles
        ]
        self._found = self.is_over = False
        self._known: tuple[set[str], list[Found]] | None = None

    def note(self, fetched: Any) -> None:
        """Note rows of the result as the driver returned them; none: there are no more."""
        if not fetched:
            self.is_over = True
            return
        self._found = True
        for number, role in enumerate(self._plan.roles):
            keys = self._keys[number]
            if keys is not None and role.key_in is not None:
                # Of a long list the first rows tell mostly that they are too many.
                keys.update(map(role.key_in, fetched[:_FIRST_ROWS]))
                if len(keys) <= MANY_ROWS and len(fetched) > _FIRST_ROWS:
                    keys.update(map(role.key_in, fetched[_FIRST_ROWS:]))
                if len(keys) > MANY_ROWS:
                    self._keys[number] = None

    def depends_on(self) -> tuple[set[str], list[Found]]:
        """Return what it depends on, by the rows that were fetched so far."""
        if self._known is not None:
            return self._known
        plan, parameters = self._plan, self._parameters
        offset = plan.offset
        hides = offset is not None and (not offset or parameters.get(offset) != 0)
        # A result of which nothing was fetched may have told how many rows it has.
        hides = hides or not (self._found or self.is_over)
        tags, rows = set[str](), list[Found]()
        for role, keys in zip(plan.roles, self._keys, strict=True):
            # Another thread may be fetching.
            own = None if keys is None else list(keys)
            role.depend(tags, rows, parameters, own, self._found, hides)
        if self.is_over:
            self._known = tags, rows
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
    keys = [key for key in unique_keys(table) if shape.row_wise and set(key) <= single.keys()]
    by_key = primary and set(primary) <= single.keys()
    if by_key and tables.has_many_spellings(table):
        by_key = False
    nullable = role.nullable and all(equality.parameter is None for equality in required)
    shows_key = shape.row_wise and primary and all(name in role.at for name in primary)
    texts = {e.column.name for e in required if isinstance(e.column.type, String)}
    conditions = () if nullable or not narrow else _conditions(required, table, tables)
    deciding, shown = set(map(folded, role.deciding)), set(map(folded, role.shown))
    columns = ["", *(column for column, *_ in conditions)]
    dialect = tables.dialect_name
    return RolePlan(
        names,
        nullable,
        itemgetter(*(role.at[name] for name in primary)) if shows_key else None,
        row_namer(table, dialect),
        tuple(tuple((single[name], name in texts) for name in key) for key in keys),
        tuple(single[name] for name in primary) if by_key else (),
        lambda values: row_name(table, values, dialect),
        conditions,
        {column: _parts(names, column, deciding, shown) for column in columns},
        frozenset(names) if not narrow else _shown(names, deciding | shown),
        frozenset() if narrow else frozenset(names),
    )


def _parts(names: Iterable[str], column: str, deciding: set[str], shown: set[str]) -> Parts:
    """Return the parts of a table that matter where a column narrows which rows come."""
    entering, leaving = set[str](), set[str]()
    for name in names:
        entering |= {f"{name}!", *[f"{name}.{each}" for each in deciding if each != column]}
        entering.add(f"{name}[{column}=*]" if column else f"{name}+")
        leaving |= {f"{name}-", f"{name}.{column}"} if column else {f"{name}-"}
    own = _shown(names, shown | {column} if column else shown)
    return Parts(frozenset(entering), frozenset(leaving), own)


def _shown(names: Iterable[str], columns: Iterable[str]) -> frozenset[str]:
    """Return what stands for rows that have no name."""
    ends = ("!", "-", *[f".{column}" for column in columns])
    return frozenset(f"{name}{end}" for name in names for end in ends)


def _conditions(
    required: Iterable[Equality], table: Table, tables: Tables
) -> tuple[tuple[str, str, str, bool], ...]:
    narrowing, found = narrowing_columns(table), []
    is_collated = tables.is_a("collated", table.name)
    for column, parameter, is_list in required:
        kind = kind_of(column.type, tables.dialect_name)
        # A process that does not know the column may leave it NULL.
        if parameter is None or kind is None or column.name not in narrowing:
            continue
        if not (kind == "text" and is_collated):
            found.append((tables.folded_column(column.name), kind, parameter, is_list))
    return tuple(found)
