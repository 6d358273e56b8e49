"""Gunicorn's settings: what differs from machine to machine comes from the environment.

Each name is one of <https://docs.gunicorn.org/en/stable/settings.html>.
"""

import gc
import logging
import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

# Gunicorn calls these by name: they keep the metrics of all workers.
from flask_coherent_cache.gunicorn import child_exit, on_starting  # noqa: F401
from gunicorn.glogging import Logger

problems: list[str] = []


def whole_number(name: str, default: int, least: int, most: int) -> int:
    """Return the environment's `name` as a number; note what is wrong with it."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    problems.append(f"{name}={text!r} is not a whole number from {least} to {most}.")
    return default


def log_config(as_json: bool) -> dict[str, Any]:
    """Return the logging configuration of Gunicorn's own lines, which all go to stderr."""
    lines = {"format": "%(asctime)s %(levelname)-7s %(name)s %(message)s", "datefmt": "%H:%M:%S"}
    # The same fields as in the application's logs.py.
    objects = {
        "()": "pythonjsonlogger.json.JsonFormatter",
        "fmt": ["levelname", "name", "message", "process"],
        "timestamp": "time",
        "rename_fields": {"levelname": "level", "name": "logger"},
    }
    handler = {"class": "logging.StreamHandler", "formatter": "lines", "filters": ["words"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": objects if as_json else lines},
        "filters": {"words": {"()": lambda: settings_in_words}},
        "handlers": {"stderr": handler},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False}
        },
        # The application sets up its own logging; see logs.py.
        "root": {},
    }


def settings_in_words(record: logging.LogRecord) -> bool:
    """Show no traceback for wrong settings: the error's words say it all."""
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__name__ == "ConfigurationError":
        record.msg, record.args, record.exc_info = str(error), (), None
    return True


DEPLOY = Path(__file__).parent / "deploy"
address = runpy.run_path(str(DEPLOY / "address.py"))
late_requests = runpy.run_path(str(DEPLOY / "late_requests.py"))
port = whole_number("PORT", 8000, 1, 65535)
bind = address["binds"]()

# The application takes the prefix off itself. Gunicorn would refuse each request without it, even
# for health and metrics.
if prefix := os.environ.pop("SCRIPT_NAME", ""):
    os.environ["APPLICATION_ROOT"] = prefix

# The application answers on this port with its metrics, and with nothing else.
if metrics_port := whole_number("METRICS_PORT", 0, 1, 65535):
    if metrics_port == port:
        problems.append(f"METRICS_PORT={metrics_port} is the port of the application itself.")
    bind.append(f"{address['host']()}:{metrics_port}")

# One process a core; each has its own near cache and database connections. The default is 1,
# because processes do not share a SimpleCache.
workers = whole_number("WEB_CONCURRENCY", 1, 1, 256)

# Threads wait for the database and the cache server together; the heartbeat has a thread of its
# own, so a slow request does not get its worker killed. Requests a second, against 4 threads, with
# one worker and eight connections:
# - a page from the near cache: 2 threads 0.9 to 1.2, 8 threads 1.0;
# - one request in ten waits 20 ms: sync 0.3, 2 threads 0.6, 8 threads 1.6, at a quarter of the p99.
# So take more threads if views wait, and no more if they compute. gevent made 0.9 to 1.4, but a
# page's p99 was three times as long, and it replaces the locks that cache and drivers rely on.
#
# This worker is gthread, but its loop itself answers pages that are in the process, also while all
# threads wait. GUNICORN_WORKER_CLASS=gthread has threads answer them, too.
worker_class = os.environ.get("GUNICORN_WORKER_CLASS", "").strip()
worker_class = worker_class or "flask_coherent_cache.gunicorn.Worker"
threads = whole_number("GUNICORN_THREADS", 4, 1, 256)

# The parser in C (gunicorn_h1c) made 1.03: too little for a second opinion on where a request ends.
http_parser = "python"

# A worker that has shown no life for so many seconds is replaced.
timeout = whole_number("GUNICORN_TIMEOUT_SECONDS", 30, 1, 3600)

# A request's head has so many seconds to arrive, and so has its body. Threads wait for them, so put
# a proxy that buffers requests in front all the same.
request_seconds = whole_number("GUNICORN_REQUEST_SECONDS", 10, 1, 3600)

# Requests in progress at a stop get so many seconds; compose.yaml's stop_grace_period is longer.
graceful_timeout = whole_number("GUNICORN_GRACEFUL_TIMEOUT_SECONDS", 25, 1, 3600)

# Longer than a proxy keeps an idle connection (nginx and most load balancers: 60 s), so that the
# server never closes one that the proxy is about to use.
keepalive = whole_number("GUNICORN_KEEPALIVE_SECONDS", 65, 0, 3600)

# Bounds a slow leak of memory. The jitter keeps the workers from restarting together.
max_requests = whole_number("GUNICORN_MAX_REQUESTS", 100_000, 0, 1_000_000_000)
max_requests_jitter = max_requests // 10

# The heartbeat touches a file: on a disk that stalls, a healthy worker would be killed.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None  # noqa: S108
if worker_tmp_dir is None:
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        problems.append(f"Neither /dev/shm nor a folder for temporary files is writable: {error}")

# The application logs each request with its id (logs.py), so a second line would say less.
accesslog = None


class OwnLogger(Logger):  # type: ignore[misc]
    """Gunicorn's logger, which would format a line for each request, also if nobody gets it."""

    def access(self, *args: Any) -> None:
        """Write a line about a request if a handler was added for it."""
        if self.access_log.handlers:
            super().access(*args)


logger_class = OwnLogger
log_format = "json" if os.environ.get("APP_ENV") == "production" else "text"
logconfig_dict = log_config((os.environ.get("LOG_FORMAT") or log_format) == "json")


def post_fork(_server: Any, worker: Any) -> None:
    """Bound the wait for a request; Gunicorn calls it, and the next, by its name."""
    # What the application imports stays: to look for garbage in it takes an eighth of the start.
    gc.disable()
    if hasattr(worker, "murder_pending"):
        late_requests["LateRequests"](worker, request_seconds)


def post_worker_init(_worker: Any) -> None:
    """Collect what requests leave, without a look through all that was there before them."""
    gc.freeze()
    gc.enable()


# PROXY_COUNT alone says which proxies are trusted.
forwarded_allow_ips = ""

# Signals are enough; the socket would need a writable home directory.
control_socket_disable = True

if problems:
    raise SystemExit("Gunicorn cannot start:\n" + "\n".join(f"- {line}" for line in problems))
