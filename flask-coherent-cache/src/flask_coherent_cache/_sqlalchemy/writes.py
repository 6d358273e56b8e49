"""The tags of what one execution of a statement writes, and of what the database writes after it.

No old value is asked for, and no state of a session or a flush.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.schema import ForeignKeyConstraint
from sqlalchemy.sql.selectable import TableClause

from .._dependencies.inputs import report_once
from .._dependencies.tags import DATABASE, NULL, whole
from .catalog import Tables
from .rows import kind_of, may_be_named, row_name, value_tag
from .statements import Statement, Write

_TRIGGER = (
    "The table {name} has a trigger, and the cache cannot see which tables that writes, so "
    'every write to the table drops everything. Declare them with __table_args__ = {{"info": '
    '{{"writes": ["table"]}}}} on its model, or with info={{"writes": []}} on its Table if it '
    "writes none."
)
_FUNCTION = (
    "The function {name} may write tables that the cache cannot see, so every call drops "
    "everything. Declare it as STABLE in the database, or declare what it writes with "
    'statement.execution_options(cache_reads=["table"], cache_writes=["table"]).'
)

#: NULL equals nothing that a reader can have asked for.
_NOT_NAMED = {NULL}
#: Beyond so many values of a column, readers of any of its values are dropped.
_MANY_VALUES = 256


def touched(
    statement: Statement,
    tables: Tables,
    parameters: list[Mapping[str, Any]],
    options: Mapping[str, Any],
    *,
    schemas_moved: bool = False,
) -> set[str]:
    """Return the tags that the commit of one execution bumps.

    :param parameters: of each time that it is executed, before their types process them.
    :param schemas_moved: whether a table's name may mean another table on the connection.
    """
    declared = options.get("cache_writes")
    writes = statement.writes or statement.everything or statement.functions
    if not writes and declared is None:
        return set()
    try:
        translate = options.get("schema_translate_map")
        if translate or schemas_moved or declared is not None:
            tags = _written(statement, tables, translate, schemas_moved, declared)
            named = [_Named(write, tables, translate) for write in statement.writes]
        else:
            tables.refresh_writes()
            known = tables.resolved(statement)
            if known.writes is None:
                known.named = [_Named(write, tables, None) for write in statement.writes]
                known.writes = _written(statement, tables, None, False, None)
            tags, named = known.writes.copy(), known.named
        for each in named:
            each.add_to(tags, parameters)
        return tags
    except Exception as error:
        report_once(
            f"The cache could not tell what a statement writes ({error!r}), and assumes that it "
            "writes every table. Please report this."
        )
        return _everything(tables)


def _written(
    statement: Statement, tables: Tables, translate: Any, schemas_moved: bool, declared: Any
) -> set[str]:
    """Return what a statement writes whatever its parameters."""
    writing = _Writing(tables, translate)
    for write in statement.writes:
        writing.write(
            write.table,
            write.kind,
            write.columns,
            named=write.key is not None,
            valued=bool(write.values),
        )
    if declared is not None:
        for name in declared:
            # A declaration names the table itself, whatever the execution translates.
            for table in tables.find(name):
                _Writing(tables, None, writing.tags).write(table, "any", None)
    else:
        functions = [name for name in statement.functions if tables.is_a("volatile", name)]
        for name in functions:
            report_once(_FUNCTION.format(name=name))
        if statement.everything or functions or (schemas_moved and statement.writes):
            writing.tags |= _everything(tables)
    return writing.tags | {DATABASE} if writing.tags else set()


def _everything(tables: Tables) -> set[str]:
    """Return the tags of all tables that are known."""
    return whole(tables.every_name()) | {DATABASE}


class _Writing:
    """A write, and what the database writes after it."""

    def __init__(
        self, tables: Tables, translate: Mapping[Any, Any] | None, tags: set[str] | None = None
    ) -> None:
        self.tags: set[str] = set() if tags is None else tags
        self._tables = tables
        self._translate = translate
        self._done: set[tuple[str, str, frozenset[str] | None]] = set()

    def write(
        self,
        table: TableClause,
        kind: str,
        columns: frozenset[str] | None,
        *,
        named: bool = False,
        valued: bool = False,
    ) -> None:
        """Add the tags of a table, and of what the database writes with it.

        :param columns: the names of the columns that are set; ``None``: any.
        :param named: whether its rows are named elsewhere.
        :param valued: whether the values that it sets are named elsewhere.
        """
        names = self._tables.names(table, self._translate, written=True)
        names |= self._tables.parts(table)
        if self._tables.is_a("replacing", table.name):
            kind, columns, named = "any", None, False
        self._add_parts(table, kind, columns, names, valued=valued)
        if kind != "insert" and not named:
            # An object that is passed to a fragment has its table's own name.
            self.tags |= {f"{name}:*" for name in {*names, table.fullname}}
        done = (table.fullname, kind, columns)
        if done in self._done:
            return
        self._done.add(done)
        self._fire(table)
        if kind != "insert":
            for key in list(self._tables.referring(names, self._translate)):
                self._follow(key, kind, columns)

    def _add_parts(
        self,
        table: TableClause,
        kind: str,
        columns: frozenset[str] | None,
        names: set[str],
        *,
        valued: bool,
    ) -> None:
        """Add the parts of a table that a write changes: all of them, where that is not known."""
        tables = self._tables
        self.tags |= names
        known = tables.knows_objects and kind != "any" and not tables.parts(table)
        set_ = None if columns is None else set(map(tables.folded_column, columns))
        if not (isinstance(table, Table) and known) or (kind == "update" and set_ is None):
            self.tags |= {f"{name}!" for name in names}
            return
        if tables.is_a("trigger", table.name) or tables.declared(table, "writes") is not None:
            # It may change more of the rows that the statement changes.
            self.tags |= {f"{name}!" for name in names}
        if kind == "delete":
            self.tags |= {f"{name}-" for name in names}
            return
        named = {tables.folded_column(column.name) for column in table.c if may_be_named(column)}
        generated = tables.generated(table, names)
        if kind == "insert":
            self.tags |= {f"{name}+" for name in names}
        else:
            set_ = (set_ or set()) | generated
            self.tags |= {f"{name}.{column}" for name in names for column in set_}
            named &= set_
        # No parameter tells what the database computes.
        unnamed = generated if valued else named | generated
        self.tags |= {f"{name}[{column}=*]" for name in names for column in unnamed}

    def _fire(self, table: TableClause) -> None:
        """Add what triggers write, and the tables of a view."""
        others = self._tables.declared(table, "writes")
        if others is None:
            others = self._tables.declared(table, "reads")
            has_trigger = self._tables.is_a("trigger", table.name)
            if has_trigger:
                report_once(_TRIGGER.format(name=table.fullname))
            if has_trigger or (others is None and self._tables.is_a("view", table.name)):
                self.tags |= _everything(self._tables)
        for other in others or ():
            self.write(other, "any", None)

    def _follow(self, key: ForeignKeyConstraint, kind: str, columns: frozenset[str] | None) -> None:
        """Add the rows that refer to rows which were deleted, or whose key was changed.

        An action that the model does not declare counts: the database may have it.
        """
        table: Any = key.parent
        own = frozenset(column.name for column in key.columns)
        action = (key.ondelete or "").upper()
        if kind in ("delete", "any"):
            if action.startswith("SET"):
                self.write(table, "update", own)
            elif action not in ("RESTRICT", "NO ACTION"):
                self.write(table, "delete" if action else "any", None)
        if kind in ("update", "any") and (columns is None or _refers_to(key, columns)):
            self.write(table, "update", own)


def _refers_to(key: ForeignKeyConstraint, columns: frozenset[str]) -> bool:
    """Tell whether a foreign key refers to one of some columns."""
    named = {element.target_fullname.rpartition(".")[2] for element in key.elements}
    targets = {column.key: column.name for column in key.referred_table.columns}
    return not columns.isdisjoint({targets.get(name, name) for name in named} | named)


class _Named:
    """The rows and values that the parameters of a write name.

    :param translate: the ``schema_translate_map`` of an execution.
    """

    __slots__ = ("_names", "_rows_of", "_values", "_write")

    def __init__(self, write: Write, tables: Tables, translate: Mapping[Any, Any] | None) -> None:
        table, dialect = write.table, tables.dialect_name
        names = tables.names(table, translate, written=True)
        self._write = write
        self._names = names | {table.fullname}
        #: The table by whose key rows are named; ``None`` where the key of a row has many names.
        self._rows_of: tuple[Table, str] | None = None
        if isinstance(table, Table) and not (
            tables.parts(table) or tables.has_many_spellings(table)
        ):
            self._rows_of = table, dialect
        #: The beginnings of the tags of each column's values, its parameter, and their kind.
        self._values: list[tuple[list[str], str | None, str | None]] = []
        keys = dict(write.values or ())
        set_ = write.columns if write.kind == "update" else None
        for column in table.c if write.values and isinstance(table, Table) else ():
            if may_be_named(column) and (set_ is None or column.name in set_):
                end = f"[{tables.folded_column(column.name)}="
                begin = [f"{name}{end}" for name in names]
                kind = kind_of(column.type, dialect)
                self._values.append((begin, keys.get(column.name), kind))

    def add_to(self, tags: set[str], parameters: list[Mapping[str, Any]]) -> None:
        """Add the tags that the parameters name."""
        if self._write.key is not None:
            rows = self._rows(parameters)
            tags.update([f"{name}:{row}" for name in self._names for row in rows])
        for begin, key, kind in self._values:
            values = {"*"}
            if key is not None:
                values = {value_tag(kind, each[key]) if key in each else "*" for each in parameters}
            if len(values) > _MANY_VALUES:
                values = {"*"}
            tags.update([f"{first}{value}]" for first in begin for value in values - _NOT_NAMED])

    def _rows(self, parameters: list[Mapping[str, Any]]) -> set[Any]:
        if self._rows_of is None:
            return {"*"}
        table, dialect = self._rows_of
        keys = (key for given in parameters for key in self._write.keys(given))
        found = {row_name(table, key, dialect) for key in keys}
        return {"*"} if None in found else found
