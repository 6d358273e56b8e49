"""The outbox: a table of invalidations that the store could not take, each with its write.

A note is a row that is added in the transaction of the write, so it is there exactly if the write
is. A process that starts, or lost the store, bumps what is noted before it trusts the store, and
deletes the note.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Column, Dialect, Engine, Float, MetaData, String, Table, Text, bindparam
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from .._dependencies.inputs import report_once
from .._stores import StoreError

NAME = "cache_note"
_MISSING = (
    f"The cache cannot write to the table {NAME}, so the invalidation of a write could be lost "
    "while the cache's store is away: run `flask db upgrade`. {error}"
)


def outbox_table(metadata: MetaData) -> Table:
    """Add the table to a database's metadata, unless it has it, and return it."""
    return Table(
        NAME,
        metadata,
        Column("name", String(32), primary_key=True),
        Column("noted_at", Float, nullable=False),
        Column("tags", Text, nullable=False),
        keep_existing=True,
    )


class OutboxTable:
    """The outbox in an application's databases.

    It talks to the driver, below SQLAlchemy's events, which would see reads and writes in it.

    :param engines: only those are used whose connections several threads can have at once.
    :param owner: the cache whose notes they are: several can share the table.
    """

    def __init__(self, engines: Iterable[Engine], owner: str = "") -> None:
        #: A name without it is of an earlier release, and of no cache in particular.
        self._own = hashlib.blake2b(owner.encode(), digest_size=5).hexdigest() + "-"
        self._engines = [engine for engine in engines if isinstance(engine.pool, QueuePool)]
        self._table = outbox_table(MetaData())

    def add(
        self, connection: Any, dialect: Dialect, tags: Iterable[str], *, in_transaction: bool
    ) -> None:
        """Note tags in the transaction of a driver's connection; a failure is only logged."""
        values = {
            "name": self._own + secrets.token_hex(10),
            "noted_at": time.time(),
            "tags": json.dumps(sorted(tags)),
        }
        try:
            with (
                closing(connection.cursor()) as cursor,
                _savepoint(cursor) if in_transaction else nullcontext(),
            ):
                _execute(cursor, dialect, self._table.insert().values(values))
        except dialect.loaded_dbapi.Error as error:
            report_once(_MISSING.format(error=error))

    def read(self) -> dict[str, list[str]]:
        """Return the tags of each note by its name.

        :raises StoreError: if a database does not answer: then it is unknown what is noted.
        """
        notes: dict[str, list[str]] = {}
        for engine in self._engines:
            with _cursor(engine) as cursor:
                try:
                    _execute(cursor, engine.dialect, self._table.select())
                except engine.dialect.loaded_dbapi.Error as error:
                    _refuse_unless_missing(cursor, error)
                    continue
                notes |= {
                    name: json.loads(tags)
                    for name, _, tags in cursor.fetchall()
                    if name.startswith(self._own) or "-" not in name
                }
        return notes

    def delete(self, names: Iterable[str]) -> None:
        """Delete notes whose tags are bumped.

        :raises StoreError: if a database does not answer.
        """
        statement = self._table.delete().where(self._table.c.name == bindparam("noted"))
        for engine in self._engines:
            with _cursor(engine) as cursor:
                for name in names:
                    _execute(cursor, engine.dialect, statement, noted=name)
                cursor.connection.commit()


def _execute(cursor: Any, dialect: Dialect, statement: Any, **values: object) -> None:
    compiled = statement.compile(dialect=dialect)
    parameters: Mapping[str, Any] | list[Any] = compiled.construct_params(values)
    if compiled.positional:
        parameters = [parameters[name] for name in compiled.positiontup]
    cursor.execute(str(compiled), parameters)


@contextmanager
def _cursor(engine: Engine) -> Iterator[Any]:
    try:
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            yield cursor
    except (engine.dialect.loaded_dbapi.Error, DBAPIError, OSError) as error:
        raise StoreError(f"the notes in the database cannot be read: {error}") from error


def _refuse_unless_missing(cursor: Any, error: Exception) -> None:
    """Tell a database without the table from one that does not answer, which raises again."""
    cursor.connection.rollback()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    report_once(_MISSING.format(error=error))


@contextmanager
def _savepoint(cursor: Any) -> Iterator[None]:
    """Keep the transaction from failing with the statement inside."""
    cursor.execute(f"SAVEPOINT {NAME}")
    try:
        yield
    except Exception:
        cursor.execute(f"ROLLBACK TO SAVEPOINT {NAME}")
        raise
    cursor.execute(f"RELEASE SAVEPOINT {NAME}")
