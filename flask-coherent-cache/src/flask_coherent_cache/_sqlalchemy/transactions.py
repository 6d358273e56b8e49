"""A transaction of the database: what it wrote is marked in doubt before COMMIT, bumped after."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Dialect

from .._clock import monotonic
from .._dependencies.dependencies import Dependencies, current_dependencies

if TYPE_CHECKING:
    from .engines import EngineWatch
    from .watcher import Watcher

#: Where the ``info`` of a driver's connection keeps its transaction.
TRANSACTION = "caching.transaction"


@dataclass(slots=True, eq=False)
class Transaction:
    """What a transaction wrote, and when it began."""

    watch: "EngineWatch"
    #: The timestamp and the generation of each cache when it began, and the monotonic clock.
    starts: list[tuple["Watcher", int | None, str]]
    began: float = field(default_factory=monotonic)
    #: The tags of what it wrote, and the contexts that may have seen that.
    touched: set[str] = field(default_factory=set)
    contexts: list[Dependencies] = field(default_factory=list)
    #: The tokens of a running statement that commits by itself.
    marks: list[tuple["Watcher", str]] = field(default_factory=list)
    #: Whether a savepoint began it, as SQLite allows: then the savepoint's release commits.
    savepoint_commits: bool = False
    #: Whether it changes the tables, views or triggers of the database.
    alters: bool = False

    def mark_statement(self, connection: Connection, *, in_transaction: bool) -> None:
        """Mark what the statement that is about to run commits by itself."""
        self.marks += self._mark(
            connection.connection, connection.dialect, in_transaction=in_transaction
        )

    def settle_statement(self) -> None:
        """Bump that, after the statement."""
        if self.marks:
            marks, self.marks = self.marks, []
            self._settle(marks)

    @contextmanager
    def committing(
        self, driver: Any, dialect: Dialect | None, *, may_go_on: bool = False
    ) -> Iterator[None]:
        """Mark what it touched, and bump that once it is committed, or failed to be.

        :param dialect: by which the outbox is written; ``None`` where it cannot be.
        :param may_go_on: whether it may still be going on after this commit.
        """
        marks = self._mark(driver, dialect, in_transaction=True)
        try:
            yield
        finally:
            self._settle(marks, goes_on=may_go_on and driver.dbapi_connection.in_transaction)

    def _mark(
        self, driver: Any, dialect: Dialect | None, *, in_transaction: bool
    ) -> list[tuple["Watcher", str]]:
        return [
            (watcher, watcher.mark(self.touched, driver, dialect, in_transaction=in_transaction))
            for watcher in self.watch.watchers
        ]

    def _settle(self, marks: list[tuple["Watcher", str]], *, goes_on: bool = False) -> None:
        for watcher, token in marks:
            watcher.settle(self.touched, token)
        if self.alters:
            self.watch.tables.forget()
        if goes_on:
            return
        current_dependencies().tags.update(self.touched)
        # The contexts can store again, and depend on what they wrote.
        for dependencies in self.contexts:
            dependencies.tags |= self.touched
            dependencies.writing.discard(self)
            dependencies.uncommitted = bool(dependencies.writing)
        self.contexts.clear()
        self.touched = set()

    def seen_by(self, dependencies: Dependencies) -> None:
        """Keep a context from storing what it saw, until the transaction ends."""
        if self not in dependencies.writing:
            dependencies.writing.add(self)
            dependencies.uncommitted = True
            self.contexts.append(dependencies)

    def undone(self) -> None:
        """Keep the contexts that may have seen its changes from storing anything."""
        self.settle_statement()
        for dependencies in self.contexts:
            dependencies.bypass = True
