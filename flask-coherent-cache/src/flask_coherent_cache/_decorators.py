"""The decorators ``cached`` and ``memoize``."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ._base import BaseCache
from ._cached_views import CachedView
from ._decorated import Memoized
from ._keys.calls import CallKey, name_of
from ._options import MayDiffer, Options, Timeout, check_tags, checked, refuse_bare, without_none
from ._view_options import ViewOptions, cache_control_of, check_warm, declared_of

if TYPE_CHECKING:
    # Flask-Caching's own types of what its decorators return.
    from flask_caching import _CachedFunction, _MemoizedFunction

P = ParamSpec("P")
R = TypeVar("R")


class Decorators(BaseCache):
    """The decorators of a cache."""

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
        """Cache the pages of a view, or what a function without arguments returns.

        Flask-Caching's parameters keep their meaning, but that ``None`` is a value like any other
        unless ``cache_none`` is ``False``. A page's key holds scheme, host, path, and what the view
        declares::

            @app.get("/products")
            @cache.cached(timeout=300, query=("page",))
            def products(): ...

        :param timeout: seconds to the soft expiry; 0 is not stored; ``None`` is the default.
        :param key_prefix: the key in the place of the path, or a function that makes it; ``%s``
            stands for the path.
        :param unless: bypasses the cache where it returns ``True``.
        :param forced_update: has the value computed anew where it returns ``True``.
        :param is_stale: gets a hit's value, and has it computed anew where it returns ``True``.
        :param response_filter: gets what the view returned; only what it says yes to is stored.
        :param query_string: whether all query parameters enter the key.
        :param hash_method: makes the hashes of Flask-Caching's keys; ``None`` is the setting's.
        :param cache_none: ``False`` does not store ``None``.
        :param make_cache_key: gets the view's arguments, and makes the key.
        :param source_check: whether the function's source enters the key; ``None`` is
            ``CACHE_SOURCE_CHECK``.
        :param response_hit_indication: whether a hit has the header ``hit_cache``.
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
        check_warm(warm, private)
        asks = (unless, forced_update, is_stale, response_hit_indication)
        view_options = ViewOptions(
            key_prefix,
            make_cache_key,
            query_string,
            declared_of(
                None if query_string else query, vary, vary_cookies, vary_environ, private is True
            ),
            private,
            not_found_timeout,
            bool(response_hit_indication),
            cache_control_of(max_age, stale_while_revalidate, stale_if_error),
            warm,
            stands_alone=not any((*asks, callable(private), vary_cookies, vary_environ)),
        )
        named = super().cached(
            key_prefix=key_prefix,
            query_string=query_string,
            hash_method=hash_method,
            source_check=source_check,
        )

        def decorate(function: Callable[P, R]) -> "_CachedFunction[P, R]":
            options = Options(
                name_of(function, "cached"), unless, forced_update, is_stale,
                without_none(response_filter) if cache_none is False else response_filter,
                tuple(tags), grace, jitter, may_differ,
            )  # fmt: skip
            call_key = CallKey(
                function,
                others=self._registered_types.text,
                scope=self._scope,
                remedy="give it a key, key_prefix='…'",
            )
            view = CachedView(
                self,
                function,
                checked("cached", function, options, timeout),
                call_key,
                source_check,
                hash_method,
                view_options=view_options,
                default_key=named(function).make_cache_key,
            )
            decorated: _CachedFunction[P, R] = view.wrapped(timeout, view.default_key)
            return decorated

        return _also_in_classes(decorate)

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
        and ``None`` is a value like any other unless ``cache_none`` is ``False``. Each caller gets
        a value of its own::

            @cache.memoize(timeout=300)
            def price(product_id: int) -> Decimal: ...

        An ``async def`` is awaited where an event loop runs, as in an async view; elsewhere it
        returns the value, as Flask-Caching does. It needs ``flask[async]``.

        :param timeout: seconds to the soft expiry; 0 is not stored; ``None`` is the default.
        :param make_name: gets the function's full name, and returns the one that keys have.
        :param unless: gets the function and its arguments, and bypasses the cache where it returns
            ``True``.
        :param forced_update: gets the arguments, and has the value computed anew where it returns
            ``True``.
        :param is_stale: gets a hit's value, and has it computed anew where it returns ``True``.
        :param response_filter: gets the value; only what it says yes to is stored.
        :param hash_method: changes nothing.
        :param cache_none: ``False`` does not store ``None``.
        :param source_check: whether the function's source enters the key; ``None`` is
            ``CACHE_SOURCE_CHECK``.
        :param args_to_ignore: names of arguments that do not enter the key.
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
            options = Options(
                name_of(function, "memoize"), unless, forced_update, is_stale,
                without_none(response_filter) if cache_none is False else response_filter,
                tuple(tags), grace, jitter, may_differ,
            )  # fmt: skip
            checked("memoize", function, options, timeout)
            call_key = CallKey(
                function,
                args_to_ignore or (),
                make_name,
                self._registered_types.text,
                self._scope,
                by_code=source_check is not False,
            )
            if make_name is None:
                call_key.refuse_nameless()
            memoized = Memoized(self, function, options, call_key, source_check)
            decorated: _MemoizedFunction[P, R] = memoized.wrapped(timeout, memoized.make_cache_key)
            decorated.delete_memoized = functools.partial(self.delete_memoized, decorated)
            return decorated

        return _also_in_classes(decorate)


def _also_in_classes(decorate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have a decorator take what ``classmethod`` and ``staticmethod`` made, too."""

    def decorate_any(function: Any) -> Any:
        if isinstance(function, classmethod | staticmethod):
            return type(function)(decorate_any(function.__func__))
        return decorate(function)

    return decorate_any
