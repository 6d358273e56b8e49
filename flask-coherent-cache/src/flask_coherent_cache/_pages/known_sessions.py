"""Sessions that Flask has read from a cookie, so that the same cookie needs no Flask again.

Signature and age are checked by Flask's own serializer when the cookie is remembered. From then on
it stands for the same session until it expires, or until a setting of sessions changes. What is
kept of a cookie is a hash under a key of this process, so the memory holds none that could be sent.
"""

import hashlib
import operator
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flask import Flask
from itsdangerous import BadSignature
from werkzeug.http import parse_cookie

from .._engine.bounds import Recent
from .visitors import visitor_name

_MOST_SESSIONS = 10_000
#: What decides what a session's cookie stands for.
_settings_of = operator.itemgetter(
    "SECRET_KEY",
    "SESSION_COOKIE_NAME",
    "PERMANENT_SESSION_LIFETIME",
    "SESSION_REFRESH_EACH_REQUEST",
)


class _Known(NamedTuple):
    """The user of a session in the keys of pages, and the seconds since the epoch that it is of."""

    user: str
    since: float
    until: float


class KnownSessions:
    """Names the users of requests by their session cookies.

    :param digest: of the cache, which names users in keys.
    """

    def __init__(self, app: Flask, digest: Callable[[bytes], str]) -> None:
        self._app = app
        self._digest = digest
        self._nobody = digest(visitor_name({}))
        self._key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
        self._settings: tuple[object, ...] = ()
        self._known: Recent[_Known] = Recent(_MOST_SESSIONS)

    def user_of(self, environ: Mapping[str, Any]) -> str | None:
        """Name the user of a request; ``None`` if Flask has to read its session."""
        if self._settings != self._settings_now():
            return None
        cookie = self._cookie_of(environ)
        if not cookie:
            return None if cookie is None else self._nobody
        known, now = self._known.get(self._name(cookie)), time.time()
        return known.user if known is not None and known.since <= now < known.until else None

    def remember(self, environ: Mapping[str, Any], user: str) -> None:
        """Remember the session cookie of a request that Flask has answered.

        It has to stand for the user by itself: the page's key may hold more than the session.
        """
        settings = self._settings_now()
        if settings != self._settings:
            self._known, self._settings = Recent(_MOST_SESSIONS), settings
        # If the settings change meanwhile, it is kept where nobody looks any more.
        sessions, cookie = self._known, self._cookie_of(environ)
        known = self._read(cookie) if cookie else None
        if cookie and known is not None and known.user == user:
            sessions.keep(self._name(cookie), known)

    def _read(self, cookie: str) -> _Known | None:
        """Read a cookie as Flask does; ``None`` if a response would have to renew it."""
        app = self._app
        serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        try:
            values, signed = serializer.loads(cookie, return_timestamp=True)
        except BadSignature:
            return None
        if values.get("_permanent") and app.config["SESSION_REFRESH_EACH_REQUEST"]:
            return None
        since = signed.timestamp()
        until = since + int(app.permanent_session_lifetime.total_seconds())
        return _Known(self._digest(visitor_name(values)), since, until)

    def _cookie_of(self, environ: Mapping[str, Any]) -> str | None:
        """Return the session cookie, empty if there is none; ``None`` if that is not certain."""
        name, header = self._app.config["SESSION_COOKIE_NAME"], environ.get("HTTP_COOKIE", "")
        if not name.isascii():
            return None
        if name not in header:
            return ""
        try:
            cookies = parse_cookie(header).getlist(name)
        except ValueError:
            return None  # It is not UTF-8.
        if not cookies:
            return ""
        return cookies[0] if len(cookies) == 1 and cookies[0] else None

    def _name(self, cookie: str) -> str:
        data = cookie.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=32).hexdigest()

    def _settings_now(self) -> tuple[object, ...]:
        config = self._app.config
        former = tuple(config["SECRET_KEY_FALLBACKS"] or ())
        return _settings_of(config), former, self._app.session_interface
