"""Compares Gunicorn's worker classes, numbers of threads and HTTP parsers, one worker each.

Usage: python benchmarks/gunicorn_settings.py PROJECT [ROUNDS [SECONDS]]

PROJECT is a generated project, and Python one that has its requirements/runtime.txt; `gevent` and
`gunicorn_h1c`, the fast parser, are measured where they are installed. Eight connections ask again
as soon as they are answered. Rounds go through all servers in turn. Figures are medians of the
third of the rounds in which other processes had least of the machine; `relative` compares the
requests a second with those of gthread's four threads. The last line is JSON.
"""

import json
import os
import secrets
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONNECTIONS = 8
SLOW_SECONDS = 0.02
REFERENCE = "gthread 4 python"
PARSERS = ("python", "fast") if find_spec("gunicorn_h1c") else ("python",)
VARIANTS = {
    f"{name} {parser}": [*options, "--http-parser", parser]
    for name, options in {
        # With more threads Gunicorn takes gthread unasked.
        "sync": ["--worker-class", "sync", "--threads", "1"],
        **{f"gthread {n}": ["--worker-class", "gthread", "--threads", f"{n}"] for n in (2, 4, 8)},
        **({"gevent": ["--worker-class", "gevent"]} if find_spec("gevent") else {}),
    }.items()
    for parser in PARSERS
}


def tiny(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer from memory, the WSGI application that costs least; `/slow` as if a server did."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(SLOW_SECONDS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"Hello\n"]


class Connection:
    """A client that asks again on the same connection for as long as the server keeps it."""

    def __init__(self, port: int, paths: list[str]) -> None:
        """Connect; the paths are asked for in turn."""
        self.port, self.paths, self.asked = port, paths, 0
        self.socket = socket.create_connection(("127.0.0.1", port))

    def ask(self) -> None:
        """Send the next request."""
        self.path = self.paths[self.asked % len(self.paths)]
        self.asked += 1
        self.received = b""
        self.began = time.perf_counter()
        # What a browser sends, so that a parser has something to do.
        self.socket.sendall(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0\r\n"
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
            "Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
            "Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\r\n".encode()
        )

    def answered(self) -> bool:
        """Read what is there; tell whether the answer is whole. It must be a 200."""
        self.received += self.socket.recv(1 << 18)
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"not a 200: {head!r}")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        self.closes = fields.get(b"connection") == b"close"
        return len(body) >= int(fields[b"content-length"])

    def warm_up(self) -> None:
        """Wait for one answer."""
        self.ask()
        while not self.answered():
            pass
        self.socket.close()

    def reconnect(self) -> None:
        """Begin anew, as a server without keep-alive makes its clients do."""
        self.socket.close()
        self.socket = socket.create_connection(("127.0.0.1", self.port))


def load(server: "Server", paths: list[str], seconds: float) -> dict[str, float]:
    """Ask for so long, and say how many were answered, and how long the quick ones took."""
    used, own, all_used = server.processor_seconds(), time.process_time(), machine_seconds()
    with selectors.DefaultSelector() as selector:
        connections = []
        for number in range(CONNECTIONS):
            # Each begins elsewhere in the paths, so that what is slow is spread evenly.
            turned = paths[number:] + paths[:number]
            connections.append(Connection(server.port, turned))
            selector.register(connections[-1].socket, selectors.EVENT_READ, connections[-1])
            connections[-1].ask()
        count, quick, began = 0, [], time.perf_counter()
        while (now := time.perf_counter()) - began < seconds:
            for key, _ in selector.select(1):
                connection: Connection = key.data
                if not connection.answered():
                    continue
                count += 1
                if connection.path != "/slow":
                    quick.append(time.perf_counter() - connection.began)
                if connection.closes:
                    selector.unregister(connection.socket)
                    connection.reconnect()
                    selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.ask()
        for connection in connections:
            connection.socket.close()
    used = server.processor_seconds() - used
    others = machine_seconds() - all_used - used - (time.process_time() - own)
    cuts = statistics.quantiles(quick, n=100)
    return {
        "per_second": count / (now - began),
        "p50_ms": cuts[49] * 1000,
        "p99_ms": cuts[98] * 1000,
        # The worker's time for each: what least depends on who else is at work on the machine.
        "cpu_us": used / count * 1e6,
        "others": max(0.0, others) / (now - began),
    }


def machine_seconds() -> float:
    """Return the time that all processes of the machine have had so far (Linux)."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    busy = sum(map(int, fields[:3])) + sum(map(int, fields[5:8]))
    return busy / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    pid: int

    def processor_seconds(self) -> float:
        """Return the time that all threads of the one worker have had so far (Linux)."""
        worker = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0]
        tasks = Path(f"/proc/{worker}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def gunicorn(
    app: str, options: list[str], folder: Path, port: int, settings: dict[str, str]
) -> Iterator[Server]:
    """Run a server with one worker, and stop it."""
    command = [sys.executable, "-m", "gunicorn", app, "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "1", "--pythonpath", str(Path(__file__).parent), *options]
    errors = folder / f"{port}.log"
    with errors.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=settings["PROJECT"],
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(port, process, errors)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def wait_for(port: int, process: "subprocess.Popen[bytes]", errors: Path) -> None:
    """Wait until the port answers; end in the server's words where it ends before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(errors.read_text()[-2000:])


def compare(servers: dict[str, dict[str, Server]], rounds: int, seconds: float) -> dict[str, Any]:
    """Interleave the servers in rounds, every second one backwards; return the medians."""
    loads = {
        "tiny": ("tiny", ["/"]),
        "page": ("shop", ["/products"]),
        "mixed": ("tiny", ["/"] * 9 + ["/slow"]),
    }
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {variant: [] for variant in VARIANTS} for name in loads
    }
    for number in range(rounds):
        for name, (app, paths) in loads.items():
            for variant in VARIANTS if number % 2 else reversed(VARIANTS):
                server = servers[app][variant]
                Connection(server.port, paths).warm_up()
                found[name][variant].append(load(server, paths, seconds))
    result = {
        name: {variant: summary(runs) for variant, runs in variants.items()}
        for name, variants in found.items()
    }
    for variants in result.values():
        for figures in variants.values():
            per_second = figures["per_second"] / variants[REFERENCE]["per_second"]
            figures["relative"] = round(per_second, 2)
    return result


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure in the third of the runs that were least disturbed."""
    quiet = sorted(runs, key=lambda run: run["others"])[: max(1, len(runs) // 3)]
    return {figure: round(statistics.median(run[figure] for run in quiet), 2) for figure in runs[0]}


def main(project: str, rounds: str = "15", seconds: str = "0.4") -> None:
    """Start a Redis and all servers, and compare."""
    helpers = import_module("flask_coherent_cache.testing")
    (package,) = (path.parent.name for path in Path(project).glob("src/*/__init__.py"))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        redis_port = stack.enter_context(helpers.redis_server(folder))
        if redis_port is None:
            print(json.dumps({"skipped": "there is no Redis and no Valkey on this machine"}))
            return
        settings = {
            "PROJECT": project,
            "APP_ENV": "production",
            "FLASK_APP": package,
            "PYTHONPATH": f"{project}/src",
            "SECRET_KEY": secrets.token_urlsafe(32),
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
            "CACHE_TYPE": "RedisCache",
            "CACHE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        }
        prepare = [sys.executable, f"{project}/deploy/prepare_database.py"]
        subprocess.run(prepare, env={**os.environ, **settings}, check=True, capture_output=True)
        servers: dict[str, dict[str, Server]] = {"tiny": {}, "shop": {}}
        applications = {"tiny": f"{Path(__file__).stem}:tiny", "shop": f"{package}:create_app()"}
        for kind, app in applications.items():
            for variant, options in VARIANTS.items():
                port = helpers.free_port()
                running = gunicorn(app, options, folder, port, settings)
                servers[kind][variant] = stack.enter_context(running)
        found = compare(servers, int(rounds), float(seconds))
    for name, variants in found.items():
        print(name)
        for variant, figures in variants.items():
            print(f"  {variant:16}", figures)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
