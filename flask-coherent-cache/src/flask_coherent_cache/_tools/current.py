"""The cache that the tools of the current application show; each tool sets it."""

from typing import TYPE_CHECKING

from flask import Flask, current_app
from werkzeug.local import LocalProxy

if TYPE_CHECKING:
    from .. import Cache
    from .._engine.engine import CacheEngine

_CACHE = "coherent_cache_shown"


def engine_of(app: Flask, cache: "Cache") -> "CacheEngine | None":
    """Return the engine of an application; ``None`` where there is no cache."""
    with app.app_context():
        return cache.engine


def set_cache(app: Flask, cache: "Cache") -> None:
    """Have the tools of `app` show this cache."""
    app.extensions[_CACHE] = cache


cache: "Cache" = LocalProxy(lambda: current_app.extensions[_CACHE])  # type: ignore[assignment]
