"""The outbox: what the store did not take, done before this process trusts the store again."""

from collections.abc import Callable, Iterable
from typing import Protocol

from .._forks import new_lock
from .._stores import StoreError
from .base import EngineBase

#: How long a writer waits for a store that failed it once to turn out to be there, or away.
SETTLING_SECONDS = 1
#: Beyond so many undelivered invalidations, or noted tags, a new generation costs less.
_MOST_UNDELIVERED = 1000


class Notes(Protocol):
    """Invalidations that the store could not take, kept with the writes that caused them."""

    def read(self) -> dict[str, list[str]]:
        """Return the tags of each note by its name; raises :class:`StoreError`."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete notes that were replayed; raises :class:`StoreError`."""


class Outbox:
    """Operations that must not be forgotten.

    :param bump: makes what carries one of the tags invalid.
    :param end_generation: makes everything invalid.
    """

    def __init__(
        self,
        engine: EngineBase,
        bump: Callable[[Iterable[str]], object],
        end_generation: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._bump = bump
        self._end_generation = end_generation
        self._lock = new_lock()
        self._undelivered: list[Callable[[], object]] = []
        #: Whether what was noted before this process began has been replayed.
        self._has_joined = False
        #: Whether what is bumped now is late: its writer may have returned before.
        self.is_late = False
        self._joining = new_lock()
        #: Where invalidations are noted that the store does not take.
        self.notes: Notes | None = None
        self._breaker = engine.store.breaker
        self._breaker.before_closing = self._recover

    def deliver(self, operation: Callable[[], object]) -> None:
        """Do what must not be forgotten: now, or before this process asks the store again."""
        try:
            operation()
        except StoreError as error:
            self._engine.failed(error)
            self.postpone(operation)
            self._breaker.wait_until_settled(SETTLING_SECONDS)

    def postpone(self, operation: Callable[[], object]) -> None:
        """Have it done before this process asks the store again."""
        with self._lock:
            self._undelivered.append(operation)
            if len(self._undelivered) > _MOST_UNDELIVERED:
                self._undelivered = [self._end_generation]
        self._breaker.open()

    def join(self) -> None:
        """Replay what was noted before this process began, before it trusts the store at all."""
        if self._has_joined:
            return
        with self._joining:
            if not self._has_joined and not self._breaker.is_open:
                try:
                    self._recover()
                except StoreError:
                    self._breaker.open()
                    raise

    def _recover(self) -> None:
        """Do what was not delivered and what was noted, before the store is trusted again."""
        with self._lock:
            waiting, self._undelivered = self._undelivered, []
        self.is_late = True
        try:
            for operation in waiting:
                operation()
            self._replay_notes()
        except BaseException:
            # To bump a tag twice does no harm.
            with self._lock:
                self._undelivered = waiting + self._undelivered
            raise
        finally:
            self.is_late = False
        self._has_joined = True
        self._engine.fallback.drop(None)

    def _replay_notes(self) -> None:
        notes = self.notes.read() if self.notes is not None else {}
        if self.notes is None or not notes:
            return
        tags = {tag for noted in notes.values() for tag in noted}
        if len(tags) > _MOST_UNDELIVERED:
            self._end_generation()
        else:
            self._bump(tags)
        self.notes.delete(notes)
