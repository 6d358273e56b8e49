"""Views whose return value goes to a decorator or a framework, and not to Flask.

Flask's own dispatch is answered with a page. Any other caller, such as a ``templated`` decorator,
``marshal_with`` or a resource of Flask-RESTful, gets the value that the view returned, on a hit and
on a miss, and makes a response of it. Flask-Caching stores and returns that value, too. The page's
headers are added to the response that leaves.
"""

from types import CodeType, FrameType
from typing import Any

from flask import Flask, Response, current_app
from flask.views import MethodView, View
from werkzeug.wrappers import Response as AnyResponse

_DISPATCH, _FULL_DISPATCH = Flask.dispatch_request.__code__, Flask.full_dispatch_request.__code__
#: Between Flask's dispatch and the method of a view class; they pass its return value on.
_BETWEEN = frozenset(
    {MethodView.dispatch_request.__code__}
    | {
        code
        for code in View.as_view.__func__.__code__.co_consts  # type: ignore[attr-defined]
        if isinstance(code, CodeType) and code.co_name == "view"
    }
)


def returns_to_flask(frame: FrameType | None) -> bool:
    """Tell whether Flask's own dispatch gets the return value of what this frame calls."""
    while frame is not None and frame.f_code in _BETWEEN:
        frame = frame.f_back
    if frame is None or frame.f_code is not _DISPATCH or frame.f_back is None:
        return False
    # A subclass that overrides the dispatch may want to see the value.
    return frame.f_back.f_code is _FULL_DISPATCH


def is_value(returned: Any) -> bool:
    """Tell whether a view returned something other than a response."""
    return not isinstance(returned, AnyResponse)


def response_to_check(returned: Any) -> Response:
    """Make a response whose status and headers decide whether a value may be stored.

    Perhaps only the view's caller knows how to make a body of it.
    """
    try:
        return current_app.make_response(returned)
    except Exception:
        rest = returned[1:] if isinstance(returned, tuple) else ()
        return current_app.make_response(("", *rest) if rest else "")


def is_encoded_value(data: bytes) -> bool:
    """Tell whether an entry is a pickled value: a page begins with the length of its head."""
    return data.startswith(b"\x80")
