"""What a write touches: tables and rows, by the statement and by what the database does after it.

For whoever watches an engine: :func:`touched` for each execution of a statement gives the tags that
its commit bumps. No old value is asked for, and no state of a session or a flush.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.schema import ForeignKeyConstraint
from sqlalchemy.sql.selectable import TableClause

from .._dependencies.inputs import report_once
from .catalog import DATABASE, Tables
from .rows import row_name
from .statements import Statement, Write

__all__ = ["touched"]

_TRIGGER = (
    "The table {name} has a trigger, and the cache cannot see which tables that writes, so that "
    'each write to the table drops everything. Say it with __table_args__ = {{"info": {{"writes": '
    '["table"]}}}} on its model, or with info={{"writes": []}} on its Table if it writes none.'
)
_FUNCTION = (
    "The function {name} may write tables that the cache cannot see, so that each call drops "
    "everything. Declare it as STABLE in the database, or say what it writes with "
    'statement.execution_options(cache_reads=["table"], cache_writes=["table"]).'
)


def touched(
    statement: Statement,
    tables: Tables,
    parameters: Iterable[Mapping[str, Any]],
    options: Mapping[str, Any],
    *,
    is_lost: bool = False,
) -> set[str]:
    """Name what one execution of a statement writes: tables, and rows; ``table:*`` is any of them.

    :param parameters: of each time that it is executed, before their types process them.
    :param options: those of the execution.
    :param is_lost: whether the connection's schemas are not known any more.
    """
    if not (statement.writes or statement.everything or statement.functions):
        return _declared(tables, options["cache_writes"]) if "cache_writes" in options else set()
    try:
        translate, given = options.get("schema_translate_map"), options.get("cache_writes")
        tags = set(
            _known(statement, tables, translate, is_lost=is_lost, is_declared=given is not None)
        )
        for write in statement.writes:
            if write.key is not None:
                tags |= _row_tags(write, tables, translate, parameters)
        return tags | _declared(tables, given or ())
    except Exception as error:
        report_once(
            f"The cache could not tell what a statement writes ({error!r}), and takes it to write "
            "every table. Report this, please."
        )
        return _everything(tables)


def _known(
    statement: Statement, tables: Tables, translate: Any, *, is_lost: bool, is_declared: bool
) -> Iterable[str]:
    """Return what a statement writes whatever its parameters; it is worked out once."""
    usual = not (translate or is_lost or is_declared)
    known = tables.written().get(statement) if usual else None
    if known is not None:
        return known
    writing = _Writing(tables, translate)
    for write in statement.writes:
        writing.write(write.table, write.kind, write.columns, named=write.key is not None)
    if not is_declared:
        functions = [name for name in statement.functions if tables.is_a("volatile", name)]
        for name in functions:
            report_once(_FUNCTION.format(name=name))
        if statement.everything or functions or (is_lost and statement.writes):
            writing.tags |= _everything(tables)
    tags = frozenset(writing.tags | {DATABASE} if writing.tags else ())
    if usual:
        tables.written()[statement] = tags
    return tags


def _declared(tables: Tables, names: Iterable[object]) -> set[str]:
    """Touch all of some tables, by what a declaration calls them."""
    writing = _Writing(tables, None)
    for name in names:
        writing.write_any(name)
    return writing.tags | {DATABASE} if writing.tags else set()


def _everything(tables: Tables) -> set[str]:
    """Touch all tables that are known."""
    names = tables.every_name()
    return names | {f"{name}:*" for name in names} | {DATABASE}


def _row_tags(
    write: Write, tables: Tables, translate: Any, parameters: Iterable[Mapping[str, Any]]
) -> set[str]:
    """Name the rows that a statement finds by their key."""
    names = tables.names(write.table, translate, written=True) | {write.table.fullname}
    found = _rows(write, tables, parameters)
    rows = {"*"} if found is None or tables.parts(write.table) else found
    return {f"{name}:{row}" for name in names for row in rows}


class _Writing:
    """A write, and what the database writes after it."""

    def __init__(self, tables: Tables, translate: Mapping[Any, Any] | None) -> None:
        self.tags: set[str] = set()
        self.tables = tables
        self._translate = translate
        self._done: set[tuple[str, str, frozenset[str] | None]] = set()

    def write_any(self, name: object) -> None:
        """Touch all of a table, by what a declaration calls it."""
        for table in self.tables.find(name):
            self.write(table, "any", None)

    def write(
        self,
        table: TableClause,
        kind: str,
        columns: frozenset[str] | None,
        *,
        named: bool = False,
    ) -> None:
        """Touch a table and what follows.

        :param columns: the names of the columns that are set; ``None``: any.
        :param named: whether its rows are named elsewhere.
        """
        names = self.tables.names(table, self._translate, written=True)
        names |= self.tables.parts(table)
        self.tags |= names
        if self.tables.is_a("replacing", table.name):
            kind, columns, named = "any", None, False
        if kind != "insert" and not named:
            # An object that is given to a fragment has its table's own name.
            self.tags |= {f"{name}:*" for name in {*names, table.fullname}}
        done = (table.fullname, kind, columns)
        if done in self._done:
            return
        self._done.add(done)
        self._fire(table)
        if kind != "insert":
            for key in list(self.tables.referring(names, self._translate)):
                self._follow(key, kind, columns)

    def _fire(self, table: TableClause) -> None:
        """Touch what triggers write, and the tables of a view."""
        writes = self.tables.declared(table, "writes")
        reads = self.tables.declared(table, "reads") if writes is None else None
        if writes is None and self.tables.is_a("trigger", table.name):
            report_once(_TRIGGER.format(name=table.fullname))
            self.tags |= _everything(self.tables)
        elif writes is None and reads is None and self.tables.is_a("view", table.name):
            self.tags |= _everything(self.tables)
        for other in writes or reads or ():
            self.write(other, "any", None)

    def _follow(self, key: ForeignKeyConstraint, kind: str, columns: frozenset[str] | None) -> None:
        """Touch the rows that refer to rows which were deleted, or whose key was changed.

        An action that the model does not declare counts: the database may have it.
        """
        table: Any = key.parent
        own = frozenset(column.name for column in key.columns)
        sets = (key.ondelete or "").upper().startswith("SET")
        if kind in ("delete", "any"):
            if sets:
                self.write(table, "update", own)
            elif (key.ondelete or "").upper() not in ("RESTRICT", "NO ACTION"):
                self.write(table, "delete", None)
        if kind in ("update", "any") and (columns is None or _refers_to(key, columns)):
            self.write(table, "update", own)


def _refers_to(key: ForeignKeyConstraint, columns: frozenset[str]) -> bool:
    """Tell whether a foreign key refers to one of some columns."""
    named = {element.target_fullname.rpartition(".")[2] for element in key.elements}
    targets = {column.key: column.name for column in key.referred_table.columns}
    return not columns.isdisjoint({targets.get(name, name) for name in named} | named)


def _rows(write: Write, tables: Tables, parameters: Iterable[Mapping[str, Any]]) -> set[str] | None:
    """Return the names of the only rows that a statement can write; ``None``: any."""
    key, table = write.key, write.table
    found: set[str] = set()
    if key is None or not isinstance(table, Table) or tables.has_many_spellings(table):
        return None
    for given in parameters:
        values = [given.get(name) for name, _ in key]
        many: Any = values[0] if key[0][1] else None
        for row in [values] if many is None else [[value] for value in many]:
            name = row_name(table, row, tables.dialect_name)
            if name is None:
                return None
            found.add(name)
    return found
