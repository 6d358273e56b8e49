"""The metrics for Prometheus: each with its labels, and where its value comes from.

Under gunicorn the processes write their values into files of one folder, which the hooks of
:mod:`flask_coherent_cache.gunicorn` make, and each of them answers for all (prometheus_client's
multi-process mode).
"""

import atexit
import os
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from .._statistics.timings import BOUNDS, Read, added

if TYPE_CHECKING:
    from .._engine.engine import CacheEngine
    from .exporter import Exporter

_LONGEST_LABEL = 100

# Series of when a counter began: twice as many lines, which nobody asks for.
disable_created_metrics()


class Buckets(Histogram):
    """A histogram of what was counted in buckets already.

    prometheus_client has no call for that, and to observe each request costs a third of a hit.
    """

    def add(self, counts: Iterable[int], seconds: float) -> None:
        """Add the counts of each bucket, without those below it, and the seconds of all."""
        self._sum.inc(seconds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            bucket.inc(count)


#: The values of a metric's labels, and its total.
Samples = Iterable[tuple[tuple[str, ...], Any]]


class Metric(NamedTuple):
    """A metric.

    :param make: makes its instrument.
    :param labels: the names of its labels, with spaces between.
    :param read: returns its totals.
    """

    make: Callable[..., Any]
    name: str
    text: str
    labels: str
    read: Callable[[Any], Samples]


Timed = partial(Buckets, buckets=BOUNDS)
#: A gauge of which all processes' values are added up, and one of which the largest counts.
Sum = partial(Gauge, multiprocess_mode="livesum")
Largest = partial(Gauge, multiprocess_mode="livemax")


def _requests(exporter: "Exporter") -> Samples:
    counts: Count[tuple[str, ...]] = Count()
    for answered, timings in exporter.requests.all():
        counts[answered.route, answered.status] += sum(timings.read()[0])
    return counts.items()


def _request_seconds(exporter: "Exporter") -> Samples:
    routes: dict[str, list[Read]] = {}
    for answered, timings in exporter.requests.all():
        routes.setdefault(answered.route, []).append(timings.read())
    return [((route,), added(reads)) for route, reads in routes.items()]


def _evictions(engine: "CacheEngine") -> Samples:
    if engine.near is not None:
        yield ("near",), engine.near.evictions
    if not engine.store.shared:
        yield ("store",), engine.store.facts().evictions or 0


def _each(counts: dict[Any, int]) -> Samples:
    # A copy of a dict is one step, whatever other threads add to it.
    return [((name,), count) for name, count in counts.copy().items()]


#: Read from the exporter.
OF_THE_PROCESS = (
    Metric(Counter, "http_requests_total", "Requests, by endpoint and status.", "route status",
           _requests),
    Metric(Timed, "http_request_seconds", "Time to the beginning of the response.", "route",
           _request_seconds),
    Metric(Largest, "app_build_info", "1, with the release.", "release",
           lambda exporter: [((exporter.release,), 1)]),
    Metric(Timed, "cache_fill_seconds", "Computations of cached values.", "level name",
           lambda exporter: [((of.level, of.name), timings.read())
                             for of, timings in exporter.fills.copy().items()]),
    Metric(Timed, "cache_store_seconds", "Calls of the cache server.", "",
           lambda exporter: [((), exporter.store.read())]),
)  # fmt: skip
#: Read from the engine, where there is one.
OF_THE_CACHE = (
    Metric(Counter, "cache_lookups_total", "Lookups, by their result.", "level name result",
           lambda engine: [((of.level, of.name, result), count)
                           for of in engine.statistics.all_lookups()
                           for result, count in of.results.items()]),
    Metric(Counter, "cache_stored_bytes_total", "Bytes put into the store.", "level name",
           lambda engine: [((of.level, of.name), of.stored_bytes)
                           for of in engine.statistics.all_lookups()]),
    Metric(Counter, "cache_evictions_total", "Entries that made room for others, in the process.",
           "where", _evictions),
    Metric(Counter, "cache_invalidations_total", "Invalidated tags, by what precedes their colon.",
           "family", lambda engine: _each(engine.statistics.invalidated)),
    Metric(Counter, "cache_clears_total", "Times that the whole cache was cleared.", "",
           lambda engine: [((), engine.statistics.clears)]),
    Metric(Counter, "cache_leases_total", "Leases of computations, by what became of them.",
           "outcome", lambda engine: _each(engine.statistics.leases)),
    Metric(Counter, "cache_errors_total", "Failures that were healed or done without.", "kind",
           lambda engine: _each(engine.counts)),
    Metric(Counter, "cache_verified_total", "Hits that were computed again, by the outcome.",
           "outcome", lambda engine: _each(engine.statistics.verified)),
    Metric(Sum, "cache_near_bytes", "Memory of the near caches.", "",
           lambda engine: [((), engine.near.bytes if engine.near is not None else 0)]),
    Metric(Sum, "cache_near_entries", "Copies in the near caches.", "",
           lambda engine: [((), len(engine.near) if engine.near is not None else 0)]),
    Metric(Largest, "cache_breaker_open", "1 while a process does without the cache server.", "",
           lambda engine: [((), engine.store.breaker.is_open)]),
)  # fmt: skip


class Instruments:
    """The metrics of one process.

    :param update: brings them up to date; called when the process ends, too, where the others
        answer for it then.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, update: Callable[[], object]) -> None:
        self.registry = CollectorRegistry()
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._totals: dict[tuple[str, tuple[str, ...]], Any] = {}
        with _lock(self._folder):
            self._made = {
                name: make(name, text, labels.split(), registry=self.registry)
                for make, name, text, labels, _ in OF_THE_PROCESS + OF_THE_CACHE
            }
        if self._folder:
            atexit.register(update)

    def update(self, metrics: Iterable[Metric], source: Any) -> None:
        """Bring metrics up to date by what they are read from."""
        for metric in metrics:
            made = self._made[metric.name]
            for labels, total in metric.read(source):
                before = self._totals.get((metric.name, labels))
                # Also a 0: a series that begins with its first event hides that from rate().
                if total != before or isinstance(made, Gauge):
                    self._totals[metric.name, labels] = total
                    _raise(made.labels(*map(_label, labels)) if labels else made, before, total)

    def exposition(self) -> bytes:
        """Return the metrics of all processes in Prometheus' text format."""
        if not self._folder:
            return generate_latest(self.registry) + generate_latest(REGISTRY)
        everything = CollectorRegistry()
        MultiProcessCollector(everything, self._folder)
        with _lock(self._folder):
            return generate_latest(everything)


def _raise(made: Any, before: Any, total: Any) -> None:
    """Add what a total has grown."""
    if isinstance(made, Gauge):
        made.set(total)
    elif isinstance(made, Counter):
        made.inc(max(0, total - (before or 0)))
    else:
        (counts, seconds), (old, old_seconds) = total, before or ([0] * len(total[0]), 0.0)
        made.add((now - then for now, then in zip(counts, old, strict=True)), seconds - old_seconds)


@contextmanager
def _lock(folder: str | None) -> Iterator[None]:
    """Keep the gunicorn hooks from moving counts between files, and others from new files."""
    if not folder:
        yield
        return
    # There is none on Windows, nor is there gunicorn.
    import fcntl  # noqa: PLC0415

    with (Path(folder) / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _label(value: str) -> str:
    """Return a label's value, of bounded length, that UTF-8 can hold."""
    return value[:_LONGEST_LABEL].encode("utf-8", "backslashreplace").decode()
