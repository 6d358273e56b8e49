"""Watching an application: from the creation of a context on, all reads of the request are noted.

Werkzeug builds its request from the server's own environment. From then on, all code reads the
request through subclasses of the application's own classes.
"""

import functools
from collections.abc import Callable
from typing import Any

from flask import Flask

from .contexts import watch_app_context, watch_request_context
from .declarations import BUILT_IN, Declarations
from .dependencies import (
    DECLARATIONS,
    RECOMPUTATION,
    Dependencies,
    begin_dependencies,
    current_dependencies,
)
from .hooks import Hook, Hooks
from .inputs import Input
from .noticed import Noticed
from .queries import encode_query
from .request_class import watch_request
from .snapshots import unknown_variables


def watch(app: Flask, declarations: Declarations, skipped: set[Hook]) -> None:
    """Watch every request of an application from the moment its context is made.

    :param skipped: hooks that are said to do nothing for a hit; one that reads request data is
        taken out.
    """
    hooks = Hooks(declarations, skipped, app.ensure_sync)

    @_around(app, "request_context")
    def request_context(make: Callable[..., Any], environ: dict[str, Any]) -> Any:
        context = make(environ)
        _watch(app, context, declarations)
        return context

    @_around(app, "app_context")
    def app_context(make: Callable[..., Any]) -> Any:
        context = make()
        watch_app_context(context)
        context.__dict__[DECLARATIONS] = declarations
        return context

    @_around(app, "ensure_sync")
    def ensure_sync(_: Callable[..., Any], hook: Hook) -> Hook:
        return hooks.prepared(hook)

    @_around(app, "update_template_context")
    def note_names(update: Callable[..., Any], context: dict[str, Any]) -> None:
        noticed = current_dependencies().noticed
        before, noticed.in_processors = noticed.in_processors, True
        try:
            update(context)
        finally:
            noticed.in_processors = before

    @_around(app, "preprocess_request")
    def preprocess(preprocess_request: Callable[..., Any]) -> Any:
        for functions in app.url_value_preprocessors.values():
            hooks.replace_preprocessors(functions)
        return preprocess_request()


def encode_queries(app: Flask) -> None:
    """Let an application with a null cache read queries as one with a real cache does."""

    @_around(app, "request_context")
    def request_context(make: Callable[..., Any], environ: dict[str, Any]) -> Any:
        context = make(environ)
        encode_query(context.request)
        return context


def _around(app: Flask, name: str) -> Callable[[Callable[..., Any]], None]:
    """Put a function around a method of an application, which it gets as its first argument."""
    method = getattr(app, name)

    def replace(function: Callable[..., Any]) -> None:
        setattr(app, name, functools.wraps(method)(functools.partial(function, method)))

    return replace


def _watch(app: Flask, context: Any, declarations: Declarations) -> None:
    request = context.request
    environ = request.__dict__["environ"]
    noticed = Noticed(declarations)
    begin_dependencies(
        request, environ, Dependencies(noticed=noticed, verifying=RECOMPUTATION in environ)
    )
    opening = type(app.session_interface).open_session
    noticed.session_is_known = (opening.__module__, opening.__qualname__) in BUILT_IN
    encode_query(request)
    watch_request(request, noticed)
    watch_request_context(context)
    for variable in unknown_variables(declarations):
        # Middleware may have set it from the request, and its reads cannot be noted.
        noticed.count(Input("context variable", variable.name), "")
