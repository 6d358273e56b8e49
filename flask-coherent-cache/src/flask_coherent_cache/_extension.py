"""The Flask extension: Flask-Caching's names, with entries that know what they were built from."""

import functools
import gc
import hashlib
import inspect
import logging
import os
import secrets
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import flask_caching
from flask import Flask, Response, current_app, has_app_context, has_request_context, request
from flask.globals import request_ctx
from flask_caching import CachedResponse
from flask_caching.jinja2ext import JINJA_CACHE_ATTR_NAME
from flask_caching.signals import (
    cache_memoize_hit,
    cache_memoize_miss,
    cache_view_hit,
    cache_view_miss,
)
from flask_caching.utils import normalize_timeout, wants_args, wants_extra_args

from ._dependencies.declarations import Declaration, Declarations
from ._dependencies.dependencies import SERVED, current_dependencies, own_dependencies, tally_of
from ._dependencies.inputs import (
    AUTHORIZATION,
    PAGE_PARTS,
    PATH,
    QUERY,
    SESSION,
    Declared,
    report_once,
)
from ._dependencies.noticed import Owner
from ._dependencies.watching import encode_queries, routed_arguments, watch
from ._engine.engine import CacheEngine, key_tag
from ._engine.entry import Sealer
from ._engine.fallback import Fallback
from ._engine.kill_switch import KillSwitch
from ._engine.peers import connect_peers
from ._functions.coroutines import awaitable, run_to_end
from ._functions.functions import copied_value, fetch_value
from ._functions.values import decode, encode
from ._keys.calls import CallKey, name_of
from ._keys.closures import Scope
from ._keys.encoding import bounded
from ._keys.registered_types import RegisteredTypes
from ._options import (
    MayDiffer,
    Options,
    Timeout,
    cache_control_of,
    check_tags,
    check_vary,
    check_vary_cookies,
    check_vary_environ,
    check_warm,
    checked,
    refuse_bare,
    without_none,
)
from ._pages.fragments import Fill, FragmentExtension
from ._pages.layers import is_flask
from ._pages.surroundings import Surroundings
from ._pages.templates import context_class
from ._pages.view_layers import layers
from ._pages.views import (
    PAGE_MIDDLEWARE,
    PageOptions,
    begin,
    finish,
    is_current_view,
    path_key,
    serve_page,
    unknown_view_tag,
    view_tag,
    view_tags,
)
from ._statistics.statistics import Level, Result, Tally
from ._stores import Store, connect, kind_of, missing_extra, numbers, options_as_settings
from ._verification import Verifier

if TYPE_CHECKING:
    # Flask-Caching's own types of what its decorators return.
    from _typeshed.wsgi import WSGIEnvironment
    from flask_caching import _CachedFunction, _MemoizedFunction

    from ._sqlalchemy.tracking import Databases

__all__ = ["Cache", "CachedResponse"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_DEFAULTS: dict[str, Any] = {
    "CACHE_TYPE": "SimpleCache",
    "CACHE_DEFAULT_TIMEOUT": 300,
    "CACHE_GRACE": 0,
    "CACHE_KEY_PREFIX": "app",
    "RELEASE": "dev",
    "CACHE_LEASE_SECONDS": 10,
    "CACHE_WAIT_SECONDS": 5,
    "CACHE_THRESHOLD": 5000,
    "CACHE_MAX_BYTES": 64 * 1024 * 1024,
    "CACHE_REDIS_URL": None,
    "CACHE_REDIS_HOST": "localhost",
    "CACHE_REDIS_PORT": 6379,
    "CACHE_REDIS_DB": 0,
    "CACHE_REDIS_TLS": False,
    "CACHE_REDIS_CA_FILE": None,
    "CACHE_REDIS_CERT_FILE": None,
    "CACHE_REDIS_KEY_FILE": None,
    "CACHE_MEMCACHED_SERVERS": ("localhost:11211",),
    "CACHE_CONNECT_TIMEOUT_SECONDS": 0.25,
    "CACHE_SOCKET_TIMEOUT_SECONDS": 0.25,
    "CACHE_RETRY_SECONDS": 1,
    "CACHE_DEGRADED_SECONDS": 2,
    "CACHE_POOL_SIZE": 16,
    "CACHE_NEAR_BYTES": 32 * 1024 * 1024,
    "CACHE_NEAR_ENTRIES": 10_000,
    "CACHE_COMPRESS_MIN_BYTES": 4096,
    "CACHE_MAX_KEY_BYTES": 2048,
    "CACHE_NEW_PAGES_PER_MINUTE": 1000,
    "CACHE_NEW_VALUES_PER_MINUTE": 10_000,
    "CACHE_SOURCE_CHECK": False,
    "CACHE_SURROGATE_KEYS": False,
    "CACHE_VERIFY": 0,
    "CACHE_REPLICA_LAG_SECONDS": 0,
    "CACHE_ENABLE_SIGNALS": False,
}


#: The lookups of what was served before Flask, and of what looked nothing up.
_ONE_HIT = Tally({"hit": 1})
_NO_LOOKUP = Tally()


class RequestSummary(NamedTuple):
    """What the cache did for one request.

    :param endpoint: of a page that was served before Flask; ``None`` for any other answer.
    :param results: the number of lookups by their result, such as ``{"hit": 3}``.
    :param words: the same, as ``3 hit, 1 miss``; empty where nothing was looked up.
    """

    endpoint: str | None
    results: Mapping[Result, int]
    words: str


class Cache(flask_caching.Cache):
    """``flask_caching.Cache``, made right.

    What is read while a value is computed becomes the tags of its entry, and raising a tag
    makes every entry that carries it invalid, also one that is being computed at that moment.
    """

    _name_tenant: Callable[[], object] = str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Which hooks need not count, and why.
        self.declarations = Declarations()
        self._skipped_hooks: set[Callable[..., Any]] = set()
        #: The applications that it serves, and its settings in each.
        self._settings: WeakKeyDictionary[Flask, dict[str, Any]] = WeakKeyDictionary()
        self._listeners: list[Callable[..., Any]] = []
        self.registered_types = RegisteredTypes()
        self._databases: Databases | None = None
        super().__init__(*args, **kwargs)

    def tenant(self, function: Callable[[], T]) -> Callable[[], T]:
        """Register a function that names the current tenant, for all that is cached.

        An entry of one tenant is never served to another. Tags are common to all.
        """
        self._name_tenant = function
        return function

    def on_invalidate(self, function: F) -> F:
        """Register a function that is called after each invalidation, as to purge a CDN.

        It gets the tags as a ``frozenset`` of strings, or ``None`` for all of ``clear()``. It
        runs before the commit that invalidated returns; what it raises is logged.
        """
        self._listeners.append(function)
        return function

    def key_for(self, kind: type, *, subclasses: bool = False) -> Callable[[F], F]:
        """Register a function that turns values of a type into what keys can be made of.

        It must return plain data that tells any two values apart which are not the same::

            @cache.key_for(Money)
            def money(value):
                return value.amount, value.currency

        :param subclasses: whether it knows all that instances of subclasses hold, too.
        :raises TypeError: for what is no type, and for a type of which keys can be made already.
        """
        return self.registered_types.registering(kind, subclasses=subclasses)

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
        self.declarations.add(hook, g, reason, resources)

    def _own(self, key: str, mount: str = "") -> str:
        tenant = self._name_tenant()
        if mount:
            # A URL that was built for one mount is wrong at another.
            key = f"{key} at {mount}"
        return f"{tenant}|{key}" if tenant else key

    def init_app(self, app: Flask, config: dict[str, Any] | None = None) -> None:
        """Connect an application to the store that its settings name.

        SimpleCache needs no ``SECRET_KEY``; a server that processes share does.

        :raises ValueError: for a setting that cannot be, naming it and what would do.
        """
        own = {**(self.config or {}), **(config or {})}
        of_cache = {
            name: value
            for name, value in app.config.items()
            if name in _DEFAULTS or name.startswith(("CACHE_", "SECRET_KEY"))
        }
        settings = {**_DEFAULTS, **of_cache, **own}
        settings["CACHE_TYPE"] = kind_of(settings["CACHE_TYPE"])
        settings |= options_as_settings(settings)
        settings["CACHE_DEFAULT_TIMEOUT"] = normalize_timeout(settings["CACHE_DEFAULT_TIMEOUT"])
        prefix = settings["CACHE_KEY_PREFIX"]
        if not prefix or ":" in prefix:
            raise ValueError(f"CACHE_KEY_PREFIX is {prefix!r}: use a name without a colon.")
        self.hash_method = settings.get("CACHE_HASH_METHOD") or hashlib.sha256
        if not callable(self.hash_method):
            raise ValueError(
                f"CACHE_HASH_METHOD is {self.hash_method!r}: use a constructor of hashlib."
            )
        if self._get_serializer(settings.get("CACHE_SERIALIZER")) is not None:
            warnings.warn(
                "CACHE_SERIALIZER changes nothing: values are pickled, and read only where they "
                "are authenticated.",
                stacklevel=2,
            )
        share = settings["CACHE_VERIFY"]
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"CACHE_VERIFY is {share!r}: use the share of hits, from 0 to 1.")
        lag = settings["CACHE_REPLICA_LAG_SECONDS"]
        if isinstance(lag, bool) or not isinstance(lag, int | float) or not 0 <= lag <= 3600:
            raise ValueError(
                f"CACHE_REPLICA_LAG_SECONDS is {lag!r}: use the seconds by which a replica of the "
                "database may be behind, from 0 to 3600."
            )
        settings |= numbers(settings, _DEFAULTS)
        for name, default in _DEFAULTS.items():
            app.config.setdefault(name, default)
        app.config["CACHE_TYPE"] = kind_of(app.config["CACHE_TYPE"])
        self.app = app
        self.source_check = settings["CACHE_SOURCE_CHECK"]
        if self.with_jinja2_ext:
            setattr(app.jinja_env, JINJA_CACHE_ATTR_NAME, self)
            app.jinja_env.add_extension(FragmentExtension)
        entries = self._connected(app, settings)
        if entries is not None:
            entries.config, entries.strict = settings, own.get("CACHE_STRICT")
        caches = {**app.extensions.get("cache", {}), self: entries}
        connect_peers(caches)
        app.extensions["cache"] = caches
        self._settings[app] = settings
        if entries is None:
            encode_queries(app)
        else:
            self._watch(app)
        if self._databases is not None:
            self._databases.connect(app)

    @property
    def apps(self) -> tuple[Flask, ...]:
        """The applications that it serves."""
        return tuple(self._settings)

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
            from ._sqlalchemy.tracking import Databases  # noqa: PLC0415

            self._databases = Databases(self)
        self._databases.add(database, metadata)

    def _watch(self, app: Flask) -> None:
        """Notice what is read of each request, and look at each response last."""
        watched = app.extensions.get(_WATCHED)
        if watched is not None:
            # Another cache of the same application does: both have the same hooks around them.
            declarations, skipped = watched
            declarations.take_over(self.declarations)
            skipped |= self._skipped_hooks
            self.declarations, self._skipped_hooks = watched
            return
        app.extensions[_WATCHED] = (self.declarations, self._skipped_hooks)
        watch(app, self.declarations, self._skipped_hooks)
        app.jinja_env.context_class = context_class(app.jinja_env.context_class)
        process_response = app.process_response

        @functools.wraps(process_response)
        def process_and_finish(response: Response) -> Response:
            return finish(process_response(begin(response)))

        app.process_response = process_and_finish  # type: ignore[method-assign]

    def _connected(self, app: Flask, settings: dict[str, Any]) -> CacheEngine | None:
        store = connect(settings, app)
        if store is None:
            return None
        _check_worker()
        secret = settings.get("SECRET_KEY")
        if not secret and store.shared:
            raise ValueError(
                f"SECRET_KEY is not set, and CACHE_TYPE is {settings['CACHE_TYPE']}: what lies on a"
                " server is encrypted with it, so that nobody else can read or forge it. Set it to"
                " the same random text in all processes, as printed by"
                " `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`."
            )
        # Also where nothing is kept while the store is there.
        fallback_bytes = settings["CACHE_NEAR_BYTES"] or _DEFAULTS["CACHE_NEAR_BYTES"]
        fallback = Fallback(settings["CACHE_DEGRADED_SECONDS"], fallback_bytes)
        kill_switch = KillSwitch(store, settings["CACHE_KEY_PREFIX"])
        entries = CacheEngine(
            store,
            _sealer(store, settings),
            app=app,
            prefix=settings["CACHE_KEY_PREFIX"],
            release=settings["RELEASE"],
            lease_seconds=settings["CACHE_LEASE_SECONDS"],
            wait_seconds=settings["CACHE_WAIT_SECONDS"],
            near=_near_cache(store, settings, fallback, kill_switch),
            fallback=fallback,
            kill_switch=kill_switch,
        )
        entries.listeners = self._listeners
        if share := settings["CACHE_VERIFY"]:
            entries.verifier = Verifier(entries, share)
        return entries

    @property
    def engine(self) -> CacheEngine | None:
        """The entries of the current application; ``None`` with ``CACHE_TYPE=NullCache``."""
        app = self._app()
        try:
            found: CacheEngine | None = app.extensions["cache"][self]
        except KeyError:
            raise RuntimeError(
                f"This cache does not know the application {app.name!r}: call cache.init_app(app) "
                "where that is made."
            ) from None
        return found

    @property
    def settings(self) -> Mapping[str, Any]:
        """The application's settings, and above them those that this cache got."""
        return self._settings[self._app()]

    @property
    def cache(self) -> "Backend":  # type: ignore[override]
        """What Flask-Caching calls the backend: ``get``, ``set`` and the like, without tags."""
        return Backend(self)

    def _app(self) -> Flask:
        """The current application; outside of a context the one that the cache serves.

        :raises RuntimeError: where it serves none, or several.
        """
        if has_app_context():
            current: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
            return current
        if len(self._settings) > 1:
            gc.collect()  # Those that were dropped, as by the tests before this one.
        apps = list(self._settings)
        if len(apps) == 1:
            return apps[0]
        raise RuntimeError(
            f"This cache serves {len(apps)} applications, so outside of a context it cannot know "
            "which is meant: use it inside `with app.app_context():`."
            if apps
            else "This cache serves no application yet: call cache.init_app(app) first."
        )

    # -- how it does ---------------------------------------------------------------------

    def check(self) -> Literal["ok", "degraded", "off"]:
        """Store a value, read it back, and say how the cache does, for a health check.

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
            return RequestSummary(endpoint, _ONE_HIT.results, "1 hit")
        tally = tally_of(environ) or _NO_LOOKUP
        return RequestSummary(None, tally.results, f"{tally}")

    # -- tags ----------------------------------------------------------------------------

    def tag(self, *tags: str) -> None:
        """Make what is being computed depend on names: inside a cached function or view.

        :raises ValueError: for a tag that is no name.
        """
        check_tags(tags, "cache.tag")
        current_dependencies().tags.update(tags)

    def invalidate(self, *tags: str) -> None:
        """Make every entry that carries one of the tags invalid, in all processes.

        Call it after the commit. When it returns, no request that starts later is served an
        entry that was built before it. The cost does not depend on the number of entries.

        :raises ValueError: for a tag that is no name.
        """
        check_tags(tags, "cache.invalidate")
        if self.engine is not None:
            self.engine.invalidate(tags, lag=self.engine.replica_lag)

    def invalidate_view(self, endpoint: str, **values: object) -> None:
        """Make the pages of an endpoint invalid: all of them, or those with these arguments.

        :raises ValueError: for an endpoint that does not exist, or arguments that it lacks.
        """
        if endpoint.startswith(".") and has_request_context():
            endpoint = f"{request.blueprint}{endpoint}" if request.blueprint else endpoint[1:]
        rules = [rule for rule in self._app().url_map.iter_rules() if rule.endpoint == endpoint]
        if not rules:
            raise ValueError(f"invalidate_view: there is no endpoint {endpoint!r}.")
        if values and not any(rule.arguments == set(values) for rule in rules):
            takes = " or ".join(str(sorted(rule.arguments)) for rule in rules)
            raise ValueError(
                f"invalidate_view: {endpoint!r} takes {takes}, not {sorted(values)}: "
                "give all its arguments, or none for all its pages."
            )
        if not values:
            return self.invalidate(view_tag(endpoint))
        routed = _as_routed(self._app(), endpoint, values)
        tags = view_tags(rules, endpoint, values) | view_tags(rules, endpoint, routed)
        if not tags:
            raise ValueError(f"invalidate_view: {endpoint!r} has no URL with these arguments.")
        return self.invalidate(*tags, unknown_view_tag(endpoint))

    def refresh(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Drop a memoized call, or a key, softly: stale from now on, served so within its grace.

        :raises TypeError: for what is neither a memoized function nor a key.
        """
        if not isinstance(function, str) and not hasattr(function, "call_key"):
            raise TypeError(f"refresh: {function!r} is neither a memoized function nor a key.")
        key = function
        if not isinstance(function, str):
            given = _with_instance(function, args)
            key = function.make_cache_key(function.uncached, *given, **kwargs)
        if self.engine is not None:
            self.engine.refresh(self._own(key))

    # -- decorators ----------------------------------------------------------------------

    def cached(
        self,
        timeout: Timeout = None,
        key_prefix: str | Callable[[], str] = "view/%s",
        unless: Callable[..., Any] | None = None,
        forced_update: Callable[..., Any] | None = None,
        is_stale: Callable[..., Any] | None = None,
        response_filter: Callable[..., Any] | None = None,
        query_string: bool = False,
        hash_method: Callable[..., Any] | None = None,
        cache_none: bool | None = None,
        make_cache_key: Callable[..., Any] | None = None,
        source_check: bool | None = None,
        response_hit_indication: bool | None = False,
        *,
        tags: Iterable[str] = (),
        grace: float | None = None,
        query: Iterable[str] = (),
        vary: Iterable[str] = (),
        vary_cookies: Iterable[str] = (),
        vary_environ: Iterable[str] = (),
        private: bool | Callable[[], object] = False,
        jitter: float = 0.0,
        not_found_timeout: int | None = None,
        max_age: int | None = None,
        stale_while_revalidate: int | None = None,
        stale_if_error: int | None = None,
        warm: bool | Callable[[], Iterable[Mapping[str, Any]]] = False,
        may_differ: MayDiffer = False,
    ) -> "Callable[[Callable[P, R]], _CachedFunction[P, R]]":
        """Cache a view's pages, or what a function without arguments returns.

        Flask-Caching's parameters keep their meaning, but that ``None`` is a value as any other
        unless ``cache_none`` is ``False``. A page's key holds scheme, host, path, and what the view
        declares.

        :param timeout: seconds to the soft expiry; 0 is not stored; ``None`` is the default.
        :param tags: names that the entry carries beside those that its fill reads.
        :param grace: seconds past the timeout in which it may be served stale.
        :param query: the query parameters that enter the key; ``query_string=True`` is all.
        :param vary: the request headers that enter the key; ``Vary`` says so.
        :param vary_cookies: the cookies that enter the key.
        :param vary_environ: the keys of the WSGI environment that enter the key.
        :param private: ``True``: an entry for each session; or a callable that names the user.
        :param jitter: the share of the timeout, 0 to 1, by which it is shortened at random.
        :param not_found_timeout: seconds for which a 404 is stored; ``None`` is not at all.
        :param max_age: seconds for which browsers and caches in front may keep it without
            asking, and an invalidation does not reach them; ``None`` has them ask each time.
        :param stale_while_revalidate: seconds past it in which they may serve it while they ask.
        :param stale_if_error: seconds past it in which they may serve it where asking fails.
        :param warm: which pages ``flask cache warm`` asks for: ``True`` is the one of a rule
            without arguments; a callable returns the values of each page, as ``url_for`` takes
            them: the rule's arguments, and what is left over becomes the query.
        :param may_differ: what may differ where ``CACHE_VERIFY`` computes a hit again: ``True`` is
            all; a function gets the body's bytes, or the value of a function that is no view, and
            returns what has to be equal, such as ``lambda body: TIME.sub(b"", body)``.
        :raises TypeError: for an async generator, and without parentheses.
        :raises ValueError: for a time or a share out of range, for parts of the request that say
            who asks, and for a private page to warm.
        """
        refuse_bare("cached", timeout)
        check_tags(tags, "@cache.cached")
        check_tags(query, "@cache.cached(query=…)")
        check_vary(vary)
        check_vary_cookies(vary_cookies)
        check_vary_environ(vary_environ)
        cache_control = cache_control_of(max_age, stale_while_revalidate, stale_if_error)
        check_warm(warm, private)
        # A key of the view's own making holds what of the query it is made from.
        own_key = make_cache_key is not None or callable(key_prefix)
        declared = Declared(
            query=None if query_string else frozenset(query),
            headers=frozenset(name.lower() for name in vary),
            cookies=frozenset(vary_cookies),
            environ=frozenset(vary_environ),
            parts=PAGE_PARTS | ({SESSION, AUTHORIZATION} if private is True else frozenset()),
        )

        asks = (unless, forced_update, is_stale, response_hit_indication)
        stands_alone = not any((own_key, *asks, private, vary_cookies, vary_environ))
        # Names pages as Flask-Caching does, for those who delete them by their key.
        named = super().cached(
            key_prefix=key_prefix,
            query_string=query_string,
            hash_method=hash_method,
            source_check=source_check,
        )

        def decorate(function: Callable[P, R]) -> "_CachedFunction[P, R]":
            if isinstance(function, classmethod | staticmethod):
                return type(function)(decorate(function.__func__))  # type: ignore[return-value]
            options = checked(
                "cached",
                function,
                Options(
                    name_of(function, "cached"), unless, forced_update, is_stale,
                    without_none(response_filter) if cache_none is False else response_filter,
                    tuple(tags), grace, jitter, may_differ,
                ),
                timeout,
            )  # fmt: skip
            source = self._source_digest(function, source_check, hash_method)
            call_key = CallKey(
                function,
                others=self.registered_types.text,
                scope=self._scope,
                remedy="give it a key, key_prefix='…'",
            )
            default_make_cache_key = named(function).make_cache_key
            is_async = inspect.iscoroutinefunction(function)
            call = run_to_end(function, self._app) if is_async else function

            @functools.wraps(function)
            def decorated(*args: Any, **kwargs: Any) -> Any:
                entries = self.engine
                if entries is None:
                    return call(*args, **kwargs)
                is_view = has_request_context() and is_current_view(decorated)
                if self._bypass_cache(unless, function, *args, **kwargs):
                    name = (request_ctx.request.endpoint or "") if is_view else options.name
                    level: Level = "page" if is_view else "function"
                    lookups = entries.statistics.lookups(level, name)
                    entries.refuse(lookups, "unless")
                    with entries.bypass(lookups):
                        return call(*args, **kwargs)
                if is_view and not is_first_call(args, kwargs):
                    lookups = entries.statistics.lookups("page", request_ctx.request.endpoint or "")
                    with entries.bypass(lookups):
                        return call(*args, **kwargs)
                if is_view:
                    # Around a coroutine function there is a frame more.
                    gives_value = not is_flask(sys._getframe(2 if is_async else 1))
                    chosen = page_options(entries, gives_value, args, kwargs)
                    return self._page(entries, decorated, options, chosen, args, kwargs)
                key = function_key(args, kwargs)
                return self._value(
                    entries, decorated, options, key, None, args, kwargs, cache_view_signals
                )

            def is_first_call(args: Any, kwargs: Any) -> bool:
                """Tell whether a request's page is asked for: a decorator may call a view again."""
                given = args, kwargs
                return (
                    current_dependencies().noticed.arguments.setdefault(decorated, given) == given
                )

            def custom_key(args: Any, kwargs: Any) -> str | None:
                if make_cache_key is not None:
                    return str(make_cache_key(*args, **kwargs))
                if (assigned := assigned_key()) is not None:
                    return str(assigned(*args, use_request=True, **kwargs))
                if callable(key_prefix):
                    return key_prefix()
                return key_prefix + source() if "%s" not in key_prefix else None

            def page_options(
                entries: CacheEngine, gives_value: bool, args: Any, kwargs: Any
            ) -> PageOptions:
                owner = Owner("making the key", naming=True)
                is_own = own_key or assigned_key() is not None
                if is_own:
                    custom = current_dependencies().noticed.run(owner, custom_key, args, kwargs)
                else:
                    custom = custom_key(args, kwargs)
                held = declared
                if is_own and QUERY in owner.inputs:
                    held = replace(declared, query=None)
                return PageOptions(
                    held,
                    private,
                    not_found_timeout,
                    custom,
                    key_inputs=frozenset(w for w in owner.inputs if not held.holds(w)),
                    whole_key=is_own and declared.query == frozenset(),
                    hit_indication=bool(response_hit_indication),
                    cache_control=cache_control,
                    gives_value=gives_value,
                    stands_alone=stands_alone
                    and not is_own
                    and self._nothing_runs_around(entries, decorated),
                )

            def function_key(args: Any, kwargs: Any) -> str:
                key = custom_key(args, kwargs)
                if key is not None:
                    return key
                # A view is known by its endpoint; any other function only by its name.
                call_key.refuse_nameless()
                path = request_ctx.request.__dict__["path"] if has_request_context() else ""
                return f"{call_key(*args, **kwargs)}@{path}#{source()}"

            def path_name(path: str) -> str:
                return key_prefix() if callable(key_prefix) else path_key(key_prefix, path)

            def page_names(path: str) -> set[str]:
                if callable(key_prefix):
                    return set()
                names = {path_name(path)}
                if query_string or source():
                    names.add(default_make_cache_key(use_request=True))
                return names

            def assigned_key() -> Callable[..., Any] | None:
                make: Any = vars(decorated)["make_cache_key"]
                return None if make is default_make_cache_key else make

            if is_async:
                decorated = awaitable(decorated)  # type: ignore[assignment]
            decorated.uncached = function  # type: ignore[attr-defined]
            decorated.call_uncached = call  # type: ignore[attr-defined]
            decorated.cache_timeout = timeout  # type: ignore[attr-defined]
            decorated.sorts_query = query_string  # type: ignore[attr-defined]
            decorated.cache_warm = warm  # type: ignore[attr-defined]
            decorated.make_cache_key = default_make_cache_key  # type: ignore[attr-defined]
            decorated.page_names = page_names  # type: ignore[attr-defined]
            decorated.holds_all = lambda *given: not any(given) and call_key.holds_all(*given)  # type: ignore[attr-defined]
            decorated.path_name = path_name  # type: ignore[attr-defined]
            decorated.source = source  # type: ignore[attr-defined]
            return decorated  # type: ignore[return-value]

        return decorate

    def memoize(
        self,
        timeout: Timeout = None,
        make_name: Callable[..., str] | None = None,
        unless: Callable[..., bool] | None = None,
        forced_update: Callable[..., bool] | None = None,
        is_stale: Callable[..., bool] | None = None,
        response_filter: Callable[..., Any] | None = None,
        hash_method: Callable[..., Any] | None = None,
        cache_none: bool | None = None,
        source_check: bool | None = None,
        args_to_ignore: list[str] | None = None,
        *,
        tags: Iterable[str] = (),
        grace: float | None = None,
        jitter: float = 0.0,
        may_differ: MayDiffer = False,
    ) -> "Callable[[Callable[P, R]], _MemoizedFunction[P, R]]":
        """Cache what a function returns, an entry for each set of arguments.

        Flask-Caching's parameters keep their meaning, but that ``hash_method`` changes nothing,
        and ``None`` is a value as any other unless ``cache_none`` is ``False``. Each caller gets
        a value of its own.

        An ``async def`` is awaited where an event loop runs, as in an async view; elsewhere it
        returns the value, as Flask-Caching does. It needs ``flask[async]``.

        :param timeout: seconds to the soft expiry; 0 is not stored; ``None`` is the default.
        :param tags: names that the entry carries beside those that its fill reads.
        :param grace: seconds past the timeout in which it may be served stale.
        :param jitter: the share of the timeout, 0 to 1, by which it is shortened at random.
        :param may_differ: what may differ where ``CACHE_VERIFY`` computes a hit again: ``True`` is
            all; a function gets the value and returns what has to be equal.
        :raises TypeError: for an async generator, without parentheses, and without ``make_name``
            for a lambda or a closure over what has no stable text; at a call for such an argument.
        :raises ValueError: for a time or a share out of range.
        """
        refuse_bare("memoize", timeout)
        check_tags(tags, "@cache.memoize")

        def decorate(function: Callable[P, R]) -> "_MemoizedFunction[P, R]":
            if isinstance(function, classmethod | staticmethod):
                return type(function)(decorate(function.__func__))  # type: ignore[return-value]
            options = checked(
                "memoize",
                function,
                Options(
                    name_of(function, "memoize"), unless, forced_update, is_stale,
                    without_none(response_filter) if cache_none is False else response_filter,
                    tuple(tags), grace, jitter, may_differ,
                ),
                timeout,
            )  # fmt: skip
            others, ignored = self.registered_types.text, args_to_ignore or ()
            call_key = CallKey(
                function, ignored, make_name, others, self._scope, by_code=source_check is not False
            )
            if make_name is None:
                call_key.refuse_nameless()
            source = self._source_digest(function, source_check)
            is_async = inspect.iscoroutinefunction(function)
            call = run_to_end(function, self._app) if is_async else function

            @functools.wraps(function)
            def decorated(*args: Any, **kwargs: Any) -> Any:
                entries = self.engine
                if entries is None:
                    return call(*args, **kwargs)
                if unless is not None and self._bypass_cache(unless, function, *args, **kwargs):
                    lookups = entries.statistics.lookups("function", options.name)
                    entries.refuse(lookups, "unless")
                    with entries.bypass(lookups):
                        return call(*args, **kwargs)
                key = make_cache_key(function, *args, **kwargs)
                return self._value(
                    entries, decorated, options, key, names_of, args, kwargs, cache_memoize_signals,
                    lambda: make_cache_key(function, *args, **kwargs) == key,
                )  # fmt: skip

            def names_of(*args: Any, **kwargs: Any) -> list[str]:
                names = [f"fn:{name}" for name in call_key.names(*args)]
                if call_key.code_digest or call_key.is_literal or source():
                    names.append(key_tag(self._own(key_in_all_releases(*args, **kwargs))))
                return names

            def make_cache_key(_: Any, /, *args: Any, **kwargs: Any) -> str:
                return bounded(f"fn:{call_key(*args, **kwargs)}{source()}")

            def key_in_all_releases(*args: Any, **kwargs: Any) -> str:
                return bounded(f"fn:{call_key.in_all_releases(*args, **kwargs)}")

            if is_async:
                decorated = awaitable(decorated)  # type: ignore[assignment]
            decorated.uncached = function  # type: ignore[attr-defined]
            decorated.call_uncached = call  # type: ignore[attr-defined]
            decorated.cache_timeout = timeout  # type: ignore[attr-defined]
            decorated.make_cache_key = make_cache_key  # type: ignore[attr-defined]
            decorated.call_key = call_key  # type: ignore[attr-defined]
            decorated.holds_all = call_key.holds_all  # type: ignore[attr-defined]
            decorated.key_in_all_releases = key_in_all_releases  # type: ignore[attr-defined]
            decorated.delete_memoized = functools.partial(self.delete_memoized, decorated)  # type: ignore[attr-defined]
            return decorated  # type: ignore[return-value]

        return decorate

    def fragment(
        self,
        key: str,
        name: str,
        timeout: Any,
        caller: Callable[[], str],
        fill: Fill | None = None,
    ) -> Any:
        """Cache a part of a template, as ``{% cache %}`` does; its key holds its name.

        :param fill: calls ``caller``, and tells whether the key holds all that it used.
        """
        entries, reads = self.engine, current_dependencies()
        if entries is None:
            return caller()
        own_key = self._own(key, reads.mount)
        lookups = entries.statistics.lookups("fragment", name)
        verify = entries.verifier is not None and entries.verifier.chooses()
        if not verify:
            for value in copied_value(entries, own_key, lookups, reads):
                return value

        def filled() -> str:
            if fill is None:
                return caller()
            current_dependencies().tags.update(
                key_tag(self._own(each)) for each in fill.dropped_by()
            )
            return fill()

        passes = fill.is_complete if fill is not None else None
        options = Options(f"The fragment {name}", None, None, None, passes, (), None, 0.0)
        tags = [key_tag(self._own(key))] if reads.mount else []
        policy = options.policy(normalize_timeout(timeout), entries.config, *tags)
        fetched = fetch_value(
            entries,
            own_key,
            filled,
            policy,
            options,
            lookups,
            in_background=False,
            alone=fill is not None and fill.stands_alone,
            verify=verify,
        )
        return fetched[0]

    def _page(
        self,
        entries: CacheEngine,
        decorated: Any,
        options: Options,
        page_options: PageOptions,
        args: Any,
        kwargs: Any,
    ) -> Any:
        values = routed_arguments(request_ctx.request)
        endpoint = request_ctx.request.endpoint or ""
        reads = current_dependencies()
        tags = [view_tag(endpoint)]
        if values:
            rules = self._app().url_map.iter_rules(endpoint)
            tags += view_tags(rules, endpoint, values) or [unknown_view_tag(endpoint)]
        if page_options.custom_key is not None:
            tags.append(key_tag(self._own(page_options.custom_key)))
        path = request_ctx.request.__dict__["path"]

        def call() -> Any:
            with reads.noticed.unnoticed():
                reads.tags.update(key_tag(self._own(name)) for name in decorated.page_names(path))
            return decorated.call_uncached(*args, **kwargs)

        source = decorated.source()
        answer = serve_page(
            entries,
            call,
            options.policy(decorated.cache_timeout, entries.config, *tags),
            options,
            page_options,
            (lambda key: self._own(f"{key}#{source}")) if source else self._own,
            renew=self._forced_update(options.forced_update, *args, **kwargs),
            is_stale=(
                (lambda page: self._is_stale(options.is_stale, page, *args, **kwargs))
                if options.is_stale is not None
                else None
            ),
        )
        hit = current_dependencies().noticed.answer.hit
        self._signal(entries, cache_view_signals, hit, path, decorated.uncached, args, kwargs)
        return answer

    def _scope(self) -> Scope:
        """Return what the keys of closures take from the current application."""
        return Scope(self._app().extensions.setdefault(_KNOWN, {}), self.digest)

    # The parameters of a view or a function may have the names of these.

    def _bypass_cache(  # type: ignore[override]
        self, unless: Callable[..., Any] | None, f: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> bool:
        if not callable(unless):
            return False
        given = functools.partial(unless, f, *args, **kwargs) if wants_args(unless) else unless
        return _asked(_UNLESS, lambda: given() is True)

    def _forced_update(  # type: ignore[override]
        self, forced_update: Callable[..., Any] | None, /, *args: Any, **kwargs: Any
    ) -> bool:
        if not callable(forced_update):
            return False
        takes = wants_args(forced_update)
        given = functools.partial(forced_update, *args, **kwargs) if takes else forced_update
        return _asked(_FORCED_UPDATE, lambda: given() is True)

    def _is_stale(  # type: ignore[override]
        self, is_stale: Callable[..., Any] | None, rv: Any, /, *args: Any, **kwargs: Any
    ) -> bool:
        if not callable(is_stale):
            return False
        if not wants_extra_args(is_stale):
            args, kwargs = (), {}
        return _asked(_IS_STALE, lambda: is_stale(rv, *args, **kwargs) is True)

    def skip_on_hit(self, hook: F) -> F:
        """Say that a ``before_request``, ``after_request`` or like function does nothing for a
        GET of a cached page, so that the page can be served without it, before Flask.

        A page around whose view any other such function would run is served through Flask. A hook
        that turns out to read request data which is not declared is run again, and the log says so.
        """
        self._skipped_hooks.add(hook)
        return hook

    def serve_before_flask(self, app: Flask) -> bool:
        """Serve pages that lie in this process by WSGI middleware, where there is a near cache.

        Call it before anything else wraps ``app.wsgi_app``: what wraps the application runs on
        these hits, too. Where that cannot be, the log says so, and pages are served by Flask.

        :return: whether they are served before Flask.
        """
        entries: CacheEngine | None = app.extensions["cache"][self]
        if entries is None or entries.near is None:
            return False
        if getattr(app.wsgi_app, "__func__", None) is not Flask.wsgi_app:
            logger.warning(
                "Pages are not served before Flask: app.wsgi_app was replaced before. Call "
                "cache.serve_before_flask(app) right after cache.init_app(app)."
            )
            return False
        from ._pages.middleware import PageMiddleware  # noqa: PLC0415 - only where it is used

        surroundings = Surroundings(app, self._skipped_hooks)
        middleware = PageMiddleware(
            app, entries.near, surroundings, entries.verifier, config=entries.config
        )
        app.wsgi_app = middleware  # type: ignore[method-assign]
        app.extensions[PAGE_MIDDLEWARE] = middleware
        entries.surroundings = surroundings
        return True

    def _nothing_runs_around(self, entries: CacheEngine, view: Callable[..., Any]) -> bool:
        """Tell whether a page of this request's view is the same without Flask's dispatch."""
        surroundings = entries.surroundings
        return (
            surroundings is not None
            and not entries.config["CACHE_ENABLE_SIGNALS"]
            and self._name_tenant is str
            and surroundings.are_quiet_for(request_ctx.request, view)
        )

    def _value(
        self,
        entries: CacheEngine,
        decorated: Any,
        options: Options,
        key: str,
        tags_of: Callable[..., list[str]] | None,
        args: Any,
        kwargs: Any,
        signals: Any,
        unchanged: Callable[[], bool] = lambda: True,
    ) -> Any:
        reads, config = current_dependencies(), entries.config
        own_key = self._own(key, reads.mount)
        lookups = entries.statistics.lookups("function", options.name)
        verify = entries.verifier is not None and entries.verifier.chooses()
        if options.is_plain and not verify and not config["CACHE_ENABLE_SIGNALS"]:
            for value in copied_value(entries, own_key, lookups, reads):
                return value
        tags = tags_of(*args, **kwargs) if tags_of is not None else []
        if reads.mount:
            # To delete the key drops its entries at every mount.
            tags.append(key_tag(self._own(key)))
        fetch = functools.partial(
            fetch_value,
            entries,
            own_key,
            functools.partial(decorated.call_uncached, *args, **kwargs),
            options.policy(decorated.cache_timeout, config, *tags),
            options,
            lookups,
            # In the background nobody names the tenant any more.
            in_background=not self._name_tenant(),
            alone=decorated.holds_all(args, kwargs),
            verify=verify,
            unchanged=unchanged,
            # Without a key of its own, a function under ``cached`` has an entry for each path.
            held=frozenset() if tags_of is not None else _OF_PATH,
        )
        with own_dependencies():
            result, hit = fetch(renew=self._forced_update(options.forced_update, *args, **kwargs))
            if hit and self._is_stale(options.is_stale, result, *args, **kwargs):
                result, hit = fetch(renew=True)
        self._signal(entries, signals, hit, key, decorated.uncached, args, kwargs)
        return result

    def _signal(
        self,
        entries: CacheEngine,
        signals: Any,
        hit: bool,
        key: str,
        function: Any,
        args: Any,
        kwargs: Any,
    ) -> None:
        if entries.config["CACHE_ENABLE_SIGNALS"]:
            signals[hit].send(cache=self, cache_key=key, f=function, args=args, kwargs=kwargs)

    def _source_digest(
        self,
        function: Callable[..., Any],
        source_check: bool | None,
        hash_method: Callable[..., Any] | None = None,
    ) -> Callable[[], str]:
        """Make what names a function's source, where that belongs into the key.

        Settings say so, too, and are known later than functions are decorated.
        """

        @functools.cache
        def digest() -> str:
            source = inspect.getsource(function).encode()
            text: str = self._get_hash_method(hash_method)(source).hexdigest()
            return text

        return lambda: digest() if self._get_source_check(source_check) else ""

    # -- dropping ------------------------------------------------------------------------

    def delete_memoized(  # type: ignore[override]
        self, f: Any, /, *args: Any, **kwargs: Any
    ) -> None:
        """Drop the entries of a memoized function: of one call, of one instance, or all.

        :raises TypeError: for what is not a memoized function.
        """
        call_key: CallKey | None = getattr(f, "call_key", None)
        if call_key is None:
            raise TypeError(f"delete_memoized: {f!r} is not a memoized function.")
        instance = getattr(f, "__self__", None)
        if args or kwargs:
            given = _with_instance(f, args)
            key = f.make_cache_key(f.uncached, *given, **kwargs)
            for each in {key, f.key_in_all_releases(*given, **kwargs)}:
                self.delete(each)
        elif call_key.tells_instances and (
            call_key.is_bound or (instance is not None and not inspect.isclass(instance))
        ):
            self.invalidate(f"fn:{call_key.instance(instance)}")
        else:
            self.invalidate(f"fn:{call_key.name}")

    def delete_memoized_verhash(self, f: Any, *args: Any) -> None:
        """Drop all entries of a memoized function: Flask-Caching's other name for it."""
        self.delete_memoized(f)

    def delete_cached(
        self, f: Any, path: str | None = None, query_args: Any = None, **kwargs: Any
    ) -> bool:
        """Drop the pages of a cached view: of a path, of its arguments, or all.

        :param query_args: of a page whose view has ``query_string=True``; the pages of a path are
            dropped with every query by default.
        :raises ValueError: where the function is no view of this application.
        """
        if path is not None and query_args is None:
            return self.delete(f.path_name(path))
        if path is not None:
            return self.delete(f.make_cache_key(path=path, query_args=query_args))
        endpoints = [
            endpoint
            for endpoint, view in self._app().view_functions.items()
            if any(each == f for each in layers(view, "GET"))
        ]
        if not endpoints:
            raise ValueError(f"delete_cached: {f.__qualname__} is no view of this application.")
        for endpoint in endpoints:
            self.invalidate_view(endpoint, **kwargs)
        return True

    def digest(self, value: str) -> str:
        """Name personal data by a keyed hash, for keys, tags and arguments that must not tell it.

        Keys and tags lie in clear on the cache's server and are shown to operators. A plain hash
        of a name or an address is found out by trying; this one needs the ``SECRET_KEY``.

        :return: 32 hexadecimal digits, the same in all processes and releases until the
            ``SECRET_KEY`` changes.
        """
        data = value.encode("utf-8", "surrogatepass")
        if self.engine is not None:
            return self.engine.sealer.digest(data)
        # Nothing is kept under it, so it need not be the same again.
        secret = self.settings.get("SECRET_KEY") or secrets.token_bytes(32)
        return Sealer([secret]).digest(data)

    def digests(self, value: str) -> tuple[str, ...]:
        """Name personal data under each secret that is known, the current one first.

        While the ``SECRET_KEY`` is replaced, some processes still use the former one. Invalidate
        what a digest names under all of them::

            cache.invalidate(*(f"user:{digest}" for digest in cache.digests(email)))

        :return: as many as there are secrets: the ``SECRET_KEY`` and its fallbacks.
        """
        if self.engine is None:
            return (self.digest(value),)
        return self.engine.sealer.digests(value.encode("utf-8", "surrogatepass"))

    # -- plain values --------------------------------------------------------------------

    def get(self, key: str) -> Any:
        """Return the value of a key, or ``None``. A fill around it depends on the key."""
        entries = self.engine
        value = entries.get(self._own(key)) if entries is not None else None
        if entries is None or value is None:
            return None
        try:
            return decode(value)
        except Exception as error:
            entries.count("undecodable value")
            report_once(f"cache.get: the value of {key} cannot be decoded: {error!r}")
            self.delete(key)
            return None

    def has(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return self.engine is not None and self.engine.get(self._own(key)) is not None

    def set(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Set a key's value for ``timeout`` seconds; 0 drops it.

        It has no beginning, so an invalidation cannot tell whether it is older: what depends on
        data belongs into a memoized function.
        """
        seconds = self._seconds(timeout)
        if self.engine is None:
            return False
        if seconds <= 0:
            return self.delete(key)
        return self.engine.set(self._own(key), encode(value), seconds)

    def add(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Set a key's value where it has none, as one step; say whether it was set."""
        seconds = self._seconds(timeout)
        return (
            self.engine is not None
            and seconds > 0
            and self.engine.add(self._own(key), encode(value), seconds)
        )

    def delete(self, key: str) -> bool:
        """Drop a key, and make what depends on it invalid."""
        return self.engine is not None and self.engine.delete([self._own(key)])

    def delete_many(self, *keys: str) -> list[str]:
        """Drop keys; returns those that were dropped."""
        own = [self._own(key) for key in keys]
        return list(keys) if self.engine is not None and self.engine.delete(own) else []

    def unlink(self, *keys: str) -> list[str]:
        """Drop keys: Flask-Caching's other name for ``delete_many``."""
        return self.delete_many(*keys)

    def get_many(self, *keys: str) -> list[Any]:
        """Return the values of keys, ``None`` for one without."""
        return [self.get(key) for key in keys]

    def get_dict(self, *keys: str) -> dict[str, Any]:
        """Return the values of keys by key."""
        return {key: self.get(key) for key in keys}

    def set_many(self, mapping: dict[str, Any], timeout: Timeout = None) -> list[Any]:
        """Set the values of keys; returns the keys that were set."""
        return [key for key, value in mapping.items() if self.set(key, value, timeout)]

    def clear(self) -> bool:
        """Make every entry of this application invalid, at once and at the same cost."""
        if self.engine is not None:
            self.engine.clear()
        return True

    def _seconds(self, timeout: Timeout) -> float:
        seconds = normalize_timeout(timeout)
        default: float = self.settings["CACHE_DEFAULT_TIMEOUT"]
        return default if seconds is None else seconds


class Backend:
    """What ``cache.cache`` is: the methods of a ``cachelib`` cache, by those of the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        if name in _OF_BACKENDS:
            return getattr(self._cache, name)
        raise AttributeError(f"cache.cache has no {name!r}; use the cache itself.")

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a number; in two steps, as in Flask-Caching. ``None`` where it is not stored."""
        value: int = (self._cache.get(key) or 0) + delta
        return value if self._cache.set(key, value) else None

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Take from a number, as :meth:`inc` adds to it."""
        return self.inc(key, -delta)


_OF_BACKENDS = frozenset(
    {"get", "set", "add", "has", "delete", "clear", "unlink"}
    | {"get_many", "get_dict", "set_many", "delete_many"}
)
#: Where ``app.extensions`` holds the declarations and the skipped hooks.
_WATCHED = "coherent_cache_watched"
#: Where ``app.extensions`` holds the objects that keys know by the name of their class.
_KNOWN = "coherent_cache_known"
_OF_PATH = frozenset({PATH})
_ANSWERS = "it answers whether to use the cache"
_UNLESS = Declaration("of unless=…", frozenset(), _ANSWERS)
_IS_STALE = Declaration("of is_stale=…", frozenset(), _ANSWERS)
_FORCED_UPDATE = Declaration("of forced_update=…", frozenset(), _ANSWERS)
#: The signals of Flask-Caching for a miss and for a hit.
cache_view_signals = (cache_view_miss, cache_view_hit)
cache_memoize_signals = (cache_memoize_miss, cache_memoize_hit)


def _check_worker() -> None:
    """Say which worker cannot do what the cache does beside requests."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not {"enable-threads", "threads"} & uwsgi.opt.keys():
        logger.warning(
            "uWSGI runs no threads of Python's: there is no near cache, stale pages are not "
            "renewed in the background, and `flask cache` hears nothing. Start it with "
            "--enable-threads."
        )


def _sealer(store: Store, settings: dict[str, Any]) -> Sealer:
    """Make what turns entries into bytes: readable where they never leave the process, only.

    :raises ValueError: where the library that encrypts is not installed, naming the extra.
    """
    kind: type[Sealer] = Sealer
    if store.shared:
        try:
            # A large library, of an extra.
            from ._engine.encryption import EncryptingSealer as kind  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing_extra(settings["CACHE_TYPE"], error) from error
    return kind(
        # What never leaves the process needs no key that another one knows.
        [
            settings.get("SECRET_KEY") or secrets.token_bytes(32),
            *(settings.get("SECRET_KEY_FALLBACKS") or ()),
        ],
        scope=f"{settings['CACHE_KEY_PREFIX']}:{settings['RELEASE']}",
        compress_min_bytes=settings["CACHE_COMPRESS_MIN_BYTES"] or 0,
    )


def _asked(declaration: Declaration, ask: Callable[[], bool]) -> bool:
    """Ask an option's function, whose reads have no way into what is cached."""
    owner = Owner(declaration.subject, declaration, asking=True)
    answer: bool = current_dependencies().noticed.run(owner, ask)
    return answer


def _near_cache(
    store: Any, settings: dict[str, Any], fallback: Fallback, kill_switch: KillSwitch
) -> Any:
    """Make the near cache, where the store's server tells of writes and this system can poll."""
    if not settings["CACHE_NEAR_BYTES"] or not hasattr(store, "track"):
        return None
    # Only where there is such a store are these imported.
    from ._near.copies import NearCache  # noqa: PLC0415
    from ._near.tracking import is_supported  # noqa: PLC0415

    if not is_supported:
        return None
    return NearCache(
        store,
        prefix=settings["CACHE_KEY_PREFIX"],
        max_bytes=settings["CACHE_NEAR_BYTES"],
        max_entries=settings["CACHE_NEAR_ENTRIES"],
        fallback=fallback,
        kill_switch=kill_switch,
    )


def _as_routed(app: Flask, endpoint: str, values: dict[str, Any]) -> dict[str, Any]:
    """Give arguments the form in which a request's URL brings them: ``1`` may be ``1.0``."""
    adapter = app.url_map.bind("localhost")
    try:
        path = adapter.build(endpoint, values, append_unknown=False)
        _, routed = adapter.match(unquote(path))
    except Exception:  # Also of the application's converters.
        return values
    return dict(routed)


def _with_instance(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    instance = getattr(function, "__self__", None)
    return args if instance is None or (args and args[0] is instance) else (instance, *args)
