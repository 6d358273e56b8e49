"""Ways to break what the library knows of SQL, each of which the oracle has to catch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from flask_coherent_cache._sqlalchemy import catalog, compiling, plans, statements, writes

from . import narrow_mutations as narrow
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

    def named(self: Any, *args: Any, **kwargs: bool) -> None:
        inner(self, *args, **{**kwargs, "named": True})

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
        Mutation(second_mapping_forgotten, "got unique_entity", _OBJECTS, 3),
        Mutation(flush_state_leaked, "core by_key", "after_an_early_end", 20),
        Mutation(alias_unresolved, "core grouped", "core_update", 2),
        Mutation(
            subquery_in_the_select_list_skipped, "column_subquery lonely_subquery", "core_update", 1
        ),
        Mutation(on_clause_skipped, "joined", "core_update core_insert", 4),
        Mutation(text_trusted, "embedded", "core_update", 2),
        Mutation(view_trusted, "view", "core_update", 7),
        Mutation(row_that_is_not_there, "got by_key unique", "object_added core_insert", 2),
        Mutation(narrow.order_unnoted, "paged", _OBJECTS, 2),
        Mutation(narrow.groups_unnoted, "aggregated", _OBJECTS, 6),
        Mutation(narrow.having_unnoted, "aggregated", _OBJECTS, 9),
        Mutation(narrow.where_unnoted, "core selected", _OBJECTS, 2),
        Mutation(narrow.on_unnoted, "selected without", _OBJECTS, 2),
        Mutation(narrow.label_trusted, "paged", _OBJECTS, 2),
        Mutation(narrow.nested_columns_unnoted, "existing", _OBJECTS, 2),
        Mutation(narrow.nested_rows_unnoted, "existing", "core_insert core_delete", 2),
        Mutation(narrow.outer_join_closed, "without", "core_delete named", 10),
        Mutation(narrow.offset_closed, "paged", "core_delete named", 5),
        Mutation(narrow.aggregates_unnoticed, "by_key", "core_insert object_added", 1),
        Mutation(
            narrow.any_column_unique, "narrowed selected", "core_insert moved column_changed", 4
        ),
        Mutation(narrow.leaving_forgotten, "counted narrowed", "core_delete named", 1),
        Mutation(narrow.coming_forgotten, "counted core", "core_insert object_added", 1),
        Mutation(narrow.unknown_value_forgotten, "narrowed looked_up", "partly_inserted copied", 1),
        Mutation(narrow.old_value_trusted, "narrowed counted", "column_changed moved", 2),
        Mutation(narrow.new_value_forgotten, "narrowed counted", "column_changed moved", 2),
        Mutation(narrow.shown_rows_forgotten, "core selected", _OBJECTS, 3),
        Mutation(narrow.unnamed_rows_forgotten, "core selected", "core_update unnamed", 3),
        Mutation(narrow.many_rows_forgotten, "core selected", _OBJECTS, 2),
        Mutation(narrow.computed_forgotten, "core paged", "unnamed core_update", 4),
        Mutation(narrow.onupdate_forgotten, "core paged", "unnamed core_update", 2),
        Mutation(narrow.own_trigger_trusted, "core paged", "unnamed column_changed", 20),
        Mutation(everything_dropped, "core got by_key", "core_update", 1),
    )
}
