"""What SQLAlchemy reads and writes becomes tags, unasked.

A SELECT tags its tables, or the row where it finds one by its key. A commit raises the rows
that it changed and their tables. Raw SQL text cannot be seen: ``cache.tag`` and
``cache.invalidate`` say by hand what it reads and writes.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from flask import Flask, has_app_context, has_request_context
from sqlalchemy import (
    Connection,
    Delete,
    Dialect,
    Engine,
    ForeignKey,
    Insert,
    Integer,
    MetaData,
    Table,
    Update,
    event,
)
from sqlalchemy import inspect as inspect_state
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnElement,
    TextClause,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.schema import Column, UniqueConstraint
from sqlalchemy.sql.selectable import (
    FromClause,
    Select,
    SelectBase,
    TableClause,
    TextualSelect,
)

from .clock import monotonic
from .fills import Entries
from .inputs import report_once
from .notes import DatabaseNotes, note_table
from .reads import Reads, current_reads

_NAME = "caching.transaction"
#: What raw SQL begins with where it writes nothing.
_READING = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "SHOW", "SET", "RESET", "PRAGMA", "ANALYZE"}
    | {"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "DECLARE", "FETCH", "CLOSE"}
    | {"LOCK", "LISTEN", "UNLISTEN", "NOTIFY", "TABLE", "USE", "DESCRIBE"}
)
_COMMENTS_AND_QUOTES = re.compile(
    r"""/\*.*?\*/|--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*\"""", re.DOTALL
)
_WRITING = re.compile(r"\b(INSERT|(?<!FOR )UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_flushing: ContextVar[bool] = ContextVar("caching_flushing", default=False)


@dataclass(slots=True)
class _Transaction:
    """A transaction's beginning, and the tags of what it wrote.

    :param began: the same by the monotonic clock.
    """

    started: int | None
    generation: str
    began: float = field(default_factory=monotonic)
    touched: set[str] = field(default_factory=set)
    #: Of a mark that the end of the statement settles, where each one commits by itself.
    token: str | None = None
    #: Whether a savepoint began it, as SQLite allows: then the savepoint's release commits.
    release_commits: bool = False


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A SELECT that finds one row: its table, and the parameters that its key is compared with."""

    table: Table
    parameters: tuple[tuple[Column[Any], str], ...]
    by_integer_key: bool


@dataclass(frozen=True, slots=True)
class _Statement:
    """What a compiled statement reads and writes."""

    reads: frozenset[str]
    writes: frozenset[str]
    deletes: bool
    updates: bool
    lookup: _Lookup | None
    is_text: bool
    entities: frozenset[Any] = frozenset()


def track(app: Flask, entries: Entries | None, db: Any) -> None:
    """Watch the engines, the sessions and the models of a Flask-SQLAlchemy ``db``.

    Call it after both extensions know the application.
    """
    for metadata in db.metadatas.values():
        note_table(metadata)
    if entries is None:
        return
    with app.app_context():
        engines = list(db.engines.values())
    notes = DatabaseNotes(engines, entries.prefix)
    if entries.store.shared:
        entries.deliveries.notes = notes
    tracker = _Tracker(app, entries, db, notes)
    for engine in engines:
        tracker.watch_engine(engine)
    entries.before_fetch = tracker.before_fetch
    entries.objects_of, entries.can_reach = tracker.objects_of, _can_reach
    _watch_models_once(db)


class _Tracker:
    def __init__(self, app: Flask, entries: Entries, db: Any, notes: DatabaseNotes) -> None:
        self._app = app
        self._entries = entries
        self._db = db
        self._notes = notes
        self._statements: WeakKeyDictionary[Any, _Statement] = WeakKeyDictionary()

    def watch_engine(self, engine: Engine) -> None:
        event.listen(engine, "begin", self._began)
        event.listen(engine, "begin_twophase", self._began)
        event.listen(engine, "before_cursor_execute", self._executes)
        event.listen(engine, "after_cursor_execute", self._executed)
        event.listen(engine, "savepoint", self._saved)
        event.listen(engine, "rollback", self._rolled_back)
        event.listen(engine, "rollback_savepoint", self._rolled_back)
        # No event comes after COMMIT on every way to it; the dialect's method is on each.
        dialect: Any = engine.dialect
        dialect.do_commit = self._committing(dialect, dialect.do_commit)
        # What is prepared takes no more rows.
        dialect.do_commit_twophase = self._committing(None, dialect.do_commit_twophase)
        dialect.do_release_savepoint = self._releasing(dialect.do_release_savepoint)

    def before_fetch(self, reads: Reads) -> None:
        """Learn what the current session holds: changes of its own, and objects read before.

        A session can be older than the context, where an application context is kept open.
        """
        if not has_app_context() or not self._db.session.registry.has():
            return
        session = self._db.session()
        if session.new or session.deleted or session.dirty:
            reads.uncommitted = True
        earlier: Reads | None = session.info.get(_NAME)
        if earlier is not None and earlier is not reads and session.in_transaction():
            reads.follow(earlier)

    def objects_of(self) -> frozenset[Any]:
        """Return the mappers of the objects that are in the session."""
        if not has_app_context() or not self._db.session.registry.has():
            return frozenset()
        return frozenset(state.mapper for state in self._db.session().identity_map.all_states())

    def _began(self, connection: Connection, *_: Any) -> None:
        """A transaction's snapshot is no younger than its beginning."""
        moment = self._entries.observe().of(self._entries)
        transactions = connection.info.setdefault(_NAME, {})
        transactions[self] = _Transaction(moment.started, moment.generation)

    def _saved(self, connection: Connection, *_: Any) -> None:
        """Note a savepoint outside of a transaction; drivers but SQLite's cannot tell."""
        transaction = self._transaction(connection)
        in_transaction = getattr(connection.connection.dbapi_connection, "in_transaction", True)
        if transaction is not None and not in_transaction:
            transaction.release_commits = True

    def _rolled_back(self, *_: Any) -> None:
        reads = current_reads()
        if reads.uncommitted:
            reads.bypass = True

    def _executes(
        self,
        connection: Connection,
        cursor: Any,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        compiled = context.compiled if context is not None else None
        statement = self._statement(compiled)
        reads = current_reads()
        transaction = self._transaction(connection)
        if transaction is not None:
            self._begin_no_later(reads, transaction)
        if statement.is_text:
            self._note_text(sql, reads)
        if statement.writes:
            reads.uncommitted = True
            if transaction is not None:
                by_itself = _commits_by_itself(connection)
                transaction.touched |= self._touched(
                    statement,
                    columns=frozenset((compiled and compiled.column_keys) or ()),
                    by_unit_of_work=_is_of_a_flush(context) and not by_itself,
                )
                if by_itself:
                    transaction.token = self._mark(
                        transaction.touched,
                        connection.connection,
                        connection.dialect,
                        in_transaction=False,
                    )
        reads.entities |= statement.entities
        if statement.lookup is not None and not executemany:
            _read_row(reads, statement.lookup, context.compiled_parameters[0])
        else:
            reads.tags |= statement.reads

    def _executed(self, connection: Connection, *_: Any) -> None:
        transaction = self._transaction(connection)
        if transaction is not None and transaction.token is not None:
            self._entries.invalidate(transaction.touched, transaction.token)
            transaction.token = None

    def _transaction(self, connection: Any) -> _Transaction | None:
        """Return a connection's transaction, in the time of this tracker's cache."""
        found: _Transaction | None = connection.info.get(_NAME, {}).get(self)
        return found

    def _begin_no_later(self, reads: Reads, transaction: _Transaction) -> None:
        reads.began = min(reads.began, transaction.began)
        moment = reads.of(self._entries)
        if transaction.started is None:
            moment.lost = True
        elif moment.started is None or transaction.started < moment.started:
            moment.started, moment.generation = transaction.started, transaction.generation

    def _statement(self, compiled: Any) -> _Statement:
        if compiled is None or compiled.statement is None:
            return _Statement(frozenset(), frozenset(), False, False, None, True)
        known = self._statements.get(compiled)
        if known is None:
            known = self._statements[compiled] = _analysed(compiled)
        return known

    def _touched(
        self, statement: _Statement, *, columns: frozenset[str], by_unit_of_work: bool
    ) -> set[str]:
        """Name what a statement writes: tables, and ``table:*`` where no event names the rows."""
        written, cascaded = statement.writes, set[str]()
        metadatas = self._db.metadatas.values()
        if statement.deletes:
            cascaded = _referring(metadatas, written, lambda key: True)
        elif statement.updates:

            def follows(key: ForeignKey) -> bool:
                return bool(key.onupdate) and (not columns or key.column.key in columns)

            cascaded = _referring(metadatas, written, follows)
        named = _named_tables(self._db) if by_unit_of_work else frozenset()
        unnamed = {f"{table}:*" for table in (written - named) | cascaded}
        return {*written, *cascaded, *unnamed}

    def _committing(
        self, dialect: Dialect | None, commit: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Mark what a transaction touched before its COMMIT, and settle it after.

        :param dialect: by which a note can still be added; ``None`` where it cannot.
        """

        def do_commit(connection: Any, *args: Any, **kwargs: Any) -> Any:
            transaction: _Transaction | None = connection.info.get(_NAME, {}).pop(self, None)
            if transaction is None or not transaction.touched:
                return commit(connection, *args, **kwargs)
            touched = transaction.touched
            token = self._mark(touched, connection, dialect)
            try:
                return commit(connection, *args, **kwargs)
            finally:
                self._entries.invalidate(touched, token)
                reads = current_reads()
                reads.tags |= touched
                reads.uncommitted = False

        return do_commit

    def _releasing(self, release: Callable[..., Any]) -> Callable[..., Any]:
        """Mark what a transaction touched before a release that commits it, and settle it after."""

        def do_release_savepoint(connection: Connection, name: str) -> Any:
            transaction = self._transaction(connection)
            if transaction is None or not transaction.release_commits or not transaction.touched:
                return release(connection, name)
            touched = transaction.touched
            token = self._mark(touched, connection.connection, connection.dialect)
            try:
                return release(connection, name)
            finally:
                self._entries.invalidate(touched, token)

        return do_release_savepoint

    def _mark(
        self,
        touched: set[str],
        connection: Any,
        dialect: Dialect | None,
        *,
        in_transaction: bool = True,
    ) -> str:
        """Put tags in doubt, or note them where the store does not take that.

        Returns the doubt's token, which is empty without a doubt.
        """
        alone = not self._entries.store.shared and not self._app.testing
        if alone and not has_request_context():
            report_once(
                "This process wrote to the database; a server that runs beside it on SimpleCache "
                "does not hear of it: restart it, or set CACHE_TYPE=RedisCache."
            )
        token = self._entries.mark(touched)
        if token is None and dialect is not None:
            self._notes.add(connection, dialect, touched, in_transaction=in_transaction)
        return token or ""

    def _note_text(self, sql: str, reads: Reads) -> None:
        """Say that raw SQL cannot be seen into; after a write nothing of the context is stored."""
        bare = _COMMENTS_AND_QUOTES.sub(" ", sql).lstrip(" \t\r\n(")
        verb = (re.match(r"\w*", bare) or [""])[0].upper()
        if (verb not in _READING and verb != "WITH") or (verb == "WITH" and _WRITING.search(bare)):
            reads.bypass = True
            remedy = "say what it writes with cache.invalidate(…) after the commit"
        elif verb in ("SELECT", "WITH") and reads.filling:
            remedy = "say what it reads with cache.tag(…)"
        else:
            return
        if self._app.debug or self._app.testing:
            report_once(f"The cache cannot see into raw SQL: {remedy}. {sql[:200]}")


def _commits_by_itself(connection: Connection) -> bool:
    dialect, driver = connection.dialect, connection.connection.dbapi_connection
    try:
        return driver is not None and dialect.detect_autocommit_setting(driver)
    except NotImplementedError:
        return False


def _analysed(compiled: Any) -> _Statement:
    """Find the tables of a statement as it was compiled: with eager loads and subqueries."""
    statement = getattr(compiled.compile_state, "statement", None)
    if statement is None:
        statement = compiled.statement
    elements = list(visitors.iterate(statement))
    tables = frozenset(e.fullname for e in elements if isinstance(e, TableClause))
    writes = frozenset(
        table.fullname
        for element in elements
        if isinstance(element, Insert | Update | Delete)
        for table in visitors.iterate(element.table)
        if isinstance(table, TableClause)
    )
    # One table, asked once: an alias of it in a subquery reads other rows of it.
    sources = [e for e in elements if isinstance(e, SelectBase | FromClause)]
    asked = sum(not isinstance(source, TableClause | FunctionElement) for source in sources)
    once = len(tables) == 1 and asked == 1 and not writes
    texts = any(isinstance(element, TextClause) for element in elements)
    return _Statement(
        reads=tables if not writes or len(tables) > 1 else frozenset(),
        writes=writes,
        deletes=any(isinstance(element, Delete) for element in elements),
        updates=any(isinstance(element, Update) for element in elements),
        lookup=_lookup(statement, compiled.bind_names) if once else None,
        is_text=any(isinstance(element, TextualSelect) for element in elements)
        or (texts and not tables),
        entities=_entities(compiled.compile_state),
    )


def _entities(state: Any) -> frozenset[Any]:
    """Return the mappers of the objects that a statement returns."""
    found = (getattr(entity, "mapper", None) for entity in getattr(state, "_entities", ()))
    return frozenset(mapper for mapper in found if mapper is not None)


def _can_reach(entities: set[Any], held: frozenset[Any]) -> bool:
    """Tell whether objects of some mappers lead to one of others, by relationships."""
    found, waiting = set(entities), list(entities)
    while waiting and held.isdisjoint(found):
        mapper = waiting.pop()
        near = {relation.mapper for relation in mapper.relationships}
        near |= {*mapper.self_and_descendants, *mapper.iterate_to_root()}
        waiting += near - found
        found |= near
    return not held.isdisjoint(found)


def _lookup(statement: Any, names: Mapping[Any, str]) -> _Lookup | None:
    """Recognise equality on a whole primary or unique key of one table."""
    if not isinstance(statement, Select) or statement.whereclause is None:
        return None
    froms = statement.get_final_froms()
    if len(froms) != 1 or not isinstance(froms[0], Table):
        return None
    table = froms[0]
    compared: dict[Column[Any], str] = dict(_equalities(statement.whereclause, table, names))
    for key in _unique_keys(table):
        if key and all(column in compared for column in key):
            integers = key == list(table.primary_key) and all(
                isinstance(column.type, Integer) for column in key
            )
            parameters = tuple((column, compared[column]) for column in key)
            return _Lookup(table, parameters, integers)
    return None


def _equalities(
    clause: ColumnElement[Any], table: Table, names: Mapping[Any, str]
) -> Iterable[tuple[Column[Any], str]]:
    parts = [clause]
    if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        parts = list(clause.clauses)
    for part in parts:
        if isinstance(part, BinaryExpression) and part.operator is operators.eq:
            left, right = part.left, part.right
            if isinstance(left, Column) and isinstance(right, BindParameter) and right in names:
                yield table.c[left.key], names[right]


def _unique_keys(table: Table) -> Iterable[list[Column[Any]]]:
    yield list(table.primary_key)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield list(constraint.columns)
    for index in table.indexes:
        partial = any(option.endswith("_where") for option in index.dialect_kwargs)
        plain = all(isinstance(column, Column) for column in index.expressions)
        if index.unique and plain and not partial:
            yield list(index.columns)


def _read_row(reads: Reads, lookup: _Lookup, parameters: dict[str, Any]) -> None:
    """Depend on the row alone; by another key than an integer, once it turns out to be there."""
    values = [parameters.get(name) for _, name in lookup.parameters]
    if lookup.by_integer_key and all(type(value) is int for value in values):
        reads.read_row(lookup.table.fullname, _identity(values))
    else:
        columns = tuple(column.key for column, _ in lookup.parameters)
        reads.expected[(lookup.table.fullname, columns, tuple(values))] = None


def _identity(values: Iterable[Any]) -> str:
    """Name a row; a number is the same where it was given as text (``"042"``)."""
    texts = (str(value) for value in values)
    # A text of thousands of digits is no number, and int() refuses it.
    return ",".join(
        str(int(text)) if text.isdecimal() and len(text) < 40 else text for text in texts
    )


def _referring(
    metadatas: Iterable[MetaData], tables: Iterable[str], follows: Callable[[ForeignKey], bool]
) -> set[str]:
    """Find the tables that refer to tables, transitively: the database may write them unseen.

    :param follows: whether a change of the row that a key refers to changes the key's row.
    """
    found: set[str] = set()
    every = [table for metadata in metadatas for table in metadata.tables.values()]
    growing = True
    while growing:
        targets = {*tables, *found}
        more = {
            table.fullname
            for table in every
            if table.fullname not in targets
            and any(
                key.column.table.fullname in targets and follows(key) for key in table.foreign_keys
            )
        }
        found |= more
        growing = bool(more)
    return found


def _named_tables(db: Any) -> frozenset[str]:
    """The tables whose changed rows the events of a flush name."""
    return frozenset(
        table.fullname
        for mapper in db.Model.registry.mappers
        if issubclass(mapper.class_, db.Model)
        for table in mapper.tables
    )


def _is_of_a_flush(context: Any) -> bool:
    """Tell whether the unit of work runs a statement, not a listener that a flush calls."""
    return _flushing.get() and "compiled_cache" in context.execution_options


_watched: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _watch_models_once(db: Any) -> None:
    """Listen to models and sessions, which an application's factory shares."""
    if _watched.get(db):
        return
    _watched[db] = True
    for name in ("after_insert", "after_update", "after_delete"):
        event.listen(db.Model, name, _row_changed, propagate=True)
    event.listen(db.Model, "load", functools.partial(_row_loaded, db), propagate=True)
    event.listen(db.session, "after_begin", _session_began)
    _watch_identity_lookups(db.session.session_factory.class_)
    event.listen(db.session, "before_flush", lambda *_: _flushing.set(True))
    event.listen(db.session, "after_flush", lambda *_: _flushing.set(False))
    event.listen(db.session, "after_soft_rollback", lambda *_: _flushing.set(False))


def _watch_identity_lookups(session_class: Any) -> None:
    """Note what is found in a session without SQL, which SQLAlchemy lets subclasses override."""
    look_up = session_class._identity_lookup

    @functools.wraps(look_up)
    def noting(self: Any, mapper: Any, *args: Any, **kwargs: Any) -> Any:
        current_reads().entities.add(mapper)
        return look_up(self, mapper, *args, **kwargs)

    session_class._identity_lookup = noting


def _session_began(session: Any, *_: Any) -> None:
    session.info[_NAME] = current_reads()


def _row_changed(mapper: Any, connection: Connection, target: Any) -> None:
    transactions: dict[_Tracker, _Transaction] = connection.info.get(_NAME, {})
    if not transactions:
        return
    identities = {_identity(mapper.primary_key_from_instance(target))}
    if (old := inspect_state(target).identity) is not None:
        identities.add(_identity(old))
    own_key = not mapper.inherits and list(mapper.primary_key) != list(
        mapper.local_table.primary_key
    )
    touched = set()
    for table in mapper.tables:
        touched |= {f"{table.fullname}:{identity}" for identity in identities}
        if own_key:
            # Readers find the row by the table's key.
            touched.add(f"{table.fullname}:*")
    for transaction in transactions.values():
        transaction.touched |= touched


def _row_loaded(db: Any, target: Any, context: Any) -> None:
    reads = current_reads()
    if not db.session.registry.has() or context.session is not db.session():
        # What another session holds, nobody is told of.
        reads.has_other_session = True
    if not reads.expected:
        return
    state = inspect_state(target)
    for table in state.mapper.tables:
        for key in [key for key in reads.expected if key[0] == table.fullname]:
            _, columns, values = key
            if all(
                _loaded_value(state, table.c[column]) == value
                for column, value in zip(columns, values, strict=True)
            ):
                del reads.expected[key]
                reads.read_row(table.fullname, _identity(state.identity or ()))


def _loaded_value(state: Any, column: Column[Any]) -> Any:
    """The value of a column, or what nothing equals, where only another class has the column."""
    if not state.mapper.columns.contains_column(column):
        return state
    return state.dict.get(state.mapper.get_property_by_column(column).key)
