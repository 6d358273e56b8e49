"""The name of a row: the values of its primary key."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Integer, String, Table, Text, Unicode, UnicodeText, Uuid
from sqlalchemy.types import NVARCHAR, TEXT, VARCHAR

#: Types of text whose equal values are spelled alike; CHAR pads, CITEXT folds.
_TEXTS = (String, Text, Unicode, UnicodeText, VARCHAR, TEXT, NVARCHAR)


def row_name(table: Table, values: Iterable[Any], dialect: str) -> str | None:
    """Name a row by the values of its table's primary key, in the table's order of columns.

    Values that a database considers equal have one name. ``None`` where that is not certain.
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
        # A member of an enumeration that is a str reaches the database as its text.
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
        name = None
        if columns and all(mapper.columns.contains_column(column) for column in columns):
            keys = [mapper.get_property_by_column(column).key for column in columns]
            name = row_name(table, [state.dict.get(key) for key in keys], dialect)
        found.append((table.fullname, name or "*"))
    return found
