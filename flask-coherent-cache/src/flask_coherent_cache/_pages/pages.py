"""Pages: the form in which a response is stored and sent."""

import gzip
import json
from dataclasses import dataclass, replace

from flask import Response
from werkzeug.datastructures import Headers

from ..negotiation import gzipped_smaller
from .http import add_vary, names_of

#: Headers that belong to one response, not to the page (RFC 9111, 3.1, and our own).
_OF_ONE_RESPONSE = frozenset(
    {"age", "cache-status", "connection", "content-length", "date", "keep-alive", "server"}
    | {"transfer-encoding", "upgrade", "x-request-id"}
)
#: Headers that may differ when a page is computed again: they follow from what is compared, or say
#: what caches may do.
NOT_COMPARED = _OF_ONE_RESPONSE | {"cache-control", "etag", "expires", "set-cookie", "vary"}
#: Types that compression makes smaller, beside ``text/…``.
_COMPRESSIBLE = frozenset({"application/javascript", "application/json", "application/xml"})
_COMPRESSIBLE_SUFFIXES = ("+json", "+xml")
_LEAST_COMPRESSED_BYTES = 1000


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
        """Encode it as a JSON head and the body, which can hold no code."""
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

        A private page is not compressed: its length could reveal a secret that stands beside a
        visitor's text (BREACH).
        """
        add_page_headers(response, private=private, cache_control=cache_control)
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

    def finish(self, response: Response, *, gzipped: bool) -> Response:
        """Turn the response that the page was taken from into what goes out.

        :param gzipped: whether the client prefers a compressed page.
        """
        compressed = self.gzipped and gzipped
        length = "content-length" in names_of(response.headers)
        # Otherwise the view set a header that belongs to one response.
        if compressed or len(response.headers) != len(self.headers) + length:
            body = self.body if compressed else response.get_data()
            headers = self.representation(True).headers if compressed else self.headers
            response.headers = Headers(headers)
            response.set_data(body)
        return response

    def response(self, response_class: type[Response]) -> Response:
        """Make a response of it."""
        return response_class(self.body, self.status, list(self.headers))


def _compressed(response: Response, body: bytes) -> bytes | None:
    """Compress a body where it saves a tenth at least."""
    kind = response.mimetype or ""
    compressible = kind.startswith("text/") or kind in _COMPRESSIBLE
    if not compressible and not kind.endswith(_COMPRESSIBLE_SUFFIXES):
        return None
    if len(body) < _LEAST_COMPRESSED_BYTES or "content-encoding" in names_of(response.headers):
        return None
    return gzipped_smaller(body, level=6)


def add_page_headers(response: Response, *, private: bool, cache_control: str) -> None:
    """Add an ETag, and ``Cache-Control`` if the view set none.

    By default that is ``no-cache``: browsers keep the page and ask each time, so that an
    invalidation reaches them at once.
    """
    names = names_of(response.headers)
    if "cache-control" not in names:
        whose = "private" if private else "public"
        response.headers["Cache-Control"] = f"{whose}, {cache_control}"
    if "etag" not in names:
        response.add_etag(overwrite=True)
