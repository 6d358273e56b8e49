"""Gunicorn's settings: what a machine needs differently comes from the environment.

Each name is one of <https://docs.gunicorn.org/en/stable/settings.html>.
"""

import logging
import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

# Gunicorn calls these by name: they keep the metrics of all workers.
from flask_coherent_cache.gunicorn import child_exit, on_starting  # noqa: F401

problems: list[str] = []


def whole_number(name: str, default: int, least: int, most: int) -> int:
    """Return the environment's `name` as a number; note in words what will not do."""
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
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": objects if as_json else lines},
        "filters": {"words": {"()": lambda: settings_in_words}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "lines",
                "filters": ["words"],
            }
        },
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
        },
        # The application sets up its own logging; see logs.py.
        "root": {},
    }


def settings_in_words(record: logging.LogRecord) -> bool:
    """Show no traceback where settings are wrong: the error says all that there is to know."""
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__name__ == "ConfigurationError":
        record.msg, record.args, record.exc_info = str(error), (), None
    return True


DEPLOY = Path(__file__).parent / "deploy"
address = runpy.run_path(str(DEPLOY / "address.py"))
late_requests = runpy.run_path(str(DEPLOY / "late_requests.py"))
port = whole_number("PORT", 8000, 1, 65535)
bind = address["binds"]()

# The application takes the prefix off itself. Gunicorn would refuse each request without it, also
# for the health and the metrics of this process.
if prefix := os.environ.pop("SCRIPT_NAME", ""):
    os.environ["APPLICATION_ROOT"] = prefix

# Where it is set, the application answers with its metrics there, and nowhere else.
if metrics_port := whole_number("METRICS_PORT", 0, 1, 65535):
    if metrics_port == port:
        problems.append(f"METRICS_PORT={metrics_port} is the port of the application itself.")
    bind.append(f"{address['host']()}:{metrics_port}")

# One process a core; each has its own near cache and database connections. It is 1 where nothing
# is said, because the SimpleCache of a process is out of the others' reach.
workers = whole_number("WEB_CONCURRENCY", 1, 1, 256)

# Threads wait for the database and the cache server together; the heartbeat has a thread of its
# own, so a slow request does not get its worker killed. Measured with one worker and eight
# connections, in requests a second against 4 threads of gthread, over runs on a busy machine and a
# quieter one:
# - a page from the near cache: 2 threads 0.9 to 1.2, 8 threads about 1.0. Where a second core is
#   free, threads fight for the interpreter, and fewer win; where none is, it makes no difference.
# - one request in ten waits 20 ms: sync 0.3, 2 threads 0.6, 8 threads 1.6, and with 8 the p99 of
#   the quick ones is a quarter. So take more where views wait, and no more where they compute.
# sync keeps no connection: a page 0.8 to 1.4. gevent: 0.9 to 1.4, and 2.0 where requests wait, but
# a page's p99 was three times as long, and it replaces the locks that cache and drivers rest on.
worker_class = "gthread"
threads = whole_number("GUNICORN_THREADS", 4, 1, 256)

# The parser in C (gunicorn_h1c) made 1.03 of a page: too little for a second opinion on where a
# request ends, from whatever version is installed, and for a compiler where it has no wheel.
http_parser = "python"

# A worker that has not beaten for so long is stuck and is replaced.
timeout = whole_number("GUNICORN_TIMEOUT_SECONDS", 30, 1, 3600)

# A head has so long to arrive, and a body. Threads wait for them, so a proxy that buffers requests
# belongs in front all the same: whoever asks again and again occupies them again and again.
request_seconds = whole_number("GUNICORN_REQUEST_SECONDS", 10, 1, 3600)

# Requests under way at a stop get so long. compose.yaml's stop_grace_period must be longer.
graceful_timeout = whole_number("GUNICORN_GRACEFUL_TIMEOUT_SECONDS", 25, 1, 3600)

# Longer than a proxy keeps an idle connection (60 s by nginx's and most load balancers' default),
# so that it is never the server that closes one which the proxy is about to use.
keepalive = whole_number("GUNICORN_KEEPALIVE_SECONDS", 65, 0, 3600)

# Bounds what a slow leak can take. The jitter keeps the workers from restarting together.
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
log_format = "json" if os.environ.get("APP_ENV") == "production" else "text"
logconfig_dict = log_config((os.environ.get("LOG_FORMAT") or log_format) == "json")


def post_fork(_server: Any, worker: Any) -> None:
    """Bound the wait for a request; Gunicorn calls it by its name."""
    if hasattr(worker, "murder_pending"):
        late_requests["LateRequests"](worker, request_seconds)


# Which proxy is believed is said once, by PROXY_COUNT.
forwarded_allow_ips = ""

# Signals are enough; the socket would need a home directory that can be written.
control_socket_disable = True

if problems:
    raise SystemExit("Gunicorn cannot start:\n" + "\n".join(f"- {line}" for line in problems))
