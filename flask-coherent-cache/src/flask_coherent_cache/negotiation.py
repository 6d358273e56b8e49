"""Content negotiation as the page cache does it, for applications that must agree with it.

A page's key holds whether the client prefers JSON, and a page is stored compressed once: a view, an
error page or a static file that asks these functions gets the same answer as the cache.
"""

from functools import lru_cache

from flask import Request
from flask.globals import request_ctx
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from ._compression import smaller
from ._dependencies.dependencies import current_dependencies
from ._dependencies.environment import raw_environ
from ._dependencies.inputs import PREFERENCE

__all__ = ["accepts_gzip", "gzipped_smaller", "prefers_json"]


def prefers_json(accept: str | None = None) -> bool:
    """Tell by ``Accept`` whether a client would rather have JSON than HTML (RFC 9110, 12.5.1).

    Every page's key holds the answer for its own request, so views and error pages may ask.

    :param accept: the header's value; by default that of the current request.
    """
    if accept is None:
        current_dependencies().noticed.note(PREFERENCE)
        accept = raw_environ(request_ctx.request).get("HTTP_ACCEPT", "")
    return is_json_preferred(accept)


@lru_cache(maxsize=256)
def is_json_preferred(accept: str) -> bool:
    """Tell the same by the value of an ``Accept`` header."""
    if "json" not in accept:
        return False
    best = Request({"HTTP_ACCEPT": accept}).accept_mimetypes.best_match(
        ["text/html", "application/json", "application/problem+json"], default="text/html"
    )
    return best != "text/html"


@lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether a client would rather have gzip than no compression (RFC 9110, 12.5.3)."""
    accepted = parse_accept_header(accept_encoding, Accept)
    return 0 < accepted.quality("gzip") >= accepted.quality("identity")


def gzipped_smaller(body: bytes, level: int) -> bytes | None:
    """Compress bytes (RFC 1952), or return ``None`` where that saves less than a tenth."""
    return smaller(body, level, gzip=True)
