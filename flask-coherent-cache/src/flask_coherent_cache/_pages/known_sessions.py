"""Sessions that Flask has read from a cookie, so that the same cookie needs no Flask again.

Signature and age are checked by Flask's own serializer when the cookie is remembered. From then on
it stands for the same session until it expires, or until a setting of sessions changes. What is
kept of a cookie is a hash under a key of this process, so the memory holds none that could be sent.
"""

import hashlib
import operator
import re
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


class _Sessions(NamedTuple):
    """The sessions that are known under some settings.

    :param plain: finds the cookie as nearly every browser sends it: parsing takes longer than all
        the rest.
    :param known: by the hash of the cookie.
    """

    settings: tuple[object, ...]
    cookie_name: str
    plain: re.Pattern[str]
    known: Recent[_Known]


class KnownSessions:
    """Names the users of requests by their session cookies.

    :param digest: of the cache, which names users in keys.
    """

    def __init__(self, app: Flask, digest: Callable[[bytes], str]) -> None:
        self._app = app
        self._digest = digest
        self._nobody = digest(visitor_name({}))
        self._key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
        self._sessions = self._none_known()

    def user_of(self, environ: Mapping[str, Any]) -> str | None:
        """Name the user of a request; ``None`` if Flask has to read its session."""
        sessions = self._sessions
        if sessions.settings != self._settings():
            return None
        cookie = _cookie_of(environ.get("HTTP_COOKIE", ""), sessions)
        if not cookie:
            return None if cookie is None else self._nobody
        known, now = sessions.known.get(self._name(cookie)), time.time()
        return known.user if known is not None and known.since <= now < known.until else None

    def remember(self, environ: Mapping[str, Any]) -> None:
        """Remember the session cookie of a request that Flask has answered without renewing it."""
        if self.user_of(environ) is not None:
            return
        if self._sessions.settings != self._settings():
            self._sessions = self._none_known()
        # If the settings change from here on, it is kept where nobody looks any more.
        sessions = self._sessions
        cookie = _cookie_of(environ.get("HTTP_COOKIE", ""), sessions)
        if cookie and (known := self._read(cookie)) is not None:
            sessions.known.keep(self._name(cookie), known)

    def _read(self, cookie: str) -> _Known | None:
        """Read a cookie as Flask does; ``None`` if Flask takes it for none."""
        app = self._app
        serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        if serializer is None:  # There is no secret key any more.
            return None
        try:
            values, signed = serializer.loads(cookie, return_timestamp=True)
        except BadSignature:
            return None
        since = signed.timestamp()
        until = since + int(app.permanent_session_lifetime.total_seconds())
        return _Known(self._digest(visitor_name(values)), since, until)

    def _name(self, cookie: str) -> str:
        return hashlib.blake2b(cookie.encode(), key=self._key, digest_size=32).hexdigest()

    def _none_known(self) -> _Sessions:
        settings, name = self._settings(), self._app.config["SESSION_COOKIE_NAME"]
        plain = re.compile(rf"(?:^|; ){re.escape(name)}=([\w.-]+)(?:;|\Z)", re.ASCII)
        return _Sessions(settings, name, plain, Recent(_MOST_SESSIONS))

    def _settings(self) -> tuple[object, ...]:
        config = self._app.config
        former = tuple(config["SECRET_KEY_FALLBACKS"] or ())
        return _settings_of(config), former, self._app.session_interface


def _cookie_of(header: str, sessions: _Sessions) -> str | None:
    """Return the session cookie, empty if there is none; ``None`` if that is not certain."""
    name = sessions.cookie_name
    if not (header.isascii() and name.isascii()):
        return None
    if name not in header:
        return ""
    if header.count(name) == 1 and '"' not in header and (found := sessions.plain.search(header)):
        return found[1]
    cookies = parse_cookie(header).getlist(name)
    if not cookies:
        return ""
    return cookies[0] if len(cookies) == 1 and cookies[0] else None
