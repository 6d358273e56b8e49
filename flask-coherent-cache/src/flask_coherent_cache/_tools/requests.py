"""How many requests this process answered, with what, and how fast."""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flask import Flask

from .._forks import new_lock
from .._pages.middleware import PAGE_MIDDLEWARE
from .._pages.views import is_refill
from .._statistics.statistics import Statistics
from .._statistics.timings import Timings
from .current import engine_of, set_cache
from .ticker import Ticker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .. import Cache

#: ``hit``: by a cached page. ``computed``: by a page that may be cached and was computed.
Kind = Literal["hit", "computed", "other"]

NO_ROUTE = "none"
OTHER = "other"
_MOST_SERIES = 1000
#: In `app.extensions`.
_REQUESTS = "coherent_cache_requests"


class Answered(NamedTuple):
    """Requests that were answered alike.

    :param route: the endpoint.
    """

    route: str
    status: str
    kind: Kind


class Requests:
    """The requests of this process since it began.

    :param statistics: of the cache, which counts those that it answers before Flask.
    """

    def __init__(self, statistics: Statistics | None) -> None:
        self._statistics = statistics
        self._timings: defaultdict[Answered, Timings] = defaultdict(Timings)
        self._lock = new_lock()

    def count(self, answered: Answered, seconds: float) -> None:
        """Count a request that Flask answered; beyond many routes and status codes, as another."""
        with self._lock:
            if answered not in self._timings and len(self._timings) >= _MOST_SERIES:
                answered = Answered(OTHER, OTHER, answered.kind)
            timings = self._timings[answered]
        timings.observe(seconds)

    def all(self) -> list[tuple[Answered, Timings]]:
        """Return all counts; there may be two for requests that were answered alike."""
        with self._lock:
            found = list(self._timings.items())
        for lookups in self._statistics.all_lookups() if self._statistics is not None else ():
            for status, timings in lookups.served.copy().items():
                found.append((Answered(lookups.name, status[:3], "hit"), timings))
        return found

    def total(self, *kinds: Kind) -> tuple[int, float]:
        """Return how many requests of some kinds there were, and the seconds that they took."""
        reads = [timings.read() for answered, timings in self.all() if answered.kind in kinds]
        return sum(sum(counts) for counts, _ in reads), sum(seconds for _, seconds in reads)


def count_requests(app: Flask, cache: "Cache") -> tuple[Requests, Ticker]:
    """Count the requests of an application, once; returns the counts and the application's ticker.

    It counts what Flask answers, beneath the middleware that serves cached pages: what that
    answers, the cache counts itself.
    """
    if _REQUESTS not in app.extensions:
        engine = engine_of(app, cache)
        requests = Requests(engine.statistics if engine is not None else None)
        # A test looks when it wants to.
        ticker = Ticker(active=not app.testing)
        app.extensions[_REQUESTS] = requests, ticker
        outer: Any = app.extensions.get(PAGE_MIDDLEWARE, app)
        outer.wsgi_app = CountRequests(outer.wsgi_app, requests, ticker)
        set_cache(app, cache)
    counting: tuple[Requests, Ticker] = app.extensions[_REQUESTS]
    return counting


class CountRequests:
    """WSGI middleware that counts what Flask answers.

    The time ends where the response begins to be sent: Flask has computed it whole by then, and
    only a stream goes on.

    :param ticker: starts with the first request of this process.
    """

    def __init__(self, wsgi_app: "WSGIApplication", requests: Requests, ticker: Ticker) -> None:
        self.wsgi_app = wsgi_app
        self.requests = requests
        self.ticker = ticker

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if is_refill(environ):
            return self.wsgi_app(environ, start_response)
        began = time.perf_counter()
        # Of a request that ends in an exception, which the server answers.
        answered = Answered(NO_ROUTE, "500", "other")

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            nonlocal answered
            # Now: Flask lets go of its request before it returns.
            answered = Answered(_route(environ), status[:3], _kind(headers))
            return start_response(status, headers, *exc_info)

        try:
            return self.wsgi_app(environ, start)
        finally:
            self.requests.count(answered, time.perf_counter() - began)
            if not self.ticker.has_started:
                self.ticker.start()


def _route(environ: "WSGIEnvironment") -> str:
    """Name the endpoint: what a visitor makes up has none."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return NO_ROUTE if rule is None else str(rule.endpoint)


def _kind(headers: list[tuple[str, str]]) -> Kind:
    """Tell by Cache-Status (RFC 9211) where the answer came from."""
    for name, value in headers:
        if name == "Cache-Status":
            return "hit" if value.partition("; ")[2].startswith("hit") else "computed"
    return "other"
