"""Sends requests to two replicas at a steady rate, as a proxy in front of them would.

A process of its own, so that nothing that tests do delays a request. It sends by schedule, whether
or not earlier requests were answered, and writes a line of JSON for each that has ended:

- `due`, `sent`, `end`: seconds on the clock of `time.monotonic()`, which every process of the
  machine shares. `sent` is that of the attempt that was answered, or of the last.
- `status` and `error`: of the answer, or 0 and what went wrong.
- `failed`: by X-Request-ID, why an attempt had no answer, with `idle` first where it was sent on a
  connection that had been kept: a server may close that at any time (RFC 9112, 9.3.1). Where a
  connection is refused, or closed before a byte of the answer came, the other replica is asked. So
  would a proxy do for a GET; a PATCH of the load names a price, so that to send it twice is to send
  it once.
- `slug`, `price`: of the product that a page is about, or that a write changes, and to what.
- `shows`: by slug, the prices of the products that are written. `prices`: how many it showed.

Between them, a line `settled` says before which moment every request that was due has ended.

Usage: load.py SETTINGS RECORDS, both files; a signal (SIGTERM) ends it.
"""

import asyncio
import io
import itertools
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.client import parse_headers
from pathlib import Path
from typing import Any, TextIO

#: The Host header: a part of a cached page's key, so the replicas share what they store.
HOST = "localhost"
#: Each run draws the same at random, or anew from another seed where one is given.
SEED = int(os.environ.get("PROOF_SEED", "1"))
ATTEMPTS = 4
MOST_IN_FLIGHT = 3000
_SHOWN = re.compile(r'href="/products/([a-z0-9-]+)"|data-price-cents="(\d+)"')

Head = dict[str, str]


class Unanswered(Exception):
    """No byte of an answer came: another replica may be asked."""


class Cut(Exception):
    """An answer began and did not end."""


class Replica:
    """An address, and the connections to it that are kept."""

    def __init__(self, address: str) -> None:
        self.host, port = address.split(":")
        self.port = int(port)
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @asynccontextmanager
    async def connection(
        self, fresh: bool
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Lend a connection; who has read a whole answer from it gives it back to `idle`."""
        if self.idle and not fresh:
            reader, writer = self.idle.pop()
        else:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError as error:
                raise Unanswered(str(error)) from error
        try:
            yield reader, writer
        finally:
            if (reader, writer) not in self.idle:
                writer.close()

    async def ask(self, message: bytes, fresh: bool) -> tuple[int, Head, bytes]:
        """Return the status, the headers by their names in lower case, and the body."""
        kept = "idle, " if self.idle and not fresh else ""
        async with self.connection(fresh) as (reader, writer):
            try:
                writer.write(message)
                await writer.drain()
                first = await reader.readline()
            except OSError as error:
                raise Unanswered(f"{kept}{error.strerror}") from error
            if not first.endswith(b"\n"):
                raise Unanswered(f"{kept}closed")
            try:
                lines = await reader.readuntil(b"\r\n\r\n")
                headers = parse_headers(io.BytesIO(lines))
                body = await read_body(reader, headers.get("Content-Length"))
            except (OSError, asyncio.IncompleteReadError) as error:
                raise Cut(str(error)) from error
            if headers.get("Content-Length") and headers.get("Connection") != "close":
                self.idle.append((reader, writer))
            return int(first.split()[1]), {k.lower(): v for k, v in headers.items()}, body


async def read_body(reader: asyncio.StreamReader, length: str | None) -> bytes:
    """Read a body: so long, or else to the end of the connection."""
    return await (reader.read() if length is None else reader.readexactly(int(length)))


class Load:
    """What is asked for, and the file of what came of it."""

    def __init__(self, settings: dict[str, Any], records: TextIO) -> None:
        self.settings = settings
        self.records = records
        self.replicas = [Replica(address) for address in settings["replicas"]]
        self.products: list[dict[str, Any]] = settings["products"]
        self.written = {product["slug"] for product in self.products}
        self.prices = itertools.count(settings["first_price"])
        self.busy: set[str] = set()
        self.tasks: dict[asyncio.Task[None], float] = {}
        self.numbers = itertools.count()
        self.draw = random.Random(SEED)

    async def run(self) -> None:
        await asyncio.gather(self.read(), self.write(), self.tell())

    async def read(self) -> None:
        """Send GET requests by schedule, every second one for a cached page."""
        rate, targets = self.settings["rate"], self.settings["targets"]
        choices = [[t for t in targets if t["cached"] is cached] for cached in (True, False)]
        weights = [[target["weight"] for target in some] for some in choices]
        began = time.monotonic()
        for number in range(int(self.settings["seconds"] * rate)):
            due = began + number / rate
            await asyncio.sleep(due - time.monotonic())
            (target,) = self.draw.choices(choices[number % 2], weights[number % 2])
            self.start(due, "GET", target)

    async def write(self) -> None:
        """Raise the price of one product after the other; each has one write at a time."""
        began = time.monotonic()
        for number in range(int(self.settings["seconds"] * self.settings["writes"])):
            due = began + number / self.settings["writes"]
            await asyncio.sleep(due - time.monotonic())
            free = [p for p in self.products if p["slug"] not in self.busy]
            if free:
                product = free[number % len(free)]
                path = f"/api/products/{product['id']}"
                target = {"path": path, "kind": "write", "slug": product["slug"]}
                self.start(due, "PATCH", target, next(self.prices))

    async def tell(self) -> None:
        """Say again and again what has ended."""
        while True:
            await asyncio.sleep(0.2)
            settled = min([time.monotonic() - 0.1, *self.tasks.values()])
            self.records.write(json.dumps({"settled": settled}) + "\n")

    def start(self, due: float, method: str, target: dict[str, Any], price: int = 0) -> None:
        if len(self.tasks) >= MOST_IN_FLIGHT:
            self.note(due, method, target, error="not sent: too many are under way")
            return
        task = asyncio.create_task(self.one(due, method, target, price))
        self.tasks[task] = due
        task.add_done_callback(self.tasks.pop)

    async def one(self, due: float, method: str, target: dict[str, Any], price: int) -> None:
        """Send one request, and note what came of it."""
        found: dict[str, Any] = {"failed": {}}
        if price:
            found["price"] = price
            self.busy.add(target["slug"])
        try:
            async with asyncio.timeout(self.settings["timeout"]):
                await self.attempts(method, target, price, found)
        except TimeoutError:
            found["error"] = found["failed"][found["id"]] = "no answer in time"
        except Cut:
            found["error"] = found["failed"][found["id"]] = "cut off"
        if price:
            self.busy.discard(target["slug"])
        self.note(due, method, target, **found)

    async def attempts(
        self, method: str, target: dict[str, Any], price: int, found: dict[str, Any]
    ) -> None:
        number = next(self.numbers)
        turn = self.draw.randrange(len(self.replicas))
        fresh = False
        for attempt in range(ATTEMPTS):
            replica = self.replicas[turn % len(self.replicas)]
            found["id"] = f"{self.settings['name']}-{number}-{attempt}"
            message = self.message(method, target, price, found["id"])
            found["sent"] = time.monotonic()
            try:
                status, headers, body = await replica.ask(message, fresh)
            except Unanswered as error:
                found["error"] = found["failed"][found["id"]] = str(error)
                # Others that are idle may be as dead: once is enough.
                turn, fresh = turn + 1, True
                continue
            found.update(end=time.monotonic(), status=status, error="")
            found["cache_status"] = headers.get("cache-status", "")
            found["retry_after"] = headers.get("retry-after", "")
            if status == 200 and method == "GET":
                found["shows"], found["prices"] = self.shown(target, headers, body)
            return

    def message(self, method: str, target: dict[str, Any], price: int, identity: str) -> bytes:
        body = json.dumps({"price_cents": price}).encode() if price else b""
        lines = [f"{method} {target['path']} HTTP/1.1", f"Host: {HOST}"]
        lines.append(f"X-Request-ID: {identity}")
        if target.get("cookie"):
            lines.append(f"Cookie: {target['cookie']}")
        if price:
            lines.append(f"Authorization: Bearer {self.settings['token']}")
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def shown(
        self, target: dict[str, Any], headers: Head, body: bytes
    ) -> tuple[dict[str, int], int]:
        """Return the prices of the written products, and the number of all that are shown."""
        if headers.get("content-type", "").startswith("application/json"):
            pairs = json_prices(body)
        else:
            pairs = html_prices(body.decode(), target.get("slug", ""))
        return {slug: price for slug, price in pairs if slug in self.written}, len(pairs)

    def note(self, due: float, method: str, target: dict[str, Any], **found: Any) -> None:
        now = time.monotonic()
        record = {"due": due, "sent": now, "end": now, "status": 0, "error": ""}
        record.update(method=method, path=target["path"], kind=target["kind"])
        record["slug"] = target.get("slug", "")
        self.records.write(json.dumps(record | found) + "\n")


def html_prices(text: str, slug: str) -> list[tuple[str, int]]:
    """Return products and prices of a page: a price belongs to the last link to a product.

    :param slug: the product that the page is about, if it is about one.
    """
    pairs = []
    for link, price in _SHOWN.findall(text):
        slug = link or slug
        if price and slug:
            pairs.append((slug, int(price)))
    return pairs


def json_prices(body: bytes) -> list[tuple[str, int]]:
    """Return products and prices of a document of the API."""
    document = json.loads(body)
    items = document.get("items", [document] if "price_cents" in document else [])
    return [(item["slug"], item["price_cents"]) for item in items]


async def main(settings: str, records: str) -> None:
    with Path(records).open("w", encoding="utf-8", buffering=1) as file:
        load = Load(json.loads(Path(settings).read_text(encoding="utf-8")), file)
        running = asyncio.create_task(load.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        # What is under way at a signal ends within its own time.
        with suppress(asyncio.CancelledError):
            await running
        await asyncio.gather(*load.tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
