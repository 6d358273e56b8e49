"""Each kind of worker serves a page from the cache, and sees an invalidation."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from flask_coherent_cache.testing import free_port, wait_until
from visits import NOT_INSTALLED

PROGRAM = """
from flask import Flask

from flask_coherent_cache import Cache

app = Flask("shop")
app.config.update({settings!r})
cache = Cache(app)
cache.serve_before_flask(app)
calls = []


@app.get("/")
@cache.cached(60, tags=("stock",))
def index():
    calls.append(1)
    return str(len(calls))


@app.get("/write")
def write():
    cache.invalidate("stock")
    return ""
"""
GUNICORN = ("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--workers", "1")
SERVERS = {
    "sync": ("gunicorn", (*GUNICORN, "--worker-class", "sync")),
    "gthread": ("gunicorn", (*GUNICORN, "--worker-class", "gthread", "--threads", "4")),
    "gevent": ("gevent", (*GUNICORN, "--worker-class", "gevent")),
    "waitress": ("waitress", ("-m", "waitress", "--listen", "127.0.0.1:{port}", "app:app")),
    "uWSGI": (
        "pyuwsgi",
        (
            "-c", "import pyuwsgi; pyuwsgi.run()", "--http-socket", "127.0.0.1:{port}", "--master",
            "--processes", "1", "--enable-threads", "--lazy-apps", "--module", "app:app",
            "--die-on-term",
        ),
    ),
}  # fmt: skip
_UWSGI, _ARGUMENTS = SERVERS["uWSGI"]
SERVERS["uWSGI without threads"] = (
    _UWSGI,
    tuple(each for each in _ARGUMENTS if each != "--enable-threads"),
)


@contextmanager
def serving(kind: str, folder: Path, settings: dict[str, Any]) -> Iterator[str]:
    """Start a server of a kind; yields its address."""
    module, arguments = SERVERS[kind]
    if find_spec(module) is None:
        pytest.skip(NOT_INSTALLED)
    (folder / "app.py").write_text(PROGRAM.format(settings=settings))
    port = free_port()
    command = [sys.executable, *(each.format(port=port) for each in arguments)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(process, address), 60)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(process: subprocess.Popen[bytes], address: str) -> bool:
    assert process.poll() is None
    with suppress(OSError):
        return bool(ask(f"{address}/write")[0] == "")
    return False


def ask(address: str) -> tuple[str, str]:
    with urlopen(address, timeout=30) as response:  # noqa: S310 - of this machine
        return response.read().decode(), response.headers.get("Cache-Status", "")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_hit_and_an_invalidation(
    kind: str, server_settings: dict[str, Any], tmp_path: Path
) -> None:
    store = "RedisCache" if "RedisCache" in server_settings else "SimpleCache"
    settings = {
        "SECRET_KEY": "k" * 40,
        "CACHE_TYPE": store,
        **server_settings[store],
        "CACHE_KEY_PREFIX": f"workers-{kind}",
    }
    with serving(kind, tmp_path, settings) as address:
        for expected in ("1", "2"):
            text, status = ask(f"{address}/")
            assert (text, "; stored" in status) == (expected, True)
            for _ in range(3):
                text, status = ask(f"{address}/")
                assert (text, "; hit" in status) == (expected, True)
            ask(f"{address}/write")
    told = (tmp_path / "log").read_text()
    assert ("--enable-threads" in told) is (kind == "uWSGI without threads")
