"""Requests to a server, and a free port for it."""

import json
import random
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import Message


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Message
    body: str = field(repr=False)

    @property
    def json(self) -> dict[str, object]:
        """The body, read as a JSON object."""
        result = json.loads(self.body)
        assert isinstance(result, dict)
        return result


def request(
    url: str, method: str = "GET", data: object = None, token: str = "", host: str = ""
) -> Answer:
    """Send a request, with `data` as JSON. An error status is an answer, too.

    `host` stands in the Host header in place of the address, as behind a proxy. Raises `OSError`
    where nobody answers.
    """
    headers = {"Content-Type": "application/json"} if data is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if host:
        headers["Host"] = host
    body = None if data is None else json.dumps(data).encode()
    sent = urllib.request.Request(url, data=body, headers=headers, method=method)
    # No proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(sent, timeout=30) as answer:
            return Answer(answer.status, answer.headers, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read().decode())


def free_port(count: int = 1) -> int:
    """Return the first of `count` ports in a row that nobody uses at the moment.

    They lie below those that systems give to outgoing connections, which come and go.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if all(map(is_free, range(port, port + count))):
            return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for(url: str, seconds: float, alive: object = None) -> Answer:
    """Return the first answer from `url` within `seconds`.

    Raises `TimeoutError` if there was none, or if the process `alive` ended before.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return request(url)
        except OSError:
            if alive is not None and alive.poll() is not None:  # type: ignore[attr-defined]
                break
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer")
