"""The fallback: what a process serves while its store is away, for seconds at most."""

from collections import OrderedDict
from collections.abc import Iterable

from .._clock import monotonic
from .._dependencies.dependencies import Dependencies
from .._forks import new_lock
from .entry import Entry

#: What an entry takes beside its value.
_ENTRY_BYTES = 800


class Fallback:
    """Entries that only this process knows, none of them older than ``seconds``.

    No invalidation of another process reaches them, so an entry's age counts from the first read
    that went into it. What this process itself invalidates is dropped at once.

    :param seconds: how long an entry is served; 0 is not at all.
    :param max_bytes: what all entries may take, in bytes; the oldest go first.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.seconds = seconds
        self._max_bytes = max_bytes
        self._lock = new_lock()
        self._entries: OrderedDict[str, tuple[Entry, float]] = OrderedDict()
        self._bytes = 0
        self._dropped_at = 0.0

    def __len__(self) -> int:
        """Return the number of entries, also of those that are too old by now."""
        return len(self._entries)

    def find(self, key: str, dependencies: Dependencies) -> Entry | None:
        """Return an entry that is not too old; the context is then as old as that."""
        with self._lock:
            entry, until = self._entries.get(key, (None, 0.0))
            if entry is None or monotonic() >= until or not entry.is_fresh():
                return None
            dependencies.began = min(dependencies.began, until - self.seconds)
            return entry

    def moment(self) -> float:
        """Return when something was invalidated last, by the monotonic clock."""
        return self._dropped_at

    def take(self, entry: Entry, began: float, dependencies: Dependencies) -> Entry | None:
        """Return an entry that another context made, if it is not too old; as ``find`` does."""
        if monotonic() >= began + self.seconds:
            return None
        dependencies.began = min(dependencies.began, began)
        return entry

    def keep(self, key: str, entry: Entry, dependencies: Dependencies) -> None:
        """Keep what a context computed, unless something was invalidated since it began."""
        with self._lock:
            if dependencies.began > self._dropped_at:
                self._keep(key, entry, dependencies.began + self.seconds)

    def take_over(self, entries: Iterable[tuple[str, Entry]], until: float) -> None:
        """Keep entries that were valid so many seconds before ``until``, by the monotonic clock."""
        with self._lock:
            for key, entry in entries:
                self._keep(key, entry, until)

    def drop(self, tags: frozenset[str] | None) -> None:
        """Drop what carries one of the tags; all of it for ``None``."""
        with self._lock:
            self._dropped_at = monotonic()
            for key, (entry, _) in list(self._entries.items()):
                if tags is None or not tags.isdisjoint(entry.tags):
                    self._remove(key)

    def _keep(self, key: str, entry: Entry, until: float) -> None:
        now = monotonic()
        if until <= now:
            return
        self._remove(key)
        self._entries[key] = entry, until
        self._bytes += _ENTRY_BYTES + len(entry.value)
        while self._entries:
            oldest, (_, ends) = next(iter(self._entries.items()))
            if ends > now and self._bytes <= self._max_bytes:
                return
            self._remove(oldest)

    def _remove(self, key: str) -> None:
        entry, _ = self._entries.pop(key, (None, 0.0))
        if entry is not None:
            self._bytes -= _ENTRY_BYTES + len(entry.value)
