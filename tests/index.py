"""An index of packages on this machine in which a stranger has taken the library's name.

It offers version 99 of it and nothing else; installers ask it beside the index that they are
configured with, so that their caches are of use.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from threading import Thread

from baking import ROOT, Project

NAME, MODULE, VERSION = "flask-coherent-cache", "flask_coherent_cache", "99"
# A pip that is as old as those that people have.
OLD_PIP = "23.2"
METADATA = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
BACKEND = """
def leave_a_mark(*args, **kwargs):
    open({mark!r}, "w").close()
    raise SystemExit("built by a stranger")
build_wheel = build_editable = get_requires_for_build_wheel = leave_a_mark
prepare_metadata_for_build_wheel = leave_a_mark
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@cache
def pip_of(version: str) -> Path:
    """Return the Python of an environment that has a version of pip, or the newest."""
    folder = ROOT / "build" / f"pip-{version or 'newest'}"
    uv = Path(sys.executable).with_name("uv")
    python = folder / "bin" / "python"
    if not (python.exists() and version):
        venv = (uv, "venv", "--quiet", "--clear", "-p", sys.executable, folder)
        subprocess.run(venv, check=True)
        pip = f"pip=={version}" if version else "pip"
        subprocess.run((uv, "pip", "install", "--quiet", "--python", python, pip), check=True)
    return python


@dataclass
class Index:
    """The index, by its address, and what it was asked."""

    url: str
    #: Written by the stranger's code, if any runs.
    mark: Path
    asked: list[str] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """The settings by which pip and uv ask it, too. uv asks it first, pip takes the highest."""
        return {"PIP_EXTRA_INDEX_URL": self.url, "UV_INDEX": self.url}

    def run(
        self, project: Project, *command: str | Path, check: bool = True
    ) -> CompletedProcess[str]:
        """Run a command in a project with these settings."""
        return project.run(*command, timeout=300, check=check, **self.environ)

    def asked_for_the_library(self) -> list[str]:
        """Return the requests that named the library."""
        return [path for path in self.asked if NAME in path or MODULE in path]


@contextmanager
def served(folder: Path) -> Iterator[Index]:
    """Serve an index whose packages leave a mark in a folder."""
    mark = folder / "a-stranger-was-here"
    files = {
        f"{MODULE}-{VERSION}-py3-none-any.whl": wheel(mark),
        f"{MODULE}-{VERSION}.tar.gz": source_distribution(mark),
    }
    index = Index("", mark)

    class Handler(BaseHTTPRequestHandler):
        """Answers with the one page that there is, and its files."""

        def do_GET(self) -> None:
            """Answer."""
            index.asked.append(f"{self.command} {self.path}")
            name = self.path.rstrip("/").rsplit("/", 1)[-1]
            if name == NAME:
                self.answer("text/html", page(files).encode())
            elif name in files:
                self.answer("application/octet-stream", files[name])
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        do_HEAD = do_GET

        def answer(self, kind: str, body: bytes) -> None:
            """Send a body that nobody may keep."""
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a test looks at what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_port}/simple/"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


def page(files: dict[str, bytes]) -> str:
    """Return the page of the library (PEP 503)."""
    links = (
        f'<a href="/files/{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>'
        for name, data in files.items()
    )
    return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"


def wheel(mark: Path) -> bytes:
    """Return a wheel whose module leaves a mark when it is imported."""
    info = f"{MODULE}-{VERSION}.dist-info"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{MODULE}/__init__.py", f"open({str(mark)!r}, 'w').close()\n")
        archive.writestr(f"{info}/METADATA", METADATA)
        tag = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        names = [*archive.namelist(), f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return data.getvalue()


def source_distribution(mark: Path) -> bytes:
    """Return a source distribution that leaves a mark when it is built."""
    files = {
        "PKG-INFO": METADATA,
        "pyproject.toml": PYPROJECT,
        "backend.py": BACKEND.format(mark=str(mark)),
    }
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{MODULE}-{VERSION}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()
