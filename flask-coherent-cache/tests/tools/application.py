"""A small application that has every tool."""

import hmac
from typing import Any

from flask import Flask, abort, current_app, request
from flask.testing import FlaskClient
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from flask_coherent_cache import Cache
from flask_coherent_cache.negotiation import prefers_json
from flask_coherent_cache.tools import Commands, Inspector, Metrics, Toolbar

cache = Cache()
csrf = CSRFProtect()

DEFAULTS: dict[str, Any] = {
    "TESTING": True,
    "WTF_CSRF_ENABLED": False,
    "SECRET_KEY": "k" * 40,
    "RELEASE": "v1",
    "OPS_TOKEN": "",
    "METRICS_PORT": None,
    "WEB_CONCURRENCY": 1,
    "GUNICORN_THREADS": 4,
    "GUNICORN_TIMEOUT_SECONDS": 30,
    "GUNICORN_GRACEFUL_TIMEOUT_SECONDS": 25,
    "SESSION_REFRESH_EACH_REQUEST": False,
}


class Client(FlaskClient):
    """A client that reads each response whole and closes it, as a server does."""

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> TestResponse:
        """Make a request."""
        return super().open(*args, buffered=buffered, **kwargs)


def render_error(error: HTTPException) -> tuple[str, int, dict[str, str]]:
    """Answer browsers with a page, and programs with a line."""
    headers = {"Vary": "Accept"}
    if prefers_json():
        return f'{{"title": "{error.name}"}}', error.code or 500, headers
    return f"<!doctype html><body>{error.name}</body>", error.code or 500, headers


def create_app(**settings: Any) -> Flask:
    """Make the application; its views are added by the tests."""
    app = Flask("small", static_folder=None, template_folder=None)
    app.config.update(DEFAULTS | settings)
    app.test_client_class = Client
    app.register_error_handler(HTTPException, render_error)
    csrf.init_app(app)
    for hook in app.before_request_funcs[None]:
        cache.skip_on_hit(hook)
    cache.init_app(app)
    cache.serve_before_flask(app)
    Toolbar(cache).init_app(app)
    app.add_url_rule("/healthz", "health", lambda: "ok")
    metrics = Metrics(cache)
    metrics.init_app(app)
    Inspector(cache, authorize=authorize).init_app(app)
    Commands(cache).init_app(app)
    metrics.listen(app, app.config["METRICS_PORT"])
    return app


def authorize() -> str:
    """Let in whoever has the token; where there is none, everybody."""
    token = current_app.config["OPS_TOKEN"]
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(sent.encode(), token.encode()):
        abort(401)
    return "the holder of OPS_TOKEN"
