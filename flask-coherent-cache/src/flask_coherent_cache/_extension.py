"""The Flask extension: ``Cache``, with Flask-Caching's names."""

import functools
import hashlib
import logging
import os
import secrets
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from flask import Flask, Response
from flask_caching import CachedResponse
from flask_caching.jinja2ext import JINJA_CACHE_ATTR_NAME

from ._connecting import engine_of, settings_of
from ._decorators import Decorators
from ._dependencies.dependencies import SERVED, tally_of
from ._dependencies.watching import encode_queries, watch
from ._engine.peers import connect_peers
from ._invalidation import Invalidation
from ._pages import at_once
from ._pages.app_hooks import AppHooks
from ._pages.fragments import FragmentExtension
from ._pages.responses import after_hooks, before_hooks
from ._pages.templates import watch_lookups
from ._statistics.statistics import Result, Tally

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from ._sqlalchemy import Databases

__all__ = ["Cache", "CachedResponse", "RequestSummary"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: Where ``app.extensions`` holds the declarations and the skipped hooks.
_WATCHED = "coherent_cache_watched"


class RequestSummary(NamedTuple):
    """What the cache did for one request.

    :param endpoint: of a page that was served before Flask; ``None`` for any other answer.
    :param results: the number of lookups by their result, such as ``{"hit": 3}``.
    :param words: the same, as ``3 hit, 1 miss``; empty where nothing was looked up.
    """

    endpoint: str | None
    results: Mapping[Result, int]
    words: str


class Cache(Decorators, Invalidation):
    """``flask_caching.Cache``, whose entries know what they were built from.

    What is read while a value is computed becomes the tags of its entry. Bumping a tag makes every
    entry that carries it invalid, also one that is being computed at that moment::

        cache = Cache(app)  # or cache = Cache(), and cache.init_app(app) later

    :param app: the application to connect; without it, call :meth:`init_app` later.
    :param with_jinja2_ext: whether templates get ``{% cache %}``.
    :param config: settings that come before those of ``app.config``.
    :raises ValueError: for a setting that cannot be, naming it and how to fix it.
    """

    _databases: "Databases | None" = None

    def init_app(self, app: Flask, config: dict[str, Any] | None = None) -> None:
        """Connect an application to the store that its settings name.

        SimpleCache needs no ``SECRET_KEY``; a server that processes share does.

        :param app: the application; a cache may have several.
        :param config: settings that come before those of ``app.config`` and of the constructor.
        :raises ValueError: for a setting that cannot be, naming it and how to fix it.
        """
        own = {**(self.config or {}), **(config or {})}
        settings = settings_of(app, own)
        if self._get_serializer(settings.get("CACHE_SERIALIZER")) is not None:
            warnings.warn(
                "CACHE_SERIALIZER changes nothing: values are pickled, and read only where they "
                "are authenticated.",
                stacklevel=2,
            )
        self.hash_method = settings["CACHE_HASH_METHOD"] or hashlib.sha256
        self.source_check = settings["CACHE_SOURCE_CHECK"]
        self.app = app
        if self.with_jinja2_ext:
            setattr(app.jinja_env, JINJA_CACHE_ATTR_NAME, self)
            app.jinja_env.add_extension(FragmentExtension)
        engine = engine_of(app, settings)
        if engine is not None:
            engine.config = settings
            engine.strict = settings["CACHE_STRICT"] if "CACHE_STRICT" in own else None
            engine.listeners = self._listeners
        caches = {**app.extensions.get("cache", {}), self: engine}
        connect_peers(caches)
        app.extensions["cache"] = caches
        self._settings[app] = settings
        if engine is None:
            encode_queries(app)
        else:
            self._watch(app)
        if self._databases is not None:
            self._databases.connect(app)

    def watch(self, database: Any, *, metadata: Any = None) -> None:
        """Have queries become tags, and commits invalidate what they changed.

        Call it before or after the ``init_app`` of either extension, once for each database::

            cache.watch(db)  # Flask-SQLAlchemy, Flask-SQLAlchemy-Lite
            cache.watch(engine, metadata=Base.metadata)
            cache.watch(sessionmaker(engine), metadata=SQLModel.metadata)

        It adds the table ``cache_note`` to the metadata, which keeps what the cache's server cannot
        take: create it as you create your own tables. On SQLite it begins a transaction before a
        savepoint, so that a rollback undoes what the savepoint changed.

        :param database: the extension, an engine, a ``sessionmaker``, a ``scoped_session``, or a
            list of these.
        :param metadata: of the tables there: a ``MetaData``, a base class, or a list of these. An
            extension that has metadata of its own needs none.
        :raises TypeError: for anything else, such as an asynchronous engine.
        :raises ValueError: for a ``sessionmaker`` without an engine.
        """
        if self._databases is None:
            # SQLAlchemy is of an extra.
            from ._sqlalchemy import Databases  # noqa: PLC0415

            self._databases = Databases(self)
        self._databases.add(database, metadata)

    def tenant(self, function: Callable[[], T]) -> Callable[[], T]:
        """Register a function that names the current tenant, for all that is cached.

        An entry of one tenant is never served to another. Tags are common to all::

            @cache.tenant
            def tenant():
                return g.account.slug

        :param function: returns a name, or an empty string where there is no tenant.
        :return: the function.
        """
        self._name_tenant = function
        return function

    def on_invalidate(self, function: F) -> F:
        """Register a function that is called after each invalidation, as to purge a CDN.

        It runs before the commit that invalidated returns; what it raises is logged.

        :param function: gets the tags as a ``frozenset`` of strings, or ``None`` after ``clear()``.
        :return: the function.
        """
        self._listeners.append(function)
        return function

    def key_for(self, kind: type, *, subclasses: bool = False) -> Callable[[F], F]:
        """Register a function that turns values of a type into what keys can be made of.

        It must return plain data that tells any two values apart which are not the same::

            @cache.key_for(Money)
            def money(value):
                return value.amount, value.currency

        :param kind: the type.
        :param subclasses: whether the function knows all that instances of subclasses hold, too.
        :return: a decorator, which returns the function.
        :raises TypeError: for what is no type, and for a type of which keys can be made already.
        """
        return self._registered_types.registering(kind, subclasses=subclasses)

    def influences_only_through(
        self,
        hook: Any,
        *,
        g: str | Iterable[str] = (),
        resources: str | Iterable[str] = (),
        reason: str,
    ) -> None:
        """Declare that a hook reaches pages only through names on ``g``, or not at all.

        What the hook reads of a request then counts only for what takes one of these names. Without
        a declaration all that a hook reads counts for every page. A declared hook that writes
        anywhere else counts whole, too, and the log says so. ``flask cache doctor`` lists the
        declarations::

            cache.influences_only_through(load_user, g="user", reason="it only sets g.user")

        :param hook: a function that is registered as ``before_request`` or the like; or a
            ``ContextVar`` that holds nothing that pages show.
        :param g: the name, or the names, that it leaves on ``g``.
        :param resources: names on ``g`` of what it opens and that holds no data of the request,
            such as a connection to the database.
        :param reason: why that is so, for the next reader.
        :raises ValueError: without a reason.
        :raises TypeError: for what is neither a function nor a context variable.
        """
        self._declarations.add(hook, g, reason, resources)

    def skip_on_hit(self, hook: F) -> F:
        """Say that a hook does nothing for a GET of a cached page, so that pages can be served
        without it, before Flask.

        A page around whose view any other hook would run is served through Flask. A hook that
        turns out to read request data which is not declared is run again, and the log says so.

        :param hook: a function that is registered as ``before_request``, ``after_request`` or the
            like; or a method of the application's response class, such as ``get_wsgi_headers``,
            which is then called once for a page, and not for each of its hits.
        :return: the function.
        """
        self._skipped_hooks.add(hook)
        return hook

    def serve_before_flask(self, app: Flask) -> bool:
        """Serve the pages in the near cache by WSGI middleware, before Flask.

        Call it before anything else wraps ``app.wsgi_app``: what wraps the application runs on
        these hits, too. Where that cannot be, the log says so, and pages are served by Flask.

        :param app: an application that the cache serves.
        :return: whether they are served before Flask.
        """
        engine = app.extensions["cache"][self]
        if engine is None or engine.near is None:
            return False
        if getattr(app.wsgi_app, "__func__", None) is not Flask.wsgi_app:
            logger.warning(
                "Pages are not served before Flask: app.wsgi_app was replaced before. Call "
                "cache.serve_before_flask(app) right after cache.init_app(app)."
            )
            return False
        # Only where it is used.
        from ._pages.known_sessions import KnownSessions  # noqa: PLC0415
        from ._pages.middleware import PAGE_MIDDLEWARE, PageMiddleware  # noqa: PLC0415

        app_hooks = AppHooks(app, self._skipped_hooks, self._watches)
        sessions = KnownSessions(app, engine.sealer.digest)
        middleware = PageMiddleware(
            app, engine.near, app_hooks, sessions, engine.verifier, config=engine.config
        )
        at_once.begin(app, middleware, middleware.answer_at_once)
        app.extensions[PAGE_MIDDLEWARE] = middleware
        engine.app_hooks = app_hooks
        return True

    @staticmethod
    def add_middleware(app: Flask, wrap: "Callable[[WSGIApplication], WSGIApplication]") -> None:
        """Wrap ``app.wsgi_app`` in WSGI middleware, also around pages that a server's loop answers.

        :class:`flask_coherent_cache.gunicorn.Worker` answers pages of the near cache in its loop
        if all middleware was added this way. Such middleware must not wait for anything. It must
        not fail where the callable inside returns ``None``, and then return ``None`` itself: the
        request comes again, with a new environment, to a thread.

        :param app: an application; call :meth:`serve_before_flask` first.
        :param wrap: gets a WSGI callable and returns another one; it is called once or twice.

        Example::

            cache.add_middleware(app, ProxyFix)
        """
        at_once.add_middleware(app, wrap, wrap)  # type: ignore[arg-type]

    def check(self) -> Literal["ok", "degraded", "off"]:
        """Store a value, read it back, and say how the cache is, for a health check.

        :return: ``degraded`` while the store is away, ``off`` with ``CACHE_TYPE=NullCache`` and
            after ``flask cache off``.
        :raises ConnectionError: where what was just stored was not found.
        """
        if self.engine is None:
            return "off"
        if self.engine.store.breaker.is_away:
            return "degraded"
        if self.engine.kill_switch.ask_again():
            return "off"
        # A name of its own for each thread, so that nobody reads another's probe; not for each
        # time, for what drops a key is remembered for long.
        key = f"check:{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        sent = secrets.token_hex(8)
        self.set(key, sent, timeout=5)
        answer = self.get(key)
        self.delete(key)
        if answer != sent and self.engine.kill_switch.is_off:
            return "off"
        if answer != sent:
            raise ConnectionError("What was just stored was not found.")
        return "ok"

    @staticmethod
    def request_summary(environ: "WSGIEnvironment") -> RequestSummary:
        """Return what the cache did for a request, for an access log; ask it at the end.

        :param environ: of the request, as WSGI middleware has it.
        """
        if endpoint := environ.get(SERVED):
            return RequestSummary(endpoint, {"hit": 1}, "1 hit")
        tally = tally_of(environ) or Tally()
        return RequestSummary(None, tally.results, f"{tally}")

    def _watches(self, database: object) -> bool:
        return self._databases is not None and self._databases.watches(database)

    def _watch(self, app: Flask) -> None:
        """Notice what is read of each request, and look at each response last."""
        watched = app.extensions.get(_WATCHED)
        if watched is not None:
            # Another cache of the same application does: both have the same hooks around them.
            declarations, skipped = watched
            declarations.take_over(self._declarations)
            skipped |= self._skipped_hooks
            self._declarations, self._skipped_hooks = watched
            return
        app.extensions[_WATCHED] = (self._declarations, self._skipped_hooks)
        watch(app, self._declarations, self._skipped_hooks)
        watch_lookups(app.jinja_env)
        process_response = app.process_response

        @functools.wraps(process_response)
        def process_and_finish(response: Response) -> Response:
            return after_hooks(process_response(before_hooks(response)))

        app.process_response = process_and_finish  # type: ignore[method-assign]
