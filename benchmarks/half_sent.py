"""Measure what requests that are sent by halves do to the others: python half_sent.py URL...

At each URL, in turn: open COUNT connections, on each of which a request begins and does not end,
then ask for the page TRIES times, and say how many of these were answered. It stops by itself; all
connections are closed at its end. Use it on a server of your own only.
"""

import argparse
import json
import socket
import ssl
import time
from contextlib import ExitStack
from urllib.parse import SplitResult, urlsplit

#: Seconds that a visitor waits for an answer.
PATIENCE = 2
HEAD = "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Slow: "
BODY = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n\r\na="
)


def connect(url: SplitResult, timeout: float) -> socket.socket:
    """Open a connection; by TLS, any certificate will do."""
    port = url.port or (443 if url.scheme == "https" else 80)
    plain = socket.create_connection((url.hostname, port), timeout)
    if url.scheme != "https":
        return plain
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=url.hostname)


def begin(url: SplitResult, what: str) -> socket.socket:
    """Begin a request, and leave it at that."""
    connection = connect(url, PATIENCE)
    request = (HEAD if what == "head" else BODY).format(path=url.path or "/", host=url.netloc)
    connection.sendall(request.encode())
    return connection


def seconds_of_answer(url: SplitResult) -> float | None:
    """Return how long the first bytes of an answer took, or None if they did not come."""
    started = time.perf_counter()
    try:
        with connect(url, PATIENCE) as connection:
            request = f"GET {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
            if not connection.recv(1000).startswith(b"HTTP/"):
                return None
    except OSError:
        return None
    return time.perf_counter() - started


def measure(address: str, count: int, tries: int, what: str) -> dict[str, object]:
    """Return what was answered while so many requests were half sent."""
    url = urlsplit(address)
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(begin(url, what))
        # The server has taken all of them by then.
        time.sleep(0.5)
        started = time.perf_counter()
        answers = [seconds_of_answer(url) for _ in range(tries)]
        took = time.perf_counter() - started
    times = sorted(seconds for seconds in answers if seconds is not None)
    return {
        "url": address,
        "half_sent": count,
        "part": what,
        "asked": tries,
        "answered": len(times),
        "median_ms": round(times[len(times) // 2] * 1000, 1) if times else None,
        "took_s": round(took, 1),
    }


def main() -> None:
    """Measure at each URL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--count", type=int, default=8, choices=range(257), metavar="0..256")
    parser.add_argument("--tries", type=int, default=5, choices=range(1, 101), metavar="1..100")
    parser.add_argument("--part", choices=("head", "body"), default="head")
    given = parser.parse_args()
    for url in given.urls:
        print(json.dumps(measure(url, given.count, given.tries, given.part)))


if __name__ == "__main__":
    main()
