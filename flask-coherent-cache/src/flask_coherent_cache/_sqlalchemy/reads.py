"""The tags of what one execution of a statement reads: its row where a key finds one, or tables."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.sql.selectable import TableClause

from .._dependencies.dependencies import Dependencies
from .._dependencies.inputs import report_once
from .catalog import DATABASE, Tables
from .lookups import Lookup
from .rows import row_name
from .statements import Statement

_UNKNOWN = (
    "The cache cannot see which tables this part of a statement reads, so every write drops "
    'what is built on it: {name}. Declare them with info={{"reads": ["table"]}} on a table or '
    'model of the statement, or with statement.execution_options(cache_reads=["table"]).'
)
_VIEW = (
    "{name} is a view, and the cache cannot see which tables it reads, so every write drops "
    'what is built on it. Declare them with __table_args__ = {{"info": {{"reads": ["table"]}}}} on '
    'its model, or with info={{"reads": ["table"]}} on its Table.'
)


def read(
    dependencies: Dependencies,
    statement: Statement,
    tables: Tables,
    context: Any,
    *,
    schemas_moved: bool = False,
) -> None:
    """Add what an execution reads to the dependencies of a context.

    :param context: SQLAlchemy's, before the cursor executes.
    :param schemas_moved: whether a table's name may mean another table on the connection.
    """
    options = context.execution_options
    translate, declared = options.get("schema_translate_map"), options.get("cache_reads")
    lookup = statement.lookup
    known = tables.resolved(statement)
    if lookup is not None and not schemas_moved and not context.executemany:
        names = known.row_tables if translate is None else None
        if names is None:
            names = _row_tables(lookup, tables, translate)
            if translate is None:
                known.row_tables = names
        if names and _expect_row(dependencies, lookup, names, context):
            return
    if translate is not None or declared is not None:
        dependencies.tags |= _tags(statement, tables, translate, declared)
    else:
        if known.reads is None:
            known.reads = _tags(statement, tables, None, None)
        dependencies.tags |= known.reads
    if schemas_moved and statement.tables:
        dependencies.tags.add(DATABASE)


def _row_tables(lookup: Lookup, tables: Tables, translate: Any) -> tuple[str, ...]:
    """Return the names of a lookup's table; nothing if its rows are also rows of another one."""
    table = lookup.table
    if "reads" in table.info or tables.is_a("view", table.name) or tables.parts(table):
        return ()
    if lookup.key is not None and tables.has_many_spellings(table):
        return ()
    return tuple(tables.names(table, translate))


def _tags(statement: Statement, tables: Tables, translate: Any, declared: Any) -> set[str]:
    """Return the tags of what a statement reads: its tables, and what they are declared to read.

    :param declared: what this execution is declared to read; ``None`` where nothing is.
    """
    found: set[str] = set()
    waiting, met = list(statement.tables), set[TableClause]()
    waiting += [table for name in declared or () for table in tables.find(name)]
    is_declared = declared is not None
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
    unseen = [] if declared is not None else [_VIEW.format(name=name) for name in views]
    if is_declared:
        for text in statement.unknown:
            for table in tables.mentioned(text):
                found |= tables.names(table, translate)
    else:
        unknown = [*statement.unknown, *(f for f in statement.functions if tables.is_function(f))]
        # A statement whose analysis failed has reported that.
        unseen += [_UNKNOWN.format(name=name[:200]) if name else "" for name in unknown]
    for warning in filter(None, unseen):
        report_once(warning)
    return found | {DATABASE} if unseen else found


def _expect_row(
    dependencies: Dependencies, lookup: Lookup, names: tuple[str, ...], context: Any
) -> bool:
    """Depend on the row alone once it turns out to be there, and on its table until then."""
    table, dialect, parameters = lookup.table, context.dialect.name, context.compiled_parameters[0]
    expected, rows = dependencies.expected, dependencies.rows
    row = None
    if lookup.key is not None:
        row = row_name(table, [parameters.get(name) for name in lookup.key], dialect)
        if row is None:
            return False
    # Of this execution alone: another one may find a row that was inserted in between.
    token = object()
    expected[token] = names

    def found(values: Any) -> None:
        name = row
        if name is None:
            name = row_name(table, [values[position] for position in lookup.at], dialect)
        if name is not None:
            expected.pop(token, None)
            for each in names:
                rows.setdefault(each, set()).add(name)

    context.cursor_fetch_strategy = _Observed(context.cursor_fetch_strategy, found)
    return True


class _Observed(CursorFetchStrategy):
    """Fetches like another strategy, and calls a function with each row."""

    __slots__ = ("_inner", "_observe", "alternate_cursor_description")

    def __init__(self, inner: CursorFetchStrategy, observe: Callable[[Any], None]) -> None:
        self._inner, self._observe = inner, observe
        self.alternate_cursor_description = inner.alternate_cursor_description

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        self._inner.yield_per(result, dbapi_cursor, num)

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        row = self._inner.fetchone(result, dbapi_cursor, hard_close)
        if row is not None:
            self._observe(row)
        return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        rows = self._inner.fetchmany(result, dbapi_cursor, size)
        for row in rows:
            self._observe(row)
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        rows = self._inner.fetchall(result, dbapi_cursor)
        for row in rows:
            self._observe(row)
        return rows
