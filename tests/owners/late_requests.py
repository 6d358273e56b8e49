"""A request that does not arrive gives its thread back; one that is answered slowly keeps it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
APPLICATION = """
import gc
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(3)
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/garbage":
        body = f"{gc.isenabled()} {gc.get_freeze_count() > 1000}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a Gunicorn with the project's settings, and with one thread."""
    folder = tmp_path_factory.mktemp("late")
    (folder / "late_app.py").write_text(APPLICATION)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    environ = {
        **os.environ,
        "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "GUNICORN_BIND": f"127.0.0.1:{number}",
        "GUNICORN_REQUEST_SECONDS": "1",
        "GUNICORN_THREADS": "1",
        "WEB_CONCURRENCY": "1",
    }
    environ.pop("METRICS_PORT", None)
    config = str(PROJECT / "gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "--config", config, "late_app:application"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not answers(number):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield number
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def ask(port: int, request: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.sendall(request.encode())
    return connection


def whole(path: str = "/", body: str = "") -> str:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}"


def answers(port: int) -> bool:
    try:
        with ask(port, whole()) as connection:
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@pytest.mark.parametrize(
    "half",
    [
        "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        "G",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ],
)
def test_the_thread_of_half_a_request_is_free_again(port, half):
    with ask(port, half), ask(port, half):
        # It waits behind the two, which would never end.
        assert answers(port)


@pytest.mark.parametrize("body", ["", "abc" * 100_000])
def test_a_slow_answer_takes_as_long_as_it_takes(port, body):
    with ask(port, whole("/slow", body)) as connection, connection.makefile("rb") as answer:
        assert answer.read().endswith(f"\r\n\r\n{body}".encode())


def test_garbage_is_collected_from_the_first_request_on_and_among_what_requests_leave(
    port: int,
) -> None:
    with ask(port, whole("/garbage")) as connection, connection.makefile() as answer:
        assert answer.read().endswith("True True")
