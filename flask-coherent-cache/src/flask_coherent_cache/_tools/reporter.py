"""The reporter: keeps a history of this process, and writes a report while somebody looks."""

import operator
import os
import socket
import time
from dataclasses import replace
from itertools import accumulate, pairwise, takewhile
from typing import TYPE_CHECKING, TypeVar

from .._forks import new_lock
from .._statistics.records import ANSWERED, Fill, Invalidation, Known
from .._statistics.statistics import Lookups
from .._stores import StoreError
from .report import LOOKED_UP, Counts, Report, Sums, as_json
from .requests import Requests

if TYPE_CHECKING:
    from .._engine.engine import CacheEngine

Record = TypeVar("Record")
Caused = TypeVar("Caused", Fill, Known)

#: A history is sums of so many seconds each, and so many of them: ten minutes.
BUCKET_SECONDS = 5
BUCKETS = 120
#: What a report holds of entries, of fills and of invalidations each, in bytes; the latest come
#: first. Memcached takes 1 MiB in all, and this is before it is compressed.
_MOST_BYTES = 200_000
#: Of an entry that was invalid so many tags are named.
_MOST_TAGS = 30


class History:
    """Sums of each five seconds of the last ten minutes."""

    def __init__(self) -> None:
        #: The totals since the process began, at the end of each bucket.
        self._totals = {0: Sums()}
        self._lock = new_lock()

    def note(self, totals: Sums, now: float) -> None:
        """Note the totals since the process began."""
        with self._lock:
            self._totals[int(now // BUCKET_SECONDS)] = totals
            while len(self._totals) > BUCKETS + 1:
                del self._totals[min(self._totals)]

    def buckets(self) -> dict[int, Sums]:
        """Return the sums of each bucket by its number."""
        with self._lock:
            pairs = pairwise(sorted(self._totals.items()))
            return {n: Sums(*map(operator.sub, now, before)) for (_, before), (n, now) in pairs}


class Reporter:
    """Reports what this process does.

    :param requests: counts what this process answers.
    """

    def __init__(self, engine: "CacheEngine", requests: Requests) -> None:
        self._engine = engine
        self._requests = requests
        self._history = History()

    def tick(self) -> None:
        """Bring the history up to date, and write a report if somebody looks."""
        self._note()
        if not self._engine.store.shared:
            return
        reports = self._engine.reports
        try:
            if reports.is_watched():
                reports.write(as_json(self.report(_MOST_BYTES)).encode())
            else:
                reports.leave()
        except StoreError:
            # The circuit breaker logs it; an overview lacks this process.
            reports.leave()

    def _note(self) -> None:
        lookups = self._engine.statistics.all_lookups()
        pages, page_seconds = self._requests.total("hit", "computed")
        totals = Sums(
            sum(one.results[result] for one in lookups for result in LOOKED_UP),
            sum(one.results[result] for one in lookups for result in ANSWERED),
            sum(one.fills for one in lookups),
            sum(one.fill_seconds for one in lookups),
            pages,
            page_seconds,
        )
        self._history.note(totals, time.time())

    def report(self, most_bytes: int | None = None) -> Report:
        """Return a report.

        :param most_bytes: what entries, fills and invalidations may each take; ``None`` is no
            bound but that of what is remembered.
        """
        self._note()
        engine, statistics = self._engine, self._engine.statistics
        near, breaker = engine.near, engine.store.breaker
        events = statistics.last_events()
        fills = [(n, _shortened(fill)) for n, fill in events if isinstance(fill, Fill)]
        invalidations = [(n, event) for n, event in events if isinstance(event, Invalidation)]
        known = statistics.known_entries()
        entries = _latest([_shortened(entry) for entry in known], most_bytes)
        # A copy of a dict is one step, whatever other threads add to it.
        refusals = sorted(dict(statistics.refusals).items(), key=lambda pair: pair[1])
        return Report(
            host=socket.gethostname(),
            pid=os.getpid(),
            since=statistics.since,
            at=time.time(),
            release=engine.config["RELEASE"],
            lookups=[_counts(lookups) for lookups in statistics.all_lookups()],
            fills=_latest(fills, most_bytes),
            invalidations=_latest(invalidations, most_bytes),
            entries=entries,
            forgot_entries=statistics.forgot_entries or len(entries) < len(known),
            near={}
            if near is None
            else {"bytes": near.bytes, "entries": len(near), "evictions": near.evictions},
            breaker_open=breaker.is_open,
            failure=breaker.failure,
            counts=dict(engine.counts),
            leases=dict(statistics.leases),
            invalidated=dict(statistics.invalidated),
            clears=statistics.clears,
            fallback=len(engine.fallback),
            refusals=_latest(refusals, most_bytes),
            verified=dict(statistics.verified),
            differences=list(dict(statistics.differences).items()),
            history=self._history.buckets(),
        )


def _counts(lookups: Lookups) -> Counts:
    counts = Counts(lookups.level, lookups.name)
    counts.add(lookups)
    return counts


def _shortened(record: Caused) -> Caused:
    """Name only some of the tags that were invalid."""
    if record.cause is None:
        return record
    return replace(record, cause=replace(record.cause, tags=record.cause.tags[:_MOST_TAGS]))


def _latest(records: list[Record], most_bytes: int | None) -> list[Record]:
    """Keep as many of the last records as take no more bytes than that."""
    if most_bytes is None:
        return records
    sizes = accumulate(len(as_json(record)) for record in reversed(records))
    kept = sum(1 for _ in takewhile(lambda size: size <= most_bytes, sizes))
    return records[len(records) - kept :]
