"""Which pages a server's loop may answer itself: those that pass only known WSGI middleware.

Beside the WSGI callable of an application stands a second one. It answers a page of the near cache
as the first one does, or returns None, and it never waits. Middleware that is added by
:func:`add_middleware` stands around both. Other middleware stands around the first one only, and
then no page is answered at once.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

AtOnce = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes] | None]
#: In `app.extensions`: a WSGI callable, and the one that answers at once what it would answer.
_PAIR = "coherent_cache_at_once"


def begin(app: Flask, wsgi_app: "WSGIApplication", at_once: AtOnce) -> None:
    """Replace the WSGI callable of an application by one that can answer at once."""
    app.wsgi_app = wsgi_app  # type: ignore[assignment, method-assign]
    app.extensions[_PAIR] = wsgi_app, at_once


def add_middleware(
    app: Flask, wrap: Callable[[Any], "WSGIApplication"], wrap_at_once: Callable[[AtOnce], AtOnce]
) -> None:
    """Put middleware around both callables."""
    at_once = answerer(app)
    wsgi_app = wrap(app.wsgi_app)
    if at_once is None:
        app.wsgi_app = wsgi_app  # type: ignore[assignment, method-assign]
    else:
        begin(app, wsgi_app, wrap_at_once(at_once))


def answerer(app: object) -> AtOnce | None:
    """Return what answers at once; ``None`` where unknown middleware would be left out."""
    if not isinstance(app, Flask) or type(app).__call__ is not Flask.__call__:
        return None
    wsgi_app, at_once = app.extensions.get(_PAIR, (None, None))
    return at_once if wsgi_app is app.wsgi_app else None
