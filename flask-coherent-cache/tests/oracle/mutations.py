"""Ways to break what the library knows of SQL, each of which the oracle has to catch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from flask_coherent_cache._sqlalchemy import catalog, compiling, plans, statements, writes

from .oracle import Run


def cascade_forgotten() -> Any:
    return mock.patch.object(writes._Writing, "_follow")


def secondary_table_forgotten() -> Any:
    """What no class is mapped to is not written."""
    inner = statements._writes

    def mapped(statement: Any, *args: Any) -> Any:
        return () if statement.table.name.endswith("link") else inner(statement, *args)

    return mock.patch.object(statements, "_writes", mapped)


def second_mapping_forgotten() -> Any:
    """A table is what its name is spelled like."""

    def spelled(self: Any, schema: str | None, name: str, *, written: bool) -> set[str]:
        return {f"{schema}.{name}" if schema else name}

    return mock.patch.object(catalog.Tables, "_names", spelled)


def flush_state_leaked() -> Any:
    """Bulk statements are taken for those of a flush, whose rows are named elsewhere."""
    inner = writes._Writing.write

    def named(self: Any, table: Any, kind: str, columns: Any, **_: bool) -> None:
        inner(self, table, kind, columns, named=True)

    return mock.patch.object(writes._Writing, "write", named)


@contextmanager
def _unnoted(method: str, when: Callable[..., bool] = lambda *_, **__: True) -> Iterator[None]:
    """Have a method of the compiler render without notes."""
    own = compiling.Noting.__dict__.get(method)

    def silent(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = own.__get__(self) if own else getattr(super(compiling.Noting, self), method)
        if not when(self, *args, **kwargs):
            return inner(*args, **kwargs)
        kept, self.__dict__["_notes"] = self.notes, compiling.Notes()
        try:
            return inner(*args, **kwargs)
        finally:
            self.__dict__["_notes"] = kept

    with mock.patch.object(compiling.Noting, method, silent, create=own is None):
        yield


def alias_unresolved() -> Any:
    return _unnoted("visit_alias")


def subquery_in_the_select_list_skipped() -> Any:
    def is_shown(self: Any, *_: Any, within_columns_clause: bool = False, **__: Any) -> bool:
        return within_columns_clause

    return _unnoted("visit_grouping", is_shown)


def on_clause_skipped() -> Any:
    return _unnoted("visit_binary")


def text_trusted() -> Any:
    return mock.patch.object(compiling.Notes, "text")


def view_trusted() -> Any:
    return mock.patch.object(catalog.Tables, "is_a", return_value=False)


def row_that_is_not_there() -> Any:
    """A lookup depends on its row alone, found or not."""
    inner = plans.RolePlan.depend

    def depend(self: Any, *args: Any) -> None:
        *others, _, hides = args
        inner(self, *others, True, hides)

    return mock.patch.object(plans.RolePlan, "depend", depend)


def everything_dropped() -> Any:
    inner = writes.touched

    def every(statement: Any, tables: Any, *args: Any, **kwargs: Any) -> set[str]:
        return writes._everything(tables) if inner(statement, tables, *args, **kwargs) else set()

    return mock.patch("flask_coherent_cache._sqlalchemy.engines.touched", every)


@dataclass(frozen=True)
class Mutation:
    """A way to break it, and where it shows.

    :param reads: the kinds of reads that can show it.
    :param changes: the kinds of changes that can.
    :param seed: of a world that does.
    """

    apply: Callable[[], Any]
    reads: str
    changes: str
    seed: int

    def run(self) -> Run:
        """What shows it."""
        kinds = tuple(self.reads.split()), tuple(self.changes.split())
        return Run("sqlite", "sqlite://", *kinds)


_OBJECTS = "object_changed column_changed"
MUTATIONS = {
    mutation.apply.__name__: mutation
    for mutation in (
        Mutation(cascade_forgotten, "related many_to_many", "object_deleted core_delete", 4),
        Mutation(secondary_table_forgotten, "many_to_many crossing", "many_to_many", 1),
        Mutation(second_mapping_forgotten, "got unique_entity", _OBJECTS, 1),
        Mutation(flush_state_leaked, "core by_key", "after_an_early_end", 8),
        Mutation(alias_unresolved, "core grouped", "core_update", 1),
        Mutation(
            subquery_in_the_select_list_skipped, "column_subquery lonely_subquery", "core_update", 2
        ),
        Mutation(on_clause_skipped, "joined", "core_update core_insert", 5),
        Mutation(text_trusted, "embedded", "core_update", 1),
        Mutation(view_trusted, "view", "core_update", 17),
        Mutation(row_that_is_not_there, "got by_key unique", "object_added core_insert", 2),
        Mutation(everything_dropped, "core got by_key", "core_update", 1),
    )
}
