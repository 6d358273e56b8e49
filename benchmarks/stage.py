"""The processes that are measured: started with the same settings, stopped by their pid."""

import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

from client import Answer, request_of
from servers import BEHIND_EDGE, SERVERS, caddy, caddyfile

HERE = Path(__file__).resolve().parent
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
#: Headers of the server or of one message, so not of the application.
SERVERS_OWN = {"connection", "date", "server", "transfer-encoding"}
PATHS = ("/hello", "/private", "/conditional", "/expires")


class Stage:
    """A Redis, and what is started beside it."""

    def __init__(self, project: Path, folder: Path, stack: ExitStack) -> None:
        """Start the Redis; `stack` stops all that is started, and shows what went wrong."""
        self.log = stack.enter_context((folder / "log").open("w+", encoding="utf-8"))
        stack.push(self.tell)
        self.servers = import_module("flask_coherent_cache.testing")
        self.project, self.folder, self.stack = project, folder, stack
        self.redis: int | None = stack.enter_context(self.servers.redis_server(folder))
        if self.redis is None:
            sys.exit("benchmark: there is no Redis and no Valkey on this machine")
        self.secret_key, self.prefixes = secrets.token_urlsafe(32), itertools.count()
        self.ports: dict[str, int] = {}
        self.requests: dict[tuple[str, str], bytes] = {}
        self.workers: dict[str, subprocess.Popen[str]] = {}

    def tell(self, failure: type[BaseException] | None, *_: object) -> None:
        """Show the last of what the processes said, if there was a failure."""
        if failure is not None:
            self.log.seek(0)
            sys.stderr.writelines(self.log.readlines()[-30:])

    def environ(self, **more: str) -> dict[str, str]:
        """Return the settings of production, with keys in Redis that no other process has."""
        return {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "PYTHONPATH": f"{HERE}{os.pathsep}{self.project / 'src'}",
            "APP_ENV": "production",
            "LOG_LEVEL": "WARNING",
            "SECRET_KEY": self.secret_key,
            "DATABASE_URL": f"sqlite:///{self.folder}/app.db",
            "CACHE_REDIS_URL": f"redis://127.0.0.1:{self.redis}/0",
            "CACHE_KEY_PREFIX": f"benchmark{next(self.prefixes)}",
            # A bound on new keys would refuse most of the misses that are measured.
            "CACHE_NEW_PAGES_PER_MINUTE": "0",
            "CACHE_NEW_VALUES_PER_MINUTE": "0",
            "GUNICORN_MAX_REQUESTS": "0",
            "BENCHMARK_PROJECT": str(self.project),
            "BENCHMARK_ANSWERS": str(self.folder / "answers.json"),
            **more,
        }

    def run(self, *command: str, **more: str) -> str:
        """Run a program of this folder to its end; return its last line."""
        result = subprocess.run(
            [sys.executable, HERE / command[0], *command[1:]],
            cwd=self.folder,
            env=self.environ(**more),
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            check=True,
        )
        return result.stdout.splitlines()[-1]

    @contextmanager
    def running(self, *command: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """Start Python, and stop it."""
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environ(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    @contextmanager
    def worker(self, subject: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """Start a process that measures a subject without a server, and wait until it is ready."""
        program = str(HERE / "inside.py")
        with self.running(program, subject, GUNICORN_THREADS="32", **more) as process:
            if process.stdout is None or not process.stdout.readline():
                sys.exit(f"benchmark: {subject} did not start")
            yield process

    def serve(self, name: str, place: str = "", *options: str, **settings: str) -> int:
        """Start one of the servers, and note its port by its name and its place; return it.

        :param options: more of gunicorn's.
        """
        server, port = SERVERS[name], self.servers.free_port()
        command = ["-m", "gunicorn", "--no-control-socket", *server.options, *options]
        if server.is_ours:
            command += ["--config", str(self.project / "gunicorn.conf.py")]
        command += ["--bind", f"127.0.0.1:{port}", f"subjects:make({server.subject!r})"]
        running = self.running(*command, **{**server.settings, **settings})
        process = self.stack.enter_context(running)
        self.servers.wait_until(lambda: process.poll() is not None or accepts(port), 30)
        self.ports[name + place] = port
        return int(port)

    def serve_behind_edge(self, name: str, *options: str) -> None:
        """Start one of the servers, and the project's edge proxy in front of it."""
        upstream = self.serve(name, "edge", *options, **BEHIND_EDGE)
        port = self.servers.free_port()
        file = self.folder / f"Caddyfile.{name}"
        file.write_text(caddyfile(self.project, port, upstream), encoding="utf-8")
        command = [str(caddy()), "run", "--config", str(file), "--adapter", "caddyfile"]
        environ = {**self.environ(), "HOME": str(self.folder)}
        process = subprocess.Popen(command, env=environ, stdout=self.log, stderr=self.log)
        self.stack.callback(process.wait, 30)
        self.stack.callback(process.terminate)
        self.servers.wait_until(lambda: process.poll() is not None or accepts(port), 30)
        self.ports[f"{name}edge"] = port
        self.requests[f"{name}edge", "/hello"] = request_of("/hello")

    def prepare_requests(self, name: str) -> None:
        """Write the requests of a server: with a session, and with the ETag of what it answers."""
        port = self.ports[name]
        headers: dict[str, dict[str, str]] = {path: {} for path in PATHS}
        if name != "raw":
            cookie = Answer(port, request_of("/enter"))["set-cookie"].partition(";")[0]
            headers["/private"]["Cookie"] = cookie
            etag = Answer(port, request_of("/conditional"))["etag"]
            headers["/conditional"]["If-None-Match"] = etag
        for path, named in headers.items():
            self.requests[name, path] = request_of(path, named)

    def relay(self, milliseconds: float) -> str:
        """Start a relay in front of the Redis that is late by so much each way; return its URL."""
        port, program = self.servers.free_port(), str(HERE / "relay.py")
        command = (program, str(port), str(self.redis), str(milliseconds))
        self.stack.enter_context(self.running(*command))
        self.servers.wait_until(lambda: accepts(port), 30)
        return f"redis://127.0.0.1:{port}/0"

    def start_worker(self, subject: str, place: str = "", **settings: str) -> None:
        """Start a process that measures a subject, and keep it to the end."""
        worker = self.worker(subject, **settings)
        self.workers[subject + place] = self.stack.enter_context(worker)

    def record(self) -> None:
        """Write down what ours answers to hits, for the raw callable to say the same."""
        answers = {}
        for path in PATHS:
            answer = [Answer(self.ports["ours"], self.requests["ours", path]) for _ in range(2)][1]
            headers = [pair for pair in answer.headers if pair[0].lower() not in SERVERS_OWN]
            answers[path] = answer.status, headers, answer.body.decode()
        (self.folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")

    def info(self, section: str) -> dict[str, str]:
        """Ask the Redis about itself."""
        with socket.create_connection(("127.0.0.1", self.redis or 0), 10) as connection:
            connection.sendall(f"INFO {section}\r\nQUIT\r\n".encode())
            with connection.makefile() as lines:
                return dict(line.strip().split(":", 1) for line in lines if ":" in line)

    def commands(self) -> int:
        """Count the commands that the Redis has run, but for pings and these questions."""
        own = ("cmdstat_info", "cmdstat_ping", "cmdstat_quit")
        calls = {name: said for name, said in self.info("commandstats").items() if name not in own}
        return sum(int(said.partition("calls=")[2].split(",")[0]) for said in calls.values())


def accepts(port: int) -> bool:
    """Tell whether a server listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def ask(worker: subprocess.Popen[str], order: str, amount: float) -> float:
    """Give a worker an order, and wait for the figure."""
    print(json.dumps([order, amount]), file=worker.stdin, flush=True)
    line = worker.stdout.readline() if worker.stdout else ""
    return float(line) if line else sys.exit(f"benchmark: a process ended before {order!r}")
