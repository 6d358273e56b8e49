"""Rows that were read, and executions of statements whose rows are still to come."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

#: Beyond so many rows of one table, an entry depends on its columns, or on all of the table.
MANY_ROWS = 64


class Found(NamedTuple):
    """Rows of one table that an execution returned.

    :param tags: the tag of each.
    :param instead: the tags that take their place where they are too many.
    """

    table: str
    tags: Set[str]
    instead: Set[str]


@dataclass(slots=True)
class Rows:
    """Rows of one table that were read; see :class:`Found`."""

    tags: set[str] = field(default_factory=set)
    instead: set[str] = field(default_factory=set)


class Reading(Protocol):
    """One execution of a statement, which depends on the rows that turn up."""

    @property
    def is_over(self) -> bool:
        """Whether no other row can turn up."""

    def depends_on(self) -> tuple[set[str], Iterable[Found]]:
        """Return the tags that it depends on, by the rows that turned up so far, and these."""


def add_rows(rows: dict[str, Rows], table: str, tags: Set[str], instead: Set[str]) -> None:
    """Add rows of a table; beyond the bound only what takes their place is of use."""
    found = rows.get(table)
    if found is None:
        found = rows[table] = Rows()
    if len(found.tags) <= MANY_ROWS:
        found.tags |= tags
    found.instead |= instead


def row_tags(table: str, found: Rows) -> set[str]:
    """Return the tags of rows of a table."""
    if len(found.tags) > MANY_ROWS:
        return found.instead
    # What names no rows, such as a bulk UPDATE, bumps "table:*".
    return {f"{table}:*"} | found.tags
