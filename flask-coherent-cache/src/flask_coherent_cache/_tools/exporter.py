"""Metrics for Prometheus, correct over all processes of a server.

What is counted for each request is counted in the process alone; a thread hands it on each second,
so a hit pays for no file. A process that is killed takes the counts of its last second with it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._engine.engine import CacheEngine
from .._forks import new_lock
from .._statistics.statistics import Lookups
from .._statistics.timings import Timings
from .requests import Requests

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from .instruments import Instruments

PATH = "/metrics"
NO_STORE = ("Cache-Control", "no-store")


class Exporter:
    """Hands on to Prometheus what the process has counted.

    :param release: the deployed version.
    :param engine: of the cache; ``None`` where there is none.
    """

    def __init__(self, release: str, requests: Requests, engine: CacheEngine | None) -> None:
        self.release, self.requests, self.engine = release, requests, engine
        self.store = Timings()
        self.fills: dict[Lookups, Timings] = {}
        self._instruments: Instruments | None = None
        self._lock = new_lock()
        if engine is not None:
            engine.store.on_call = self.store.observe
            engine.statistics.on_fill.append(self._filled)

    def _filled(self, lookups: Lookups, seconds: float) -> None:
        self.fills.setdefault(lookups, Timings()).observe(seconds)

    def export(self) -> "Instruments":
        """Bring the metrics up to date."""
        # prometheus_client takes a while to import, and looks for its folder when it is.
        from .instruments import OF_THE_CACHE, OF_THE_PROCESS, Instruments  # noqa: PLC0415

        with self._lock:
            if self._instruments is None:
                self._instruments = Instruments(self.export)
            self._instruments.update(OF_THE_PROCESS, self)
            if self.engine is not None:
                self._instruments.update(OF_THE_CACHE, self.engine)
            return self._instruments

    def exposition(self) -> tuple[bytes, str]:
        """Return the metrics as they are now, and their content type."""
        instruments = self.export()
        return instruments.exposition(), instruments.content_type


class OwnPort:
    """WSGI middleware: who comes by a port of its own gets the metrics, and nothing else.

    It stands outside all other, so no header of a request says by which port that came.
    """

    def __init__(self, wsgi_app: Any, port: int, exporter: Exporter) -> None:
        self.wsgi_app = wsgi_app
        self.port = port
        self.exporter = exporter

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if not self._is_own(environ):
            answer: Iterable[bytes] = self.wsgi_app(environ, start_response)
            return answer
        if environ["PATH_INFO"] != PATH:
            start_response("404 Not Found", [("Content-Length", "0")])
            return ()
        body, content_type = self.exporter.exposition()
        length = ("Content-Length", str(len(body)))
        start_response("200 OK", [("Content-Type", content_type), length, NO_STORE])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)

    def answer_at_once(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes] | None:
        """Answer what came by another port; the metrics take a while."""
        body: Iterable[bytes] | None = None
        if not self._is_own(environ):
            body = self.wsgi_app(environ, start_response)
        return body

    def _is_own(self, environ: "WSGIEnvironment") -> bool:
        return environ["SERVER_PORT"] == str(self.port) and _came_by(environ, self.port)


def _came_by(environ: "WSGIEnvironment", port: int) -> bool:
    """Ask the connection: behind a Unix socket, gunicorn takes SERVER_PORT from Host."""
    connection = environ.get("gunicorn.socket")
    name = connection.getsockname() if connection is not None else None
    return isinstance(name, tuple) and name[1] == port
