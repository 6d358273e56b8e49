"""Decorated functions: how they are called, and what is known of their entries."""

import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from flask_caching.signals import cache_memoize_hit, cache_memoize_miss

from ._base import BaseCache
from ._dependencies.dependencies import current_dependencies, own_dependencies
from ._dependencies.inputs import Input
from ._engine.engine import CacheEngine, key_tag
from ._functions.coroutines import awaitable, run_to_end
from ._functions.functions import CachedCall, copied_value
from ._keys.calls import CallKey
from ._keys.closures import DECORATED
from ._keys.encoding import bounded
from ._options import Options
from ._statistics.statistics import Lookups


def decorated_of(function: Any) -> Any:
    """Return what a cache knows of a function that it decorated; ``None`` for any other."""
    return getattr(function, DECORATED, None)


class Decorated:
    """A function under a decorator.

    :param cache: the cache of the decorator.
    :param function: as its owner defined it.
    :param call_key: writes its calls.
    :param source_check: whether its source enters its keys; ``None`` is ``CACHE_SOURCE_CHECK``.
    :param hash_method: how the source is hashed; ``None`` is ``CACHE_HASH_METHOD``.
    """

    #: Flask-Caching's signals of a miss and of a hit.
    signals: ClassVar[tuple[Any, Any]]
    #: The inputs that each key holds.
    held: ClassVar[frozenset[Input]] = frozenset()
    sorts_query = False
    warm: Any = False

    def __init__(
        self,
        cache: BaseCache,
        function: Callable[..., Any],
        options: Options,
        call_key: CallKey,
        source_check: bool | None,
        hash_method: Callable[..., Any] | None = None,
    ) -> None:
        self.cache = cache
        self.function = function
        self.options = options
        #: Whether nothing of a call can ask for more than the entry that there is.
        self._is_plain = options.forced_update is None and options.is_stale is None
        self.call_key = call_key
        self._source_check = source_check
        self._hash_method = hash_method
        self.is_async = inspect.iscoroutinefunction(function)
        #: Calls the function, past the cache.
        self.call = run_to_end(function, cache._app) if self.is_async else function
        #: What took the function's place.
        self.wrapper: Any = None

    def wrapped(self, timeout: Any, make_cache_key: Callable[..., str]) -> Any:
        """Make what takes the function's place, with the attributes that Flask-Caching gives it."""
        answer = self.answer

        @functools.wraps(self.function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            return answer(args, kwargs)

        self.wrapper = awaitable(decorated) if self.is_async else decorated
        self.wrapper.uncached = self.function
        self.wrapper.cache_timeout = timeout
        self.wrapper.make_cache_key = make_cache_key
        setattr(self.wrapper, DECORATED, self)
        return self.wrapper

    def answer(self, args: Any, kwargs: Any) -> Any:
        """Answer a call from its entry, or call the function."""
        raise NotImplementedError

    def tags(self, args: Any, kwargs: Any) -> list[str]:
        """Name what a call is one of, for the tags of its entry."""
        return []

    def has_key(self, key: str, args: Any, kwargs: Any) -> bool:
        """Tell whether a call still has a key, which may hold what changes."""
        return True

    def holds_all(self, args: Any, kwargs: Any) -> bool:
        """Tell whether a call's key holds all that the function is given."""
        return self.call_key.holds_all(args, kwargs)

    def source(self) -> str:
        """Name the function's source, where that belongs into the key.

        A setting says so, too, and is known later than the function is decorated.
        """
        given = self._source_check
        wanted = self.cache.source_check if given is None else given
        return self._source_digest if wanted else ""

    @functools.cached_property
    def _source_digest(self) -> str:
        hash_method: Any = self._hash_method or self.cache.hash_method or hashlib.sha256
        text: str = hash_method(inspect.getsource(self.function).encode()).hexdigest()
        return text

    def bypass(self, engine: CacheEngine, lookups: Lookups, args: Any, kwargs: Any) -> Any:
        """Call the function past the cache."""
        with engine.bypass(lookups):
            return self.call(*args, **kwargs)

    def value(self, engine: CacheEngine, key: str, args: Any, kwargs: Any) -> Any:
        """Return the value of a call from its entry, or call the function and store it."""
        cache, options, config = self.cache, self.options, engine.config
        dependencies = current_dependencies()
        own_key = cache._own(key, dependencies.mount)
        lookups = engine.statistics.lookups("function", options.name)
        verify = engine.verifier is not None and engine.verifier.chooses()
        if self._is_plain and not verify and not config["CACHE_ENABLE_SIGNALS"]:
            for value in copied_value(engine, own_key, lookups, dependencies):
                return value
        tags = self.tags(args, kwargs)
        if dependencies.mount:
            # To delete the key drops its entries at every mount.
            tags.append(key_tag(cache._own(key)))
        cached = CachedCall(
            engine,
            own_key,
            functools.partial(self.call, *args, **kwargs),
            options.policy(self.wrapper.cache_timeout, config, *tags),
            options,
            lookups,
            # In the background nobody names the tenant any more.
            in_background=not cache._name_tenant(),
            alone=self.holds_all(args, kwargs),
            verify=verify,
            unchanged=lambda: self.has_key(key, args, kwargs),
            held=self.held,
        )
        with own_dependencies():
            result, hit = cached.value(renew=options.forces_update(args, kwargs))
            if hit and options.finds_stale(result, args, kwargs):
                result, hit = cached.value(renew=True)
        self.send_signal(engine, key, args, kwargs, hit=hit)
        return result

    def send_signal(
        self, engine: CacheEngine, key: str, args: Any, kwargs: Any, *, hit: bool
    ) -> None:
        """Send Flask-Caching's signal, where ``CACHE_ENABLE_SIGNALS`` says so."""
        if engine.config["CACHE_ENABLE_SIGNALS"]:
            self.signals[hit].send(
                cache=self.cache, cache_key=key, f=self.function, args=args, kwargs=kwargs
            )


class Memoized(Decorated):
    """A function under ``memoize``: an entry for each set of arguments."""

    signals = cache_memoize_miss, cache_memoize_hit

    def answer(self, args: Any, kwargs: Any) -> Any:
        engine = self.cache.engine
        if engine is None:
            return self.call(*args, **kwargs)
        if self.options.unless is not None and self.options.bypasses(self.function, args, kwargs):
            lookups = engine.statistics.lookups("function", self.options.name)
            engine.refuse(lookups, "unless")
            return self.bypass(engine, lookups, args, kwargs)
        return self.value(engine, self.key(args, kwargs), args, kwargs)

    def key(self, args: Any, kwargs: Any) -> str:
        return bounded(f"fn:{self.call_key(*args, **kwargs)}{self.source()}")

    def make_cache_key(self, _function: Any, /, *args: Any, **kwargs: Any) -> str:
        """Write the key of a call, as Flask-Caching's attribute of this name does."""
        return self.key(args, kwargs)

    def key_in_all_releases(self, args: Any, kwargs: Any) -> str:
        """Write a call of all functions of this name, also of another release's code."""
        return bounded(f"fn:{self.call_key.in_all_releases(*args, **kwargs)}")

    def has_key(self, key: str, args: Any, kwargs: Any) -> bool:
        return self.key(args, kwargs) == key

    def tags(self, args: Any, kwargs: Any) -> list[str]:
        names = [f"fn:{name}" for name in self.call_key.names(*args)]
        if self.call_key.code_digest or self.call_key.is_literal or self.source():
            names.append(key_tag(self.cache._own(self.key_in_all_releases(args, kwargs))))
        return names
