"""What a compiled statement reads: its tables, or the row that it finds by a key.

For whoever watches an engine: :func:`note_what_is_rendered` once for its dialect,
:func:`analyse` a compiled statement, :func:`read` for each execution of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql.dml import OnConflictDoNothing
from sqlalchemy.dialects.sqlite.dml import OnConflictDoNothing as SQLiteDoNothing
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import Select, TableClause

from .._dependencies.dependencies import Dependencies
from .._dependencies.inputs import report_once
from .catalog import DATABASE, Tables
from .compiling import Notes, note_what_is_rendered
from .rows import Lookup, equalities, expect_row, find_lookup

__all__ = ["Statement", "Write", "analyse", "note_what_is_rendered", "read"]

_UNKNOWN = (
    "The cache cannot see which tables this part of a statement reads, so that each write drops "
    'what is built on it: {name}. Say it with info={{"reads": ["table"]}} on a table or model of '
    'the statement, or with statement.execution_options(cache_reads=["table"]).'
)
_VIEW = (
    "{name} is a view, and the cache cannot see which tables it reads, so that each write drops "
    'what is built on it. Say it with __table_args__ = {{"info": {{"reads": ["table"]}}}} on its '
    'model, or with info={{"reads": ["table"]}} on its Table.'
)


@dataclass(frozen=True, slots=True)
class Write:
    """What a statement does to a table.

    :param kind: ``"insert"``, ``"update"``, ``"delete"``, or ``"any"``: it cannot be told.
    :param columns: the names of the columns that are set; ``None``: any.
    :param key: the parameters that the primary key is compared with, and whether each is a list;
        ``None`` where no parameters name the rows.
    """

    table: TableClause
    kind: str
    columns: frozenset[str] | None = None
    key: tuple[tuple[str, bool], ...] | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Statement:
    """What a compiled statement reads and writes, whatever its parameters.

    :param unknown: what in it may read tables that cannot be named.
    :param everything: whether it may write any table.
    :param raw: whether it is nothing but text, which is seen when it is executed.
    :param alters: whether it is DDL.
    """

    tables: frozenset[TableClause] = frozenset()
    unknown: tuple[str, ...] = ()
    functions: frozenset[str] = frozenset()
    lookup: Lookup | None = None
    writes: tuple[Write, ...] = ()
    everything: bool = False
    raw: bool = False
    alters: bool = False
    entities: frozenset[Any] = frozenset()


_RAW = Statement(raw=True)
_statements: WeakKeyDictionary[Any, Statement] = WeakKeyDictionary()


def analyse(compiled: Any) -> Statement:
    """Tell what a compiled statement reads and writes; it is worked out once.

    Where that fails, the statement is taken to read and to write every table.
    """
    if compiled is None or compiled.statement is None:
        return _RAW
    known = _statements.get(compiled)
    if known is None:
        try:
            known = _analysed(compiled)
        except Exception as error:
            report_once(
                f"The cache could not analyse a statement ({error!r}), and takes it to read and "
                f"write every table. Report this, please. {str(compiled)[:200]}"
            )
            known = Statement(unknown=("",), everything=not isinstance(compiled.statement, Select))
        _statements[compiled] = known
    return known


def _analysed(compiled: Any) -> Statement:
    if isinstance(compiled.statement, ExecutableDDLElement):
        return _ddl(compiled)
    notes: Notes | None = getattr(compiled, "notes", None)
    if notes is None:
        # It was compiled before its engine was watched.
        again = compiled.statement.compile(
            dialect=compiled.dialect, column_keys=compiled.column_keys or None
        )
        notes = again.notes
    statement = getattr(compiled.compile_state, "statement", None)
    if statement is None:
        statement = compiled.statement
    writes = [
        write
        for written, outermost in notes.writes
        for write in _writes(statement if outermost else written, outermost, compiled, notes)
    ]
    return Statement(
        tables=frozenset(notes.sources)
        if len(set(notes.sources)) > 1 or not writes
        else frozenset(),
        unknown=tuple(notes.unknown),
        functions=frozenset(notes.functions),
        lookup=None if writes else find_lookup(statement, compiled, notes),
        writes=tuple(writes),
        everything=notes.custom,
        raw=notes.raw,
        entities=_entities(compiled.compile_state),
    )


def _ddl(compiled: Any) -> Statement:
    """Find the table that DDL is about: of what it has none, nothing can be told."""
    element: Any = getattr(compiled.statement, "element", None)
    element = getattr(element, "table", element)
    if isinstance(element, TableClause):
        return Statement(writes=(Write(element, "any"),), alters=True)
    return Statement(everything=True, alters=True)


def _entities(state: Any) -> frozenset[Any]:
    """Return the mappers of the objects that a statement returns."""
    found = (getattr(entity, "mapper", None) for entity in getattr(state, "_entities", ()))
    return frozenset(mapper for mapper in found if mapper is not None)


def _writes(statement: Any, outermost: bool, compiled: Any, notes: Notes) -> Iterable[Write]:
    """Describe what an INSERT, UPDATE or DELETE does to its tables."""
    targets = [e for e in visitors.iterate(statement.table) if isinstance(e, TableClause)]
    several = compiled.dialect.name in ("mysql", "mariadb") and not statement.is_insert
    if several and len(set(notes.sources)) > 1:
        # These set columns of every table that they name.
        targets = [*{*targets, *notes.sources}]
    table = targets[0] if targets else None
    plain = len(targets) == 1 and isinstance(statement.table, Table)
    if not outermost or not plain or statement._prefixes or not isinstance(table, Table):
        yield from (Write(target, "any") for target in targets)
    elif statement.is_insert:
        after = statement._post_values_clause
        replaces = any("REPLACE" in str(option).upper() for option in _conflict_options(table))
        if replaces or not isinstance(after, OnConflictDoNothing | SQLiteDoNothing | None):
            yield Write(table, "any")
        else:
            yield Write(table, "insert")
    else:
        kind = "update" if statement.is_update else "delete"
        columns = _set_columns(compiled, table) if statement.is_update else None
        if any("REPLACE" in str(option).upper() for option in _conflict_options(table)):
            kind = "any"
        yield Write(table, kind, columns, _named_key(statement, compiled, table))


def _conflict_options(table: Table) -> Iterable[Any]:
    """Yield what SQLite does where a row is not unique: it may delete the other one."""
    for thing in (*table.columns, *table.constraints):
        for name, value in thing.dialect_kwargs.items():
            if name.startswith("sqlite_on_conflict"):
                yield value


def _set_columns(compiled: Any, table: Table) -> frozenset[str] | None:
    """Return the names of the columns that an UPDATE may set, also by ``onupdate``."""
    # Among the parameters' keys are also those of WHERE, which have no column's key.
    state, keys = compiled.compile_state, set(table.c.keys())
    given: set[Any] = set(compiled.column_keys or ()) & keys
    ordered = getattr(state, "_ordered_values", None) or ()
    named = [*(state._dict_parameters or ()), *(key for key, _ in ordered)]
    given |= {key if isinstance(key, str) else key.key for key in named}
    if not given or not given <= keys:
        return None
    own = {c.key for c in table.c if c.onupdate is not None or c.server_onupdate is not None}
    computed = {c.name for c in table.c if c.computed is not None}
    return frozenset({table.c[key].name for key in given | own} | computed)


def _named_key(statement: Any, compiled: Any, table: Table) -> tuple[tuple[str, bool], ...] | None:
    """Find the parameters that name the rows of an UPDATE or DELETE."""
    compared: dict[str, tuple[str, bool]] = {}
    for column, parameter, many in equalities(statement._where_criteria, compiled.bind_names):
        if isinstance(column.table, Table) and column.table.fullname == table.fullname:
            compared.setdefault(column.name, (parameter, many))
    key = [compared.get(column.name) for column in table.primary_key]
    named = [part for part in key if part is not None]
    if not named or len(named) < len(key) or (len(key) > 1 and any(many for _, many in named)):
        return None
    return tuple(named)


def read(
    reads: Dependencies,
    statement: Statement,
    tables: Tables,
    context: Any,
    *,
    is_lost: bool = False,
) -> None:
    """Note what one execution of a statement reads.

    :param context: SQLAlchemy's, before the cursor executes.
    :param is_lost: whether the connection's schemas are not known any more.
    """
    options = context.execution_options
    translate, given = options.get("schema_translate_map"), options.get("cache_reads")
    lookup = statement.lookup
    if lookup is not None and not is_lost and not context.executemany:
        names = tables.looked_up.get(statement) if translate is None else None
        if names is None:
            names = _names_of_row(lookup, tables, translate)
            if translate is None:
                tables.looked_up[statement] = names
        if names and expect_row(reads, lookup, names, context):
            return
    if translate is not None or given is not None:
        reads.tags |= _tags(statement, tables, translate, given)
    else:
        known = tables.resolved.get(statement)
        if known is None:
            known = tables.resolved[statement] = _tags(statement, tables, None, None)
        reads.tags |= known
    if is_lost and statement.tables:
        reads.tags.add(DATABASE)


def _names_of_row(lookup: Lookup, tables: Tables, translate: Any) -> tuple[str, ...]:
    """Return the names of a table, or nothing if its rows are also rows of another one."""
    table = lookup.table
    if "reads" in table.info or tables.is_a("view", table.name) or tables.parts(table):
        return ()
    if lookup.key is not None and tables.has_many_spellings(table):
        return ()
    return tuple(tables.names(table, translate))


def _tags(statement: Statement, tables: Tables, translate: Any, given: Any) -> set[str]:
    """Return the tags of what a statement reads: its tables, and what they are declared to read.

    :param given: what this execution is declared to read; ``None`` where that is not said.
    """
    found: set[str] = set()
    waiting, met = list(statement.tables), set[TableClause]()
    waiting += [table for name in given or () for table in tables.find(name)]
    is_declared = given is not None
    views = []
    while waiting:
        table = waiting.pop()
        if table in met:
            continue
        met.add(table)
        found |= tables.names(table, translate) | tables.parts(table)
        reads = tables.declared(table, "reads")
        if reads is not None:
            is_declared = True
            waiting += reads
        elif tables.is_a("view", table.name):
            views.append(table.fullname)
    called = [f for f in statement.functions if tables.is_function(f)]
    if not is_declared and (statement.unknown or called):
        for name in filter(None, (*statement.unknown, *called)):
            report_once(_UNKNOWN.format(name=name[:200]))
        found.add(DATABASE)
    for text in statement.unknown if is_declared else ():
        found |= set().union(*(tables.names(table, translate) for table in tables.mentioned(text)))
    if given is None and views:
        for name in views:
            report_once(_VIEW.format(name=name))
        found.add(DATABASE)
    return found
