"""Decorators and frameworks between a cached view and Flask, which want what the view returned.

Flask's own dispatch is answered with a page. Whatever else calls the view, such as a ``templated``
decorator, ``marshal_with`` or a resource of Flask-RESTful, gets the view's own value, on a hit as
on a miss, and makes a response of it: Flask-Caching stores and returns that, too. The headers of
the page are put on the response that leaves.
"""

from types import CodeType, FrameType
from typing import Any

from flask import Flask, Response, current_app
from flask.views import MethodView, View
from werkzeug.wrappers import Response as AnyResponse

from .._functions.values import decode

_DISPATCH, _FULL_DISPATCH = Flask.dispatch_request.__code__, Flask.full_dispatch_request.__code__
#: On the way from there to the method of a class of views, which pass on what it returns.
_BETWEEN = frozenset(
    {MethodView.dispatch_request.__code__}
    | {
        code
        for code in View.as_view.__func__.__code__.co_consts  # type: ignore[attr-defined]
        if isinstance(code, CodeType) and code.co_name == "view"
    }
)


def is_flask(frame: FrameType | None) -> bool:
    """Tell whether Flask itself gets what is returned to a frame."""
    while frame is not None and frame.f_code in _BETWEEN:
        frame = frame.f_back
    if frame is None or frame.f_code is not _DISPATCH or frame.f_back is None:
        return False
    # What overrides the dispatch may want to see the value.
    return frame.f_back.f_code is _FULL_DISPATCH


def is_value(returned: Any) -> bool:
    """Tell whether a view returned something else than a response."""
    return not isinstance(returned, AnyResponse)


def judged(returned: Any) -> Response:
    """Make a response of what a view returned to a layer, for its status and its headers.

    The body may be something that only the layer knows how to write.
    """
    try:
        return current_app.make_response(returned)
    except Exception:
        rest = returned[1:] if isinstance(returned, tuple) else ()
        return current_app.make_response(("", *rest) if rest else "")


def decoded_value(data: bytes | None) -> tuple[Any, ...]:
    """Return the value of an entry, in a tuple that is empty where the entry is of a page."""
    # A pickle begins with its protocol, a page with the length of its head.
    return (decode(data),) if data is not None and data.startswith(b"\x80") else ()
