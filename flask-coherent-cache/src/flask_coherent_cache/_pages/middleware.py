"""Page middleware: serves a page from the near cache before Flask builds a request.

It computes no key. When Flask has answered a request with a page, it remembers that page by all
parts of the request that a key can hold, provided that no code of the application would have run
around the cached view. Every other request goes on to Flask.
"""

import gzip
import re
import sys
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask

from .._dependencies.dependencies import CHOSEN, SERVED
from .._engine.entry import Entry
from .._forks import new_lock
from .._statistics.statistics import Lookups
from .._verification import Verifier
from ..negotiation import accepts_gzip, is_json_preferred
from .app_hooks import AppHooks
from .known_sessions import KnownSessions
from .page_visit import ANSWERED
from .pages import Page
from .response_headers import hit_headers
from .visitors import has_body

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .._near.copies import Copy, NearCache

Headers = list[tuple[str, str]]

#: Where ``app.extensions`` holds the middleware.
PAGE_MIDDLEWARE = "coherent_cache_page_middleware"
#: Flask evaluates any other condition: a list, a weak one, or ``*``.
_ONE_ETAG = re.compile(r'"[\x21\x23-\x2b\x2d-\x7e\x80-\xff]*"')
#: The size of a prepared page without the headers that no other page has.
_PREPARED_BYTES = 1200
_MOST_SHARED = 1000
#: In characters: the near cache counts each alias as a short one.
_LONGEST_ALIAS = 1000
_NOT_MODIFIED = "304 NOT MODIFIED"
#: A user's requests, and those with a condition that is not evaluated here.
_FOR_FLASK = (
    "HTTP_AUTHORIZATION",
    "HTTP_IF_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
)


@dataclass(slots=True)
class _Prepared:
    """A page as it is sent, without the headers that change by the second.

    :param etag: empty if Flask has to compare it.
    """

    status: str
    headers: Headers
    not_modified_headers: Headers
    etag: str
    body_start: int
    inflate: bool
    second: int = 0
    changing: Headers = field(default_factory=list)


class PageMiddleware:
    """Serves pages from the near cache, as the innermost WSGI middleware of an application.

    :param hooks: tells whether any hook would run around a view.
    :param sessions: names the users of private pages.
    :param verifier: chooses hits that Flask answers, to compute them again.
    :param config: the cache's settings.
    """

    def __init__(
        self,
        app: Flask,
        near: "NearCache",
        hooks: AppHooks,
        sessions: KnownSessions,
        verifier: Verifier | None,
        config: Mapping[str, Any],
    ) -> None:
        self.wsgi_app: WSGIApplication = app.wsgi_app
        self._app = app
        self._near = near
        self._hooks = hooks
        self._sessions = sessions
        self._verifier = verifier
        self._config = config
        #: The headers in the key of any page so far, as the environment spells them.
        self._names: tuple[str, ...] = ()
        self._lock = new_lock()
        #: Equal headers of many pages, kept once.
        self._shared: dict[tuple[str, str], tuple[str, str]] = {}

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if (body := self._serve(environ, start_response)) is not None:
            return body
        body = self.wsgi_app(environ, start_response)
        if answered := environ.get(ANSWERED):
            self._remember(environ, *answered)
        return body

    def answer_at_once(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes] | None:
        """Answer from the near cache, or return ``None``: the request then comes once more."""
        body = self._serve(environ, start_response)
        if CHOSEN in environ and self._verifier is not None:
            self._verifier.put_off()
        return body

    def _serve(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes] | None:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        began = time.perf_counter()
        copy = self._find(environ)
        if copy is None or self._is_for_flask(environ) or self._hooks.have_listeners():
            return None
        entry, now = copy.entry, time.time()
        if now >= entry.fresh_until:
            return None
        if self._verifier is not None and self._verifier.chooses():
            environ[CHOSEN] = True
            return None
        try:
            page = self._prepared(copy, environ)
        except Exception:
            return None  # Flask fills the page anew.
        if page.second != int(now):
            page.changing, page.second = hit_headers(entry, self._config), int(now)
        condition = environ.get("HTTP_IF_NONE_MATCH")
        # For a redirect or a 404 conditions do not count (RFC 9110, 13.2.1).
        if condition is not None and page.status.startswith("2"):
            if not page.etag:
                return None
            if condition in (page.etag, f"W/{page.etag}"):
                self._count(copy, environ, _NOT_MODIFIED, began)
                start_response(_NOT_MODIFIED, page.not_modified_headers + page.changing)
                return ()
            if not _ONE_ETAG.fullmatch(condition):
                return None
        self._count(copy, environ, page.status, began)
        start_response(page.status, page.headers + page.changing)
        if environ["REQUEST_METHOD"] == "HEAD":
            return ()
        body = entry.value[page.body_start :]
        return (gzip.decompress(body) if page.inflate else body,)

    def _find(self, environ: "WSGIEnvironment") -> "Copy | None":
        """Find the page for everybody, or the one of the session's user."""
        alias = _alias(environ, self._names)
        copy = self._near.find_alias(alias)
        if copy is not None and not self._renews_session(environ):
            return copy
        user = self._sessions.user_of(environ)
        return self._near.find_alias((alias, user)) if user and copy is None else None

    def _count(self, copy: "Copy", environ: "WSGIEnvironment", status: str, began: float) -> None:
        if (lookups := copy.lookups) is not None:
            lookups.count_served(status, time.perf_counter() - began)
            environ[SERVED] = lookups.name

    @staticmethod
    def _is_for_flask(environ: "WSGIEnvironment") -> bool:
        return not environ.keys().isdisjoint(_FOR_FLASK) or has_body(environ)

    def _renews_session(self, environ: "WSGIEnvironment") -> bool:
        """Tell whether Flask may renew the session's cookie, as it does on each response to one."""
        config, cookies = self._app.config, environ.get("HTTP_COOKIE")
        return bool(
            cookies
            and config["SESSION_REFRESH_EACH_REQUEST"]
            and config["SESSION_COOKIE_NAME"] in cookies
        )

    def _prepared(self, copy: "Copy", environ: "WSGIEnvironment") -> _Prepared:
        gzipped = accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        if copy.decoded is None:
            copy.decoded = {}
        page: _Prepared | None = copy.decoded.get(gzipped)
        if page is None:
            page = copy.decoded[gzipped] = self._prepare(copy.entry, gzipped, environ)
            self._near.grow(copy, _PREPARED_BYTES + self._own_bytes(page))
        return page

    def _prepare(self, entry: Entry, gzipped: bool, environ: "WSGIEnvironment") -> _Prepared:
        """Have Flask's response class write the headers once."""
        page = Page.decode(entry.value)
        response = page.representation(gzipped).response(self._app.response_class)
        status, etag = response.status, response.headers.get("ETag", "")
        etag = etag if _ONE_ETAG.fullmatch(etag) else ""
        full = list(response.get_wsgi_headers(environ))
        response.status_code = 304
        short = list(response.get_wsgi_headers(environ))
        start, inflate = len(entry.value) - len(page.body), page.gzipped and not gzipped
        return _Prepared(status, self._share(full), self._share(short), etag, start, inflate)

    def _share(self, headers: Headers) -> Headers:
        for header in headers:
            if len(self._shared) < _MOST_SHARED:
                self._shared.setdefault(header, header)
        return [self._shared.get(header, header) for header in headers]

    def _own_bytes(self, page: _Prepared) -> int:
        headers = page.headers + page.not_modified_headers
        own = [header for header in headers if header not in self._shared]
        return sum(sys.getsizeof(header) + sum(map(sys.getsizeof, header)) for header in own)

    def _remember(
        self,
        environ: "WSGIEnvironment",
        key: str,
        names: frozenset[str],
        lookups: Lookups,
        user: str,
        tags: AbstractSet[str],
    ) -> None:
        """Remember the page that answered a request.

        :param user: of a private page.
        :param tags: that the page has to carry.
        """
        with self._lock:
            if not names <= set(self._names):
                self._names = tuple(sorted(names | set(self._names)))
            known = self._names
        if not environ.get("HTTP_HOST") or self._is_for_flask(environ):
            return
        alias = _alias(environ, known)
        if sum(len(part) for part in alias if isinstance(part, str)) > _LONGEST_ALIAS:
            return
        if user:
            # Of a user who is more than a session, nobody finds the alias.
            self._sessions.remember(environ)
            alias = (alias, user)
        elif self._renews_session(environ):
            return
        self._near.add_alias(alias, key, lookups, tags)


def _alias(environ: "WSGIEnvironment", names: tuple[str, ...]) -> tuple[object, ...]:
    """All parts of a request that the key of a page can hold, with the headers ``names``."""
    get = environ.get
    alias = (
        environ["wsgi.url_scheme"],
        get("HTTP_HOST"),
        get("SCRIPT_NAME"),
        get("PATH_INFO"),
        get("QUERY_STRING"),
        is_json_preferred(get("HTTP_ACCEPT", "")),
    )
    return (*alias, names, *map(get, names)) if names else alias
