"""The applications that are measured, each with the same views; gunicorn calls `make`.

Ours is what a generated project's `create_app()` makes of its production settings, with all its
middleware; a few routes are added to it. The others are as small as they can be.
"""

import functools
import json
import os
import random
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import flask_caching
import statements
from dogpile.cache import make_region
from flask import Flask, jsonify, make_response, request, session
from starting import package

View = Callable[..., Any]

LIFE_SECONDS = 3600
#: Of the page that expires under load, and how long a computation of it takes.
SHORT_LIFE_SECONDS, FILL_SECONDS = 1, 0.1
#: For how long a request for a page that is not cached holds its thread.
HOLD_SECONDS = 0.1
#: Pages by number are turns of it: no compression makes them smaller.
NOISE = random.Random(0).randbytes(4096)  # noqa: S311 - any would do
FRAGMENT = "{% cache 3600, 'fragment' %}{{ hello() }}{% endcache %}"
TWO = (7, "seven")
TEN = (1, 2, 3, 4, 5, "f", "g", "h", "i", "j")

#: The results of all computations in this process: what a hit does not add to.
computed: list[object] = []


def compute(result: Any) -> Any:
    """Return a result, and count it."""
    computed.append(result)
    return result


def no_argument() -> Any:
    """Return what a small query would."""
    return compute({"id": 7, "name": "A small thing", "price_cents": 1999})


def two_arguments(a: int, b: str) -> Any:
    """Return the same."""
    return compute({"id": a, "name": b, "price_cents": 1999})


def ten_arguments(  # noqa: PLR0917 - as many as are measured
    a: int, b: int, c: int, d: int, e: int, f: str, g: str, h: str, i: str, j: str
) -> Any:
    """Return the same."""
    return compute({"id": a + b + c + d + e, "name": f + g + h + i + j, "price_cents": 1999})


def slow(number: int) -> Any:
    """Take a while."""
    time.sleep(FILL_SECONDS)
    return compute(number)


def hello() -> Any:
    """Return a page."""
    return compute("<!doctype html><title>Hello</title><p>Hello, World!</p>\n")


def conditional(view: View) -> View:
    """Answer conditions by hand, as those do whose cache does not."""

    @functools.wraps(view)
    def answered() -> Any:
        response = make_response(view())
        response.add_etag()
        return response.make_conditional(request)

    return answered


def add_views(app: Flask, cached: View, private: View, expiring: View, by_hand: View) -> None:
    """Add the views, each wrapped in what caches it."""

    def mine() -> str:
        return f"<!doctype html><title>Hello</title><p>Hello, {session['user']}!</p>\n"

    def page(number: int) -> bytes:
        turn = number % len(NOISE)
        return NOISE[turn:] + NOISE[:turn]

    def expires() -> Any:
        time.sleep(FILL_SECONDS)
        return hello()

    def sign_in() -> str:
        session["user"] = "World"
        return ""

    app.add_url_rule("/hello", "hello", cached(hello))
    app.add_url_rule("/conditional", "conditional", by_hand(cached(hello)))
    app.add_url_rule("/private", "private", private(mine))
    app.add_url_rule("/page/<int:number>", "page", cached(page))
    app.add_url_rule("/expires", "expires", expiring(expires))

    def held() -> str:
        time.sleep(HOLD_SECONDS)
        return ""

    app.add_url_rule("/enter", "enter", sign_in)
    app.add_url_rule("/held", "held", held)


def ours() -> tuple[Flask, Any]:
    """Make the generated project's application, and return its cache too."""
    app = import_module(package()).create_app()
    cache = import_module(f"{package()}.extensions").cache
    add_views(
        app,
        cache.cached(LIFE_SECONDS),
        cache.cached(LIFE_SECONDS, private=True),
        cache.cached(SHORT_LIFE_SECONDS, grace=LIFE_SECONDS),
        lambda view: view,
    )
    return app, cache


def stock(kind: str) -> tuple[Flask, Any]:
    """Make a plain application with Flask-Caching's own cache."""
    app = plain()
    settings = {name: os.environ[name] for name in ("CACHE_REDIS_URL", "CACHE_KEY_PREFIX")}
    cache = flask_caching.Cache(app, config={"CACHE_TYPE": kind, **settings})
    by_user = cache.cached(LIFE_SECONDS, make_cache_key=lambda: f"private/{session['user']}")
    add_views(
        app, cache.cached(LIFE_SECONDS), by_user, cache.cached(SHORT_LIFE_SECONDS), conditional
    )
    return app, cache


def read_statements(subject: str, app: Flask, cache: Any) -> View:
    """Add a page that is made of statements; return a memoized function that is, too."""
    read = statements.of_project(app) if subject == "ours" else statements.of_its_own(app)
    page = cache.cached(LIFE_SECONDS)(lambda number: jsonify(read(number)))
    app.add_url_rule("/statements/<int:number>", "statements", page)
    return cache.memoize(LIFE_SECONDS, make_name=lambda _: "statements")(read)  # type: ignore[no-any-return]


def plain() -> Flask:
    """Make an application without anything."""
    app = Flask("benchmark", static_folder=None, template_folder=None)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    return app


def bare() -> tuple[Flask, None]:
    """Make an application that computes each page."""
    app = plain()
    add_views(app, *[lambda view: view] * 3, conditional)
    return app, None


def region(kind: str) -> Any:
    """Make a region of dogpile.cache."""
    arguments = {"url": os.environ["CACHE_REDIS_URL"]} if kind == "dogpile.cache.redis" else {}
    prefix = os.environ["CACHE_KEY_PREFIX"]
    made = make_region(key_mangler=lambda key: f"{prefix}:{key}")
    return made.configure(kind, expiration_time=LIFE_SECONDS, arguments=arguments)


def raw() -> View:
    """Make a WSGI callable that answers as ours did: the file holds an answer for each path."""
    answers = {
        path: (status, [tuple(header) for header in headers], body.encode())
        for path, (status, headers, body) in json.loads(
            Path(os.environ["BENCHMARK_ANSWERS"]).read_text(encoding="utf-8")
        ).items()
    }

    def answer(environ: dict[str, Any], start_response: View) -> list[bytes]:
        status, headers, body = answers[environ["PATH_INFO"]]
        start_response(status, headers)
        return [body]

    return answer


def application(subject: str) -> tuple[Flask, Any]:
    """Make the application of a subject that is one of Flask, and return its cache too."""
    makers: dict[str, Callable[[], tuple[Flask, Any]]] = {"ours": ours, "bare": bare}
    return makers[subject]() if subject in makers else stock(subject)


def make(subject: str) -> View:
    """Make the WSGI callable of a subject."""
    return raw() if subject == "raw" else application(subject)[0]
