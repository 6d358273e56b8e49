"""The keys of pages: which parts of a request they hold, and a request that has the same key."""

import io
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from flask import Request

from .._dependencies.environment import raw_environ
from .._dependencies.inputs import Declared
from ..negotiation import is_json_preferred

#: Headers that say what a client can do, and not who it is; a key shows their values.
_IMPERSONAL = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})


def page_key(
    request: Request,
    declared: Declared,
    digest: Callable[[bytes], str],
    *,
    custom: str | None = None,
    with_query: bool = True,
    user: str = "",
) -> str:
    """Name a page, in ASCII: host, path, and what else of the request the view declared.

    The caller has to bound its length.

    :param digest: hides personal values: operators of the cache see the keys.
    :param custom: replaces the path.
    :param with_query: whether the declared part of the query is in the key.
    :param user: names the user of a private page.
    """
    # The attributes themselves: each would be asked who reads it.
    state, environ = request.__dict__, raw_environ(request)
    query = declared.query_string(state["query_string"])
    path = quote(state["path"]) if custom is None else "=" + quote(custom, errors="surrogatepass")
    host = quote(request.host, ":[]")
    # Marked, or "/a" at "/b" and "/a/b" at the root would be one page.
    root = f"{quote(state['root_path'])}|" if state["root_path"] else ""
    parts = [f"page:{quote(state['scheme'])}://{host}{root}{path}"]
    if query and with_query:
        parts.append(f"?{query}")
    if is_json_preferred(environ.get("HTTP_ACCEPT", "")):
        parts.append(" json")
    given = [(name, environ.get(environ_name(name))) for name in sorted(declared.headers)]
    given += [(f"cookie:{name}", _cookie(request, name)) for name in sorted(declared.cookies)]
    given += [(f"environ:{name}", environ.get(name)) for name in sorted(declared.environ)]
    for name, value in given:
        # An empty value is not a missing one, for which a view may have a default.
        shown = value if value is None or name in _IMPERSONAL else digest(_bytes(value))
        parts.append(f" {name}" if shown is None else f" {name}={quote(shown)}")
    if user:
        parts.append(f" user={quote(user)}")
    return "".join(parts)


def _cookie(request: Request, name: str) -> str | None:
    values = request.cookies.getlist(name)
    return json.dumps(values) if values else None


def _bytes(value: object) -> bytes:
    return f"{type(value).__name__} {value}".encode("utf-8", "surrogatepass")


def environ_name(header: str) -> str:
    """The name of a request header in the WSGI environment."""
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


def refill_environ(environ: Mapping[str, Any], declared: Declared) -> dict[str, Any]:
    """The environment of a GET for the same page: the parts of the request that its key holds."""
    names = ["SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SCRIPT_NAME", "PATH_INFO"]
    names += ["HTTP_HOST", "HTTP_ACCEPT", "wsgi.url_scheme"]
    names += [environ_name(name) for name in declared.headers]
    query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
    return {
        **{name: environ[name] for name in names if name in environ},
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": declared.query_string(query),
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
