"""What the cache did in this process: counts, the last fills and invalidations, known entries.

Everything here is bounded, so that no number of names, keys or tags makes a process grow.
"""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, get_args

import click
from flask import has_request_context, request

from .._engine.entry import Entry
from .._forks import new_lock
from .timings import Timings

Level = Literal["page", "function", "fragment", "value"]
#: How a lookup was answered. ``wait``: by what another one's fill stored meanwhile. ``bypass``: by
#: a computation beside the cache. ``error``: by a computation, because the store failed.
Result = Literal["hit", "stale", "miss", "wait", "bypass", "error"]
#: Why an entry was filled. ``evicted``: this process knew it, and it was gone before its time.
Reason = Literal["new", "expired", "evicted", "invalidated", "cleared", "unreadable", "renewed"]

#: Answered by an entry.
ANSWERED: frozenset[Result] = frozenset({"hit", "stale", "wait"})

OTHER = "other"
_MOST_NAMES = 100
_LONGEST_NAME = 200
_MOST_FAMILIES = 100
_MOST_EVENTS = 200
#: Of one name so many refusals of a kind are told apart: who reads names that a visitor made up
#: has many.
_MOST_REFUSALS = 20
_MOST_ENTRIES = 1000
_MOST_TRACES = 200
#: Of one event only so many tags are kept by name.
_MOST_TAGS = 30


class Lookups:
    """The lookups of one view, function or fragment, in this process.

    :param level: what is looked up.
    :param name: the view's endpoint, the function's or the fragment's name.
    """

    def __init__(self, level: Level, name: str) -> None:
        self.level = level
        self.name = name
        self.results: dict[Result, int] = dict.fromkeys(
            ("hit", "stale", "miss", "wait", "bypass", "error"), 0
        )
        #: The hits among them that needed no store.
        self.near_hits = 0
        #: And of these, those that were served before Flask, by their status line.
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

    def count(self, result: Result, *, near: bool = False) -> None:
        """Count one lookup."""
        with self._lock:
            self.results[result] += 1
            self.near_hits += near

    def count_served(self, status: str, seconds: float) -> None:
        """Count one hit that was served before Flask, and how long it took."""
        with self._lock:
            self.results["hit"] += 1
            self.near_hits += 1
            timings = self.served.get(status)
            if timings is None:
                timings = self.served[status] = Timings()
            timings.add(seconds)

    def count_fill(self, fill: "Fill", timeout: float) -> None:
        """Count one computation."""
        with self._lock:
            self.fills += 1
            self.fill_seconds += fill.seconds
            self.reasons[fill.cause.reason] += 1
            self.timeout = timeout
            if fill.bytes is not None:
                self.stored += 1
                self.stored_bytes += fill.bytes


class Refusal(NamedTuple):
    """Why something is not cached.

    :param reason: its kind, and after a colon what it is about: ``undeclared: header X-Plan``.
    :param place: file, line and function of who read that; empty where nobody did.
    """

    level: Level
    name: str
    reason: str
    place: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an entry has to be filled.

    :param tags: of an invalidated entry, those that were raised or are gone.
    :param reading: the latest of their readings, which the invalidation has, too.
    """

    reason: Reason
    tags: tuple[str, ...] = ()
    reading: int | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """A computation that came to an end.

    :param at: when, in seconds since the epoch.
    :param seconds: how long it took.
    :param bytes: of the stored entry; ``None`` where it was not stored.
    :param refused: in a word, why it was not.
    """

    at: float
    level: Level
    name: str
    key: str
    seconds: float
    bytes: int | None
    refused: str | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Invalidation:
    """An invalidation that the store has taken.

    :param at: when, in seconds since the epoch.
    :param tags: the first of them by name; empty for ``clear()``.
    :param count: how many there are; ``None`` is all that there is.
    :param reading: the clock's reading that the tags were raised to.
    :param origin: the request or the command that it came from.
    """

    at: float
    tags: tuple[str, ...]
    count: int | None
    reading: int | None
    origin: str


@dataclass(frozen=True, slots=True)
class Known:
    """An entry that this process stored, or read from the store.

    :param bytes: in the store.
    :param cause: why it was filled last, where this process did it.
    :param seconds: how long that took.
    """

    key: str
    level: Level
    name: str
    tags: tuple[str, ...]
    started: int | None
    stored_at: float
    fresh_until: float
    kept_until: float
    bytes: int
    cause: Cause | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """One lookup of one request.

    :param key: empty where it was not even looked up.
    :param began: when, in seconds of the performance counter.
    :param seconds: how long it took, with the computation where there was one.
    """

    level: Level
    name: str
    key: str
    result: Result
    tags: tuple[str, ...]
    began: float
    seconds: float


@dataclass(slots=True)
class Tally:
    """What one request's lookups came to.

    :param traces: each of them, where they are traced.
    """

    results: dict[Result, int] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)

    def keep(self, trace: Trace) -> None:
        """Keep one lookup by itself."""
        if len(self.traces) >= _MOST_TRACES:
            # The last one to end is the one around the others: the page.
            self.traces.pop()
        self.traces.append(trace)

    def __str__(self) -> str:
        """Say it in words: ``3 hit, 1 miss``."""
        return ", ".join(
            f"{self.results[result]} {result}"
            for result in get_args(Result)
            if result in self.results
        )


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
        #: Raised tags by family: what stands before their colon.
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
        self.entries: OrderedDict[str, Known] = OrderedDict()
        #: Whether there were more entries than are remembered.
        self.forgot_entries = False
        self._lookups: dict[tuple[Level, str], Lookups] = {}
        self._event = 0
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

    def filled(self, lookups: Lookups, fill: Fill, timeout: float, entry: Entry | None) -> None:
        """Note a computation, and the entry that was stored."""
        lookups.count_fill(fill, timeout)
        self._happened(fill)
        for listener in self.on_fill:
            listener(lookups, fill.seconds)
        if entry is not None and fill.bytes is not None:
            self._know(fill.key, lookups, entry, fill.bytes, fill.cause, fill.seconds)

    def found(self, key: str, lookups: Lookups, entry: Entry, size: int) -> None:
        """Note a valid entry that lay in the store."""
        known = self.entries.get(key)
        if known is None or known.stored_at != entry.stored_at:
            self._know(key, lookups, entry, size, None, None)

    def absence(self, key: str) -> Reason:
        """Tell why a key has no entry in the store, as far as this process knows."""
        known = self.entries.get(key)
        if known is None:
            return "new"
        return "expired" if time.time() >= known.fresh_until else "evicted"

    def raised(self, tags: Iterable[str], reading: int | None, origin: str) -> None:
        """Note tags that were raised."""
        names = sorted(tags)
        with self._lock:
            for tag in names:
                family = tag.partition(":")[0]
                known = family in self.invalidated or len(self.invalidated) < _MOST_FAMILIES
                self.invalidated[family if known else OTHER] += 1
        kept = tuple(islice(names, _MOST_TAGS))
        self._happened(Invalidation(time.time(), kept, len(names), reading or None, origin))

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

    def _happened(self, event: "Fill | Invalidation") -> None:
        with self._lock:
            self._event += 1
            self.events.append((self._event, event))

    def _know(
        self,
        key: str,
        lookups: Lookups,
        entry: Entry,
        size: int,
        cause: Cause | None,
        seconds: float | None,
    ) -> None:
        known = Known(
            key, lookups.level, lookups.name, entry.tags, entry.started, entry.stored_at,
            entry.fresh_until, entry.kept_until, size, cause, seconds,
        )  # fmt: skip
        with self._lock:
            self.entries.pop(key, None)
            self.entries[key] = known
            if len(self.entries) > _MOST_ENTRIES:
                self.entries.popitem(last=False)
                self.forgot_entries = True

    def last_events(self) -> list[tuple[int, Fill | Invalidation]]:
        """Return the last fills and invalidations, the oldest first."""
        with self._lock:
            return list(self.events)

    def known_entries(self) -> list[Known]:
        """Return the entries that this process knows, the one met longest ago first."""
        with self._lock:
            return list(self.entries.values())


def current_origin() -> str:
    """Name the request or the command that is under way, by what no visitor can choose."""
    if has_request_context():
        return f"{request.method} {request.endpoint or ''}".rstrip()
    command = click.get_current_context(silent=True)
    return command.command_path if command is not None else ""
