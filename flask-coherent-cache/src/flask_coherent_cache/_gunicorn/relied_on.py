"""What the worker relies on in gunicorn: where that differs, its loop answers nothing."""

import hashlib
import inspect
from typing import Any

from gunicorn import config
from gunicorn.http import parser, unreader, wsgi
from gunicorn.workers import gthread

#: The functions that the loop stands in for, or whose state it changes. Read them again, and the
#: loop against them, before you write down another digest: `tests/test_worker.py` prints it.
RELIED_ON = (
    *(
        (gthread.ThreadWorker, name)
        for name in (
            "__init__",
            "accept",
            "enqueue_req",
            "finish_request",
            "handle",
            "handle_request",
            "murder_keepalived",
            "murder_pending",
            "on_client_socket_readable",
            "on_pending_socket_readable",
            "run",
            "wait_for_and_dispatch_events",
            "_cap_keepalive",
            "_keepalive_after",
        )
    ),
    *((gthread.TConn, name) for name in ("__init__", "close", "init", "set_timeout")),
    *((parser.Parser, name) for name in ("__init__", "__next__", "finish_body")),
    *((unreader.Unreader, name) for name in ("take_buffered", "unread")),
    *((wsgi.Response, name) for name in ("__init__", "close", "default_headers", "send_headers")),
    *((wsgi.Response, name) for name in ("should_close", "write", "_emit_body")),
    (wsgi, "create"),
)
#: Of gunicorn 27.0.1.
DIGEST = (
    "c7c51783db16c0bd35589c447a5e948871caa8b7085d4ea1efaa82093f366712"  # pragma: allowlist secret
)


def digest() -> str:
    """Digest the source of all that the worker relies on."""
    # Of the code, because a function that wraps another may name that as itself.
    sources = [inspect.getsource(getattr(owner, name).__code__) for owner, name in RELIED_ON]
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()


def reason_for_threads(worker: Any) -> str | None:
    """Return why a worker has to leave all requests to its threads; ``None`` if it has not."""
    try:
        if digest() != DIGEST:
            return "this release of gunicorn differs from those that are known"
    except (AttributeError, OSError):
        return "gunicorn differs from the releases that are known, or its source is not there"
    cfg = worker.cfg
    hooks = (config.PreRequest, config.PostRequest)
    reasons = {
        "the setting pre_request or post_request names a function": any(
            cfg.settings[hook.name].get() is not hook.default for hook in hooks
        ),
        "it speaks TLS itself": cfg.is_ssl,
        "it speaks HTTP/2 without TLS": cfg.http2_cleartext != "off",
        "it expects the PROXY protocol": cfg.proxy_protocol != "off",
        "it speaks uWSGI's protocol": cfg.protocol != "http",
        "a subclass changes how requests are handled": any(
            getattr(type(worker), name) is not getattr(gthread.ThreadWorker, name)
            for name in ("handle", "handle_request")
        ),
    }
    return next((words for words, holds in reasons.items() if holds), None)
