"""The shop with near caches that do not look at what the server told them before they answer.

Their own threads still do, a moment later. The proofs must see the difference.
"""

import threading
from typing import Any

from flask import Flask
from package import load

#: The near cache's method that each lookup calls first, and the thread that may still do so.
MODULE, CLASS, METHOD = "caching.near", "NearCache", "drain"
THREAD = "near"


def create_app() -> Flask:
    """Build the application, without that look."""
    near = getattr(load(MODULE), CLASS)
    drain = getattr(near, METHOD)

    def late(self: Any, *args: Any, **kwargs: Any) -> Any:
        if THREAD in threading.current_thread().name:
            return drain(self, *args, **kwargs)
        return None

    setattr(near, METHOD, late)
    app: Flask = load().create_app()
    return app
