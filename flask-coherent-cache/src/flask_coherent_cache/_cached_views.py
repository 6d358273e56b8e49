"""Views, and functions without arguments, under ``cached``."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from flask import has_request_context
from flask.globals import request_ctx
from flask_caching.signals import cache_view_hit, cache_view_miss

from ._decorated import Decorated
from ._dependencies.contexts import routed_arguments
from ._dependencies.dependencies import current_dependencies
from ._dependencies.inputs import PATH, QUERY
from ._dependencies.request_reads import IsolatedCode
from ._engine.engine import CacheEngine, key_tag
from ._pages.page_visit import PageOptions
from ._pages.view_functions import is_current_view
from ._pages.view_tags import path_key, unknown_view_tag, view_tag, view_tags
from ._pages.view_values import returns_to_flask
from ._pages.views import serve_page
from ._statistics.statistics import Lookups
from ._view_options import ViewOptions


class CachedView(Decorated):
    """A function under ``cached``: a view, which has an entry for each page, or any other.

    :param view_options: what its decorator was told about pages.
    :param default_key: names pages as Flask-Caching does, for those who delete them by their key.
    """

    signals = cache_view_miss, cache_view_hit
    held = frozenset({PATH})

    def __init__(
        self, *given: Any, view_options: ViewOptions, default_key: Callable[..., str]
    ) -> None:
        super().__init__(*given)
        self.view_options = view_options
        self.default_key = default_key
        self.sorts_query = view_options.query_string
        self.warm = view_options.warm

    def answer(self, args: Any, kwargs: Any) -> Any:
        engine, options = self.cache.engine, self.options
        if engine is None:
            return self.call(*args, **kwargs)
        is_view = has_request_context() and is_current_view(self.wrapper)
        if options.unless is not None and options.bypasses(self.function, args, kwargs):
            lookups = (
                _page_lookups(engine)
                if is_view
                else engine.statistics.lookups("function", options.name)
            )
            engine.refuse(lookups, "unless")
            return self.bypass(engine, lookups, args, kwargs)
        if not is_view:
            return self.value(engine, self._function_key(args, kwargs), args, kwargs)
        if not self._is_first_call(args, kwargs):
            return self.bypass(engine, _page_lookups(engine), args, kwargs)
        # Around a coroutine function there is a frame more.
        gives_value = not returns_to_flask(sys._getframe(3 if self.is_async else 2))
        return self._page(
            engine, self._page_options(engine, gives_value, args, kwargs), args, kwargs
        )

    def holds_all(self, args: Any, kwargs: Any) -> bool:
        return not args and not kwargs and super().holds_all(args, kwargs)

    def path_name(self, path: str) -> str:
        """Name the pages of a path, as those who delete them do."""
        prefix = self.view_options.key_prefix
        return prefix() if callable(prefix) else path_key(prefix, path)

    def _is_first_call(self, args: Any, kwargs: Any) -> bool:
        """Tell whether a request's page is asked for: a decorator may call a view again."""
        given, arguments = (args, kwargs), current_dependencies().noticed.arguments
        return arguments.setdefault(self.wrapper, given) == given

    def _assigned_key(self) -> Callable[..., Any] | None:
        """Return what the owner put in the place of ``make_cache_key``."""
        make: Any = vars(self.wrapper)["make_cache_key"]
        return None if make is self.default_key else make

    def _custom_key(self, args: Any, kwargs: Any) -> str | None:
        """Make the key that the owner wants; ``None`` where that is the path."""
        prefix, make = self.view_options.key_prefix, self.view_options.make_cache_key
        if make is not None:
            return str(make(*args, **kwargs))
        if (assigned := self._assigned_key()) is not None:
            return str(assigned(*args, use_request=True, **kwargs))
        if callable(prefix):
            return prefix()
        return prefix + self.source() if "%s" not in prefix else None

    def _function_key(self, args: Any, kwargs: Any) -> str:
        key = self._custom_key(args, kwargs)
        if key is not None:
            return key
        # A view is known by its endpoint; any other function only by its name.
        self.call_key.refuse_nameless()
        path = request_ctx.request.__dict__["path"] if has_request_context() else ""
        return f"{self.call_key(*args, **kwargs)}@{path}#{self.source()}"

    def _page_options(
        self, engine: CacheEngine, gives_value: bool, args: Any, kwargs: Any
    ) -> PageOptions:
        view_options = self.view_options
        declared = held = view_options.declared
        owner = IsolatedCode("making the key", naming=True)
        is_own = view_options.has_own_key or self._assigned_key() is not None
        if is_own:
            custom = current_dependencies().noticed.run(owner, self._custom_key, args, kwargs)
        else:
            custom = self._custom_key(args, kwargs)
        if is_own and QUERY in owner.inputs:
            held = replace(declared, query=None)

        def stands_alone() -> bool:
            return view_options.stands_alone and not is_own and self._nothing_runs_around(engine)

        return PageOptions(
            held,
            view_options.private,
            view_options.not_found_timeout,
            custom,
            key_inputs=frozenset(each for each in owner.inputs if not held.holds(each)),
            whole_key=is_own and declared.query == frozenset(),
            hit_indication=view_options.hit_indication,
            cache_control=view_options.cache_control,
            # The guards above a private page that stands alone return what they get.
            gives_value=gives_value and not (view_options.private and stands_alone()),
            stands_alone=stands_alone,
        )

    def _nothing_runs_around(self, engine: CacheEngine) -> bool:
        """Tell whether a page of this request's view is the same without Flask's dispatch."""
        app_hooks = engine.app_hooks
        return (
            app_hooks is not None
            and not engine.config["CACHE_ENABLE_SIGNALS"]
            and self.cache._name_tenant is str
            and app_hooks.run_nothing_around(
                request_ctx.request, self.wrapper, private=self.view_options.private is True
            )
        )

    def _page(self, engine: CacheEngine, page_options: PageOptions, args: Any, kwargs: Any) -> Any:
        options, request = self.options, request_ctx.request
        endpoint, path = request.endpoint or "", request.__dict__["path"]
        tenant, noticed = self.cache._own(""), current_dependencies().noticed
        source = self.source()

        def tags() -> list[str]:
            with noticed.unnoticed():
                names = self._page_names(path)
            if page_options.custom_key is not None:
                names.add(page_options.custom_key)
            view = self._view_tags(request, endpoint)
            return [*view, *(key_tag(f"{tenant}{name}") for name in names)]

        answer = serve_page(
            engine,
            partial(self.call, *args, **kwargs),
            options.policy(self.wrapper.cache_timeout, engine.config),
            options,
            page_options,
            (lambda key: f"{tenant}{key}#{source}") if source else tenant.__add__,
            endpoint=endpoint,
            tags=tags,
            renew=options.forces_update(args, kwargs),
            is_stale=(
                (lambda page: options.finds_stale(page, args, kwargs))
                if options.is_stale is not None
                else None
            ),
        )
        self.send_signal(engine, path, args, kwargs, hit=noticed.answer.hit)
        return answer

    def _view_tags(self, request: Any, endpoint: str) -> list[str]:
        """Name the view's pages, and those with the arguments of a request."""
        tags = [view_tag(endpoint)]
        if values := routed_arguments(request):
            rules = self.cache._app().url_map.iter_rules(endpoint)
            tags += view_tags(rules, endpoint, values) or [unknown_view_tag(endpoint)]
        return tags

    def _page_names(self, path: str) -> set[str]:
        """Name a page by the keys under which Flask-Caching's users delete it."""
        if callable(self.view_options.key_prefix):
            return set()
        names = {self.path_name(path)}
        if self.sorts_query or self.source():
            names.add(self.default_key(use_request=True))
        return names


def _page_lookups(engine: CacheEngine) -> Lookups:
    return engine.statistics.lookups("page", request_ctx.request.endpoint or "")
