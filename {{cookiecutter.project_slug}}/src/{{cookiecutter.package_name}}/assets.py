"""Static files under names that hold a hash of their contents, so that they never go stale.

`url_for("static", filename="css/site.css")` gives `/static/css/site.<hash>.css`, which browsers
may keep for a year without asking (`immutable`, RFC 8246): a change has another name. What gains by
it is compressed once, before anybody asks, and sent so to those who accept that.
"""

import hashlib
import io
import mimetypes
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, current_app, request, send_file, url_for
from flask_coherent_cache.negotiation import accepts_gzip, gzipped_smaller
from werkzeug.security import safe_join

YEAR_SECONDS = 31_536_000
HASHED = re.compile(r"(?P<stem>.+)\.(?P<hash>[0-9a-f]{8})(?P<suffix>\.[^./]+|)")
#: Pictures, fonts and films are compressed already.
COMPRESSIBLE = re.compile(r"text/.+|.+[/+](javascript|json|wasm|xml)")
#: In bytes: less fits into one packet as it is, and more would fill the memory of each process.
SIZES = range(1024, 8_000_000)


def init_app(app: Flask) -> None:
    """Serve the static folder, and put the hash into every URL that is built for it."""
    app.view_functions["static"] = serve
    app.url_defaults(add_hash)
    app.add_template_global(static_url)
    for path in Path(app.static_folder or "").rglob("*"):
        if path.is_file():
            fingerprint(path)
            gzipped(path)


def static_url(filename: str) -> str:
    """Return the URL of a file in `static/`, with the hash of its contents."""
    return url_for("static", filename=filename)


def add_hash(endpoint: str, values: dict[str, Any]) -> None:
    """Put the hash into a static file's name, where there is such a file."""
    path = endpoint == "static" and find(values.get("filename", ""))
    if path:
        values["filename"] = hashed_name(values["filename"], path)


def hashed_name(filename: str | Path, path: Path) -> str:
    """Return the name under which a file is served for good."""
    return f"{str(filename).removesuffix(path.suffix)}.{fingerprint(path)[:8]}{path.suffix}"


def serve(filename: str) -> Response:
    """Send a file: by its hashed name for good, by its plain name to be asked for again."""
    path, max_age = find(filename), None
    if path is None and (match := HASHED.fullmatch(filename)):
        filename, max_age = match["stem"] + match["suffix"], YEAR_SECONDS
        path = find(filename)
        if path and fingerprint(path)[:8] != match["hash"]:
            # A developer's edit leaves cached pages behind that name the former contents.
            path, max_age = (path, None) if current_app.debug else (None, None)
    if path is None:
        abort(404)
    return send(path, max_age)


def send(path: Path, max_age: int | None) -> Response:
    """Send a file, or its compressed form, which is another representation with its own ETag.

    :param max_age: seconds for which nobody need ask again; `None` is to ask each time.
    """
    if request.method != "GET":
        # Only GET has ranges (RFC 9110, 14.2), and Werkzeug would answer HEAD with a 206.
        request.environ.pop("HTTP_RANGE", None)
    compressed = gzipped(path)
    # Who asks for a range has a part of the plain bytes, and wants the rest of just those.
    ranged = "Range" in request.headers
    accepted = accepts_gzip(request.headers.get("Accept-Encoding", ""))
    chosen = compressed if accepted and not ranged else None
    response = send_file(
        io.BytesIO(chosen.data) if chosen else path,
        download_name=path.name,
        etag=(chosen.digest if chosen else fingerprint(path))[:32],
        last_modified=path.stat().st_mtime,
        max_age=max_age,
    )
    if response.status_code == 412:
        # Werkzeug leaves the file and its Cache-Control in it, and a cache might keep that.
        response.close()
        abort(412)
    if compressed:
        response.vary.add("Accept-Encoding")
    if chosen:
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


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, read again only when the file has changed."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _digest(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Compressed:
    """The bytes of a file in gzip's format (RFC 1952), and their SHA-256."""

    data: bytes
    digest: str


def gzipped(path: Path) -> Compressed | None:
    """Return the compressed form of a file, if it saves at least a tenth.

    It is made again only when the file has changed.
    """
    kind, encoding = mimetypes.guess_type(path.name)
    status = path.stat()
    if encoding or not COMPRESSIBLE.fullmatch(kind or "") or status.st_size not in SIZES:
        return None
    return _gzipped(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _gzipped(path: Path, _changed: int, _size: int) -> Compressed | None:
    data = gzipped_smaller(path.read_bytes(), level=9)
    return Compressed(data, hashlib.sha256(data).hexdigest()) if data else None
