"""What one execution of a statement reads: parts of its tables where they are known, or tables."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.sql.selectable import TableClause

from .._dependencies.dependencies import Dependencies
from .._dependencies.inputs import report_once
from .._dependencies.tags import DATABASE
from .catalog import Tables
from .plans import Plan, RowReading, plan_roles
from .shapes import Shape
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
    if translate is not None or declared is not None or schemas_moved:
        plan = _plan(statement, tables, translate, declared, schemas_moved=schemas_moved)
    else:
        known = tables.resolved(statement)
        if known.reads is None:
            known.reads = _plan(statement, tables, None, None)
        plan = known.reads
    dependencies.tags |= plan.tags
    if not plan.roles:
        return
    parameters = parameters_of(context)[0]
    if plan.observes and not (context.executemany or _is_streamed(context)):
        reading = RowReading(plan, parameters)
        dependencies.read(reading)
        context.cursor_fetch_strategy = _Observed(context.cursor_fetch_strategy, reading)
        return
    for role in plan.roles:
        # Without the keys of rows, it names none.
        role.depend(dependencies.tags, [], parameters, None, False, True)


def parameters_of(context: Any) -> list[Mapping[str, Any]]:
    """Return the parameters of each execution, with the lists that an IN was given."""
    # DDL and raw SQL have none.
    given: list[Mapping[str, Any]] = getattr(context, "compiled_parameters", [])
    expanded = context._expanded_parameters
    if not expanded:
        return given
    # An IN is never executed many times at once.
    lists = {
        name: [given[0][part] for part in parts if part in given[0]]
        for name, parts in expanded.items()
    }
    return [{**given[0], **lists}]


def _is_streamed(context: Any) -> bool:
    """Tell whether the rows come from a cursor on the server, whose buffer is not to be lost."""
    return bool(context._is_server_side or context.execution_options.get("stream_results"))


def _plan(
    statement: Statement,
    tables: Tables,
    translate: Any,
    declared: Any,
    *,
    schemas_moved: bool = False,
) -> Plan:
    """Plan what a statement reads: its tables or their parts, and what they are declared to read.

    :param declared: what this execution is declared to read; ``None`` where nothing is.
    """
    tags, unseen = _declared_tags(statement, tables, translate, declared)
    moved = schemas_moved and statement.tables
    if unseen or moved:
        tags.add(DATABASE)
    names: dict[str, tuple[str, ...]] = {}
    shape = None if moved else statement.shape
    narrow = shape is not None and tables.narrow and tables.knows_objects
    if not narrow and not _is_lookup(shape, statement):
        shape = None
    for table in statement.tables:
        of_table = tables.names(table, translate)
        if shape is not None and isinstance(table, Table) and tables.can_name_rows(table):
            names[table.fullname] = tuple(sorted(of_table))
        else:
            tags |= of_table | tables.parts(table)
    if shape is None or not names:
        return Plan(frozenset(tags))
    return _narrow_plan(shape, names, tags, tables, narrow=narrow)


def _is_lookup(shape: Shape | None, statement: Statement) -> bool:
    """Tell whether a statement may find one row of one table, and nothing else."""
    return shape is not None and len(shape.roles) == 1 and not shape.nested


def _narrow_plan(
    shape: Shape,
    names: Mapping[str, tuple[str, ...]],
    tags: set[str],
    tables: Tables,
    *,
    narrow: bool,
) -> Plan:
    """Plan which parts of tables a statement reads."""
    for table in shape.nested if narrow else ():
        for name in names.get(table.fullname, ()):
            tags |= {f"{name}!", f"{name}+", f"{name}-"}
    for of_table, column in shape.columns if narrow else ():
        for name in names.get(of_table.fullname, ()):
            tags.add(f"{name}.{tables.folded_column(column)}")
    roles = plan_roles(shape, lambda table: names.get(table.fullname, ()), tables, narrow=narrow)
    for role in roles:
        if not role.varies:
            role.depend(tags, [], {}, None, False, True)
    varying = tuple(role for role in roles if role.varies)
    observes = any(role.key_in or role.keys for role in varying)
    return Plan(frozenset(tags), varying, observes, shape.offset)


def _declared_tags(
    statement: Statement, tables: Tables, translate: Any, declared: Any
) -> tuple[set[str], bool]:
    """Return the tags of what a statement is declared to read; and whether it may read more."""
    found: set[str] = set()
    waiting = [table for name in declared or () for table in tables.find(name)]
    own, met = list(statement.tables), set[TableClause]()
    is_declared = declared is not None
    views = []
    while own or waiting:
        is_own = bool(own)
        table = own.pop() if is_own else waiting.pop()
        if not is_own:
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
    return found, bool(unseen)


class _Observed(CursorFetchStrategy):
    """Fetches like another strategy, and shows a reading each row."""

    __slots__ = ("_inner", "_reading", "alternate_cursor_description")

    def __init__(self, inner: CursorFetchStrategy, reading: RowReading) -> None:
        self._inner, self._reading = inner, reading
        self.alternate_cursor_description = inner.alternate_cursor_description

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        self._inner.yield_per(result, dbapi_cursor, num)
        if result.cursor_strategy is not self:
            # It put another strategy in its place.
            self._inner, result.cursor_strategy = result.cursor_strategy, self

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        row = self._inner.fetchone(result, dbapi_cursor, hard_close)
        self._reading.note(() if row is None else (row,))
        return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        rows = self._inner.fetchmany(result, dbapi_cursor, size)
        self._reading.note(rows)
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        rows = self._inner.fetchall(result, dbapi_cursor)
        if rows:
            self._reading.note(rows)
        self._reading.is_over = True
        return rows
