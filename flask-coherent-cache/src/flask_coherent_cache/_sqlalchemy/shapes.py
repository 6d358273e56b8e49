"""The shape of a compiled SELECT: what it depends on, whatever its parameters and its rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql import selectable
from sqlalchemy.sql.schema import Column, UniqueConstraint
from sqlalchemy.sql.selectable import TableClause

from .compiling import Notes, Role, role_key, table_of
from .expressions import Equality, aggregates, equalities

#: Parts of a SELECT that hold text, or what no rule is known for.
_ODD = (
    *("_post_select_clause", "_pre_columns_clause"),
    *("_post_criteria_clause", "_post_body_clause"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a SELECT depends on.

    :param roles: the tables in FROM of the outermost SELECT, each with what WHERE requires of it.
    :param nested: the tables of its subqueries, and their columns.
    :param row_wise: whether a row of the result shows one row of each role.
    :param offset: the parameter that says how many rows are left out; ``""``: some may be.
    """

    roles: tuple[tuple[Role, tuple[Equality, ...]], ...] = ()
    nested: frozenset[TableClause] = frozenset()
    columns: frozenset[tuple[Table, str]] = frozenset()
    row_wise: bool = False
    offset: str | None = None


def find_shape(statement: Any, compiled: Any, notes: Notes) -> Shape | None:
    """Find the shape of a SELECT; ``None`` where its columns or rows cannot be told."""
    if notes.opaque or notes.unknown or notes.writes or notes.raw:
        return None
    nested, columns = frozenset(notes.nested), frozenset(notes.columns)
    if isinstance(statement, selectable.CompoundSelect):
        return Shape(nested=nested, columns=columns)
    if not isinstance(statement, selectable.Select):
        return None
    state = compiled.compile_state
    # The ORM's own SELECTs for a unit of work have a state that knows no FROM.
    knows_froms = hasattr(state, "_get_display_froms")
    shown = state._get_display_froms() if knows_froms else statement.get_final_froms()
    froms = dict(_froms(shown, nullable=False))
    for key, (from_, nullable) in froms.items():
        table: Any = table_of(from_)
        notes.roles.setdefault(key, Role(table)).nullable = nullable
    if notes.roles.keys() != froms.keys():
        return None  # A column of what is not in FROM.
    required: dict[Any, list[Equality]] = {key: [] for key in froms}
    for equality in equalities(statement._where_criteria, compiled.bind_names):
        if table_of(equality.column.table) is not None:
            required[role_key(equality.column.table)].append(equality)
    return Shape(
        tuple((role, tuple(required[key])) for key, role in notes.roles.items()),
        nested,
        columns,
        _is_row_wise(statement, [from_ for from_, _ in froms.values()]),
        _offset(statement, compiled),
    )


def _froms(froms: Iterable[Any], *, nullable: bool) -> Iterator[tuple[Any, tuple[Any, bool]]]:
    """Yield the tables and aliases of a FROM, and whether an outer join may leave them out."""
    for from_ in froms:
        if isinstance(from_, selectable.FromGrouping):
            yield from _froms([from_.element], nullable=nullable)
        elif isinstance(from_, selectable.Join):
            yield from _froms([from_.left], nullable=nullable or from_.full)
            yield from _froms([from_.right], nullable=nullable or from_.full or from_.isouter)
        elif table_of(from_) is not None:
            yield role_key(from_), (from_, nullable)


def _is_row_wise(statement: Any, froms: list[Any]) -> bool:
    if statement._distinct or any(getattr(statement, name, None) is not None for name in _ODD):
        return False
    if len(statement._group_by_clauses) or len(statement._having_criteria):
        return False
    outside = [*statement._raw_columns, *statement._order_by_clauses]
    return not any(aggregates(each, froms) for each in outside)


def _offset(statement: Any, compiled: Any) -> str | None:
    options = getattr(statement, "_fetch_clause_options", None) or {}
    if options.get("percent"):
        return ""
    clause = statement._offset_clause
    return None if clause is None else compiled.bind_names.get(clause, "")


def unique_keys(table: Table) -> Iterator[tuple[str, ...]]:
    """Yield the keys by which at most one row is found, each as names of columns."""
    if table.primary_key:
        yield tuple(column.name for column in table.primary_key)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield tuple(column.name for column in constraint.columns)
    for index in table.indexes:
        partial = any(option.endswith("_where") for option in index.dialect_kwargs)
        plain = all(isinstance(column, Column) for column in index.expressions)
        if index.unique and plain and not partial:
            yield tuple(column.name for column in index.columns)
