"""What a database that does not answer costs: one bounded wait, then nothing until it is back.

PostgreSQL's driver waits without a bound for a server that hangs. Every thread of this process
would wait with it, and serve no cached page either. SQLite has no server that could hang.
"""

from typing import Any

import click
from flask_coherent_cache import CircuitBreaker
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.pool import QueuePool

#: Between two attempts to reach a database that was lost; clients are told to retry after it.
RETRY_SECONDS = 1
#: How psycopg connects: seconds to wait, and milliseconds until a silent host counts as lost.
CONNECT_ARGS = {"connect_timeout": 2, "tcp_user_timeout": 5000}
#: What PostgreSQL says of itself, not of a statement (its manual, appendix A): connections,
#: resources, shutting down, failing disks, and a server that only reads, as a replica does; and
#: what passes when it is tried again: a deadlock, and a lock that was waited for too long.
_OF_THE_SERVER = ("08", "53", "57P", "58", "25006", "40001", "40P01", "55P03")
#: The same of SQLite's file, and of the disk under it.
_OF_THE_FILE = ("BUSY", "LOCKED", "CANTOPEN", "IOERR", "FULL", "READONLY", "PROTOCOL", "NOLFS")


class DatabaseAway(SQLAlchemyError):
    """The database did not answer, and is not asked until it does."""


class GuardedPool(QueuePool):
    """A pool that gives no connection while its circuit breaker is open."""

    breaker: CircuitBreaker | None = None

    def connect(self) -> Any:
        """Return a connection, or raise `DatabaseAway` at once while the database is away."""
        if self.breaker is not None:
            self.breaker.check()
        return super().connect()

    def recreate(self) -> "GuardedPool":
        """Return a new pool with the same breaker, as `dispose` asks for one."""
        pool: GuardedPool = super().recreate()  # type: ignore[assignment]
        pool.breaker = self.breaker
        return pool


def guard(engine: Engine, timeout_seconds: float) -> None:
    """Bound each wait for a PostgreSQL, and leave it alone while it does not answer.

    Commands of the shell, such as a migration, wait without a bound, and so do all with 0.
    """
    pool = engine.pool
    if not isinstance(pool, GuardedPool):
        return
    bounded_connection = _bounded(timeout_seconds)
    arguments, options = engine.dialect.create_connect_args(engine.url)

    def probe() -> None:
        # Not by the pool, whose connections may all hang.
        with bounded_connection.connect(*arguments, **{**options, **CONNECT_ARGS}) as connection:
            connection.execute("SELECT 1")

    breaker = pool.breaker = CircuitBreaker(probe, RETRY_SECONDS, "The database", DatabaseAway)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: Any, more: Any) -> Any:
        return bounded_connection.connect(*args, **more)

    @event.listens_for(engine, "handle_error")
    def note_outage(context: Any) -> None:
        error = context.sqlalchemy_exception or context.original_exception
        if context.is_disconnect or (context.connection is None and is_unavailable(error)):
            breaker.open()


def _bounded(timeout_seconds: float) -> Any:
    import psycopg  # noqa: PLC0415 - only where it is used

    class BoundedConnection(psycopg.Connection[Any]):
        """A connection that waits so long for an answer, and is closed when none came."""

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            in_command = click.get_current_context(silent=True) is not None
            if timeout is None and timeout_seconds and not in_command:
                timeout = timeout_seconds
            try:
                return super().wait(gen, interval, timeout)
            except psycopg.errors._WaitTimeout:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {timeout} s") from None

        def rollback(self) -> None:
            try:
                super().rollback()
            except psycopg.OperationalError:
                # The server rolls a lost connection back. Its session is closed after the view,
                # so raising would take the answer from a request that has one.
                if not self.closed:
                    raise

    return BoundedConnection


def is_unavailable(error: BaseException | None) -> bool:
    """Tell whether the database cannot answer now, from an error that may be the program's."""
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if is_lost or isinstance(error, DatabaseAway | TimeoutError):
        return True
    original: Any = getattr(error, "orig", None)
    if name := getattr(original, "sqlite_errorname", None):
        return str(name).removeprefix("SQLITE_").startswith(_OF_THE_FILE)
    if state := getattr(original, "sqlstate", None):
        return str(state).startswith(_OF_THE_SERVER)
    # The driver's own error: no server said anything.
    return isinstance(error, OperationalError)
