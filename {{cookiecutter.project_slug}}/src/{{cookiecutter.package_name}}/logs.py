"""Logs: readable lines for people, JSON for machines, and a request id that ties them together."""

import json
import logging
import random
import re
import time
from contextvars import ContextVar
from functools import lru_cache
from json.encoder import encode_basestring_ascii as text
from typing import Any
from urllib.parse import quote

from flask import Flask
from flask_coherent_cache.logs import BatchHandler
from pythonjsonlogger.json import JsonFormatter
from werkzeug.wsgi import ClosingIterator

from .extensions import cache

LINE = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s"
#: Asked every few seconds by machines; only a failure is worth a line.
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/_cache/figures.json"})
#: A foreign id is written to the logs, so it may hold no other characters.
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PLAIN_PATH = re.compile(r"[\w.~/:@!$&'()*+,;=-]*", re.ASCII)  # as a URL has it
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
cache.influences_only_through(
    _request_id, reason="log lines and errors of the server show it, and neither is ever cached"
)

_counts = lru_cache(maxsize=1000)(lambda *counts: json.dumps(dict(counts)))
_second = lru_cache(maxsize=1)(lambda s: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(s)))


def request_id() -> str | None:
    """Return the id of the current request."""
    return _request_id.get()


def configure(app: Flask) -> None:
    """Send every log record to standard error, in the form that LOG_FORMAT names."""
    handler = BatchHandler()
    handler.addFilter(_add_request_id)
    keys = {"levelname": "level", "name": "logger"}
    as_json = JsonFormatter([*keys, "message", "request_id"], timestamp="time", rename_fields=keys)
    is_json = app.config["LOG_FORMAT"] == "json"
    handler.setFormatter(as_json if is_json else Lines(LINE, "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if type(h) is not BatchHandler] + [handler]
    root.setLevel(app.config["LOG_LEVEL"])
    app.logger.setLevel(logging.NOTSET)  # In debug mode Flask sets a level of its own.
    # A filter that is there already is not added again.
    logging.getLogger("werkzeug").addFilter(_tidy_server_line)
    if app.config["SECRET_KEY_IS_RANDOM"] and not app.testing:
        app.logger.warning("SECRET_KEY is not set: sessions end when this process does.")


def init_app(app: Flask) -> None:
    """Give each request an id and an access line."""
    access = logging.getLogger(f"{app.import_name}.access")
    cache.add_middleware(app, lambda wsgi_app: AccessLog(wsgi_app, access))


class AccessLog:
    """WSGI middleware: an id for each request, echoed in X-Request-ID, and one line about it."""

    def __init__(self, wsgi_app: Any, logger: logging.Logger) -> None:
        self.wsgi_app = wsgi_app
        self.logger = logger

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request; the line is written when the response has been sent."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        identity = given if SANE_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        before, named = _request_id.get(), ("X-Request-ID", identity)
        _request_id.set(identity)
        if not self.logger.isEnabledFor(logging.INFO):
            return self.wsgi_app(
                environ, lambda status, sent, *error: start_response(status, [*sent, named], *error)
            )
        answer: dict[str, Any] = {"status": 500, "endpoint": None, "cache_status": None}
        started = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            answer["status"] = int(status[:3])
            # Asked here: Flask lets go of its request as soon as the response has begun.
            answer["endpoint"] = getattr(environ.get("werkzeug.request"), "endpoint", None)
            # From the end: it is among the last that a hit adds, and each look costs.
            for name, value in reversed(headers):
                if name.lower() == "cache-status":
                    answer["cache_status"] = value
                    break
            return start_response(status, [*headers, named], *exc_info)

        def finish() -> None:
            self.write(environ, answer, (time.perf_counter() - started) * 1000)
            _request_id.set(before)

        try:
            body: Any = self.wsgi_app(environ, start)
        except BaseException:
            finish()
            raise
        if body is None:  # Nothing could answer at once: the request comes again.
            _request_id.set(before)
        elif type(body) is tuple:  # A page of the near cache, whole.
            finish()
        else:
            body = ClosingIterator(body, finish)
        return body

    def write(self, environ: dict[str, Any], answer: dict[str, Any], ms: float) -> None:
        """Write the line, without the query, which may hold what is private."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path in QUIET_PATHS and answer["status"] < 400:
            return
        if not PLAIN_PATH.fullmatch(path):
            path = quote(path.encode("latin-1"), safe="/:@!$&'()*+,;=~")
        method, status, name, sent = environ["REQUEST_METHOD"], *answer.values()
        did = cache.request_summary(environ)
        name, counts, ms = did.endpoint or name, did.results, round(ms, 1)
        line = f"{method} {path} {status} in {ms!r} ms"
        line += (f", cache: {did.words}" if did.words else "") + (f" ({sent})" if sent else "")
        handler = BatchHandler.alone(self.logger, _add_request_id)
        if handler is None or type(handler.formatter) is not JsonFormatter:
            known = {"method": method, "path": path, **answer, "endpoint": name, "cache": counts}
            self.logger.info("%s", line, extra=known | {"ms": ms})
            return
        handler.write_line(  # As the formatter would write it, at a twentieth of the cost.
            f'{{"level": "INFO", "logger": {text(self.logger.name)}, "message": {text(line)}, '
            f'"request_id": {text(request_id() or "-")}, "method": {text(method)}, "path": '
            f'{text(path)}, "status": {status}, "endpoint": {text(name) if name else "null"}, '
            f'"cache_status": {text(sent) if sent else "null"}, "cache": {_counts(*counts.items())}'
            f', "ms": {ms!r}, "time": "{_second((now := time.time_ns()) // 1_000_000_000)}'
            f'.{now // 1000 % 1_000_000:06}+00:00"}}\n',
            urgent=status >= 500,
        )


class Lines(logging.Formatter):
    """One readable line a record, and a traceback below it where there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line, with control characters escaped: a visitor cannot forge another one."""
        return CONTROL.sub(lambda found: ascii(found[0])[1:-1], super().formatMessage(record))


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id() or "-"
    return True


def _tidy_server_line(record: logging.LogRecord) -> bool:
    """Drop the development server's line about a request, for ours says more; uncolour the rest."""
    record.msg = " ".join(COLOUR.sub("", str(record.msg)).split())
    return '"%s" %s %s' not in record.msg
