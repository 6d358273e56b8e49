"""Code of the application that runs around a view, and would not run on a hit before Flask."""

from collections.abc import Callable, Collection
from typing import Any

from flask import Flask, Request, Response, signals
from flask.ctx import _AppCtxGlobals
from flask.sessions import SecureCookieSessionInterface
from werkzeug.exceptions import Aborter
from werkzeug.routing import converters

from .._dependencies.hooks import HOOK
from .guards import are_proven
from .sources import is_plain

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


#: Methods that an application may replace by its own, and that this library does not.
_OWN_METHODS = frozenset({
    "dispatch_request", "make_response", "finalize_request", "do_teardown_request",
    "do_teardown_appcontext", "handle_user_exception",
})  # fmt: skip


class AppHooks:
    """The hooks of an application, for the pages that are served before Flask.

    :param skipped: hooks that do nothing for a GET of a cached page.
    :param is_watched: tells whether the cache watches a database.
    """

    def __init__(
        self,
        app: Flask,
        skipped: Collection[Callable[..., Any]],
        is_watched: Callable[[object], bool],
    ) -> None:
        self._app = app
        self._skipped = skipped
        self._is_watched = is_watched
        #: Whether guards look at nothing that a hit misses, by what Flask calls in turn.
        self._proven: dict[tuple[Any, ...], bool] = {}

    def have_listeners(self) -> bool:
        """Tell whether a signal of a request has receivers, which may connect at any time."""
        return any(_RECEIVERS)

    def run_nothing_around(
        self, request: Request, view: Callable[..., Any], *, private: bool
    ) -> bool:
        """Tell whether only Flask's own dispatch runs around a view.

        :param private: whether its pages have the session in their key, so that what looks at no
            more than that need not run.
        """
        outer = self._app.view_functions.get(request.endpoint or "")
        try:
            return self._is_flasks(request) and self._let_pass(request, outer, view, private)
        except TypeError:
            return False  # A hook is an object without a hash.

    def _is_flasks(self, request: Request) -> bool:
        """Tell whether an application dispatches a request as Flask itself does.

        A subclass of Flask, or a method or an interface of the application's own, may do more.
        """
        app = self._app
        return (
            type(app) is Flask
            and not app.debug
            and app.request_class is Request
            and app.app_ctx_globals_class is _AppCtxGlobals
            and type(app.session_interface) is SecureCookieSessionInterface
            and _OWN_METHODS.isdisjoint(vars(app))
            and not self.have_listeners()
            and self._has_known_rule(request)
            and self._has_known_responses()
            and self._other_hooks(request) <= set(self._skipped)
        )

    def _let_pass(self, request: Request, outer: Any, view: Any, private: bool) -> bool:
        """Tell whether guards let the same session pass again."""
        guards = [hook for hook in self._guards(request) if hook not in self._skipped]
        if not private:
            return outer is view and not guards
        app = self._app
        guarded = (*guards, outer, view)
        if guarded not in self._proven:
            self._proven[guarded] = are_proven(guards, outer, view, self._is_watched)
        # What is set on the interface itself may open other sessions.
        is_flasks = type(app.aborter) is Aborter and not vars(app.session_interface)
        return is_flasks and self._proven[guarded]

    @staticmethod
    def _has_known_rule(request: Request) -> bool:
        """Tell whether what a rule hands to a view follows from the URL."""
        rule = request.url_rule
        return rule is None or (
            all(type(kind).__module__ == converters.__name__ for kind in rule._converters.values())
            and all(map(is_plain, (rule.defaults or {}).values()))
        )

    def _has_known_responses(self) -> bool:
        """Tell whether responses are Flask's, but for data and methods that are to be skipped."""
        kinds = self._app.response_class.__mro__
        own = kinds[: kinds.index(Response)] if Response in kinds else kinds
        code = [value for kind in own for value in vars(kind).values() if _is_code(value)]
        return all(value in self._skipped for value in code)

    def _guards(self, request: Request) -> list[Callable[..., Any]]:
        """List the hooks that can turn a request away, in their order."""
        scopes = (None, *reversed(request.blueprints))
        hooks = self._app.before_request_funcs
        return [hook for scope in scopes for hook in hooks.get(scope, ())]

    def _other_hooks(self, request: Request) -> set[Callable[..., Any]]:
        app = self._app
        kinds: tuple[dict[Any, list[Callable[..., Any]]], ...] = (
            app.url_value_preprocessors,
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


def _is_code(value: object) -> bool:
    return callable(value) or hasattr(type(value), "__get__")
