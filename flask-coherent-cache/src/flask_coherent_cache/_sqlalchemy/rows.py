"""A row by its key: how it is named, how a SELECT finds it, and whether it was there."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, String, Table, Text, Unicode, UnicodeText, Uuid
from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.sql import elements, operators
from sqlalchemy.sql.schema import Column, UniqueConstraint
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import NVARCHAR, TEXT, VARCHAR

from .._dependencies.dependencies import Dependencies
from .compiling import Notes

#: Functions that are computed of one row; any other may be an aggregate.
_SCALAR = frozenset(
    {"lower", "upper", "coalesce", "length", "char_length", "abs", "round", "substr", "substring"}
    | {"trim", "ltrim", "rtrim", "replace", "nullif", "concat", "now", "floor", "ceil"}
    | {"current_timestamp", "current_date"}
)
#: Types of text whose equal values are spelled alike; CHAR pads, CITEXT folds.
_TEXTS = (String, Text, Unicode, UnicodeText, VARCHAR, TEXT, NVARCHAR)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A SELECT that finds one row at most, by a whole key.

    :param key: the parameters that the primary key is compared with; ``None``: a unique key is.
    :param at: where the result has the primary key, if a unique key is compared.
    """

    table: Table
    key: tuple[str, ...] | None
    at: tuple[int, ...]


def row_name(table: Table, values: Iterable[Any], dialect: str) -> str | None:
    """Name a row by the values of its table's primary key, in the table's order of columns.

    Values that a database takes to be equal have one name. ``None`` where that is not certain.
    """
    parts = [
        _value_name(column.type, value, dialect)
        for column, value in zip(table.primary_key, values, strict=True)
    ]
    return ",".join(part for part in parts if part) if parts and None not in parts else None


def _value_name(type_: Any, value: Any, dialect: str) -> str | None:
    type_ = type_._variant_mapping.get(dialect, type_)
    if not type(type_).__module__.startswith("sqlalchemy."):
        return None
    text = str(value)
    if isinstance(type_, Integer) and type(value) in (int, str):
        # A text of thousands of digits is no number, and int() refuses it.
        digits = text.removeprefix("-")
        plain = digits.isascii() and digits.isdecimal() and len(digits) < 40
        return str(int(text)) if plain else None
    if isinstance(type_, Uuid) and isinstance(value, uuid.UUID | str):
        try:
            return str(uuid.UUID(text))
        except ValueError:
            return None
    exact = type(type_) in _TEXTS and type_.collation is None
    if exact and dialect in ("sqlite", "postgresql") and isinstance(value, str):
        # What the database gets of a member of an enumeration that is a str: its text.
        return str.__str__(value)
    return None


def rows_of(state: Any) -> list[tuple[str, str]]:
    """Return table and name of each row that an object is made of; ``"*"`` where it has no name.

    :param state: of an object in a session, as :func:`sqlalchemy.inspect` gives it.
    """
    mapper, found = state.mapper, []
    dialect = state.session.get_bind(mapper).dialect.name
    for table in mapper.tables:
        columns = list(table.primary_key)
        known = columns and all(mapper.columns.contains_column(column) for column in columns)
        name = None
        if known:
            keys = [mapper.get_property_by_column(column).key for column in columns]
            name = row_name(table, [state.dict.get(key) for key in keys], dialect)
        found.append((table.fullname, name or "*"))
    return found


def find_lookup(statement: Any, compiled: Any, notes: Notes) -> Lookup | None:
    """Recognise equality on a whole primary or unique key of one table."""
    # One table, asked once: an alias of it in a subquery reads other rows of it.
    once = len(notes.sources) == notes.selects == 1 and not notes.unknown
    if not once or not isinstance(statement, Select) or not notes.functions <= _SCALAR:
        return None
    if statement._group_by_clauses or statement._having_criteria:
        return None
    (table, *others) = statement.get_final_froms()
    if others or not isinstance(table, Table):
        return None
    found = equalities(statement._where_criteria, compiled.bind_names)
    compared = {column.name: parameter for column, parameter, many in found if not many}
    primary, *keys = _unique_keys(table)
    if primary and all(name in compared for name in primary):
        return Lookup(table, tuple(compared[name] for name in primary), ())
    at = _positions(table, compiled)
    if at and any(all(name in compared for name in key) for key in keys):
        return Lookup(table, None, at)
    return None


def equalities(
    criteria: Iterable[Any], names: Mapping[Any, str]
) -> Iterable[tuple[Column[Any], str, bool]]:
    """Yield columns, the parameters that they must be equal to, and whether these are lists."""
    waiting = list(criteria)
    while waiting:
        part = waiting.pop()
        if isinstance(part, elements.Grouping):
            waiting.append(part.element)
        elif isinstance(part, elements.BooleanClauseList) and part.operator is operators.and_:
            waiting += part.clauses
        elif isinstance(part, elements.BinaryExpression):
            left, right, many = part.left, part.right, part.operator is operators.in_op
            if isinstance(left, Column) and isinstance(right, elements.BindParameter):
                listed = right.expanding == many and (many or part.operator is operators.eq)
                # A type of the application's own may send another value than was given.
                plain = type(right.type).__module__.startswith("sqlalchemy.")
                if listed and plain and right in names:
                    yield left, names[right], many


def _unique_keys(table: Table) -> Iterable[list[str]]:
    """Yield the columns of the primary key, if there is one, and those of the unique keys."""
    yield [column.name for column in table.primary_key]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield [column.name for column in constraint.columns]
    for index in table.indexes:
        partial = any(option.endswith("_where") for option in index.dialect_kwargs)
        plain = all(isinstance(column, Column) for column in index.expressions)
        if index.unique and plain and not partial:
            yield [column.name for column in index.columns]


def _positions(table: Table, compiled: Any) -> tuple[int, ...]:
    """Return where the rows of a result have the primary key; nothing where they do not."""
    found: dict[str, int] = {}
    for position, entry in enumerate(compiled._result_columns):
        for column in entry.objects:
            if isinstance(column, Column) and isinstance(column.table, Table):
                found.setdefault(column.name, position)
    key = [column.name for column in table.primary_key]
    return tuple(found[name] for name in key) if all(name in found for name in key) else ()


def expect_row(reads: Dependencies, lookup: Lookup, names: tuple[str, ...], context: Any) -> bool:
    """Depend on the row alone once it turns out to be there, and on its table until then."""
    table, dialect, parameters = lookup.table, context.dialect.name, context.compiled_parameters[0]
    expected, rows = reads.expected, reads.rows
    row = None
    if lookup.key is not None:
        row = row_name(table, [parameters.get(name) for name in lookup.key], dialect)
        if row is None:
            return False
    # Of this execution alone: another one may find a row that has come in between.
    token = object()
    expected[token] = names

    def found(values: Any) -> None:
        name = row
        if name is None:
            name = row_name(table, [values[position] for position in lookup.at], dialect)
        if name is not None:
            expected.pop(token, None)
            for each in names:
                rows.setdefault(each, set()).add(name)

    context.cursor_fetch_strategy = _Finding(context.cursor_fetch_strategy, found)
    return True


class _Finding(CursorFetchStrategy):
    """Fetches like another strategy, and tells of each row."""

    __slots__ = ("_inner", "_tell", "alternate_cursor_description")

    def __init__(self, inner: CursorFetchStrategy, tell: Callable[[Any], None]) -> None:
        self._inner, self._tell = inner, tell
        self.alternate_cursor_description = inner.alternate_cursor_description

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        self._inner.yield_per(result, dbapi_cursor, num)

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        row = self._inner.fetchone(result, dbapi_cursor, hard_close)
        if row is not None:
            self._tell(row)
        return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        rows = self._inner.fetchmany(result, dbapi_cursor, size)
        for row in rows:
            self._tell(row)
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        rows = self._inner.fetchall(result, dbapi_cursor)
        for row in rows:
            self._tell(row)
        return rows
