"""The names of rows and of values: what a database considers equal has one name."""

import unicodedata
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from zlib import crc32

from sqlalchemy import (
    JSON,
    Date,
    DateTime,
    Enum,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Table,
    Text,
    Time,
    Unicode,
    UnicodeText,
    Uuid,
)
from sqlalchemy.schema import UniqueConstraint
from sqlalchemy.types import NVARCHAR, TEXT, VARCHAR

from .._dependencies.tags import NULL

#: Types of text whose equal values are spelled alike; CHAR pads, CITEXT folds.
_TEXTS = (String, Text, Unicode, UnicodeText, VARCHAR, TEXT, NVARCHAR)
#: Databases that compare texts as they are spelled, unless a collation says otherwise.
_EXACT = ("sqlite", "postgresql")
_INTEGERS, _INTEGERS_OR_NULL = {int}, {int, type(None)}
#: Types whose values have no names, whatever else maps the column.
_NEVER_NAMED = (Numeric, Date, DateTime, Time, Interval, LargeBinary, JSON)
#: So many names have values of a column at most, beside small numbers.
_NAMES = 4096


def row_name(table: Table, values: Iterable[Any], dialect: str) -> str | None:
    """Name a row by the values of its table's primary key, in the table's order of columns.

    Values that a database considers equal have one name. ``None`` where that is not certain.
    """
    parts = [
        _value_name(column.type, value, dialect)
        for column, value in zip(table.primary_key, values, strict=True)
    ]
    return ",".join(part for part in parts if part) if parts and None not in parts else None


Namer = Callable[[list[Any]], list[Any] | None]


def row_namer(table: Table, dialect: str) -> Namer:
    """Return what names rows by what a database returned of their keys; ``None``: it cannot.

    A key is a value, or a tuple where the key has several columns. NULL is a row that is not there.
    """
    columns = list(table.primary_key)
    is_single = len(columns) == 1
    counts = is_single and isinstance(columns[0].type, Integer) and _is_plain(columns[0].type)

    def named(keys: list[Any]) -> list[Any] | None:
        if counts:
            # The usual case, without a call for each row.
            kinds = set(map(type, keys))
            if kinds == _INTEGERS:
                return keys
            if kinds <= _INTEGERS_OR_NULL:
                return [key for key in keys if key is not None]
        rows = [(key,) for key in keys] if is_single else keys
        names = {row_name(table, row, dialect) for row in rows if None not in row}
        return None if None in names else [*names]

    return named


def _is_plain(type_: Any) -> bool:
    """Tell whether a type is SQLAlchemy's own, which sends what it is given."""
    return type(type_).__module__.startswith("sqlalchemy.")


def _value_name(type_: Any, value: Any, dialect: str) -> str | None:
    type_ = type_._variant_mapping.get(dialect, type_)
    if not _is_plain(type_):
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
    if _is_exact(type_, dialect) and isinstance(value, str):
        # A member of an enumeration that is a str reaches the database as its text.
        return str.__str__(value)
    return None


def _is_exact(type_: Any, dialect: str) -> bool:
    return type(type_) in _TEXTS and type_.collation is None and dialect in _EXACT


# -- values of other columns


def kind_of(type_: Any, dialect: str) -> str | None:
    """Return how values of a type are named in tags; ``None`` where they have no certain name."""
    type_ = type_._variant_mapping.get(dialect, type_)
    if isinstance(type_, Enum) or not _is_plain(type_):
        return None
    if isinstance(type_, Integer):
        return "integer"
    if isinstance(type_, Uuid):
        return "uuid"
    return "text" if _is_exact(type_, dialect) else None


def may_be_named(column: Any) -> bool:
    """Tell whether the values of a column may have names, in this mapping or in another one."""
    return not isinstance(column.type, _NEVER_NAMED)


def value_tag(kind: str | None, value: Any) -> str:
    """Name the value of a column in a tag; ``*`` where its name is not certain.

    What a database may consider equal has one name, also where two mappings of a table give a
    column another type. One name for two values costs precision only, so all but small numbers
    share a few thousand names: the store has no more tags than that, and nothing personal.
    """
    if value is None:
        return NULL
    text: str | None = None
    if kind == "text" and isinstance(value, str):
        folded = _folded(str.__str__(value))
        text = _value_name(_INTEGER, folded, "") or folded.replace("-", "")
    elif kind == "integer":
        text = _value_name(_INTEGER, value, "")
    elif kind == "uuid":
        text = (_value_name(_UUID, value, "") or "").replace("-", "") or None
    if text is None:
        return "*"
    is_small = len(text) < 5 and text.isascii() and text.isdecimal() and int(text) < _NAMES
    return text if is_small else f"#{crc32(text.encode(errors='surrogatepass')) % _NAMES:03x}"


_INTEGER, _UUID = Integer(), Uuid()


def _folded(text: str) -> str:
    if text.isascii():
        return text.strip().lower()
    marked = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in marked if not unicodedata.combining(c)).strip().casefold()


def narrowing_columns(table: Table) -> set[str]:
    """Name the columns whose equality narrows which rows come: unique, foreign keys, indexed.

    A process of another release may not know such a column, and leave it to the database. So one
    with a default there is none of them.
    """
    found = {c for c in table.c if c.foreign_keys or c.index or c.unique or c.primary_key}
    found |= {c for index in table.indexes for c in index.columns}
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            found |= {*constraint.columns}
    if len(table.primary_key) == 1:
        # What the database counts up is equal to nothing that a reader can have asked for.
        found.discard(table.autoincrement_column)
    return {c.name for c in found if c.server_default is None and c.computed is None}


def rows_of(state: Any) -> list[tuple[str, str]]:
    """Return table and name of each row that an object is made of; ``"*"`` where it has no name.

    :param state: of an object in a session, as :func:`sqlalchemy.inspect` gives it.
    """
    mapper, found = state.mapper, []
    dialect = state.session.get_bind(mapper).dialect.name
    for table in mapper.tables:
        columns = list(table.primary_key)
        name = None
        if columns and all(mapper.columns.contains_column(column) for column in columns):
            keys = [mapper.get_property_by_column(column).key for column in columns]
            name = row_name(table, [state.dict.get(key) for key in keys], dialect)
        found.append((table.fullname, name or "*"))
    return found
