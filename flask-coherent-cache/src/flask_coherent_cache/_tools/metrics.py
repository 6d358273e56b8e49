"""Metrics for Prometheus, correct over all processes of a server.

What is counted for each request is counted in the process alone; a thread hands it on each second,
so a hit pays for no file. A process that is killed takes the counts of its last second with it.
"""

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flask import Flask

from .._engine.engine import CacheEngine
from .._forks import new_lock
from .._statistics.statistics import Lookups
from .._statistics.timings import Read, Timings, added
from .requests import Requests, counted

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .. import Cache
    from .instruments import Instruments

PATH = "/metrics"
NO_STORE = ("Cache-Control", "no-store")
#: In `app.extensions`.
_METRICS = "coherent_cache_metrics"
_EXPORT_SECONDS = 1


def init_app(app: Flask, cache: "Cache") -> None:
    """Count what `app` and its cache do.

    To be called before the middleware that serves cached pages: what that answers, the cache
    counts itself.

    :raises ModuleNotFoundError: without the extra ``prometheus``.
    """
    # It is imported where it is used first: that takes a while, and needs its folder.
    if find_spec("prometheus_client") is None:
        raise ModuleNotFoundError(
            "The metrics need the library's extra [prometheus]. Install the wheel again, as in:"
            " pip install 'PATH/flask_coherent_cache-VERSION-py3-none-any.whl[prometheus]'.",
            name="prometheus_client",
        )
    with app.app_context():
        entries, release = cache.engine, cache.settings["RELEASE"]
    requests, ticker = counted(app, cache)
    metrics = app.extensions[_METRICS] = Metrics(release, requests, entries)
    ticker.every(_EXPORT_SECONDS, metrics.export)


def listen(app: Flask, port: int | None) -> None:
    """Answer with the metrics on a port of their own, if there is one; to be called last of all."""
    if port:
        metrics: Metrics = app.extensions[_METRICS]
        app.wsgi_app = OwnPort(app.wsgi_app, port, metrics)  # type: ignore[method-assign]


def exposition(app: Flask) -> tuple[bytes, str]:
    """Return the metrics of an application as they are now, and their content type."""
    metrics: Metrics = app.extensions[_METRICS]
    return metrics.exposition()


class Metrics:
    """Hands on to Prometheus what the process has counted.

    :param release: the deployed version.
    :param entries: of the cache; ``None`` where there is none.
    """

    def __init__(self, release: str, requests: Requests, entries: CacheEngine | None) -> None:
        self._release = release
        self._requests = requests
        self._entries = entries
        self._store = Timings()
        self._fills: dict[Lookups, Timings] = {}
        self._instruments: Instruments | None = None
        self._lock = new_lock()
        if entries is not None:
            entries.store.on_call = self._store.observe
            entries.statistics.on_fill.append(self._filled)

    def _filled(self, lookups: Lookups, seconds: float) -> None:
        self._fills.setdefault(lookups, Timings()).observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """Return the metrics as they are now, and their content type."""
        instruments = self.export()
        return instruments.exposition(), instruments.content_type

    def export(self) -> "Instruments":
        """Bring the metrics up to date."""
        # prometheus_client takes a while to import, and looks for its folder when it is.
        from .instruments import Instruments  # noqa: PLC0415

        with self._lock:
            if self._instruments is None:
                self._instruments = Instruments(self.export)
                self._instruments.build.labels(self._release).set(1)
            self._export_requests(self._instruments)
            if self._entries is not None:
                self._export_lookups(self._instruments, self._entries)
                self._export_events(self._instruments, self._entries)
                self._export_states(self._instruments, self._entries)
            return self._instruments

    def _export_requests(self, to: "Instruments") -> None:
        counts: Counter[tuple[str, str]] = Counter()
        routes: dict[str, list[Read]] = {}
        for answered, timings in self._requests.all():
            read = timings.read()
            counts[answered.route, answered.status] += sum(read[0])
            routes.setdefault(answered.route, []).append(read)
        for (route, status), count in counts.items():
            to.count(to.requests, count, route, status)
        for route, reads in routes.items():
            to.time(to.request_seconds, added(reads), route)

    def _export_lookups(self, to: "Instruments", entries: CacheEngine) -> None:
        for lookups in entries.statistics.all_lookups():
            name = (lookups.level, lookups.name)
            for result, count in lookups.results.items():
                to.count(to.lookups, count, *name, result)
            to.count(to.stored_bytes, lookups.stored_bytes, *name)
        for lookups, timings in dict(self._fills).items():
            to.time(to.fills, timings.read(), lookups.level, lookups.name)
        to.time(to.store, self._store.read())

    def _export_events(self, to: "Instruments", entries: CacheEngine) -> None:
        statistics = entries.statistics
        # A copy of a dict is one step, whatever other threads add to it.
        for family, count in dict(statistics.invalidated).items():
            to.count(to.invalidations, count, family)
        to.count(to.clears, statistics.clears)
        for outcome, count in dict(statistics.leases).items():
            to.count(to.leases, count, outcome)
        for outcome, count in dict(statistics.verified).items():
            to.count(to.verified, count, outcome)
        for kind, count in dict(entries.counts).items():
            to.count(to.errors, count, kind)

    def _export_states(self, to: "Instruments", entries: CacheEngine) -> None:
        to.breaker_open.set(entries.store.breaker.is_open)
        if (near := entries.near) is not None:
            to.near_bytes.set(near.bytes)
            to.near_entries.set(len(near))
            to.count(to.evictions, near.evictions, "near")
        if not entries.store.shared:
            to.count(to.evictions, entries.store.facts().evictions or 0, "store")


class OwnPort:
    """WSGI middleware: who comes by a port of its own gets the metrics, and nothing else.

    It stands outside all other, so no header of a request says by which port that came.
    """

    def __init__(self, wsgi_app: "WSGIApplication", port: int, metrics: Metrics) -> None:
        self.wsgi_app = wsgi_app
        self.port = port
        self.metrics = metrics

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if environ["SERVER_PORT"] != str(self.port) or not _came_by(environ, self.port):
            return self.wsgi_app(environ, start_response)
        if environ["PATH_INFO"] != PATH:
            start_response("404 Not Found", [("Content-Length", "0")])
            return ()
        body, content_type = self.metrics.exposition()
        length = ("Content-Length", str(len(body)))
        start_response("200 OK", [("Content-Type", content_type), length, NO_STORE])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)


def _came_by(environ: "WSGIEnvironment", port: int) -> bool:
    """Ask the connection: behind a Unix socket, gunicorn takes SERVER_PORT from Host."""
    connection = environ.get("gunicorn.socket")
    name = connection.getsockname() if connection is not None else None
    return isinstance(name, tuple) and name[1] == port
