"""What a view consists of: the function that Flask calls, and every function wrapped in it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from flask import current_app
from flask.globals import request_ctx

from .._keys.closures import DECORATED


def view_functions(view: Any, method: str) -> Iterator[Any]:
    """Yield a view, or the method that a view class answers with, and what each one wraps."""
    candidates = [view]
    if view_class := getattr(view, "view_class", None):
        own = getattr(view_class, method.lower(), None)
        candidates += [own or getattr(view_class, "get", None), view_class.dispatch_request]
    for candidate in candidates:
        function = candidate
        while function is not None:
            yield function
            function = _wrapped_in(function)


def _wrapped_in(function: Any) -> Any:
    if type(function) is functools.partial:
        return function.func
    if type(function) is MethodType:
        return function.__func__
    call = getattr(type(function), "__call__", None)  # noqa: B004 - it is asked for, not about
    wrapped = getattr(function, "__wrapped__", None)
    return call if wrapped is None and type(call) is FunctionType else wrapped


def is_current_view(function: Callable[..., Any]) -> bool:
    """Tell whether a decorated function belongs to the view of the current request."""
    current = request_ctx.request
    view = current_app.view_functions.get(current.endpoint or "")
    return view is function or any(
        each is function for each in view_functions(view, current.method)
    )


def sorts_query(view: Any, method: str) -> bool:
    """Tell whether the key of a view's pages holds the whole query, sorted by name."""
    known = (getattr(each, DECORATED, None) for each in view_functions(view, method))
    return any(getattr(each, "sorts_query", False) for each in known)


def warm_of(view: Callable[..., Any]) -> bool | Callable[[], Iterable[Mapping[str, Any]]]:
    """Return what ``@cache.cached(warm=…)`` says about a view."""
    known = (getattr(each, DECORATED, None) for each in view_functions(view, "GET"))
    return next(filter(None, (getattr(each, "warm", False) for each in known)), False)
