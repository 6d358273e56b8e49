"""What a view consists of: the function that Flask calls, and all that is wrapped in it."""

import functools
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any


def layers(view: Any, method: str) -> Iterator[Any]:
    """Yield a view, or what a class of views answers with, and all that is wrapped in it."""
    candidates = [view]
    if view_class := getattr(view, "view_class", None):
        own = getattr(view_class, method.lower(), None)
        candidates += [own or getattr(view_class, "get", None), view_class.dispatch_request]
    for candidate in candidates:
        layer = candidate
        while layer is not None:
            yield layer
            layer = _inside(layer)


def _inside(layer: Any) -> Any:
    if type(layer) is functools.partial:
        return layer.func
    if type(layer) is MethodType:
        return layer.__func__
    call = getattr(type(layer), "__call__", None)  # noqa: B004 - it is asked for, not about
    wrapped = getattr(layer, "__wrapped__", None)
    return call if wrapped is None and type(call) is FunctionType else wrapped


def sorts_query(view: Any, method: str) -> bool:
    """Tell whether the whole query is in the key of a view's pages, sorted by name."""
    return any(getattr(layer, "sorts_query", False) for layer in layers(view, method))
