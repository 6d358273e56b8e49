"""Pages: which responses may be stored, under which key, and in which form."""

import gzip
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from flask import Request, Response

from .._dependencies.inputs import CREDENTIALS, Declared
from .._engine.entry import Entry
from .._keys.encoding import encodable
from ..negotiation import gzipped_smaller, is_json_preferred
from .http import add_vary, cache_directives, vary_names

#: Statuses that are heuristically cacheable and say the same to everybody (RFC 9110, 15.1);
#: 404 only by choice, and no 206, which is part of a page.
STORABLE_STATUSES = frozenset({200, 203, 301, 308})
#: Headers that belong to one response, not to the page (RFC 9111, 3.1, and our own).
_OF_ONE_RESPONSE = frozenset(
    {"age", "cache-status", "connection", "content-length", "date", "keep-alive", "server"}
    | {"transfer-encoding", "upgrade", "x-request-id"}
)
#: What a page that is computed again need not say alike: it follows from what is compared, or says
#: what caches may do.
NOT_COMPARED = _OF_ONE_RESPONSE | {"cache-control", "etag", "expires", "set-cookie", "vary"}
#: Types beside ``text/…`` that become smaller by compression.
_COMPRESSIBLE = frozenset({"application/javascript", "application/json", "application/xml"})
_COMPRESSIBLE_SUFFIXES = ("+json", "+xml")
_LEAST_COMPRESSED_BYTES = 1000
#: Headers that say what a client can do, and not who it is; a key shows their values.
_IMPERSONAL = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})
_LONGEST_SHOWN = 200
#: What needs no quotes in structured fields (RFC 9651, 3.3.4).
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~\w:/-]*", re.ASCII)
#: What every page's key holds, so that it need not be declared.
_ALWAYS_IN_KEY = frozenset({"host", "accept", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Page:
    """A whole response: status, headers and the body's bytes.

    :param gzipped: whether the body is compressed; the headers are those without compression.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    gzipped: bool = False

    def encode(self) -> bytes:
        """Write it as bytes: a JSON head and the body. No code can hide in it."""
        head = json.dumps([self.status, self.headers, self.gzipped]).encode()
        return len(head).to_bytes(4, "big") + head + self.body

    @classmethod
    def decode(cls, data: bytes) -> "Page":
        """Read what :meth:`encode` wrote."""
        size = int.from_bytes(data[:4], "big")
        status, headers, gzipped = json.loads(data[4 : 4 + size])
        pairs = tuple((name, value) for name, value in headers)
        return cls(status, pairs, data[4 + size :], gzipped)

    @classmethod
    def of(cls, response: Response, *, private: bool, cache_control: str = "no-cache") -> "Page":
        """Take the page from a response, with a strong ETag of its bytes (RFC 9110, 8.8.3).

        Without a ``Cache-Control`` of its own it says ``no-cache``: browsers keep it and ask
        each time, so that an invalidation reaches them at once. A private page is not
        compressed: its length could tell what secret stands beside a visitor's text (BREACH).
        """
        if "Cache-Control" not in response.headers:
            whose = "private" if private else "public"
            response.headers["Cache-Control"] = f"{whose}, {cache_control}"
        response.add_etag()
        body = response.get_data()
        compressed = None if private else _compressed(response, body)
        if compressed is not None:
            add_vary(response.headers, "Accept-Encoding")
        headers = tuple(
            (name, value)
            for name, value in response.headers
            if name.lower() not in _OF_ONE_RESPONSE
        )
        return cls(response.status_code, headers, compressed or body, compressed is not None)

    def representation(self, gzipped: bool) -> "Page":
        """Choose the bytes that go out, with headers that say which (RFC 9110, 8.4 and 8.8.3)."""
        if not self.gzipped:
            return self
        if not gzipped:
            return replace(self, body=gzip.decompress(self.body), gzipped=False)
        headers = [("Content-Encoding", "gzip")]
        for name, value in self.headers:
            strong = name.lower() == "etag" and value.startswith('"')
            headers.append((name, value[:-1] + '-gzip"' if strong else value))
        return replace(self, headers=tuple(headers))

    def response(self, response_class: type[Response]) -> Response:
        """Make a response of it."""
        return response_class(self.body, self.status, list(self.headers))


def _compressed(response: Response, body: bytes) -> bytes | None:
    """Compress a body where it saves a tenth at least."""
    kind = response.mimetype or ""
    compressible = kind.startswith("text/") or kind in _COMPRESSIBLE
    if not compressible and not kind.endswith(_COMPRESSIBLE_SUFFIXES):
        return None
    if len(body) < _LEAST_COMPRESSED_BYTES or "Content-Encoding" in response.headers:
        return None
    return gzipped_smaller(body, level=6)


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

    It is as long as what it was made from; what is not too long has to be bounded.

    :param digest: hides what is personal: a key is shown to those who operate the cache.
    :param custom: stands in the place of the path.
    :param with_query: whether the declared part of the query enters.
    :param user: names the user of a private page.
    """
    query = declared.query_string(request.query_string)
    path = quote(request.path) if custom is None else "=" + quote(custom, errors="surrogatepass")
    host = quote(request.host, ":[]")
    # Marked, or "/a" at "/b" and "/a/b" at the root would be one page.
    root = f"{quote(request.root_path)}|" if request.root_path else ""
    parts = [f"page:{quote(request.scheme)}://{host}{root}{path}"]
    if query and with_query:
        parts.append(f"?{query}")
    environ = request.environ
    if is_json_preferred(environ.get("HTTP_ACCEPT", "")):
        parts.append(" json")
    given = [(name, environ.get(environ_name(name))) for name in sorted(declared.headers)]
    given += [(f"cookie:{name}", _cookie(request, name)) for name in sorted(declared.cookies)]
    given += [(f"environ:{name}", environ.get(name)) for name in sorted(declared.environ)]
    for name, value in given:
        # An empty one is not the same as none, which a view may have a default for.
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


def refill_environ(environ: Mapping[str, Any], declared: Declared) -> dict[str, Any]:
    """What a GET for the same page says: the parts of the request that its key holds."""
    names = ["SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SCRIPT_NAME", "PATH_INFO"]
    names += ["HTTP_HOST", "HTTP_ACCEPT", "wsgi.url_scheme"]
    names += [environ_name(name) for name in declared.headers]
    refill = {name: environ[name] for name in names if name in environ}
    query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
    return {**refill, "REQUEST_METHOD": "GET", "QUERY_STRING": declared.query_string(query)}


def asks_for_public(response: Response, cache_control: str) -> bool:
    """Tell whether a view itself said ``public``, beyond what every page says."""
    said = ", ".join(response.headers.getlist("Cache-Control"))
    asked = "public" in cache_directives(response.headers)
    return asked and said != f"public, {cache_control}"


def unstorable(
    response: Response, declared: Declared, *, private: bool, not_found: bool
) -> str | None:
    """Say why a response must not be stored, or ``None`` where it may be (RFC 9111, 3)."""
    if response.status_code not in STORABLE_STATUSES and not (
        not_found and response.status_code == 404
    ):
        return "status"
    if response.is_streamed or response.direct_passthrough:
        return "stream"
    if "Set-Cookie" in response.headers:
        return "set-cookie"
    directives = cache_directives(response.headers)
    if "no-store" in directives or ("private" in directives and not private):
        return "cache-control"
    vary = vary_names(response.headers)
    cookies = {"cookie"} if private or declared.cookies else set()
    if "*" in vary or vary - declared.headers - _ALWAYS_IN_KEY - cookies:
        return "vary"
    return None


def what_forbids(
    reason: str, response: Response, declared: Declared, *, private: bool
) -> tuple[str, str]:
    """Say what of a response is meant by a reason of :func:`unstorable`, and what can be done.

    :return: both in words; without an advice where the view is right as it is.
    """
    if reason == "status":
        return str(response.status_code), ""
    if reason == "set-cookie":
        cookies = [value.partition("=")[0] for value in response.headers.getlist("Set-Cookie")]
        return _listed(cookies), "A cookie is for one visitor: set it in a view that is not cached."
    if reason == "cache-control":
        directives = cache_directives(response.headers)
        if "no-store" in directives:
            return "no-store", "The view itself forbids it."
        return "private", "Declare private=True to store a page for each session."
    if reason == "stream":
        return "", "A stream or a file cannot be stored: return the body whole."
    names = vary_names(response.headers)
    by_cookie = {"cookie"} if private or declared.cookies else set()
    unknown = names - declared.headers - _ALWAYS_IN_KEY - by_cookie
    return _listed(sorted(name.title() for name in unknown)), _vary_advice(unknown, private)


def _vary_advice(unknown: set[str], private: bool) -> str:
    if "*" in unknown:
        return "By Vary: * every request differs."
    if "authorization" in unknown and private:
        return "The key holds it: do not say it in Vary."
    if unknown & CREDENTIALS:
        return "It says who asks: declare private=True."
    if "cookie" in unknown:
        return "Name the cookie that the view reads, vary_cookies=('…',), or say private=True."
    return f"Declare them, vary={tuple(sorted(name.title() for name in unknown))!r}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)[:_LONGEST_SHOWN]


def cache_status(
    status: str, entry: Entry | None, stored: bool, detail: str | None, key: str | None = None
) -> str:
    """Write the ``Cache-Status`` field (RFC 9211): what the page cache did, and why.

    :param key: shown in development only, for it can name a user.
    """
    parts = ["page-cache"]
    if status in ("hit", "stale") and entry is not None:
        parts += ["hit", f"ttl={round(entry.fresh_until - time.time())}"]
        parts += ["detail=stale"] if status == "stale" else []
    else:
        parts.append(f"fwd={status}")
    if stored and entry is not None:
        parts += ["stored", f"ttl={round(entry.fresh_until - time.time())}"]
    if key is not None:
        parts.append(f'key="{_quoted(key)}"')
    if detail:
        parts.append(
            f"detail={detail}" if _TOKEN.fullmatch(detail) else f'detail="{_quoted(detail)}"'
        )
    return "; ".join(parts)


def _quoted(text: str) -> str:
    """Write a text as the inside of a string of structured fields (RFC 9651, 3.3.3)."""
    visible = "".join(c if " " <= c <= "~" else f"%{ord(c):02X}" for c in text)
    return visible.replace("\\", "\\\\").replace('"', '\\"')


def age(entry: Entry) -> str:
    """Write the seconds since an entry was stored (RFC 9111, 5.1)."""
    return str(max(0, int(time.time() - entry.stored_at)))


def per_response_headers(entry: Entry, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write what a fresh hit says beside the page: its age, and what the cache did."""
    headers = [("Age", age(entry)), ("Cache-Status", cache_status("hit", entry, False, None))]
    return headers + surrogate_keys(entry, config)


def surrogate_keys(entry: Entry, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the tags of a page, for a cache in front that can purge by them."""
    if not config["CACHE_SURROGATE_KEYS"]:
        return []
    return [
        (
            "Surrogate-Key",
            " ".join(quote(encodable(tag), safe=":/*?=&@,;+$!~") for tag in entry.tags),
        )
    ]


def environ_name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
