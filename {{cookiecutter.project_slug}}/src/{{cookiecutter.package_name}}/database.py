"""What a database that does not answer costs: one bounded wait, then nothing until it is back.

PostgreSQL's driver waits for ever for a server that hangs, and every thread of this process with
it, so that cached pages would not be served either. SQLite has no server that could hang.
"""

from typing import TYPE_CHECKING, Any

import click
from flask_coherent_cache import CircuitBreaker
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.pool import QueuePool

if TYPE_CHECKING:
    import psycopg

#: Between two looks, at most, whether the database is back; clients are told to ask again then.
RETRY_SECONDS = 1
#: How psycopg connects; milliseconds until a host counts as lost that confirms nothing.
CONNECT_ARGS = {"connect_timeout": 2, "tcp_user_timeout": 5000}
#: What PostgreSQL says of itself, not of a statement (its manual, appendix A): connections,
#: resources, shutting down, failing disks, and a server that only reads, as a replica does; and
#: what passes when it is tried again: a deadlock, and a lock that was waited for too long.
_OF_THE_SERVER = ("08", "53", "57P", "58", "25006", "40001", "40P01", "55P03")
#: The same of SQLite's file, and of the disk under it.
_OF_THE_FILE = tuple(
    f"SQLITE_{name}"
    for name in ("BUSY", "LOCKED", "CANTOPEN", "IOERR", "FULL", "READONLY", "PROTOCOL", "NOLFS")
)


class DatabaseAway(SQLAlchemyError):
    """The database did not answer, and is not asked until it does."""


class GuardedPool(QueuePool):
    """A pool that gives no connection while the circuit breaker is open."""

    breaker: CircuitBreaker | None = None

    def connect(self) -> Any:
        """Return a connection.

        :raises DatabaseAway: at once, while the database is away.
        """
        if self.breaker is not None:
            self.breaker.check()
        return super().connect()

    def recreate(self) -> "GuardedPool":
        """Return a new pool that is guarded by the same breaker, as ``dispose`` asks for one."""
        pool: GuardedPool = super().recreate()  # type: ignore[assignment]
        pool.breaker = self.breaker
        return pool


def guard(engine: Engine, timeout_seconds: float) -> None:
    """Bound each wait for a PostgreSQL, and leave it alone while it does not answer.

    :param timeout_seconds: the longest wait for one answer, but for commands of the shell, such as
        a migration; 0 is no bound.
    """
    pool = engine.pool
    if engine.dialect.name != "postgresql" or not isinstance(pool, GuardedPool):
        return
    connection_class = _bounded(timeout_seconds)

    def probe() -> None:
        # Not by the pool, whose connections may all hang.
        connection = connection_class.connect(*arguments, **options)
        try:
            connection.execute("SELECT 1")
        finally:
            connection.close()

    arguments, options = engine.dialect.create_connect_args(engine.url)
    options = {**options, **CONNECT_ARGS}
    breaker = pool.breaker = CircuitBreaker(
        probe, RETRY_SECONDS, "The database", refusal=DatabaseAway
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: object, __: object, args: Any, more: Any) -> Any:
        return connection_class.connect(*args, **more)

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        error = context.sqlalchemy_exception or context.original_exception
        if context.is_disconnect or (context.connection is None and is_unavailable(error)):
            breaker.open()


def _bounded(timeout_seconds: float) -> "type[psycopg.Connection[Any]]":
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
                # The server does it for a connection that is lost. A request that has its answer
                # by now would lose it: its session is closed after the view.
                if not self.closed:
                    raise

    return BoundedConnection


def is_unavailable(error: BaseException | None) -> bool:
    """Tell whether the database cannot answer now, from an error that may be the program's."""
    if isinstance(error, DatabaseAway | TimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    original: Any = getattr(error, "orig", None)
    if hasattr(original, "sqlite_errorname"):
        return str(original.sqlite_errorname).startswith(_OF_THE_FILE)
    state = getattr(original, "sqlstate", None)
    if state is None:
        # It is the driver's own: no server said anything.
        return isinstance(error, OperationalError)
    return str(state).startswith(_OF_THE_SERVER)
