"""Ways to break the rule of rows and columns, each of which the oracle has to catch."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from sqlalchemy.sql import compiler

from flask_coherent_cache._dependencies.dependencies import Dependencies
from flask_coherent_cache._dependencies.tags import DATABASE
from flask_coherent_cache._sqlalchemy import (
    catalog,
    compiling,
    expressions,
    plans,
    shapes,
    statements,
    writes,
)

Noting = compiling.Noting


@contextmanager
def unnoted_columns(
    method: str, when: Callable[..., bool] = lambda *_, **__: True
) -> Iterator[None]:
    """Have a method of the compiler render without noting a column."""
    own = Noting.__dict__.get(method)

    def silent(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = own.__get__(self) if own else getattr(super(Noting, self), method)
        if not when(self, *args, **kwargs):
            return inner(*args, **kwargs)
        with mock.patch.object(Noting, "_note_column"):
            return inner(*args, **kwargs)

    with mock.patch.object(Noting, method, silent, create=own is None):
        yield


def order_unnoted() -> Any:
    return unnoted_columns("order_by_clause")


def groups_unnoted() -> Any:
    return unnoted_columns("group_by_clause")


def on_unnoted() -> Any:
    return unnoted_columns("visit_join")


def _is_part(name: str) -> Callable[..., bool]:
    """Tell whether conditions are those of the SELECT that is rendered."""

    def is_part(self: Any, clauses: Any, *_: Any, **__: Any) -> bool:
        select = self.stack[-1].get("selectable") if self.stack else None
        return clauses is getattr(select, name, None)

    return is_part


def where_unnoted() -> Any:
    return unnoted_columns("_generate_delimited_and_list", _is_part("_where_criteria"))


def having_unnoted() -> Any:
    return unnoted_columns("_generate_delimited_and_list", _is_part("_having_criteria"))


def label_trusted() -> Any:
    """ORDER BY and GROUP BY the name of a label mean no column."""

    def visit_label(self: Any, *args: Any, **kwargs: Any) -> Any:
        return compiler.SQLCompiler.visit_label(self, *args, **kwargs)

    return mock.patch.object(Noting, "visit_label", visit_label)


def nested_columns_unnoted() -> Any:
    inner = Noting._note_column

    def note(self: Any, column: Any) -> None:
        if len(self.stack) == 1:
            inner(self, column)

    return mock.patch.object(Noting, "_note_column", note)


def nested_rows_unnoted() -> Any:
    """The rows of a subquery neither come nor go."""
    inner = statements.find_shape

    def without(*args: Any) -> Any:
        found = inner(*args)
        return found and dataclasses.replace(found, nested=frozenset())

    return mock.patch.object(statements, "find_shape", without)


def outer_join_closed() -> Any:
    """An outer join leaves nothing out."""
    inner = shapes._froms

    def joined(froms: Any, *, nullable: bool) -> Any:
        return ((key, (from_, False)) for key, (from_, _) in inner(froms, nullable=nullable))

    return mock.patch.object(shapes, "_froms", joined)


def offset_closed() -> Any:
    return mock.patch.object(shapes, "_offset", return_value=None)


def aggregates_unnoticed() -> Any:
    return mock.patch.object(expressions, "_may_aggregate", return_value=False)


def any_column_unique() -> Any:
    """Any column that is compared finds one row at most."""

    def every(table: Any) -> Iterator[tuple[str, ...]]:
        yield from ((column.name,) for column in table.columns)

    return mock.patch.object(plans, "unique_keys", every)


@contextmanager
def _collected(change: Callable[[set[str]], set[str]]) -> Iterator[None]:
    """Have an entry depend on other tags."""
    inner = Dependencies.collected
    with mock.patch.object(Dependencies, "collected", lambda self: change(inner(self))):
        yield


def _ending(*endings: str) -> Any:
    return _collected(lambda tags: {tag for tag in tags if not tag.endswith(endings)})


def leaving_forgotten() -> Any:
    """A row that goes changes only what shows it."""
    return _ending("-")


def coming_forgotten() -> Any:
    return _ending("+")


def unknown_value_forgotten() -> Any:
    """What is set by SQL or by a default equals nothing."""
    return _ending("=*]")


def unnamed_rows_forgotten() -> Any:
    """What names no rows changes none."""
    return _collected(lambda tags: {tag for tag in tags if tag[-2:] != ":*" or tag == DATABASE})


def shown_rows_forgotten() -> Any:
    row = re.compile(r"[^:]+:([\d,]+|\*)")
    return _collected(lambda tags: {t for t in tags if t == DATABASE or not row.fullmatch(t)})


def old_value_trusted() -> Any:
    """A row comes to be equal to a value, and never ceases to be, where rows are not named."""
    value = re.compile(r"(.+)\[(.+)=.*\]")

    def trusting(tags: set[str]) -> set[str]:
        asked = {"{}.{}".format(*found.groups()) for t in tags if (found := value.fullmatch(t))}
        return tags - asked

    return _collected(trusting)


def new_value_forgotten() -> Any:
    """An UPDATE has a row leave a value, and come to none."""
    inner = writes._Named.__init__

    def inserted(self: Any, write: Any, *args: Any) -> None:
        inner(self, write, *args)
        if write.kind != "insert":
            self._values = []

    return mock.patch.object(writes._Named, "__init__", inserted)


def many_rows_forgotten() -> Any:
    """Beyond the bound neither rows nor columns are depended on."""
    inner = plans.RolePlan.depend

    def depend(self: Any, tags: Any, rows: Any, parameters: Any, keys: Any, *args: Any) -> None:
        keys = [] if keys is None and self.key_in is not None else keys
        inner(self, tags, rows, parameters, keys, *args)

    return mock.patch.object(plans.RolePlan, "depend", depend)


@contextmanager
def computed_forgotten() -> Iterator[None]:
    """What the database computes of a column that is set stays as it is."""
    inner = statements._set_columns

    def given(compiled: Any, table: Any) -> Any:
        found = inner(compiled, table)
        return found and found - {c.name for c in table.c if c.computed is not None}

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(statements, "_set_columns", given))
        stack.enter_context(mock.patch.object(catalog.Tables, "generated", return_value=set()))
        yield


@contextmanager
def onupdate_forgotten() -> Iterator[None]:
    inner = statements._set_columns

    def given(compiled: Any, table: Any) -> Any:
        found = inner(compiled, table)
        return found and found - {c.name for c in table.c if c.onupdate is not None}

    with mock.patch.object(statements, "_set_columns", given):
        yield


def own_trigger_trusted() -> Any:
    """A trigger changes nothing of the row that is written."""
    inner = catalog.Tables.is_a

    def is_a(self: Any, kind: str, name: str) -> bool:
        return kind != "trigger" and bool(inner(self, kind, name))

    return mock.patch.object(catalog.Tables, "is_a", is_a)
