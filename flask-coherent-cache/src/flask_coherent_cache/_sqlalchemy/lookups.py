"""Recognise the statements that name their rows by a key."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql import elements, operators
from sqlalchemy.sql.schema import Column, UniqueConstraint
from sqlalchemy.sql.selectable import Select

from .compiling import Notes

#: Functions that are computed of one row; any other may be an aggregate.
_SCALAR = frozenset(
    {"lower", "upper", "coalesce", "length", "char_length", "abs", "round", "substr", "substring"}
    | {"trim", "ltrim", "rtrim", "replace", "nullif", "concat", "now", "floor", "ceil"}
    | {"current_timestamp", "current_date"}
)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A SELECT that finds at most one row, by a whole key."""

    table: Table
    #: The parameters that the primary key is compared with; None: a unique key is.
    key: tuple[str, ...] | None
    #: Where the result has the primary key, if a unique key is compared.
    at: tuple[int, ...]


def find_lookup(statement: Any, compiled: Any, notes: Notes) -> Lookup | None:
    """Recognise equality on a whole primary or unique key of one table."""
    # One table, read once: an alias of it in a subquery reads other rows of it.
    once = len(notes.sources) == notes.selects == 1 and not notes.unknown
    if not once or not isinstance(statement, Select) or not notes.functions <= _SCALAR:
        return None
    if statement._group_by_clauses or statement._having_criteria:
        return None
    (table, *others) = statement.get_final_froms()
    if others or not isinstance(table, Table):
        return None
    compared = {
        name: parameter
        for name, (parameter, is_list) in _compared(statement, compiled, table).items()
        if not is_list
    }
    primary = [column.name for column in table.primary_key]
    if primary and all(name in compared for name in primary):
        return Lookup(table, tuple(compared[name] for name in primary), ())
    at = _positions(primary, compiled)
    if at and any(all(name in compared for name in key) for key in _unique_keys(table)):
        return Lookup(table, None, at)
    return None


def named_rows(statement: Any, compiled: Any, table: Table) -> tuple[tuple[str, bool], ...] | None:
    """Return the parameters that name the rows of an UPDATE or DELETE; see :class:`Write`."""
    compared = _compared(statement, compiled, table)
    key = [column.name for column in table.primary_key]
    named = tuple(compared[name] for name in key if name in compared)
    if not named or len(named) < len(key) or (len(key) > 1 and any(many for _, many in named)):
        return None
    return named


def _compared(statement: Any, compiled: Any, table: Table) -> dict[str, tuple[str, bool]]:
    """Return the parameters that columns must be equal to, and whether these are lists."""
    found: dict[str, tuple[str, bool]] = {}
    waiting = list(statement._where_criteria)
    while waiting:
        part = waiting.pop()
        if isinstance(part, elements.Grouping):
            waiting.append(part.element)
        elif isinstance(part, elements.BooleanClauseList) and part.operator is operators.and_:
            waiting += part.clauses
        elif isinstance(part, elements.BinaryExpression):
            left, right, is_list = part.left, part.right, part.operator is operators.in_op
            if not (isinstance(left, Column) and isinstance(right, elements.BindParameter)):
                continue
            equal = right.expanding == is_list and (is_list or part.operator is operators.eq)
            # A type of the application may send another value than was given.
            plain = type(right.type).__module__.startswith("sqlalchemy.")
            own = isinstance(left.table, Table) and left.table.fullname == table.fullname
            is_better = not is_list or left.name not in found
            if equal and plain and own and is_better and right in compiled.bind_names:
                found[left.name] = compiled.bind_names[right], is_list
    return found


def _unique_keys(table: Table) -> Iterable[list[str]]:
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield [column.name for column in constraint.columns]
    for index in table.indexes:
        partial = any(option.endswith("_where") for option in index.dialect_kwargs)
        plain = all(isinstance(column, Column) for column in index.expressions)
        if index.unique and plain and not partial:
            yield [column.name for column in index.columns]


def _positions(key: list[str], compiled: Any) -> tuple[int, ...]:
    """Return where the rows of a result have a key; nothing where they do not."""
    found: dict[str, int] = {}
    for position, entry in enumerate(compiled._result_columns):
        for column in entry.objects:
            if isinstance(column, Column) and isinstance(column.table, Table):
                found.setdefault(column.name, position)
    return tuple(found[name] for name in key) if all(name in found for name in key) else ()
