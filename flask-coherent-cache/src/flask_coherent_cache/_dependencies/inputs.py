"""The inputs of a request: what can be read of it, and what a key holds of it."""

import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_plus

from flask import current_app

logger = logging.getLogger(__name__)

#: A visitor can make up long names.
_LONGEST_SHOWN = 80
_reported: set[tuple[tuple[str, int], str]] = set()
_MOST_TEXTS = 20
_LONGEST_TEXT = 2000


class UndeclaredInput(RuntimeError):
    """A fill read a part of the request that its key does not hold."""


class Input(NamedTuple):
    """One part of a request that can be read by itself.

    :param kind: such as ``header``, ``cookie`` or ``query parameter``.
    :param name: a header's in lower case; empty where the kind says all.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        """Name it as messages do: ``header X-Api-Key``."""
        shown = self.name.title() if self.kind == "header" else self.name[:_LONGEST_SHOWN]
        return f"{self.kind} {shown}".rstrip()


PATH = Input("path")
HOST = Input("host")
SCHEME = Input("scheme")
METHOD = Input("method")
MOUNT = Input("script name")
BODY = Input("body")
SESSION = Input("session")
QUERY = Input("query string")
COOKIES = Input("cookies")
AUTHORIZATION = Input("header", "authorization")
CONTENT_TYPE = Input("header", "content-type")
HEADERS = Input("headers")
ENVIRONMENT = Input("environment")
#: Whether the client would rather have JSON than HTML.
PREFERENCE = Input("preference for JSON")

#: What the key of every page holds. Requests with a body bypass the cache.
PAGE_PARTS = frozenset({PATH, HOST, SCHEME, METHOD, MOUNT, BODY, PREFERENCE})
#: What the key of every memoized function and fragment holds.
FUNCTION_PARTS = frozenset({MOUNT})

#: Headers that say who asks (RFC 9110, 11.6 and 11.7).
CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
#: The other names of what cookies are sent by.
COOKIE_HEADERS = frozenset({"cookie2", "set-cookie", "set-cookie2"})
#: Flask's own for the session, and Flask-Login's.
SESSION_COOKIES = frozenset({"session", "remember_token"})
_NOT_IN_QUERIES = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
#: Keys without data of a visitor.
_OF_THE_SERVER = (
    "GATEWAY_INTERFACE", "SERVER_SOFTWARE", "werkzeug.request", "wsgi.errors", "wsgi.file_wrapper",
    "wsgi.multiprocess", "wsgi.multithread", "wsgi.run_once", "wsgi.version",
)  # fmt: skip
_ENVIRONMENT_INPUTS: dict[str, Input | None] = {
    "HTTP_COOKIE": COOKIES,
    "HTTP_HOST": HOST,
    "QUERY_STRING": QUERY,
    "PATH_INFO": PATH,
    "SCRIPT_NAME": MOUNT,
    "REQUEST_METHOD": METHOD,
    "wsgi.url_scheme": SCHEME,
    "wsgi.input": BODY,
    "wsgi.input_terminated": BODY,
    "CONTENT_LENGTH": BODY,
    "CONTENT_TYPE": CONTENT_TYPE,
    **dict.fromkeys(_OF_THE_SERVER),
}


def is_session_cookie(name: str) -> bool:
    """Tell whether a cookie identifies the visitor, by its usual name or the configured one."""
    return name in SESSION_COOKIES or name == current_app.config["SESSION_COOKIE_NAME"]


def header_input(name: str) -> Input:
    """Return the input for a header."""
    lower = name.lower().replace("_", "-")
    if lower == "cookie":
        return COOKIES
    return HOST if lower == "host" else Input("header", lower)


def environment_input(key: str) -> Input | None:
    """Return the input for a key of the WSGI environment; ``None`` for one of the server alone."""
    if key.startswith("caching."):
        return None
    if key in _ENVIRONMENT_INPUTS:
        return _ENVIRONMENT_INPUTS[key]
    if key.startswith("HTTP_"):
        return header_input(key[5:])
    return Input("environment value", key)


@dataclass(frozen=True, slots=True)
class Declared:
    """The parts of a request that enter a key.

    :param query: names of query parameters; ``None`` is all of them.
    :param headers: names of request headers, in lower case.
    :param cookies: names of cookies.
    :param environ: keys of the WSGI environment.
    :param parts: whole parts, such as :data:`PATH`.
    """

    query: frozenset[str] | None = frozenset()
    headers: frozenset[str] = frozenset()
    cookies: frozenset[str] = frozenset()
    environ: frozenset[str] = frozenset()
    parts: frozenset[Input] = frozenset()

    def holds(self, what: Input) -> bool:
        """Tell whether the key tells two values of an input apart."""
        kind, name = what
        if kind == "query parameter":
            return self.query is None or name in self.query
        if kind == "query string":
            return self.query is None
        if kind == "header":
            return name in self.headers
        if kind == "cookie":
            return name in self.cookies
        if kind == "environment value":
            return name in self.environ
        if kind == "session":
            return SESSION in self.parts
        return what in self.parts

    def query_string(self, raw: bytes) -> str:
        """The declared part of a query string, sorted by name, in the spelling it came in."""
        if not raw:
            return ""
        pairs = sorted_query(raw.decode("latin-1")).split("&")
        if self.query is None:
            return "&".join(pairs)
        return "&".join(pair for pair in pairs if _name_of(pair) in self.query)


def sorted_query(query: str) -> str:
    """Sort a query by the names of its parameters, so that their order makes no other page.

    What has one name keeps its order. What a query cannot have is encoded (RFC 3986, 3.4).

    :param query: its bytes as latin-1.
    """
    if "&" in query:
        query = "&".join(sorted(filter(None, query.split("&")), key=_name_of))
    return _NOT_IN_QUERIES.sub(lambda found: f"%{ord(found[0]):02X}", query)


def _name_of(pair: str) -> str:
    """The name in a pair of a query string, whose bytes beyond ASCII may come unencoded."""
    name = pair.partition("=")[0]
    if name.isascii() and "%" not in name and "+" not in name:
        return name
    return unquote_plus(name.encode("latin-1").decode("utf-8", "replace"))


#: What has been read with the whole of a kind.
_WHOLE = {
    "query parameter": QUERY,
    "header": HEADERS,
    "cookie": COOKIES,
    "environment value": ENVIRONMENT,
}


def report_once(message: str) -> None:
    """Log a warning the first time that it is given in this process.

    Each place in the program may give so many: what a visitor made up in the texts of one place
    takes nothing from the others, and does not fill the log.
    """
    frame = sys._getframe(1)
    place = (frame.f_code.co_filename, frame.f_lineno)
    if (place, message) in _reported:
        return
    known = sum(each[0] == place for each in tuple(_reported))
    if known < _MOST_TEXTS:
        _reported.add((place, message))
        logger.warning(printable(message))
    elif known == _MOST_TEXTS:
        _reported.add((place, ""))
        logger.warning(f"{printable(message)} More of this kind is not logged.")


def printable(message: str) -> str:
    """Write a text for the log: of bounded length, on one line, without control characters."""
    if len(message) > _LONGEST_TEXT:
        message = f"{message[:_LONGEST_TEXT]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)


def distinct(inputs: Iterable[Input]) -> list[Input]:
    """Leave out names whose whole was read before: a visitor may have made them up."""
    found: list[Input] = []
    for what in inputs:
        if _WHOLE.get(what.kind) not in found:
            found.append(what)
    return found
