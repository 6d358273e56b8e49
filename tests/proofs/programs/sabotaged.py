"""The shop with near caches that do not look at what the server told them before they answer.

Their own threads still do, a moment later. The proofs must see the difference.
"""

import threading
import time
from typing import Any

from flask import Flask
from flask_coherent_cache._near.tracking import Tracker
from package import load

#: The thread that may still look, which each lookup does first.
THREAD = "cache-near"
#: How late it is at most, which it is at half of all times.
LATE_SECONDS = 0.01


def create_app() -> Flask:
    """Build the application, without that look."""
    receive = Tracker._receive

    def late(self: Any, *args: Any, **kwargs: Any) -> Any:
        in_time = time.monotonic() % (2 * LATE_SECONDS) < LATE_SECONDS
        if threading.current_thread().name == THREAD and in_time:
            return receive(self, *args, **kwargs)
        return None

    Tracker._receive = late  # type: ignore[method-assign]
    app: Flask = load().create_app()
    return app
