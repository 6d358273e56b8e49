"""Everybody who needs the server's address learns the same one."""

import http.server
import os
import runpy
import socket
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ADDRESS = PROJECT / "deploy" / "address.py"


@pytest.mark.parametrize(
    ("settings", "binds", "reachable"),
    [
        ({}, ["127.0.0.1:8000"], ("", "127.0.0.1:8000")),
        ({"PORT": "8001"}, ["0.0.0.0:8001"], ("", "127.0.0.1:8001")),
        ({"GUNICORN_BIND": "[::]:8000"}, ["[::]:8000"], ("", "localhost:8000")),
        ({"GUNICORN_BIND": ":8002"}, [":8002"], ("", "127.0.0.1:8002")),
        ({"GUNICORN_BIND": "10.0.0.1:80"}, ["10.0.0.1:80"], ("", "10.0.0.1:80")),
        ({"GUNICORN_BIND": "localhost"}, ["localhost"], ("", "localhost:8000")),
        ({"GUNICORN_BIND": "[::1]"}, ["[::1]"], ("", "[::1]:8000")),
        ({"GUNICORN_BIND": "unix:/run/s"}, ["unix:/run/s"], ("/run/s", "localhost")),
        ({"GUNICORN_BIND": "unix:///run/s"}, ["unix:///run/s"], ("/run/s", "localhost")),
        ({"GUNICORN_BIND": " a:1, b:2"}, ["a:1", "b:2"], ("", "a:1")),
    ],
)
def test_where_the_server_listens(monkeypatch, settings, binds, reachable):
    for name in ("PORT", "GUNICORN_BIND", "SCRIPT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    address = runpy.run_path(str(ADDRESS))
    assert address["binds"]() == binds
    assert address["reachable"]() == reachable


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def address_string(self):
        return "somebody"

    def log_message(self, *_):
        pass


class Server(socketserver.TCPServer):
    allow_reuse_address = True


class Server6(Server):
    address_family = socket.AF_INET6


def served(kind: str, folder: Path) -> tuple[socketserver.BaseServer, str]:
    """Return a server, and how GUNICORN_BIND would name it."""
    if kind == "unix":
        return socketserver.UnixStreamServer(str(folder / "s"), Healthy), f"unix:{folder}/s"
    server = Server6(("::", 0), Healthy) if kind == "[::]" else Server((kind, 0), Healthy)
    return server, f"{kind}:{server.server_address[1]}"


def check(bind: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GUNICORN_BIND": bind, **settings}
    command = [sys.executable, str(PROJECT / "deploy" / "healthcheck.py")]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("kind", ["127.0.0.1", "unix", "[::]"])
def test_the_health_check_finds_the_server(tmp_path, kind):
    try:
        server, bind = served(kind, tmp_path)
    except OSError:
        pytest.skip(f"this machine has no {kind}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        found = check(bind, SCRIPT_NAME="/shop", HTTP_PROXY="http://192.0.2.1")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (found.returncode, found.stderr) == (0, "")
    lost = check(bind)
    assert lost.returncode == 1
    assert "Traceback" not in lost.stderr
