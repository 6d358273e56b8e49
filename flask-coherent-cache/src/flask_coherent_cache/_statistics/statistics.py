"""What the cache did in this process: counts, the last fills and invalidations, known entries.

Everything here is bounded, so that no number of names, keys or tags makes a process grow.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, get_args

from .._engine.bounds import Recent
from .._engine.entry import Entry
from .._forks import new_lock
from .records import (
    ANSWERED,
    Cause,
    Fill,
    Invalidation,
    Known,
    Level,
    Reason,
    Refusal,
    Result,
    Tally,
    Trace,
)  # fmt: skip
from .timings import Timings

__all__ = [
    "ANSWERED", "OTHER", "Cause", "Fill", "Invalidation", "Known", "Level", "Lookups", "Reason",
    "Refusal", "Result", "Statistics", "Tally", "Trace",
]  # fmt: skip

OTHER = "other"
_MOST_NAMES = 100
_LONGEST_NAME = 200
_MOST_FAMILIES = 100
_MOST_EVENTS = 200
#: Of one name so many refusals of a kind are told apart: who reads names that a visitor made up
#: has many.
_MOST_REFUSALS = 20
_MOST_ENTRIES = 1000
#: Of one event only so many tags are kept by name.
_MOST_TAGS = 30


class Lookups:
    """The lookups of one view, function or fragment, in this process.

    :param name: the view's endpoint, the function's or the fragment's name.
    """

    def __init__(self, level: Level, name: str) -> None:
        self.level = level
        self.name = name
        self._results: dict[Result, int] = dict.fromkeys(get_args(Result), 0)
        #: Hits that needed no store, counted in one step, which needs no lock.
        self._near_hits = count()
        self._near_reads = 0
        #: And those that were served before Flask, by their status line.
        self.served: dict[str, Timings] = {}
        self.fills = 0
        self.fill_seconds = 0.0
        #: What was stored, in bytes as they lie in the store.
        self.stored = 0
        self.stored_bytes = 0
        self.reasons: Counter[Reason] = Counter()
        #: Seconds of the last policy.
        self.timeout: float | None = None
        self._lock = new_lock()

    @property
    def results(self) -> dict[Result, int]:
        """The number of lookups by their result."""
        near_hits = self.near_hits
        with self._lock:
            return {**self._results, "hit": self._results["hit"] + near_hits}

    @property
    def near_hits(self) -> int:
        """The hits among them that needed no store."""
        with self._lock:
            counted = next(self._near_hits) - self._near_reads
            self._near_reads += 1  # It was counted, too.
        return counted + sum(sum(timings.read()[0]) for timings in self.served.copy().values())

    def count(self, result: Result) -> None:
        """Count one lookup that needed the store, or a computation."""
        with self._lock:
            self._results[result] += 1

    def count_near(self) -> None:
        """Count one hit that needed no store."""
        next(self._near_hits)

    def count_served(self, status: str, seconds: float) -> None:
        """Count one hit that was served before Flask, and how long it took."""
        timings = self.served.get(status)
        if timings is None:
            timings = self.served.setdefault(status, Timings())
        timings.observe(seconds)

    def count_fill(self, fill: Fill, timeout: float) -> None:
        """Count one computation."""
        with self._lock:
            self.fills += 1
            self.fill_seconds += fill.seconds
            self.reasons[fill.cause.reason] += 1
            self.timeout = timeout
            if fill.bytes is not None:
                self.stored += 1
                self.stored_bytes += fill.bytes


class Statistics:
    """All that is counted and remembered in one process."""

    def __init__(self) -> None:
        #: Since when, in seconds since the epoch.
        self.since = time.time()
        #: Whether each request's lookups are kept one by one.
        self.traces = False
        #: Called with the lookups and the seconds of each fill.
        self.on_fill: list[Callable[[Lookups, float], object]] = []
        #: Leases by what became of them: taken, waited for, waited for in vain.
        self.leases: Counter[str] = Counter()
        #: Bumped tags by family: what stands before their colon.
        self.invalidated: Counter[str] = Counter()
        self.clears = 0
        #: Hits that were chosen to be computed again: compared, set aside, different.
        self.verified: Counter[str] = Counter()
        #: Those that differed, by level and name.
        self.differences: Counter[tuple[Level, str]] = Counter()
        #: What is not cached, why, and how often.
        self.refusals: Counter[Refusal] = Counter()
        self._refused: dict[tuple[Level, str], set[Refusal]] = {}
        #: The last fills and invalidations, each with a number that only grows.
        self.events: deque[tuple[int, Fill | Invalidation]] = deque(maxlen=_MOST_EVENTS)
        self.entries: Recent[Known] = Recent(_MOST_ENTRIES)
        self._lookups: dict[tuple[Level, str], Lookups] = {}
        self._numbers = count(1)
        self._lock = new_lock()

    def lookups(self, level: Level, name: str) -> Lookups:
        """Return the counts of a view, function or fragment; beyond a number, of all others."""
        found = self._lookups.get((level, name))
        return found if found is not None else self._new_lookups(level, name)

    def _new_lookups(self, level: Level, name: str) -> Lookups:
        name = name[:_LONGEST_NAME]
        with self._lock:
            if sum(known == level for known, _ in self._lookups) >= _MOST_NAMES:
                name = OTHER
            return self._lookups.setdefault((level, name), Lookups(level, name))

    def all_lookups(self) -> list[Lookups]:
        """Return all counts, in the order in which they began."""
        with self._lock:
            return list(self._lookups.values())

    # -- what happened -------------------------------------------------------------------

    def tally(
        self,
        tally: Tally,
        lookups: Lookups,
        key: str,
        result: Result,
        entry: Entry | None,
        began: float,
    ) -> None:
        """Note a lookup with the request that it was done for."""
        tally.results[result] = tally.results.get(result, 0) + 1
        if self.traces:
            tags = entry.tags if entry is not None else ()
            seconds = time.perf_counter() - began
            tally.keep(Trace(lookups.level, lookups.name, key, result, tags, began, seconds))

    def filled(self, lookups: Lookups, fill: Fill, timeout: float, entry: Entry | None) -> None:
        """Note a computation, and the entry that was stored."""
        lookups.count_fill(fill, timeout)
        self._happened(fill)
        for listener in self.on_fill:
            listener(lookups, fill.seconds)
        if entry is not None and fill.bytes is not None:
            self._know(lookups, fill.key, entry, fill.bytes, fill.cause, fill.seconds)

    def found(self, key: str, lookups: Lookups, entry: Entry, size: int) -> None:
        """Note a valid entry that lay in the store."""
        known = self.entries.get(key)
        if known is None or known.stored_at != entry.stored_at:
            self._know(lookups, key, entry, size)

    def absence(self, key: str) -> Reason:
        """Tell why a key has no entry in the store, as far as this process knows."""
        known = self.entries.get(key)
        if known is None:
            return "new"
        return "expired" if time.time() >= known.fresh_until else "evicted"

    def bumped(self, tags: Iterable[str], timestamp: int | None, origin: str) -> None:
        """Note tags that were bumped."""
        names = sorted(tags)
        with self._lock:
            for tag in names:
                family = tag.partition(":")[0]
                known = family in self.invalidated or len(self.invalidated) < _MOST_FAMILIES
                self.invalidated[family if known else OTHER] += 1
        kept, number = tuple(names[:_MOST_TAGS]), len(names)
        self._happened(Invalidation(time.time(), kept, number, timestamp or None, origin))

    def cleared(self, origin: str) -> None:
        """Note the end of a generation."""
        with self._lock:
            self.clears += 1
        self._happened(Invalidation(time.time(), (), None, None, origin))

    def refuse(self, lookups: Lookups, reason: str, place: str) -> bool:
        """Count that something is not cached; say whether its name had that reason never before.

        Of a name that has too many reasons of one kind, those beyond are counted as one.
        """
        refusal = Refusal(lookups.level, lookups.name, reason, place)
        with self._lock:
            known = self._refused.setdefault((lookups.level, lookups.name), set())
            kind = reason.partition(":")[0]
            of_kind = sum(each.reason.partition(":")[0] == kind for each in known)
            if refusal not in known and of_kind >= _MOST_REFUSALS:
                self.refusals[refusal._replace(reason=OTHER, place="")] += 1
                return False
            is_new = all(reason != each.reason for each in known)
            known.add(refusal)
            self.refusals[refusal] += 1
            return is_new

    def verified_hit(self, outcome: str, lookups: Lookups) -> None:
        """Count a hit that was computed again; one that differs was compared, too."""
        with self._lock:
            self.verified[outcome] += 1
            if outcome == "different":
                self.differences[lookups.level, lookups.name] += 1

    def lease(self, outcome: str) -> None:
        """Count what became of a lease."""
        with self._lock:
            self.leases[outcome] += 1

    def _happened(self, event: Fill | Invalidation) -> None:
        with self._lock:
            self.events.append((next(self._numbers), event))

    def _know(self, lookups: Lookups, key: str, entry: Entry, size: int, *fill: Any) -> None:
        """Remember an entry.

        :param fill: its cause and its seconds, if this process did it.
        """
        known = Known(
            key, lookups.level, lookups.name, entry.tags, entry.started, entry.stored_at,
            entry.fresh_until, entry.kept_until, size, *fill,
        )  # fmt: skip
        self.entries.keep(key, known)

    def last_events(self) -> list[tuple[int, Fill | Invalidation]]:
        """Return the last fills and invalidations, the oldest first."""
        with self._lock:
            return list(self.events)

    def known_entries(self) -> list[Known]:
        """Return the entries that this process knows, the one met longest ago first."""
        return list(self.entries.values())

    @property
    def forgot_entries(self) -> bool:
        """Whether there were more entries than are remembered."""
        return self.entries.has_forgotten
