"""What Prometheus is told: each metric, its labels and what it means.

Under gunicorn the processes write their values into files of one folder, which gunicorn.conf.py
makes, and each of them answers for all (prometheus_client's multi-process mode).
"""

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

from .._statistics.timings import BOUNDS, Read

_LONGEST_LABEL = 100

# Series of when a counter began: twice as many lines, which nobody asks for.
disable_created_metrics()


class Buckets(Histogram):
    """A histogram of what was counted in buckets already.

    The library has no call for that, and to observe each request costs a third of a hit.
    """

    def add(self, counts: list[int], seconds: float) -> None:
        """Add the counts of each bucket, without those below it, and the seconds of all."""
        self._sum.inc(seconds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            bucket.inc(count)


class Instruments:
    """The metrics of one process; what they hold comes from elsewhere, as totals.

    :param export: brings them up to date; called when the process ends, too, where the others
        answer for it then.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, export: Callable[[], object]) -> None:
        self.registry = CollectorRegistry()
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._counted: dict[tuple[Counter, tuple[str, ...]], float] = {}
        self._timed: dict[tuple[Buckets, tuple[str, ...]], Read] = {}
        with _lock(self._folder):
            self._make()
        if self._folder:
            atexit.register(export)

    def _make(self) -> None:
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        name = ("level", "name")
        self.lookups = counter("cache_lookups_total", "Lookups, by their result.", *name, "result")
        self.fills = histogram("cache_fill_seconds", "Computations of cached values.", *name)
        self.stored_bytes = counter("cache_stored_bytes_total", "Bytes put into the store.", *name)
        self.store = histogram("cache_store_seconds", "Calls of the cache server.")
        self.evictions = counter(
            "cache_evictions_total", "Entries that made room for others, in the process.", "where"
        )
        self.invalidations = counter(
            "cache_invalidations_total", "Invalidated tags, by what precedes their colon.", "family"
        )
        self.clears = counter("cache_clears_total", "Times that the whole cache was cleared.")
        self.leases = counter(
            "cache_leases_total", "Leases of computations, by what became of them.", "outcome"
        )
        self.errors = counter(
            "cache_errors_total", "Failures that were healed or done without.", "kind"
        )
        self.verified = counter(
            "cache_verified_total", "Hits that were computed again, by the outcome.", "outcome"
        )
        self.near_bytes = gauge("cache_near_bytes", "Memory of the near caches.", "livesum")
        self.near_entries = gauge("cache_near_entries", "Copies in the near caches.", "livesum")
        self.breaker_open = gauge(
            "cache_breaker_open", "1 while a process does without the cache server.", "livemax"
        )
        self.requests = counter(
            "http_requests_total", "Requests, by endpoint and status.", "route", "status"
        )
        self.request_seconds = histogram(
            "http_request_seconds", "Time to the beginning of the response.", "route"
        )
        self.build = gauge("app_build_info", "1, with the release.", "livemax", "release")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Buckets:
        return Buckets(name, text, labels, registry=self.registry, buckets=BOUNDS)

    def _gauge(self, name: str, text: str, mode: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    # -- bringing them up to date --------------------------------------------------------

    def count(self, counter: Counter, total: float, *labels: str) -> None:
        """Raise a counter by what its total has grown."""
        more = total - self._counted.get((counter, labels), 0)
        if more > 0 or (counter, labels) not in self._counted:
            # Also a 0: a series that begins with its first event hides it from rate().
            of_labels = counter.labels(*map(_label, labels)) if labels else counter
            of_labels.inc(more)
            self._counted[counter, labels] = total

    def time(self, histogram: Buckets, total: Read, *labels: str) -> None:
        """Add to a histogram what its timings have grown."""
        counts, seconds = total
        before, seconds_before = self._timed.get((histogram, labels), ([0] * len(counts), 0.0))
        if counts != before or (histogram, labels) not in self._timed:
            of_labels = histogram.labels(*map(_label, labels)) if labels else histogram
            more = [now - then for now, then in zip(counts, before, strict=True)]
            of_labels.add(more, seconds - seconds_before)
            self._timed[histogram, labels] = counts, seconds

    # -- what is asked for ---------------------------------------------------------------

    def exposition(self) -> bytes:
        """Return the metrics of all processes in Prometheus' text format."""
        if not self._folder:
            return generate_latest(self.registry) + generate_latest(REGISTRY)
        everything = CollectorRegistry()
        MultiProcessCollector(everything, self._folder)
        with _lock(self._folder):
            return generate_latest(everything)


@contextmanager
def _lock(folder: str | None) -> Iterator[None]:
    """Keep gunicorn.conf.py from moving counts from file to file, and others from new files."""
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
