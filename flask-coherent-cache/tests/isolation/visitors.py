"""The two visitors, who differ in one input alone, and how it is read."""

from collections.abc import Callable
from contextvars import ContextVar
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from flask import Flask, request, session
from werkzeug.http import parse_cookie

#: What one visitor's input says; for an address it is another.
VISITORS = ("ann", "bob")
ADDRESSES = {"ann": "192.0.2.17", "bob": "192.0.2.99"}
#: Where a place puts what it read, for the input ``contextvar``.
who_variable: ContextVar[str] = ContextVar("who")
#: Where WSGI middleware puts what it read.
ENVIRON_KEY = "app.who"
CERTIFICATE = "SSL_CLIENT_S_DN"
#: How messages call each input, in lower case.
NAMES = {
    "header": "header x-who",
    "cookie": "cookie who",
    "query": "query parameter who",
    "session": "session",
    "authorization": "authorization",
    "remote_addr": "environment value remote_addr",
    "remote_user": "environment value remote_user",
    "environ": f"environment value {CERTIFICATE.lower()}",
    "g": "header x-who",
    "contextvar": "context variable who",
    "body": "body",
}
CARRIED = f"environment value {ENVIRON_KEY}"

#: How Python reads it.
READ: dict[str, Callable[[], Any]] = {
    "header": lambda: request.headers.get("X-Who"),
    "cookie": lambda: request.cookies.get("who"),
    "query": lambda: request.args.get("who"),
    "session": lambda: session.get("who"),
    "authorization": lambda: request.authorization and request.authorization.token,
    "remote_addr": lambda: request.remote_addr,
    "remote_user": lambda: request.remote_user,
    "environ": lambda: request.environ.get(CERTIFICATE),
    "g": lambda: request.headers.get("X-Who"),
    "contextvar": lambda: request.headers.get("X-Who"),
    "body": lambda: request.get_data(as_text=True),
}
#: How a template reads it.
EXPRESSIONS = {
    "header": "request.headers['X-Who']",
    "cookie": "request.cookies.who",
    "query": "request.args.who",
    "session": "session.who",
    "authorization": "request.authorization.token",
    "remote_addr": "request.remote_addr",
    "remote_user": "request.remote_user",
    "environ": f"request.environ['{CERTIFICATE}']",
    "body": "request.get_data(as_text=True)",
}


def _read_body(environ: dict[str, Any]) -> str:
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = BytesIO(body)
    return body.decode()


#: How WSGI middleware reads it.
READ_ENVIRON: dict[str, Callable[[dict[str, Any]], Any]] = {
    "header": lambda environ: environ["HTTP_X_WHO"],
    "cookie": lambda environ: parse_cookie(environ["HTTP_COOKIE"])["who"],
    "query": lambda environ: parse_qs(environ["QUERY_STRING"])["who"][0],
    "authorization": lambda environ: environ["HTTP_AUTHORIZATION"].split()[1],
    "remote_addr": lambda environ: environ["REMOTE_ADDR"],
    "remote_user": lambda environ: environ["REMOTE_USER"],
    "environ": lambda environ: environ[CERTIFICATE],
    "contextvar": lambda environ: environ["HTTP_X_WHO"],
    "body": _read_body,
}


def shown_of(read: str, visitor: str) -> str:
    """What the visitor's own answer shows."""
    return ADDRESSES[visitor] if read == "remote_addr" else visitor


def request_of(app: Flask, read: str, visitor: str, path: str, *, is_page: bool) -> dict[str, Any]:
    """The arguments of a test client's ``open`` for a visitor's request.

    :param is_page: whether a body comes with a GET; else with a POST.
    """
    told: dict[str, Any] = {"path": path, "method": "GET"}
    if read == "query":
        told["query_string"] = {"who": visitor}
    elif read == "body":
        told.update(data=visitor, method="GET" if is_page else "POST")
    elif read in ("remote_addr", "remote_user", "environ"):
        key = CERTIFICATE if read == "environ" else read.upper()
        told["environ_overrides"] = {key: shown_of(read, visitor)}
    else:
        told["headers"] = [_header_of(app, read, visitor)]
    return told


def _header_of(app: Flask, read: str, visitor: str) -> tuple[str, str]:
    if read == "cookie":
        return "Cookie", f"who={visitor}"
    if read == "session":
        serializer: Any = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        return "Cookie", f"session={serializer.dumps({'who': visitor})}"
    if read == "authorization":
        return "Authorization", f"Bearer {visitor}"
    return "X-Who", visitor
