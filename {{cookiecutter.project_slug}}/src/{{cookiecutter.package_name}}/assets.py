"""Static files under names that hold a hash of their contents, so that they never go stale.

`url_for("static", filename="css/site.css")` gives `/static/css/site.<hash>.css`, which browsers
may keep for a year without asking (`immutable`, RFC 8246): a change has another name.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, current_app, send_from_directory, url_for
from werkzeug.security import safe_join

YEAR_SECONDS = 31_536_000
HASHED = re.compile(r"(?P<stem>.+)\.(?P<hash>[0-9a-f]{8})(?P<suffix>\.[^./]+|)")


def init_app(app: Flask) -> None:
    """Serve the static folder, and put the hash into every URL that is built for it."""
    app.view_functions["static"] = serve
    app.url_defaults(add_hash)
    app.add_template_global(static_url)
    for path in Path(app.static_folder or "").rglob("*"):
        if path.is_file():
            fingerprint(path)


def static_url(filename: str) -> str:
    """Return the URL of a file in `static/`, with the hash of its contents."""
    return url_for("static", filename=filename)


def add_hash(endpoint: str, values: dict[str, Any]) -> None:
    """Put the hash into a static file's name, where there is such a file."""
    path = endpoint == "static" and find(values.get("filename", ""))
    if path:
        stem = values["filename"].removesuffix(path.suffix)
        values["filename"] = f"{stem}.{fingerprint(path)[:8]}{path.suffix}"


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
    folder = current_app.static_folder or ""
    response = send_from_directory(folder, filename, max_age=max_age, etag=fingerprint(path)[:32])
    response.cache_control.immutable = max_age is not None
    return response


def find(filename: str) -> Path | None:
    """Return the file in the static folder, if it is there."""
    path = safe_join(current_app.static_folder or "", filename)
    return Path(path) if path and Path(path).is_file() else None


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, read again only when the file has changed."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _digest(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
