"""Compares gunicorn's worker whose loop answers pages of the near cache with `gthread`.

Usage: python benchmarks/worker.py PROJECT [ROUNDS [SECONDS [WAY ...]]]

PROJECT is a generated project, and Python one that has its requirements/runtime.txt. Each server
has one process and four threads. `raw` is a WSGI callable that answers what ours does, without a
log; `stock` is Flask-Caching on Redis. Eight connections ask for a page as soon as they are
answered: they stay open (`kept`), or each request has a new one (`new`), or other requests hold all
threads (`held`). `caddy` and `nginx` stand in front where they are on PATH, with connections to the
server that stay open or not (`caddy new`). Rounds go through all servers in turn; figures are
medians of ratios within one round: of requests a second, and (`cpu`) of the processor's time that
the server had for a request, which other processes of the machine disturb less.
"""

import contextlib
import http.client
import itertools
import json
import os
import secrets
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

CONNECTIONS = 8
THREADS = 4
HELD_SECONDS = 0.25
WORKER = "flask_coherent_cache.gunicorn.Worker"
#: The application, the class of the worker, and the level of the log.
SERVERS = {
    "raw": ("raw", "gthread", "WARNING"),
    "stock": ("stock", "gthread", "WARNING"),
    "gthread": ("ours", "gthread", "INFO"),
    "gthread, no log": ("ours", "gthread", "WARNING"),
    "worker": ("ours", WORKER, "INFO"),
    "worker, no log": ("ours", WORKER, "WARNING"),
}
#: What is divided by what.
RATIOS = {
    "log on gthread": ("gthread", "gthread, no log"),
    "log on the worker": ("worker", "worker, no log"),
    "gthread over raw": ("gthread", "raw"),
    "worker over raw": ("worker", "raw"),
    "worker over stock": ("worker", "stock"),
    "worker over gthread": ("worker", "gthread"),
}
CADDY = """{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    reverse_proxy 127.0.0.1:{server} {{
        header_up -X-Forwarded-Port
        header_up -X-Forwarded-Prefix
        header_up -Forwarded
        header_up X-Request-ID {{http.request.uuid}}
        transport http {{
            keepalive {keepalive}
        }}
    }}
}}
"""
NGINX = """daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    upstream server {{
        server 127.0.0.1:{server};
        {keepalive}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://server;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-Host $host;
            {version}
        }}
    }}
}}
"""


# -- the applications ------------------------------------------------------------------------


def package() -> str:
    """Name the package of the project."""
    (name,) = (p.parent.name for p in Path(os.environ["PROJECT"]).glob("src/*/__init__.py"))
    return name


def page() -> str:
    """Return a page."""
    return "<!doctype html><title>Hello</title>" + "<p>Hello, World!</p>\n" * 100


def held() -> str:
    """Wait as a slow database would make a request wait."""
    time.sleep(HELD_SECONDS)
    return ""


def ours() -> Any:
    """Make the project's application, with a page."""
    app = import_module(package()).create_app()
    cache = import_module(f"{package()}.extensions").cache
    app.add_url_rule("/hello", "hello", cache.cached(3600)(page))
    app.add_url_rule("/held", "held", held)
    return app


def stock() -> Any:
    """Make an application with Flask-Caching's own cache."""
    flask, flask_caching = import_module("flask"), import_module("flask_caching")
    app = flask.Flask("stock")
    settings = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": os.environ["CACHE_REDIS_URL"]}
    cache = flask_caching.Cache(app, config=settings)
    app.add_url_rule("/hello", "hello", cache.cached(3600)(page))
    app.add_url_rule("/held", "held", held)
    return app


def raw() -> Callable[..., Iterable[bytes]]:
    """Make a WSGI callable that answers what ours did."""
    answer = json.loads(Path(os.environ["ANSWER"]).read_text(encoding="utf-8"))
    status, body = answer["status"], answer["body"].encode()
    headers = [tuple(header) for header in answer["headers"]]

    def answered(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/held":
            time.sleep(HELD_SECONDS)
        start_response(status, headers)
        return [body]

    return answered


# -- the client ------------------------------------------------------------------------------


def request_of(path: str, *, close: bool = False) -> bytes:
    """Write a GET with the headers of a browser."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: Mozilla/5.0 (X11) benchmark"]
    lines += ["Accept: text/html,*/*;q=0.8", "Accept-Language: en", "Accept-Encoding: identity"]
    return "\r\n".join([*lines, *(["Connection: close"] if close else []), "", ""]).encode()


def ask(port: int, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Ask once."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request_of(path))
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response, response.read()


def load(port: int, seconds: float, *, close: bool) -> float:
    """Ask for the page over all connections, each as soon as it is answered; return the rate."""
    _, body = ask(port, "/hello")
    request, size, count = request_of("/hello", close=close), len(body), 0
    with selectors.DefaultSelector() as selector:

        def connect() -> None:
            connection = socket.create_connection(("127.0.0.1", port), 30)
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, bytearray())

        for _ in range(CONNECTIONS):
            connect()
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            for key, _ in selector.select(30):
                connection: Any = key.fileobj
                received = connection.recv(65536)
                key.data.extend(received)
                head = key.data.find(b"\r\n\r\n")
                if head < 0 or len(key.data) < head + 4 + size:
                    if not received:
                        sys.exit(f"benchmark: an answer ended early: {bytes(key.data)[:300]!r}")
                    continue
                if not key.data.startswith(b"HTTP/1.1 200"):
                    sys.exit(f"benchmark: got {bytes(key.data)[:300]!r}")
                count += 1
                key.data.clear()
                if close:
                    selector.unregister(connection)
                    connection.close()
                    connect()
                else:
                    connection.send(request)
        rate = count / (time.perf_counter() - began)
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return rate


@contextmanager
def all_threads_held(port: int) -> Iterator[None]:
    """Keep all threads of a server waiting: twice as many requests as it has threads."""
    stop = threading.Event()

    def hold() -> None:
        while not stop.is_set():
            ask(port, "/held")

    holders = [threading.Thread(target=hold) for _ in range(2 * THREADS)]
    for holder in holders:
        holder.start()
    time.sleep(HELD_SECONDS / 2)
    try:
        yield
    finally:
        stop.set()
        for holder in holders:
            holder.join()


# -- the servers -----------------------------------------------------------------------------


class Stage:
    """All servers, and what is started beside them."""

    def __init__(self, project: Path, folder: Path, stack: ExitStack) -> None:
        """Start a Redis."""
        self.helpers = import_module("flask_coherent_cache.testing")
        self.project, self.folder, self.stack = project, folder, stack
        self.pids: dict[int, int] = {}
        self.direct: dict[str, int] = {}
        redis_port = stack.enter_context(self.helpers.redis_server(folder))
        if redis_port is None:
            sys.exit("benchmark: there is no Redis and no Valkey on this machine")
        paths = [str(Path(__file__).parent), f"{project}/src", os.environ.get("PYTHONPATH", "")]
        self.environ = {
            **os.environ,
            "PROJECT": str(project),
            "ANSWER": str(folder / "answer.json"),
            "PYTHONPATH": os.pathsep.join(paths),
            "APP_ENV": "production",
            "SECRET_KEY": secrets.token_urlsafe(32),
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
            "CACHE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "PROXY_COUNT": "1",
            "GUNICORN_MAX_REQUESTS": "0",
            "GUNICORN_THREADS": str(THREADS),
        }

    def processor_seconds(self, port: int) -> float:
        """Return the time that all threads of the one worker of a server have had (Linux)."""
        pid = self.pids[port]
        (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        tasks = Path(f"/proc/{worker}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def run(self, command: list[str], port: int, **more: str) -> int:
        """Start a server and wait for it; what it logs goes through a pipe."""
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environ | more, stderr=reader.stdin
        )

        def stop() -> None:
            process.terminate()
            process.wait(60)
            reader.communicate()

        self.stack.callback(stop)
        self.pids[port] = process.pid
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return port
            time.sleep(0.05)
        return sys.exit(f"benchmark: {command} did not start")

    def serve(self, name: str) -> int:
        """Start one of the servers."""
        application, worker, level = SERVERS[name]
        port = self.helpers.free_port()
        command = [sys.executable, "-m", "gunicorn", "--config", f"{self.project}/gunicorn.conf.py"]
        command += ["--worker-class", worker, f"{Path(__file__).stem}:{application}()"]
        bind = f"127.0.0.1:{port}"
        self.run(command, port, LOG_LEVEL=level, GUNICORN_BIND=bind, CACHE_KEY_PREFIX=f"p{port}")
        for _ in range(2):
            response, body = ask(port, "/hello")
        if application == "ours":
            self.record(response, body)
        return port

    def record(self, response: http.client.HTTPResponse, body: bytes) -> None:
        """Write down what ours answers to a hit, for the raw callable."""
        own = {"connection", "date", "server"}
        headers = [pair for pair in response.getheaders() if pair[0].lower() not in own]
        status = f"{response.status} {response.reason}"
        answer = {"status": status, "headers": headers, "body": body.decode()}
        (self.folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")

    def proxy(self, kind: str, server: int, *, kept: bool) -> int:
        """Start a proxy in front of a server."""
        port = self.helpers.free_port()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        if kind == "caddy":
            text = CADDY.format(port=port, server=server, keepalive="60s" if kept else "off")
            command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "conf")]
        else:
            keepalive = "keepalive 32;" if kept else ""
            version = 'proxy_http_version 1.1; proxy_set_header Connection "";' if kept else ""
            names = {"folder": folder, "port": port, "server": server}
            text = NGINX.format(**names, keepalive=keepalive, version=version)
            command = ["nginx", "-p", str(folder), "-c", str(folder / "conf")]
        (folder / "conf").write_text(text, encoding="utf-8")
        return self.run(command, port)


def measure(
    stage: Stage, ports: dict[str, dict[str, int]], rounds: int, seconds: float
) -> dict[str, Any]:
    """Interleave the servers in rounds, every second one backwards."""
    rates: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in of_way}
        for way, of_way in ports.items()
        for kind in (way, f"{way}, cpu")
    }
    for number, way in itertools.product(range(rounds), ports):
        names = list(ports[way])
        for name in names if number % 2 else reversed(names):
            port = ports[way][name]
            with all_threads_held(port) if way == "held" else contextlib.nullcontext():
                used = stage.processor_seconds(stage.direct[name])
                # Long enough for threads that are held to answer some.
                lasts = seconds + 4 * HELD_SECONDS * (way == "held")
                rate = load(port, lasts, close=way == "new")
                used = stage.processor_seconds(stage.direct[name]) - used
            rates[way][name].append(rate)
            rates[f"{way}, cpu"][name].append(rate * lasts / used)
    result = {}
    for way, of_way in rates.items():
        result[way] = {name: round(statistics.median(each)) for name, each in of_way.items()}
        for ratio, (upper, lower) in RATIOS.items():
            if upper in of_way and lower in of_way:
                pairs = zip(of_way[upper], of_way[lower], strict=True)
                result[way][ratio] = round(statistics.median(a / b for a, b in pairs), 2)
    return result


def main(project: str, rounds: str = "15", seconds: str = "0.4", *ways: str) -> None:
    """Start all servers, and compare them."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stage = Stage(Path(project).resolve(), Path(name), stack)
        order = sorted(SERVERS, key=lambda server: server == "raw")  # it repeats another's answer
        prepare = [sys.executable, f"{project}/deploy/prepare_database.py"]
        environ = stage.environ | {
            "FLASK_APP": next(stage.project.glob("src/*/__init__.py")).parent.name
        }
        subprocess.run(prepare, env=environ, check=True, capture_output=True)
        stage.direct = direct = {server: stage.serve(server) for server in order}
        loud = ("raw", "gthread", "worker")
        ports = {"kept": direct, "new": direct, "held": {each: direct[each] for each in loud[1:]}}
        for kind in filter(shutil.which, ("caddy", "nginx")):
            for kept in (True, False):
                way = kind if kept else f"{kind} new"
                ports[way] = {each: stage.proxy(kind, direct[each], kept=kept) for each in loud}
        ports = {way: of_way for way, of_way in ports.items() if way in (ways or ports)}
        found = measure(stage, ports, int(rounds), float(seconds))
    for way, figures in found.items():
        print(way)
        for figure, value in figures.items():
            print(f"  {figure:20} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
