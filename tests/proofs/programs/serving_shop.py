"""The generated project's own application, in Gunicorn processes that have a port each.

So a program chooses which process it asks. All are asked by the same name, or each would have
pages of its own.
"""

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flask_coherent_cache.testing import free_port, wait_until
from harness import PATIENT
from package import SOURCES, load, name

TOKEN = "t" * 40
PRODUCTS = 8
#: Above every other price of the shop, so that the product which changed last is the dearest, too.
FIRST_PRICE = 1_000_000
START_SECONDS = 60
HEAD = "Host: localhost\r\nAccept: text/html\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PRICE = re.compile(rb'price[-_]cents"?[=:] *"?(\d+)')


class Answer(NamedTuple):
    """What a process answered."""

    head: bytes
    body: bytes

    @property
    def is_hit(self) -> bool:
        """Whether the page came from the cache, and fresh."""
        return b"page-cache; hit" in self.head

    @property
    def price(self) -> int:
        """The first price that is shown."""
        found = _PRICE.search(self.body)
        return int(found[1]) if found else 0


class Link:
    """A connection to one process, kept for all requests, with nothing between bytes and socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> Answer:
        """Send a request; return the answer once all of it has arrived, if its status is 200."""
        self.socket.sendall(request)
        received = self.more(b"")
        while b"\r\n\r\n" not in received:
            received = self.more(received)
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{request!r} was answered by {received!r}")
        length = _LENGTH.search(head)
        while length and len(body) < int(length[1]):
            body = self.more(body)
        return Answer(head, body)

    def more(self, received: bytes) -> bytes:
        """Add what has arrived."""
        if not (arrived := self.socket.recv(65536)):
            raise ConnectionError("a process closed its connection")
        return received + arrived


def get(path: str) -> bytes:
    """Write a request for a page."""
    return f"GET {path} HTTP/1.1\r\n{HEAD}\r\n".encode()


def patch_price(product: int, price: int) -> bytes:
    """Write the request that changes a product's price."""
    body = f'{{"price_cents":{price}}}'
    head = f"PATCH /api/products/{product} HTTP/1.1\r\n{HEAD}Authorization: Bearer {TOKEN}\r\n"
    fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{fields}\r\n{body}".encode()


def create_shop(url: str) -> None:
    """Make a small shop in a new database; who starts the processes afterwards is heard by none."""
    settings = {"APP_ENV": "testing", "CACHE_TYPE": "NullCache", "DATABASE_URL": url}
    app, db, models = load().create_app(settings), load("extensions").db, load("catalog.models")
    with app.app_context():
        db.create_all()
        category = models.Category(name="Things", slug="things")
        db.session.add_all(
            models.Product(name=f"Thing {n}", slug=f"thing-{n}", price_cents=n, stock=1, category=c)
            for n, c in zip(range(1, PRODUCTS + 1), [category] * PRODUCTS, strict=True)
        )
        db.session.commit()
        db.engine.dispose()


@contextmanager
def gunicorns(
    count: int, folder: Path, settings: dict[str, Any], application: str = ""
) -> Iterator[list[int]]:
    """Start so many single processes on one database and one cache server; yield their ports.

    :param application: names another one than the project's own.
    """
    url = f"sqlite:///{folder}/shop.db"
    create_shop(url)
    given = {
        **{name: value for name, value in PATIENT.items() if name != "CACHE_POOL_SIZE"},
        "APP_ENV": "production",
        "API_TOKEN": TOKEN,
        "DATABASE_URL": url,
        "SECRET_KEY": secrets.token_urlsafe(32),
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "text",
        "GUNICORN_MAX_REQUESTS": 0,
        **settings,
    }
    environ = {**os.environ, **{name: str(value) for name, value in given.items()}}
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "gunicorn", application or f"{name()}:create_app()"]
    with ExitStack() as stack:
        starting = [stack.enter_context(gunicorn(command, folder, environ)) for _ in range(count)]
        yield [wait() for wait in starting]


@contextmanager
def gunicorn(
    command: list[str], folder: Path, environ: dict[str, str]
) -> Iterator[Callable[[], int]]:
    """Start one process with the project's gunicorn.conf.py; yield what waits for its port."""
    port = free_port()
    log = folder / f"gunicorn-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=SOURCES.parent,
            env={**environ, "GUNICORN_BIND": f"127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def served_port() -> int:
        wait_until(lambda: process.poll() is not None or answers(port), START_SECONDS)
        if process.poll() is not None:
            sys.exit(log.read_text(errors="replace"))
        return port

    try:
        yield served_port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def answers(port: int) -> bool:
    """Tell whether a process serves."""
    try:
        return bool(Link(port).ask(get("/healthz")))
    except OSError:
        return False


def complaints(folder: Path) -> list[str]:
    """List what the processes logged as errors, each line once."""
    lines = {
        line.partition(" ")[2]
        for log in sorted(folder.glob("gunicorn-*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if " ERROR " in line or " CRITICAL " in line
    }
    return sorted(lines)
