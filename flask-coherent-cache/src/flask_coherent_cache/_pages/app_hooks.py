"""Code of the application that runs around a view, and would not run on a hit before Flask."""

from collections.abc import Callable, Collection
from typing import Any

from flask import Flask, Request, signals
from flask.sessions import SecureCookieSessionInterface
from werkzeug.routing import converters

from .._dependencies.hooks import HOOK

#: The receivers of the signals of each request: dictionaries, empty if nobody listens.
_RECEIVERS = (
    signals.request_started.receivers,
    signals.request_finished.receivers,
    signals.request_tearing_down.receivers,
    signals.appcontext_pushed.receivers,
    signals.appcontext_popped.receivers,
    signals.appcontext_tearing_down.receivers,
)
#: Extensions whose teardowns release what a request took: a hit takes nothing.
_HARMLESS_TEARDOWNS = frozenset({"flask_sqlalchemy", "flask_sqlalchemy_lite"})


class AppHooks:
    """The hooks of an application, for the pages that are served before Flask.

    :param skipped: hooks that do nothing for a GET of a cached page.
    """

    def __init__(self, app: Flask, skipped: Collection[Callable[..., Any]]) -> None:
        self._app = app
        self._skipped = skipped

    def have_listeners(self) -> bool:
        """Tell whether a signal of a request has receivers, which may connect at any time."""
        return any(_RECEIVERS)

    def run_nothing_around(self, request: Request, view: Callable[..., Any]) -> bool:
        """Tell whether only Flask's own dispatch runs around a view."""
        app = self._app
        # A subclass of Flask, or an interface of the application's own, may do more.
        return (
            type(app) is Flask
            and not app.debug
            and app.request_class is Request
            and type(app.session_interface) is SecureCookieSessionInterface
            and app.view_functions.get(request.endpoint or "") is view
            and not self.have_listeners()
            and self._has_known_converters(request)
            and self._hooks(request) <= set(self._skipped)
        )

    @staticmethod
    def _has_known_converters(request: Request) -> bool:
        rule = request.url_rule
        kinds = rule._converters.values() if rule is not None else ()
        return all(type(kind).__module__ == converters.__name__ for kind in kinds)

    def _hooks(self, request: Request) -> set[Callable[..., Any]]:
        app = self._app
        kinds: tuple[dict[Any, list[Callable[..., Any]]], ...] = (
            app.url_value_preprocessors,
            app.before_request_funcs,
            app.after_request_funcs,
            app.teardown_request_funcs,
        )
        hooks = {
            getattr(hook, HOOK, hook)
            for kind in kinds
            for scope in (None, *request.blueprints)
            for hook in kind.get(scope, ())
        }
        return hooks | {
            hook
            for hook in app.teardown_appcontext_funcs
            if getattr(hook, "__module__", "").partition(".")[0] not in _HARMLESS_TEARDOWNS
        }
