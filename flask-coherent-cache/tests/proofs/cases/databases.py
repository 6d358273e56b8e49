"""Servers of the tests' own: PostgreSQL, a proxy that loses an answer, a Redis with a past."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from flask_coherent_cache.testing import free_port, wait_until

#: The server refuses to run as root; one of these runs it where the tests are root's.
USERS = ("postgres", "nobody")
#: Debian keeps the programs of each version apart, and not on PATH.
FOLDERS = "/usr/lib/postgresql/*/bin/postgres"
DURABLE_IN_NO_WAY = ["-c", "fsync=off", "-c", "full_page_writes=off"]


@contextmanager
def postgresql() -> Iterator[str | None]:
    """Start a PostgreSQL on a free port of this machine; yield its URL, or None without one."""
    programs = _programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        user = _user()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid} if user else {}
        options: dict[str, Any] = {
            **as_user,
            "cwd": folder,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        create = [programs / "initdb", "-D", f"{folder}/data", "-U", "test", "-A", "trust"]
        subprocess.run([*create, "--no-sync", "-E", "UTF8", "--locale=C"], check=True, **options)
        port = free_port()
        command = [programs / "postgres", "-D", f"{folder}/data", "-p", str(port), "-h"]
        command += ["127.0.0.1", "-k", "", "-c", "max_prepared_transactions=4", *DURABLE_IN_NO_WAY]
        process = subprocess.Popen(command, **options)
        try:
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 30)
            yield f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # "fast": it ends its sessions and itself
            process.wait(30)


def _programs() -> Path | None:
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/").glob(FOLDERS.removeprefix("/")))
    return folders[-1].parent if folders else None


def _user() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in USERS if name in known)


class Proxy:
    """Passes bytes between clients and a server; once armed, it keeps the answer to COMMIT."""

    def __init__(self, port: int) -> None:
        self.armed = False
        self.cuts = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone would leave accept() waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), closing(server):
            while data := client.recv(65536):
                if self.armed and b"COMMIT" in data:
                    self.cuts += 1
                server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), closing(client):
            while data := server.recv(65536):
                if self.cuts and self.armed:
                    self.armed = False
                    # The server has committed: it answered. Nobody hears it.
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)


class RestartableRedis:
    """A Redis or Valkey that can be killed, and comes back with the snapshot that it saved."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RestartableRedis | None":
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            return None
        self._command = [program, "--port", f"{self._port}", "--bind", "127.0.0.1"]
        self._command += ["--dir", str(self._folder), "--save", ""]
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def save(self) -> None:
        """Write the snapshot."""
        with redis.Redis(port=self._port) as client:
            client.save()

    def restart(self) -> None:
        """Kill it, and start it again from the snapshot."""
        self.__exit__()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self._port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
