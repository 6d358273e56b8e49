"""The cache that the tools show: each tool is told of it by its `init_app`."""

from typing import TYPE_CHECKING

from flask import Flask, current_app
from werkzeug.local import LocalProxy

if TYPE_CHECKING:
    from .. import Cache

_CACHE = "coherent_cache_shown"


def set_cache(app: Flask, cache: "Cache") -> None:
    """Have the tools of `app` show this cache."""
    app.extensions[_CACHE] = cache


def _shown() -> "Cache":
    shown: Cache = current_app.extensions[_CACHE]
    return shown


#: The cache that the tools of the current application show.
cache: "Cache" = LocalProxy(_shown)  # type: ignore[assignment]
