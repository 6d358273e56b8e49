"""A client that loads one server over connections that stay open, at a few µs a request.

It parses no more than it must: every answer of a load has the status and the body size of the
first one, and one that has not ends the program in words. Nothing is asked of another machine.
"""

import http.client
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

CONNECTIONS = 8
PATIENCE_SECONDS = 30


class Answer:
    """One response, read to its end: status line, headers as they were sent, body."""

    def __init__(self, port: int, request: bytes) -> None:
        """Ask over a connection of its own."""
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            self.status = f"{response.status} {response.reason}"
            self.headers = response.getheaders()
            self.body = response.read()
            self.closes = self["connection"].lower() == "close"

    def __getitem__(self, name: str) -> str:
        """Return a header; the first, if there are several, and nothing if there is none."""
        return next((value for header, value in self.headers if header.lower() == name), "")


def request_of(path: str, headers: dict[str, str] | None = None) -> bytes:
    """Write a GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: benchmark", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


class Load(NamedTuple):
    """What a load came to; all times in seconds."""

    seconds: float
    client_seconds: float
    latencies: list[float]


class Connection:
    """One connection with at most one request under way."""

    def __init__(self, port: int, request: bytes, like: Answer, selector: selectors.BaseSelector):
        """Connect; `like` is an answer to the same request."""
        self.port, self.request, self.selector = port, request, selector
        self.start, self.size, self.closes = like.status.encode(), len(like.body), like.closes
        self.began, self.pending = 0.0, b""
        self.connect()

    def connect(self) -> None:
        """Open the connection, or another one in its place."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(self.socket, selectors.EVENT_READ, self)

    def close(self) -> None:
        """Close the connection."""
        self.selector.unregister(self.socket)
        self.socket.close()

    def send(self, began: float) -> None:
        """Send the request, whose latency counts from `began`."""
        self.began = began
        self.socket.send(self.request)

    def is_answered(self) -> bool:
        """Read what has come, and tell whether the answer is whole."""
        received = self.socket.recv(65536)
        data = self.pending + received if self.pending else received
        head = data.find(b"\r\n\r\n")
        missing = head + 4 + self.size - len(data)
        if head < 0 or missing > 0:
            if not received:
                raise SystemExit("benchmark: a server closed a connection in mid-answer")
            self.pending = data
            return False
        if missing or not data.startswith(self.start, 9):
            raise SystemExit(f"benchmark: expected {self.start!r}, got {data[:500]!r}")
        self.pending = b""
        if self.closes:
            self.close()
            self.connect()
        return True


def load(port: int, request: bytes, seconds: float, rate: float | None = None) -> Load:
    """Ask for `seconds`, on every connection as soon as it is free.

    :param rate: requests a second instead. A request that finds no connection free waits for one,
        and its latency counts from when it was due: a server that stalls delays all that follow.
    """
    like, clock = Answer(port, request), time.perf_counter
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        idle = deque(Connection(port, request, like, selector) for _ in range(CONNECTIONS))
        process_began, began = time.process_time(), clock()
        end, due, interval, working = began + seconds, began, 1 / rate if rate else 0.0, 0
        while True:
            now = clock()
            if now > end + PATIENCE_SECONDS:
                raise SystemExit(f"benchmark: {working} requests are still without an answer")
            due = due if rate else now
            while idle and due <= now and due < end:
                idle.popleft().send(due)
                working += 1
                due += interval
            if not working and due >= end:
                break
            wait = max(0.0, due - now) if idle and due < end else PATIENCE_SECONDS
            for key, _ in selector.select(wait):
                connection: Connection = key.data
                if connection.is_answered():
                    latencies.append(clock() - connection.began)
                    working -= 1
                    idle.append(connection)
        result = Load(clock() - began, time.process_time() - process_began, latencies)
        for connection in idle:
            connection.close()
    return result


@contextmanager
def held(port: int, path: str, count: int) -> Iterator[None]:
    """Keep so many requests for a slow page under way until the block ends."""
    over = threading.Event()

    def hold() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        while not over.is_set():
            connection.request("GET", path)
            connection.getresponse().read()
        connection.close()

    holders = [threading.Thread(target=hold) for _ in range(count)]
    for holder in holders:
        holder.start()
    try:
        yield
    finally:
        over.set()
        for holder in holders:
            holder.join()
