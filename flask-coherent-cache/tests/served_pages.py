"""The application that `test_worker.py` serves; the environment chooses what stands around it."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from flask_coherent_cache import Cache

FOLDER = Path(os.environ["SERVED_FOLDER"])
#: More than a connection takes at once from a client that does not read.
LARGE = bytes(range(256)).hex().encode() * 16_000


def say_thread(wsgi_app: Any) -> Any:
    """Middleware that may stand around pages answered at once: it names who answers."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[Any], *error: Any) -> Any:
            is_loop = threading.current_thread() is threading.main_thread()
            who = ("X-Answered-By", "loop" if is_loop else "thread")
            return start_response(status, [*headers, who], *error)

        return wsgi_app(environ, start)

    return answer


def note_calls(wsgi_app: Any) -> Any:
    """Middleware of an owner that must run once for each request."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with (FOLDER / "calls").open("a") as calls:
            calls.write(f"{environ['PATH_INFO']}\n")
        return wsgi_app(environ, start_response)

    return answer


def make() -> Flask:
    """Make the application."""
    app = Flask("served_pages")
    app.config.update(
        CACHE_TYPE="RedisCache",
        CACHE_REDIS_URL=os.environ["SERVED_REDIS"],
        CACHE_KEY_PREFIX=os.environ["SERVED_PREFIX"],
        SECRET_KEY="k" * 40,
    )
    cache = Cache(app)
    cache.serve_before_flask(app)

    @app.route("/page")
    @cache.cached(3600)
    def page() -> str:
        return "<p>page</p>" * 50

    @app.get("/large")
    @cache.cached(3600)
    def large() -> Response:
        return Response(LARGE, mimetype="image/png")

    @app.route("/plain", methods=["GET", "POST"])
    def plain() -> str:
        return f"plain {len(request.get_data())}"

    @app.get("/slow")
    def slow() -> str:
        (FOLDER / f"slow-{time.monotonic_ns()}").touch()
        while not (FOLDER / "release").exists():
            time.sleep(0.01)
        return "slow"

    @app.get("/pid")
    def pid() -> str:
        return f"{os.getpid()}"

    cache.add_middleware(app, say_thread)
    if "SERVED_MIDDLEWARE" in os.environ:
        app.wsgi_app = note_calls(app.wsgi_app)  # type: ignore[method-assign]
    return app
