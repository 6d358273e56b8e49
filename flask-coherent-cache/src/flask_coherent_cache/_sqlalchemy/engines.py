"""The events of one engine: when what is read and written counts, for each watching cache."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Dialect, Engine, MetaData, event
from sqlalchemy.orm import Session

from .._dependencies.dependencies import current_dependencies
from .._dependencies.inputs import report_once
from .catalog import Tables
from .sessions import watched_dialects
from .sqlite import begin_before_savepoint, is_autocommit
from .statements import analyse, note_what_is_rendered, read
from .texts import commits, moves_schemas, raw
from .transactions import TRANSACTION, Transaction
from .writes import touched

if TYPE_CHECKING:
    from .tracking import Watcher

#: Where a driver's connection keeps that its schemas are not known any more.
_LOST = "caching.lost_schemas"
_MOVED = (
    "This changes which table a name means on its connection, so that from now on its reads depend "
    "on every table and its writes drop everything. Use schema_translate_map instead. {sql}"
)


class EngineWatch:
    """Listens to an engine once, for all caches: the same engine may serve several applications."""

    def __init__(self, engine: Engine) -> None:
        #: An application that is gone is told of nothing.
        self.watchers: WeakSet[Watcher] = WeakSet()
        #: Of the tables that are there, as far as they were given.
        self.metadatas: WeakSet[MetaData] = WeakSet()
        self._tables = Tables(engine.dialect, self.metadatas)
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
        event.listen(engine, "rollback_savepoint", self._rolled_back_to_savepoint)
        # No event comes after COMMIT on every way to it; the dialect's method is on each.
        dialect: Any = engine.dialect
        dialect.do_commit = self._committing(dialect, dialect.do_commit)
        dialect.do_commit_twophase = self._committing_twophase(dialect.do_commit_twophase)
        dialect.do_release_savepoint = self._releasing(dialect.do_release_savepoint)

    def _began(self, connection: Connection, *_: Any) -> None:
        """A transaction's snapshot is no younger than its beginning."""
        known: Transaction | None = connection.info.get(TRANSACTION)
        if known is not None and known.touched:
            # Another Connection shares the driver's (StaticPool): who commits first, commits all.
            return
        connection.info[TRANSACTION] = Transaction([w.reading() for w in self.watchers])

    def _transaction(self, connection: Connection) -> Transaction:
        found: Transaction | None = connection.info.get(TRANSACTION)
        if found is None:
            # It began before the engine was watched: nobody knows when.
            found = Transaction([(watcher, None, "") for watcher in self.watchers])
            connection.info[TRANSACTION] = found
        return found

    def _saved(self, connection: Connection, *_: Any) -> None:
        """Note a savepoint outside of a transaction; drivers but SQLite's cannot tell."""
        if not getattr(connection.connection.dbapi_connection, "in_transaction", True):
            self._transaction(connection).release_commits = True

    def _rolled_back(self, connection: Connection) -> None:
        # A connection that broke has no ``info`` any more, and its contexts store nothing.
        broken = connection.invalidated
        self._undone(None if broken else connection.info.pop(TRANSACTION, None))

    def _rolled_back_to_savepoint(self, connection: Connection, *_: Any) -> None:
        self._undone(None if connection.invalidated else connection.info.get(TRANSACTION))

    def _undone(self, transaction: Transaction | None) -> None:
        """Store nothing any more in the contexts that may have seen what was undone."""
        reads = current_dependencies()
        if reads.uncommitted:
            reads.bypass = True
        if transaction is not None:
            self._settle_statement(transaction)
            for reads in transaction.contexts:
                reads.bypass = True

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
            # SQLAlchemy's own question for a default's value.
            return
        self._tables.learn(connection)
        reads, transaction = current_dependencies(), self._transaction(connection)
        statement, options = analyse(context.compiled), context.execution_options
        reads.entities |= statement.entities
        for watcher, started, generation in transaction.readings:
            watcher.begin_no_later(reads, transaction.began, started, generation)
        if statement.raw:
            statement = raw(sql, self._tables)
            for watcher in self.watchers:
                watcher.note_text(sql, reads, options)
        can_move = statement.raw or "set_config" in statement.functions
        if can_move and moves_schemas(sql, parameters):
            connection.info[_LOST] = True
            report_once(_MOVED.format(sql=sql[:200]))
        is_lost = _LOST in connection.info
        values = getattr(context, "compiled_parameters", ())
        changed = touched(statement, self._tables, values, options, is_lost=is_lost)
        if statement.alters:
            self._tables.forget()
            transaction.alters = True
        transaction.touched |= changed
        if statement.raw and transaction.touched and commits(sql):
            self._mark_statement(transaction, connection, in_transaction=True)
        elif changed and _commits_by_itself(connection, alters=statement.alters):
            self._mark_statement(transaction, connection, in_transaction=False)
        elif transaction.touched:
            transaction.seen_by(reads)
        read(reads, statement, self._tables, context, is_lost=is_lost)

    def _mark_statement(
        self, transaction: Transaction, connection: Connection, *, in_transaction: bool
    ) -> None:
        """Mark what a statement commits: what it writes itself, or, as COMMIT, a transaction."""
        driver, dialect = connection.connection, connection.dialect
        for watcher in self.watchers:
            token = watcher.mark(
                transaction.touched, driver, dialect, in_transaction=in_transaction
            )
            transaction.tokens.append((watcher, token))

    def _executed(self, connection: Connection, *_: Any) -> None:
        transaction: Transaction | None = connection.info.get(TRANSACTION)
        if transaction is not None:
            self._settle_statement(transaction)

    def _settle_statement(self, transaction: Transaction) -> None:
        if transaction.tokens:
            tokens, transaction.tokens = transaction.tokens, []
            self._settle(transaction, tokens)

    # -- commits

    def _mark(
        self, transaction: Transaction, connection: Any, dialect: Dialect | None
    ) -> list[tuple["Watcher", str]]:
        """Mark what a transaction touched before it is committed.

        :param dialect: by which a note can still be added; ``None`` where it cannot.
        """
        touched = transaction.touched
        return [(watcher, watcher.mark(touched, connection, dialect)) for watcher in self.watchers]

    def _settle(
        self,
        transaction: Transaction,
        tokens: list[tuple["Watcher", str]],
        *,
        has_ended: bool = True,
    ) -> None:
        """Bump what a transaction touched, after its COMMIT, also after one that failed."""
        for watcher, token in tokens:
            watcher.settle(transaction.touched, token)
        if transaction.alters:
            self._tables.forget()
        if has_ended:
            current_dependencies().tags.update(transaction.touched)
            transaction.ended()

    def _committing(self, dialect: Dialect, commit: Callable[..., Any]) -> Callable[..., Any]:
        def do_commit(connection: Any, *args: Any, **kwargs: Any) -> Any:
            transaction: Transaction | None = connection.info.pop(TRANSACTION, None)
            if transaction is None or not transaction.touched:
                return commit(connection, *args, **kwargs)
            tokens = self._mark(transaction, connection, dialect)
            try:
                return commit(connection, *args, **kwargs)
            finally:
                self._settle(transaction, tokens)

        return do_commit

    def _committing_twophase(self, commit: Callable[..., Any]) -> Callable[..., Any]:
        def do_commit_twophase(
            connection: Connection,
            xid: Any,
            is_prepared: bool = True,
            recover: bool = False,
        ) -> Any:
            transaction = connection.info.pop(TRANSACTION, None) or Transaction([])
            # What is prepared takes no more rows, so no note can be added.
            tokens = self._mark(transaction, connection.connection, None)
            try:
                return commit(connection, xid, is_prepared=is_prepared, recover=recover)
            finally:
                self._settle(transaction, tokens)
                # Whoever prepared it is gone, and nobody else knows what he wrote.
                for watcher in self.watchers if recover else ():
                    watcher.clear()

        return do_commit_twophase

    def _releasing(self, release: Callable[..., Any]) -> Callable[..., Any]:
        def do_release_savepoint(connection: Connection, name: str) -> Any:
            transaction: Transaction | None = connection.info.get(TRANSACTION)
            if transaction is None or not transaction.release_commits or not transaction.touched:
                return release(connection, name)
            tokens = self._mark(transaction, connection.connection, connection.dialect)
            try:
                return release(connection, name)
            finally:
                # The savepoints inside of the first one commit nothing.
                driver: Any = connection.connection.dbapi_connection
                self._settle(transaction, tokens, has_ended=not driver.in_transaction)

        return do_release_savepoint


def _committed_inside(session: Session) -> None:
    """Bump what a session commits into a transaction that it did not begin, as test suites do.

    Whoever shares the connection sees it, and stores nothing of it until the transaction ends.
    """
    root: Any = session.get_transaction()
    if root is None or session.in_nested_transaction():
        return
    for connection in {joined[0] for joined in root._connections.values()}:
        watch = _engines.get(connection.engine)
        if watch is None or connection.closed or connection.invalidated:
            continue
        transaction: Transaction | None = connection.info.get(TRANSACTION)
        if transaction is not None and transaction.touched:
            for watcher in watch.watchers:
                watcher.settle(transaction.touched, "")


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


def hold_rollbacks(engine: Engine) -> None:
    """Have a rollback undo what a savepoint changed, also on SQLite."""
    if engine.dialect.name == "sqlite" and not event.contains(
        engine, "savepoint", begin_before_savepoint
    ):
        event.listen(engine, "savepoint", begin_before_savepoint)


_engines: WeakKeyDictionary[Engine, EngineWatch] = WeakKeyDictionary()


def watch_engine(engine: Engine) -> EngineWatch:
    """Return the watch over an engine, which begins with the first call."""
    if not event.contains(Session, "after_commit", _committed_inside):
        event.listen(Session, "after_commit", _committed_inside)
    watch = _engines.get(engine)
    if watch is None:
        watch = _engines[engine] = EngineWatch(engine)
    return watch
