"""Decorators around a cached view, which make something of what it returns."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Response, jsonify, render_template_string
from flask.testing import FlaskClient

from answers import status_of


def templated(template: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorator of Flask's documentation, "View Decorators"."""

    def decorator(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            context = view(*args, **kwargs)
            if context is None:
                context = {}
            elif not isinstance(context, dict):
                return context
            return render_template_string(template, **context)

        return decorated

    return decorator


def enveloped(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return jsonify(data=view(*args, **kwargs))

    return decorated


def passing(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that changes nothing, such as ``login_required``."""

    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return decorated


class Point:
    """What only a layer knows how to write."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


def marshalled(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        returned = view(*args, **kwargs)
        if isinstance(returned, tuple):
            return ({"x": returned[0].x}, *returned[1:])
        return {"x": returned.x}

    return decorated


def ask_twice(client: FlaskClient, path: str = "/", **options: Any) -> list[Response]:
    answers: list[Any] = [client.get(path, **options) for _ in range(2)]
    assert [status_of(each).split(";")[1].strip() for each in answers] == ["fwd=miss", "hit"]
    return answers
