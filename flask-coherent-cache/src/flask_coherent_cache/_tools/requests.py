"""How many requests this process answered, with what, and how fast."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flask import Flask

from .._forks import new_lock
from .._pages.views import PAGE_MIDDLEWARE, is_refill
from .._statistics.statistics import Statistics
from .._statistics.timings import Timings
from .shown import set_cache
from .ticker import Ticker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .. import Cache

#: ``hit``: by a cached page. ``computed``: by a page that may be cached and was computed.
Kind = Literal["hit", "computed", "other"]
KINDS: tuple[Kind, ...] = ("hit", "computed", "other")

NO_ROUTE = "none"
OTHER = "other"
_MOST_SERIES = 1000
#: In `app.extensions`.
_REQUESTS = "coherent_cache_requests"
_TICKER = "coherent_cache_ticker"


class Answered(NamedTuple):
    """Requests that were answered alike.

    :param route: the endpoint.
    """

    route: str
    status: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Total:
    """A number of requests, and how long all of them took."""

    count: int
    seconds: float


class Requests:
    """The requests of this process since it began.

    :param statistics: of the cache, which counts those that it answers before Flask.
    """

    def __init__(self, statistics: Statistics | None) -> None:
        self._statistics = statistics
        self._timings: dict[Answered, Timings] = {}
        self._lock = new_lock()

    def count(self, answered: Answered, seconds: float) -> bool:
        """Count a request that Flask answered; tell whether none was answered so before.

        Beyond a number of routes and status codes it is counted with all others.
        """
        with self._lock:
            timings = self._timings.get(answered)
            if (is_news := timings is None) and len(self._timings) >= _MOST_SERIES:
                answered = Answered(OTHER, OTHER, answered.kind)
            timings = self._timings.setdefault(answered, timings or Timings())
        timings.observe(seconds)
        return is_news

    def all(self) -> list[tuple[Answered, Timings]]:
        """Return all counts; there may be two for requests that were answered alike."""
        with self._lock:
            found = list(self._timings.items())
        for lookups in self._statistics.all_lookups() if self._statistics is not None else ():
            for status, timings in lookups.served.copy().items():
                found.append((Answered(lookups.name, status[:3], "hit"), timings))
        return found

    def totals(self) -> dict[Kind, Total]:
        """Return what all came to, by kind."""
        totals = dict.fromkeys(KINDS, Total(0, 0.0))
        for answered, timings in self.all():
            counts, seconds = timings.read()
            before = totals[answered.kind]
            totals[answered.kind] = Total(before.count + sum(counts), before.seconds + seconds)
        return totals


def counted(app: Flask, cache: "Cache") -> tuple[Requests, Ticker]:
    """Count the requests of an application, once; returns the counts and the application's ticker.

    It counts what Flask answers, beneath the middleware that serves cached pages: what that
    answers, the cache counts itself.
    """
    if _REQUESTS not in app.extensions:
        with app.app_context():
            entries = cache.engine
        requests = Requests(entries.statistics if entries is not None else None)
        # A test looks when it wants to.
        ticker = Ticker(active=not app.testing)
        app.extensions.update({_REQUESTS: requests, _TICKER: ticker})
        beneath = app.extensions.get(PAGE_MIDDLEWARE)
        if beneath is not None:
            beneath.wsgi_app = CountRequests(beneath.wsgi_app, requests, ticker.start)
        else:
            counting = CountRequests(app.wsgi_app, requests, ticker.start)
            app.wsgi_app = counting  # type: ignore[method-assign]
        set_cache(app, cache)
    return app.extensions[_REQUESTS], app.extensions[_TICKER]


class CountRequests:
    """WSGI middleware that counts what Flask answers.

    The time ends where the response begins to be sent: Flask has computed it whole by then, and
    only a stream goes on.

    :param on_news: called when a request is answered as none was before: so by the first one.
    """

    def __init__(
        self, wsgi_app: "WSGIApplication", requests: Requests, on_news: Callable[[], object]
    ) -> None:
        self.wsgi_app = wsgi_app
        self.requests = requests
        self.on_news = on_news

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
            if self.requests.count(answered, time.perf_counter() - began):
                self.on_news()


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
