"""What SQLite's driver in Python lacks for a rollback to hold."""

from typing import Any

from sqlalchemy import Connection, Engine, event

__all__ = ["begin_before_savepoint", "hold_rollbacks", "is_autocommit"]


def hold_rollbacks(engine: Engine) -> None:
    """Have a rollback undo what a savepoint changed, also on SQLite."""
    if engine.dialect.name == "sqlite" and not event.contains(
        engine, "savepoint", begin_before_savepoint
    ):
        event.listen(engine, "savepoint", begin_before_savepoint)


def begin_before_savepoint(connection: Connection, *_: object) -> None:
    """Begin a transaction where a savepoint would be the first statement of one, on SQLite.

    Python's driver begins a transaction before a change only. Without one, releasing the savepoint
    commits, and a rollback after it undoes nothing. This is a listener to an engine's event
    ``savepoint``; ``cache.watch`` adds it.

    The transaction takes the write lock at once. If it only read first, its change would fail
    as soon as another connection has committed in between, however long it may wait.
    """
    driver: Any = connection.connection.dbapi_connection
    # In autocommit mode there is no transaction: releasing a savepoint commits.
    if not driver.in_transaction and not is_autocommit(driver):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def is_autocommit(driver: Any) -> bool:
    """Tell whether SQLite's driver begins no transaction by itself.

    SQLAlchemy sets that mode by the level; from Python 3.12 the driver has an attribute, too.
    """
    return driver.isolation_level is None or getattr(driver, "autocommit", None) is True
