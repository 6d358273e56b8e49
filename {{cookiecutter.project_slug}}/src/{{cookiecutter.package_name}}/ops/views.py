"""Whether the process lives, whether it can do its work, and its figures; none of it is cached."""

import logging
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, abort, current_app
from flask.typing import ResponseReturnValue
from sqlalchemy import text
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from ..extensions import cache, db, metrics
from .access import has_token, is_developer

bp = Blueprint("ops", __name__)
log = logging.getLogger(__name__)
NO_STORE = {"Cache-Control": "no-store"}


@bp.get("/healthz")
def health() -> ResponseReturnValue:
    """Say that the process lives. It touches nothing, so a slow database restarts no process."""
    return {"status": "ok"}, 200, NO_STORE


@bp.get("/readyz")
def ready() -> ResponseReturnValue:
    """Say what works: 503 without a database, 200 and `degraded` without a cache."""
    components = {
        "database": _component("database", _ask_database, lost="unavailable"),
        "cache": _component("cache", cache.check, lost="degraded"),
    }
    states = {component["status"] for component in components.values()}
    status = next((state for state in ("unavailable", "degraded") if state in states), "ok")
    body = {"status": status, "release": current_app.config["RELEASE"], "components": components}
    return body, 503 if status == "unavailable" else 200, NO_STORE


@bp.get("/metrics", endpoint="metrics")
def show_metrics() -> ResponseReturnValue:
    """Say it in figures, to holders of the token; METRICS_PORT needs none."""
    if not (is_developer() or current_app.config["OPS_TOKEN"]):
        abort(404)
    if not (is_developer() or has_token()):
        raise Unauthorized(www_authenticate=WWWAuthenticate("bearer", {"realm": "operations"}))
    body, content_type = metrics.exposition()
    return body, 200, {"Content-Type": content_type} | NO_STORE


def _component(name: str, ask: Callable[[], str], *, lost: str) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        status = ask()
    except Exception as error:
        log.warning("The %s does not answer: %r", name, error)
        status = lost
    return {"status": status, "ms": round((time.perf_counter() - started) * 1000, 1)}


def _ask_database() -> str:
    with db.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return "ok"
