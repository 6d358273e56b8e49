"""Puts our worker in the place of gunicorn's, in each process that has this folder on its path.

In a server its loop answers as the application of gunicorn's tests does, as if those answers were
pages of the near cache. A worker that runs in no process, with sockets that are none, leaves all to
threads.
"""

from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.workers import gthread

from flask_coherent_cache._gunicorn import worker


def answerer(app: Any) -> Callable[..., Iterable[bytes] | None]:
    is_served = getattr(app, "__module__", "") == "app"

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes] | None:
        if not is_served or environ["PATH_INFO"] == "/slow":
            return None
        answered: Iterable[bytes] = app(environ, start_response)
        return answered

    return answer


worker.answerer = answerer  # type: ignore[assignment]
gthread.ThreadWorker = worker.Worker
