"""What a compiled statement reads and writes, whatever its parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Table
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import Select, TableClause

from .._dependencies.inputs import report_once
from .compiling import Notes
from .expressions import equalities
from .shapes import Shape, find_shape


@dataclass(frozen=True, slots=True)
class Write:
    """What a statement does to a table."""

    table: TableClause
    kind: str  # "insert", "update", "delete", or "any" if that is unknown.
    columns: frozenset[str] | None = None  # The names of those that are set; None: any.
    #: The parameters that the primary key is compared with, and whether each is a list; None: the
    #: rows are not named.
    key: tuple[tuple[str, bool], ...] | None = None
    #: The columns that are set to parameters, with the names of these; None: it is not known.
    values: tuple[tuple[str, str], ...] | None = None

    def keys(self, parameters: Mapping[str, Any]) -> list[list[Any]]:
        """Return the primary keys of the rows that are written with some parameters."""
        named = self.key or ()
        values = [parameters.get(name) for name, _ in named]
        is_list = bool(named) and named[0][1] and values[0] is not None
        return [[value] for value in values[0]] if is_list else [values]  # type: ignore[union-attr]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Statement:
    """What a compiled statement reads and writes, whatever its parameters."""

    tables: frozenset[TableClause] = frozenset()
    unknown: tuple[str, ...] = ()  # The parts that may read tables that cannot be named.
    functions: frozenset[str] = frozenset()
    shape: Shape | None = None  # What it reads of its tables; None: all of them.
    writes: tuple[Write, ...] = ()
    everything: bool = False  # Whether it may write any table.
    raw: bool = False  # Whether it is nothing but text, which is analysed when it is executed.
    alters: bool = False  # Whether it is DDL.
    entities: frozenset[Any] = frozenset()  # The mappers of the objects that it returns.

    @property
    def may_write(self) -> bool:
        """Whether it may write, by itself or by a function, or end a transaction."""
        return bool(self.writes or self.everything or self.functions or self.raw)


_RAW = Statement(raw=True)
_statements: WeakKeyDictionary[Any, Statement] = WeakKeyDictionary()


def analyse(compiled: Any) -> Statement:
    """Tell what a compiled statement reads and writes; each is analysed once.

    If that fails, the statement is assumed to read and write every table.
    """
    if compiled is None or compiled.statement is None:
        return _RAW
    known = _statements.get(compiled)
    if known is None:
        try:
            known = _analysed(compiled)
        except Exception as error:
            report_once(
                f"The cache could not analyse a statement ({error!r}), and assumes that it reads "
                f"and writes every table. Please report this. {str(compiled)[:200]}"
            )
            known = Statement(unknown=("",), everything=not isinstance(compiled.statement, Select))
        _statements[compiled] = known
    return known


def _analysed(compiled: Any) -> Statement:
    if isinstance(compiled.statement, ExecutableDDLElement):
        return _ddl(compiled.statement)
    notes: Notes | None = getattr(compiled, "notes", None)
    if notes is None:
        # It was compiled before its engine was watched.
        again = compiled.statement.compile(
            dialect=compiled.dialect, column_keys=compiled.column_keys or None
        )
        notes = again.notes
    state = compiled.compile_state
    statement = getattr(state, "statement", None)
    if statement is None:
        statement = compiled.statement
    writes: list[Write] = []
    for written, outermost in notes.writes:
        writes += _writes(statement if outermost else written, outermost, compiled, notes)
    tables = frozenset(notes.sources)
    mappers = (getattr(entity, "mapper", None) for entity in getattr(state, "_entities", ()))
    return Statement(
        # A write of one table does not read it.
        tables=tables if len(tables) > 1 or not writes else frozenset(),
        unknown=tuple(notes.unknown),
        functions=frozenset(notes.functions),
        shape=_shape(statement, compiled, notes),
        writes=tuple(writes),
        everything=notes.custom,
        raw=notes.raw,
        entities=frozenset(mapper for mapper in mappers if mapper is not None),
    )


def _shape(statement: Any, compiled: Any, notes: Notes) -> Shape | None:
    try:
        return find_shape(statement, compiled, notes)
    except Exception as error:
        report_once(
            f"The cache could not tell which columns a statement reads ({error!r}), and has it "
            f"depend on whole tables. Please report this. {str(compiled)[:200]}"
        )
        return None


def _ddl(statement: Any) -> Statement:
    """Find the table that DDL is about; without one, it may change anything."""
    element: Any = getattr(statement, "element", None)
    element = getattr(element, "table", element)
    if isinstance(element, TableClause):
        return Statement(writes=(Write(element, "any"),), alters=True)
    return Statement(everything=True, alters=True)


def _writes(statement: Any, outermost: bool, compiled: Any, notes: Notes) -> Iterable[Write]:
    """Describe what an INSERT, UPDATE or DELETE does to its tables."""
    targets = [e for e in visitors.iterate(statement.table) if isinstance(e, TableClause)]
    several = compiled.dialect.name in ("mysql", "mariadb") and not statement.is_insert
    if several and len(set(notes.sources)) > 1:
        # These set columns of every table that they name.
        targets = [*{*targets, *notes.sources}]
    table = targets[0] if len(targets) == 1 else None
    plain = outermost and not statement._prefixes and isinstance(statement.table, Table)
    if not plain or not isinstance(table, Table):
        return [Write(target, "any") for target in targets]
    replaces = _may_replace(table)
    if statement.is_insert:
        after = statement._post_values_clause
        # By its name: PostgreSQL's and SQLite's classes are in large modules, of their dialects.
        updates = after is not None and after.__visit_name__ != "on_conflict_do_nothing"
        if replaces or updates:
            return [Write(table, "any")]
        return [Write(table, "insert", values=_values(compiled, table))]
    kind = "any" if replaces else "update" if statement.is_update else "delete"
    columns = _set_columns(compiled, table) if statement.is_update else None
    values = _values(compiled, table) if kind == "update" and columns is not None else None
    return [Write(table, kind, columns, _named_rows(statement, compiled, table), values)]


def _named_rows(statement: Any, compiled: Any, table: Table) -> tuple[tuple[str, bool], ...] | None:
    """Return the parameters that name the rows of an UPDATE or DELETE; see :class:`Write`."""
    compared: dict[str, tuple[str, bool]] = {}
    for column, parameter, is_list in equalities(statement._where_criteria, compiled.bind_names):
        own = isinstance(column.table, Table) and column.table.fullname == table.fullname
        if own and parameter is not None and (not is_list or column.name not in compared):
            compared[column.name] = parameter, is_list
    key = [column.name for column in table.primary_key]
    named = tuple(compared[name] for name in key if name in compared)
    if not named or len(named) < len(key) or (len(key) > 1 and any(many for _, many in named)):
        return None
    return named


def _may_replace(table: Table) -> bool:
    """Tell whether SQLite may delete another row where one is not unique."""
    return any(
        name.startswith("sqlite_on_conflict") and "REPLACE" in str(value).upper()
        for thing in (*table.columns, *table.constraints)
        for name, value in thing.dialect_kwargs.items()
    )


def _values(compiled: Any, table: Table) -> tuple[tuple[str, str], ...]:
    """Return the columns that are set to a parameter of their key, as SQLAlchemy names it."""
    # A parameter of the application can have the same name, where an expression sets the column.
    found = ((column.name, compiled.binds.get(column.key)) for column in table.c)
    return tuple((name, bind.key) for name, bind in found if bind is not None and bind._is_crud)


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
