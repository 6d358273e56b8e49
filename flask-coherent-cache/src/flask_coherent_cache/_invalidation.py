"""Making entries invalid: by their tags, and by the view or function that they are of."""

import inspect
from typing import Any
from urllib.parse import unquote

from flask import Flask, has_request_context, request

from ._cached_views import CachedView
from ._decorated import Memoized, decorated_of
from ._dependencies.dependencies import current_dependencies
from ._dependencies.tags import whole
from ._options import check_tags
from ._pages.view_functions import view_functions
from ._pages.view_tags import unknown_view_tag, view_tag, view_tags
from ._plain_values import PlainValues


class Invalidation(PlainValues):
    """The methods of a cache that make entries invalid, or depend on names."""

    def tag(self, *tags: str) -> None:
        """Make what is being computed depend on tags: inside a cached function or view.

        ::

            @cache.memoize()
            def headline():
                cache.tag("news")
                return requests.get(NEWS).json()["title"]

        :param tags: names, to be given to :meth:`invalidate` later.
        :raises ValueError: for a tag that is empty or no string.
        """
        check_tags(tags, "cache.tag")
        current_dependencies().tags.update(tags)

    def invalidate(self, *tags: str) -> None:
        """Make every entry that carries one of the tags invalid, in all processes.

        Call it after the commit. When it returns, no request that starts later is served an
        entry that was built before it. The cost does not depend on the number of entries.

        :param tags: names, as given to :meth:`tag` or ``tags=…``; of tables, ``product``, with all
            that was built from any part of them; or of rows, ``product:42``.
        :raises ValueError: for a tag that is empty or no string.
        """
        check_tags(tags, "cache.invalidate")
        if self.engine is not None:
            self.engine.invalidate(whole(tags), lag=self.engine.replica_lag)

    def invalidate_view(self, endpoint: str, **values: object) -> None:
        """Make the pages of a view invalid: one page, or all pages of the view.

        ::

            cache.invalidate_view("catalog.product", product_id=42)

        :param endpoint: of the view, as ``url_for`` takes it.
        :param values: all arguments of its URL; none is all pages.
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
        """Make the entry of a memoized call, or of a key, stale: it is served within its grace.

        :param function: the memoized function, or a key.
        :param args: the arguments of the call.
        :param kwargs: its keyword arguments.
        :raises TypeError: for what is neither a memoized function nor a key.
        """
        memoized = decorated_of(function)
        if isinstance(memoized, Memoized):
            key = memoized.key(_with_instance(function, args), kwargs)
        elif isinstance(function, str):
            key = function
        else:
            raise TypeError(f"refresh: {function!r} is neither a memoized function nor a key.")
        if self.engine is not None:
            self.engine.refresh(self._own(key))

    def delete_memoized(  # type: ignore[override]
        self, f: Any, /, *args: Any, **kwargs: Any
    ) -> None:
        """Delete entries of a memoized function: of one call, of one instance, or all.

        ::

            cache.delete_memoized(price, 42)  # one call
            cache.delete_memoized(cart.total)  # all calls on one instance
            cache.delete_memoized(price)

        :param f: the memoized function, or a method of an instance.
        :param args: the arguments of one call.
        :param kwargs: its keyword arguments.
        :raises TypeError: for what is not a memoized function.
        """
        memoized = decorated_of(f)
        if not isinstance(memoized, Memoized):
            raise TypeError(f"delete_memoized: {f!r} is not a memoized function.")
        call_key, instance = memoized.call_key, getattr(f, "__self__", None)
        if args or kwargs:
            args = _with_instance(f, args)
            for key in {memoized.key(args, kwargs), memoized.key_in_all_releases(args, kwargs)}:
                self.delete(key)
        elif call_key.tells_instances and (
            call_key.is_bound or (instance is not None and not inspect.isclass(instance))
        ):
            self.invalidate(f"fn:{call_key.instance(instance)}")
        else:
            self.invalidate(f"fn:{call_key.name}")

    def delete_memoized_verhash(self, f: Any, *args: Any) -> None:
        """Delete all entries of a memoized function: Flask-Caching's other name for it.

        :param f: the memoized function, or a method of an instance.
        :param args: ignored, as in Flask-Caching.
        :raises TypeError: for what is not a memoized function.
        """
        self.delete_memoized(f)

    def delete_cached(
        self, f: Any, path: str | None = None, query_args: Any = None, **kwargs: Any
    ) -> bool:
        """Delete the pages of a cached view: of a path, of the URL's arguments, or all.

        :param f: the view, as :meth:`cached` returned it.
        :param path: of the page, such as ``/products/42``.
        :param query_args: of a page whose view has ``query_string=True``: a query string, a
            mapping or pairs; ``None`` is every query.
        :param kwargs: all arguments of its URL, where there is no path.
        :return: whether there is a cache that did.
        :raises ValueError: where the function is no view of this application.
        :raises TypeError: for a path, where ``cached`` did not return the function.
        """
        view = decorated_of(f)
        if path is not None and not isinstance(view, CachedView):
            raise TypeError(f"delete_cached: {f!r} is not decorated by @cache.cached.")
        if path is not None and query_args is None:
            return self.delete(view.path_name(path))
        if path is not None:
            return self.delete(f.make_cache_key(path=path, query_args=query_args))
        endpoints = [
            endpoint
            for endpoint, view in self._app().view_functions.items()
            if any(each == f for each in view_functions(view, "GET"))
        ]
        if not endpoints:
            raise ValueError(f"delete_cached: {f.__qualname__} is no view of this application.")
        for endpoint in endpoints:
            self.invalidate_view(endpoint, **kwargs)
        return True


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
