"""Rows that were read, and executions of statements whose rows are still to come."""

from dataclasses import dataclass, field
from typing import Protocol

#: Beyond so many rows of one table, an entry depends on its columns, or on all of the table.
MANY_ROWS = 64


@dataclass(slots=True)
class Rows:
    """Rows of one table that were read, by their names.

    :param instead: the tags that take their place where they are too many.
    """

    names: set[str] = field(default_factory=set)
    instead: set[str] = field(default_factory=set)


class Reading(Protocol):
    """One execution of a statement, which depends on the rows that turn up."""

    @property
    def is_over(self) -> bool:
        """Whether no other row can turn up."""

    def add_to(self, tags: set[str], rows: dict[str, Rows]) -> None:
        """Add what it depends on, by the rows that turned up so far."""


def add_rows(rows: dict[str, Rows], table: str, names: set[str], instead: set[str]) -> None:
    """Add rows of a table; beyond the bound only what takes their place is of use."""
    found = rows.get(table)
    if found is None:
        found = rows[table] = Rows()
    if len(found.names) <= MANY_ROWS:
        found.names |= names
    found.instead |= instead


def row_tags(table: str, found: Rows) -> set[str]:
    """Return the tags of rows of a table."""
    if len(found.names) > MANY_ROWS:
        return found.instead
    # What names no rows, such as a bulk UPDATE, bumps "table:*".
    return {f"{table}:*", *[f"{table}:{name}" for name in found.names]}
