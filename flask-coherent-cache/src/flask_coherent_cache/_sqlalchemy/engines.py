"""The events of an engine: a statement is analysed before it runs, a commit marked and settled."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine, MetaData, event
from sqlalchemy.orm import Session

from .._dependencies.dependencies import Dependencies, current_dependencies, is_collecting
from .._dependencies.inputs import report_once
from .catalog import Tables
from .compiling import note_what_is_rendered
from .raw_sql import commits, moves_schemas, raw
from .reads import parameters_of, read
from .sessions import watched_dialects
from .sqlite import hold_rollbacks, is_autocommit
from .statements import Statement, analyse
from .transactions import TRANSACTION, Transaction
from .writes import touched

if TYPE_CHECKING:
    from .watcher import Watcher

#: Set in the ``info`` of a driver's connection on which a table's name may mean another table.
_MOVED = "caching.lost_schemas"
_MOVES = (
    "This changes which table a name means on its connection, so from now on its reads depend "
    "on every table and its writes drop everything. Use schema_translate_map instead. {sql}"
)


class EngineWatch:
    """Listens to an engine once, for all caches: the same engine may serve several applications."""

    def __init__(self, engine: Engine) -> None:
        #: Weak: an application that is gone is told nothing.
        self.watchers: WeakSet[Watcher] = WeakSet()
        #: Those of the database's tables, as far as they were given.
        self.metadatas: WeakSet[MetaData] = WeakSet()
        self.tables = Tables(engine.dialect, self.metadatas)
        note_what_is_rendered(engine.dialect)
        engine.clear_compiled_cache()
        watched_dialects.add(engine.dialect)
        hold_rollbacks(engine)
        event.listen(engine, "begin", self._began)
        event.listen(engine, "begin_twophase", self._began)
        event.listen(engine, "before_cursor_execute", self._executes)
        event.listen(engine, "after_cursor_execute", self._executed)
        event.listen(engine, "savepoint", self._saved)
        event.listen(engine, "rollback", self._rolled_back)
        event.listen(engine, "rollback_savepoint", self._rolled_back)
        _surround_commits(self, engine.dialect)

    # -- transactions

    def _began(self, connection: Connection, *_: Any) -> None:
        """A transaction's snapshot is no younger than its beginning."""
        known: Transaction | None = connection.info.get(TRANSACTION)
        if known is not None and known.touched:
            # Another Connection shares the driver's (StaticPool): the first commit commits all.
            return
        starts = [(watcher, *watcher.present()) for watcher in self.watchers]
        connection.info[TRANSACTION] = Transaction(self, starts)

    def _transaction(self, connection: Connection) -> Transaction:
        found: Transaction | None = connection.info.get(TRANSACTION)
        if found is None:
            # It began at an unknown time, before the engine was watched.
            found = Transaction(self, [(watcher, None, "") for watcher in self.watchers])
            connection.info[TRANSACTION] = found
        return found

    def _saved(self, connection: Connection, *_: Any) -> None:
        """Note a savepoint outside of a transaction; drivers but SQLite's cannot tell."""
        if not getattr(connection.connection.dbapi_connection, "in_transaction", True):
            self._transaction(connection).savepoint_commits = True

    def _rolled_back(self, connection: Connection, *savepoint: Any) -> None:
        dependencies = current_dependencies()
        if dependencies.uncommitted:
            dependencies.bypass = True
        if connection.invalidated:
            return  # A broken connection has lost its ``info``.
        take = connection.info.get if savepoint else connection.info.pop
        transaction: Transaction | None = take(TRANSACTION, None)
        if transaction is not None:
            transaction.undone()

    # -- statements

    def _executes(
        self,
        connection: Connection,
        cursor: Any,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        if context is None:
            # SQLAlchemy itself asks for a default's value.
            return
        info, tables = connection.info, self.tables
        tables.learn(connection)
        transaction: Transaction = info.get(TRANSACTION) or self._transaction(connection)
        # Where nothing is collected, nothing is stored either.
        dependencies = current_dependencies() if is_collecting() else None
        statement, options = analyse(context.compiled), context.execution_options
        if dependencies is not None:
            dependencies.entities |= statement.entities
            for watcher, started, generation in transaction.starts:
                watcher.begin_no_later(dependencies, transaction.began, started, generation)
        if statement.raw:
            statement = raw(sql, tables)
            for watcher in self.watchers:
                watcher.warn_of_text(sql, dependencies or Dependencies(), options)
        can_move = statement.raw or "set_config" in statement.functions
        if can_move and moves_schemas(sql, parameters):
            info[_MOVED] = True
            report_once(_MOVES.format(sql=sql[:200]))
        moved = _MOVED in info
        ends = False
        if statement.may_write or "cache_writes" in options:
            ends = self._writes(connection, sql, context, statement, transaction, moved=moved)
        if dependencies is None:
            return
        if transaction.touched and not ends:
            transaction.seen_by(dependencies)
        if not dependencies.bypass:
            read(dependencies, statement, tables, context, schemas_moved=moved)

    def _writes(
        self,
        connection: Connection,
        sql: str,
        context: Any,
        statement: Statement,
        transaction: Transaction,
        *,
        moved: bool,
    ) -> bool:
        """Note what a statement writes; tell whether it commits, for which that is marked."""
        values, options = parameters_of(context), context.execution_options
        changed = touched(statement, self.tables, values, options, schemas_moved=moved)
        if statement.alters:
            self.tables.forget()
            transaction.alters = True
        transaction.touched |= changed
        if transaction.touched and statement.raw and commits(sql):
            transaction.mark_statement(connection, in_transaction=True)
            return True
        if changed and _commits_by_itself(connection, alters=statement.alters):
            transaction.mark_statement(connection, in_transaction=False)
            return True
        return False

    def _executed(self, connection: Connection, *_: Any) -> None:
        transaction: Transaction | None = connection.info.get(TRANSACTION)
        if transaction is not None:
            transaction.settle_statement()


def _commits_by_itself(connection: Connection, *, alters: bool) -> bool:
    """Tell whether a statement that is about to run commits when it ends.

    :param alters: whether it is DDL, which commits on MySQL, and on SQLite outside a transaction.
    """
    dialect = connection.dialect
    driver: Any = connection.connection.dbapi_connection
    if dialect.name == "sqlite":
        # The application may have begun a transaction by a statement.
        return not driver.in_transaction and (alters or is_autocommit(driver))
    if alters and dialect.name in ("mysql", "mariadb"):
        return True
    try:
        return driver is not None and dialect.detect_autocommit_setting(driver)
    except NotImplementedError:
        return False


def _surround_commits(watch: EngineWatch, dialect: Any) -> None:
    """Mark and settle around COMMIT: not every way to commit has an event after it."""
    commit: Callable[..., Any] = dialect.do_commit
    commit_twophase: Callable[..., Any] = dialect.do_commit_twophase
    release: Callable[..., Any] = dialect.do_release_savepoint

    def do_commit(connection: Any, *args: Any, **kwargs: Any) -> Any:
        transaction: Transaction | None = connection.info.pop(TRANSACTION, None)
        if transaction is None or not transaction.touched:
            return commit(connection, *args, **kwargs)
        with transaction.committing(connection, dialect):
            return commit(connection, *args, **kwargs)

    def do_commit_twophase(
        connection: Connection, xid: Any, is_prepared: bool = True, recover: bool = False
    ) -> Any:
        transaction = connection.info.pop(TRANSACTION, None) or Transaction(watch, [])
        try:
            # What is prepared takes no more rows, so the outbox cannot be written.
            with transaction.committing(connection.connection, None):
                return commit_twophase(connection, xid, is_prepared=is_prepared, recover=recover)
        finally:
            # It was prepared elsewhere, so what it wrote is unknown.
            for watcher in watch.watchers if recover else ():
                watcher.clear()

    def do_release_savepoint(connection: Connection, name: str) -> Any:
        transaction: Transaction | None = connection.info.get(TRANSACTION)
        if transaction is None or not transaction.savepoint_commits or not transaction.touched:
            return release(connection, name)
        # The savepoints inside of the first one commit nothing.
        with transaction.committing(connection.connection, connection.dialect, may_go_on=True):
            return release(connection, name)

    dialect.do_commit = do_commit
    dialect.do_commit_twophase = do_commit_twophase
    dialect.do_release_savepoint = do_release_savepoint


def _committed_inside(session: Session) -> None:
    """Bump what a session commits into a transaction that it did not begin, as test suites do.

    Contexts that share the connection see it, and store nothing of it until the transaction ends.
    """
    root: Any = session.get_transaction()
    if root is None or session.in_nested_transaction():
        return
    for connection in {joined[0] for joined in root._connections.values()}:
        if connection.closed or connection.invalidated:
            continue
        transaction: Transaction | None = connection.info.get(TRANSACTION)
        if transaction is not None and transaction.touched:
            for watcher in transaction.watch.watchers:
                watcher.settle(transaction.touched, "")


_engines: WeakKeyDictionary[Engine, EngineWatch] = WeakKeyDictionary()


def watch_engine(engine: Engine) -> EngineWatch:
    """Return the watch over an engine, which begins with the first call."""
    if not event.contains(Session, "after_commit", _committed_inside):
        event.listen(Session, "after_commit", _committed_inside)
    watch = _engines.get(engine)
    if watch is None:
        watch = _engines[engine] = EngineWatch(engine)
    return watch
