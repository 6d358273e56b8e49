"""Figures: what one process tells of its cache, bounded, as JSON that others can read."""

import json
import os
import socket
import time
from collections.abc import Iterable
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, TypedDict, TypeVar

from .._forks import new_lock
from .._statistics.statistics import (
    ANSWERED,
    Cause,
    Fill,
    Invalidation,
    Known,
    Lookups,
    Result,
    Statistics,
)
from .._stores import StoreError
from .requests import Requests

if TYPE_CHECKING:
    from .._engine.engine import CacheEngine

Record = TypeVar("Record")

#: A history is sums of so many seconds each, and so many of them: ten minutes.
BUCKET_SECONDS = 5
BUCKETS = 120
#: A bypass is no lookup that could have been a hit.
LOOKED_UP: frozenset[Result] = ANSWERED | {"miss", "error"}
#: What others are told of entries, of fills and of invalidations each, in bytes; the latest come
#: first. Memcached takes 1 MiB in all, and this is before it is compressed.
_MOST_TOLD_BYTES = 200_000
#: Of an entry that was invalid so many tags are told by name.
_MOST_TAGS = 30


class Counts(TypedDict):
    """The lookups of a view, function or fragment; see `statistics.Lookups`."""

    level: str
    name: str
    results: dict[str, int]
    near_hits: int
    fills: int
    fill_seconds: float
    stored: int
    stored_bytes: int
    reasons: dict[str, int]
    timeout: float | None


class CauseFigures(TypedDict):
    """Why an entry was filled; see `statistics.Cause`."""

    reason: str
    tags: list[str]
    reading: int | None


class FillFigures(TypedDict):
    """A computation; see `statistics.Fill`."""

    number: int
    at: float
    level: str
    name: str
    key: str
    seconds: float
    bytes: int | None
    refused: str | None
    cause: CauseFigures


class InvalidationFigures(TypedDict):
    """An invalidation; see `statistics.Invalidation`."""

    number: int
    at: float
    tags: list[str]
    count: int | None
    reading: int | None
    origin: str


class EntryFigures(TypedDict):
    """An entry that a process knows; see `statistics.Known`."""

    key: str
    level: str
    name: str
    tags: list[str]
    started: int | None
    stored_at: float
    fresh_until: float
    kept_until: float
    bytes: int
    cause: CauseFigures | None
    seconds: float | None


class RefusalFigures(TypedDict):
    """Why something is not cached, and how often; see `statistics.Refusal`."""

    level: str
    name: str
    reason: str
    place: str
    count: int


class DifferenceFigures(TypedDict):
    """How many hits of a name differed when they were computed again."""

    level: str
    name: str
    count: int


class NearFigures(TypedDict):
    """The near cache of a process."""

    bytes: int
    entries: int
    evictions: int


class BreakerFigures(TypedDict):
    """The circuit breaker of a process."""

    open: bool
    away: bool
    failure: str | None


class Snapshot(TypedDict):
    """All figures of one process.

    :param since: when it began to count, and ``at`` when this was taken, in seconds since the
        epoch.
    :param counts: what went wrong, by name.
    :param standby: the entries that it keeps for the time without a store.
    :param refusals: the least frequent first.
    :param verified: the hits that were chosen to be computed again, by what became of them.
    :param history: of each bucket its number (the epoch's seconds divided by the bucket's) and
        what `History.note` takes.
    """

    host: str
    pid: int
    since: float
    at: float
    release: str
    lookups: list[Counts]
    fills: list[FillFigures]
    invalidations: list[InvalidationFigures]
    entries: list[EntryFigures]
    forgot_entries: bool
    near: NearFigures | None
    breaker: BreakerFigures
    counts: dict[str, int]
    leases: dict[str, int]
    invalidated: dict[str, int]
    clears: int
    standby: int
    refusals: list[RefusalFigures]
    verified: dict[str, int]
    differences: list[DifferenceFigures]
    history: list[list[float]]


class History:
    """Sums of each five seconds of the last ten minutes."""

    #: Lookups, those that an entry answered, fills and their seconds, pages that may be cached and
    #: their seconds.
    NUMBERS = 6

    def __init__(self) -> None:
        self._buckets: dict[int, list[float]] = {}
        self._totals = [0.0] * self.NUMBERS
        self._lock = new_lock()

    def note(self, totals: Iterable[float], now: float) -> None:
        """Note the totals since the process began, which grew since they were noted last."""
        with self._lock:
            last, self._totals = self._totals, list(totals)
            number = int(now // BUCKET_SECONDS)
            sums = self._buckets.get(number, [0.0] * self.NUMBERS)
            grown = [new - old for new, old in zip(self._totals, last, strict=True)]
            self._buckets[number] = [a + b for a, b in zip(sums, grown, strict=True)]
            for old in [n for n in self._buckets if n <= number - BUCKETS]:
                del self._buckets[old]

    def rows(self) -> list[list[float]]:
        """Return the number of each bucket with its sums, the oldest first."""
        with self._lock:
            return [[number, *sums] for number, sums in sorted(self._buckets.items())]


class Figures:
    """The figures of this process, and the history that they are kept in.

    :param requests: counts what this process answers.
    """

    def __init__(self, entries: "CacheEngine", release: str, requests: Requests) -> None:
        self._entries = entries
        self._release = release
        self._requests = requests
        self._history = History()

    def tick(self) -> None:
        """Bring the history up to date, and tell the others where somebody looks."""
        self.note()
        if not self._entries.store.shared:
            return
        board = self._entries.board
        try:
            if board.is_watched():
                board.write(json.dumps(self.snapshot(_MOST_TOLD_BYTES)).encode())
            else:
                board.leave()
        except StoreError:
            # The circuit breaker's log says more; who looks sees one process less.
            board.leave()

    def note(self) -> None:
        """Bring the history up to date."""
        lookups = self._entries.statistics.all_lookups()
        requests = self._requests.totals()
        pages = (requests["hit"], requests["computed"])
        totals = (
            sum(one.results[result] for one in lookups for result in LOOKED_UP),
            sum(one.results[result] for one in lookups for result in ANSWERED),
            sum(one.fills for one in lookups),
            sum(one.fill_seconds for one in lookups),
            sum(total.count for total in pages),
            sum(total.seconds for total in pages),
        )
        self._history.note(totals, time.time())

    def snapshot(self, most_bytes: int | None = None) -> Snapshot:
        """Return the figures.

        :param most_bytes: what entries, fills and invalidations may each take; ``None`` is no
            bound but that of what is remembered.
        """
        self.note()
        statistics, near = self._entries.statistics, self._entries.near
        breaker = self._entries.store.breaker
        events = statistics.last_events()
        fills = [_fill(number, fill) for number, fill in events if isinstance(fill, Fill)]
        invalidations = [_invalidation(n, i) for n, i in events if isinstance(i, Invalidation)]
        known = statistics.known_entries()
        entries = _latest([_entry(entry) for entry in known], most_bytes)
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": statistics.since,
            "at": time.time(),
            "release": self._release,
            "lookups": [_counts(lookups) for lookups in statistics.all_lookups()],
            "fills": _latest(fills, most_bytes),
            "invalidations": _latest(invalidations, most_bytes),
            "entries": entries,
            "forgot_entries": statistics.forgot_entries or len(entries) < len(known),
            "near": None
            if near is None
            else {"bytes": near.bytes, "entries": len(near), "evictions": near.evictions},
            "breaker": {
                "open": breaker.is_open,
                "away": breaker.is_away,
                "failure": breaker.failure,
            },
            "counts": dict(self._entries.counts),
            "leases": dict(statistics.leases),
            "invalidated": dict(statistics.invalidated),
            "clears": statistics.clears,
            "standby": len(self._entries.fallback),
            "refusals": _latest(_refusals(statistics), most_bytes),
            "verified": dict(statistics.verified),
            "differences": [
                {"level": level, "name": name, "count": count}
                for (level, name), count in dict(statistics.differences).items()
            ],
            "history": self._history.rows(),
        }


def _counts(lookups: Lookups) -> Counts:
    return {
        "level": lookups.level,
        "name": lookups.name,
        "results": {str(result): count for result, count in lookups.results.items()},
        "near_hits": lookups.near_hits,
        "fills": lookups.fills,
        "fill_seconds": lookups.fill_seconds,
        "stored": lookups.stored,
        "stored_bytes": lookups.stored_bytes,
        "reasons": {str(reason): count for reason, count in dict(lookups.reasons).items()},
        "timeout": lookups.timeout,
    }


def _cause(cause: Cause) -> CauseFigures:
    tags = list(cause.tags[:_MOST_TAGS])
    return {"reason": cause.reason, "tags": tags, "reading": cause.reading}


def _fill(number: int, fill: Fill) -> FillFigures:
    return {
        "number": number,
        "at": fill.at,
        "level": fill.level,
        "name": fill.name,
        "key": fill.key,
        "seconds": fill.seconds,
        "bytes": fill.bytes,
        "refused": fill.refused,
        "cause": _cause(fill.cause),
    }


def _invalidation(number: int, invalidation: Invalidation) -> InvalidationFigures:
    return {
        "number": number,
        "at": invalidation.at,
        "tags": list(invalidation.tags),
        "count": invalidation.count,
        "reading": invalidation.reading,
        "origin": invalidation.origin,
    }


def _entry(known: Known) -> EntryFigures:
    return {
        "key": known.key,
        "level": known.level,
        "name": known.name,
        "tags": list(known.tags),
        "started": known.started,
        "stored_at": known.stored_at,
        "fresh_until": known.fresh_until,
        "kept_until": known.kept_until,
        "bytes": known.bytes,
        "cause": None if known.cause is None else _cause(known.cause),
        "seconds": known.seconds,
    }


def _refusals(statistics: Statistics) -> list[RefusalFigures]:
    # A copy of a dict is one step, whatever other threads add to it.
    found = sorted(dict(statistics.refusals).items(), key=lambda pair: pair[1])
    return [
        {
            "level": refusal.level,
            "name": refusal.name,
            "reason": refusal.reason,
            "place": refusal.place,
            "count": count,
        }
        for refusal, count in found
    ]


def _latest(records: list[Record], most_bytes: int | None) -> list[Record]:
    """Keep as many of the last records as take no more bytes than that."""
    if most_bytes is None:
        return records
    sizes = accumulate(len(json.dumps(record)) for record in reversed(records))
    kept = sum(1 for _ in takewhile(lambda size: size <= most_bytes, sizes))
    return records[len(records) - kept :]
