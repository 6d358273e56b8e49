"""Static files under names that hold a hash of their contents, so that they never go stale.

`url_for("static", filename="css/site.css")` gives `/static/css/site.<hash>.css`, which browsers
may keep for a year without asking (`immutable`, RFC 8246): a changed file has another name. Files
that become smaller are compressed once, at the start, for clients that accept gzip.
"""

import hashlib
import io
import mimetypes
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask, Response, abort, current_app, request, send_file, url_for
from flask_coherent_cache.negotiation import accepts_gzip, gzipped_smaller
from werkzeug.security import safe_join

HASHED = re.compile(r"(?P<stem>.+)\.(?P<hash>[0-9a-f]{8})(?P<suffix>\.[^./]+|)")
#: Pictures, fonts and films are compressed already.
COMPRESSIBLE = re.compile(r"text/.+|.+[/+](javascript|json|wasm|xml)")
#: In bytes: less fits into one packet as it is, and more would fill the memory of each process.
SIZES = range(1024, 8_000_000)


class Asset(NamedTuple):
    """The SHA-256 of a file, and the same of its compressed form (RFC 1952) if that is smaller."""

    digest: str
    compressed: bytes | None
    compressed_digest: str


def init_app(app: Flask) -> None:
    """Serve the static folder, and put the hash into every URL that is built for it."""
    app.view_functions["static"] = serve
    app.url_defaults(add_hash)
    app.add_template_global(static_url)
    for path in Path(app.static_folder or "").rglob("*"):
        if path.is_file():
            read(path)


def static_url(filename: str) -> str:
    """Return the URL of a file in `static/`, with the hash of its contents."""
    return url_for("static", filename=filename)


def add_hash(endpoint: str, values: dict[str, Any]) -> None:
    """Put the hash into a static file's name, if there is such a file."""
    path = find(values.get("filename", "")) if endpoint == "static" else None
    if path:
        values["filename"] = hashed_name(values["filename"], path)


def hashed_name(filename: str | Path, path: Path) -> str:
    """Return the name with the hash, under which browsers may keep a file."""
    return f"{str(filename).removesuffix(path.suffix)}.{read(path).digest[:8]}{path.suffix}"


def serve(filename: str) -> Response:
    """Send a file: browsers keep it by its hashed name, and ask again by its plain name."""
    path, max_age = find(filename), None
    if path is None and (match := HASHED.fullmatch(filename)):
        path = find(match["stem"] + match["suffix"])
        is_current = path is not None and read(path).digest.startswith(match["hash"])
        # After a developer's edit, cached pages still name the former contents.
        path = path if is_current or current_app.debug else None
        max_age = 31_536_000 if is_current else None
    if path is None:
        abort(404)
    return send(path, max_age)


def send(path: Path, max_age: int | None) -> Response:
    """Send a file, or its compressed form, which is another representation with its own ETag."""
    if request.method != "GET":
        # Only GET has ranges (RFC 9110, 14.2), and Werkzeug would answer HEAD with a 206.
        request.environ.pop("HTTP_RANGE", None)
    asset = read(path)
    accepted = accepts_gzip(request.headers.get("Accept-Encoding", ""))
    # A client that asks for a range has a part of the plain bytes already.
    use_gzip = bool(asset.compressed) and accepted and "Range" not in request.headers
    response = send_file(
        io.BytesIO(asset.compressed or b"") if use_gzip else path,
        download_name=path.name,
        etag=(asset.compressed_digest if use_gzip else asset.digest)[:32],
        last_modified=path.stat().st_mtime,
        max_age=max_age,
    )
    if response.status_code == 412:
        # Werkzeug leaves the file and its Cache-Control in it, and a cache might keep that.
        response.close()
        abort(412)
    if asset.compressed:
        response.vary.add("Accept-Encoding")
    if use_gzip:
        response.content_encoding = "gzip"
    response.cache_control.immutable = max_age is not None
    return response


def find(filename: str) -> Path | None:
    """Return the file in the static folder, if it is there."""
    path = safe_join(current_app.static_folder or "", filename)
    try:
        return Path(path) if path and Path(path).is_file() else None
    except OSError:
        return None  # A name that is too long for any file.


def read(path: Path) -> Asset:
    """Return what is known of a file; it is read again only when it has changed."""
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read(path: Path, _changed: int, _size: int) -> Asset:
    data = path.read_bytes()
    kind, encoding = mimetypes.guess_type(path.name)
    gains = not encoding and COMPRESSIBLE.fullmatch(kind or "") and len(data) in SIZES
    compressed = gzipped_smaller(data, level=9) if gains else None
    digests = [hashlib.sha256(each or b"").hexdigest() for each in (data, compressed)]
    return Asset(digests[0], compressed, digests[1])
