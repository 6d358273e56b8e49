"""What a transaction of the database has written so far, and when it began."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._clock import monotonic
from .._dependencies.dependencies import Dependencies

if TYPE_CHECKING:
    from .tracking import Watcher

#: Where the ``info`` of a driver's connection keeps its transaction.
TRANSACTION = "caching.transaction"


@dataclass(slots=True, eq=False)
class Transaction:
    """A transaction's beginning, and what it wrote.

    :param readings: for each cache its clock's reading at the beginning, and its generation.
    :param began: the same by the monotonic clock.
    :param touched: the tags of what it wrote.
    :param contexts: what may have seen changes of it.
    :param tokens: of the marks that the end of the statement settles, where each one commits by
        itself.
    :param release_commits: whether a savepoint began it, as SQLite allows: then the savepoint's
        release commits.
    :param alters: whether it changes what the database has.
    """

    readings: list[tuple["Watcher", int | None, str]]
    began: float = field(default_factory=monotonic)
    touched: set[str] = field(default_factory=set)
    contexts: list[Dependencies] = field(default_factory=list)
    tokens: list[tuple["Watcher", str]] = field(default_factory=list)
    release_commits: bool = False
    alters: bool = False

    def seen_by(self, reads: Dependencies) -> None:
        """Keep a context from storing what it saw, until the transaction ends."""
        if self not in reads.writing:
            reads.writing.add(self)
            reads.uncommitted = True
            self.contexts.append(reads)

    def ended(self) -> None:
        """Begin anew, and let the contexts go on, which depend on what they wrote."""
        for reads in self.contexts:
            reads.tags |= self.touched
            reads.writing.discard(self)
            reads.uncommitted = bool(reads.writing)
        self.contexts.clear()
        self.touched = set()
