"""Writes in one process of the shop and at once reads in another, and counts stale reads.

The shop is the generated project's own, in Gunicorn processes. A read is stale when it shows an
older price than a write whose HTTP answer arrived before the read was sent.

Usage: write_then_read.py WRITES [--near BYTES] [--io-threads] [--load] [--kills WRITES]
       [--sabotage]
--load reads in all processes besides, --kills kills tracking connections once in so many writes,
and --sabotage keeps lookups from seeing what the server told, until something is stale.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from counting import IO_THREADS, Server
from crowd import crowd
from harness import finish, processes, run_at_once, server
from killing import Killer, tracking
from package import name
from serving_shop import FIRST_PRICE, PRODUCTS, Link, complaints, get, gunicorns, patch_price

PROCESSES = 4
#: So many writes in a row concern one product and are looked for in one place.
BLOCK = 25
#: Where a price is shown, and whether it is the product's or that of the one which changed last.
PLACES = {
    "page of a product": ("/products/thing-{}", True),
    "page of all products": ("/products?sort=-price", False),
    "home page": ("/", False),
    "API, all products": ("/api/products?sort=-price", False),
    "API, one product": ("/api/products/{}", True),
}
#: The slowest machine that is waited for.
WRITES_PER_SECOND = 5
#: How long it may take until the server is not asked any more for what nobody writes.
QUIET_SECONDS = 20


class Board:
    """What the processes know of each other."""

    def __init__(self) -> None:
        #: The price of each product that was acknowledged last.
        self.prices = processes.RawArray("Q", PRODUCTS + 1)
        self.writes = processes.RawValue("Q", 0)
        self.running = processes.RawValue("i", 1)
        self.counted = processes.SimpleQueue()

    def least(self, place: str, product: int) -> int:
        """Return the price that must be shown at least: prices only ever rise."""
        own = PLACES[place][1]
        return int(self.prices[product] if own else max(self.prices))

    def scene(self) -> tuple[str, int]:
        """Where to look, and for which product."""
        block = self.writes.value // BLOCK
        return list(PLACES)[block % len(PLACES)], block % PRODUCTS + 1

    def wait_for(self, writes: int) -> bool:
        """Wait for so many writes; False when there will be no more."""
        while self.writes.value < writes and self.running.value:
            time.sleep(0.0005)
        return bool(self.running.value)


class Reader:
    """Reads in every process, and counts."""

    def __init__(self, board: Board, ports: list[int]) -> None:
        self.board = board
        self.links = [Link(port) for port in ports]
        self.reads, self.hits, self.stale = Counter[str](), Counter[str](), Counter[str]()
        self.requests = {
            (place, product): get(path.format(product))
            for place, (path, _) in PLACES.items()
            for product in range(1, PRODUCTS + 1)
        }

    def read(self, process: int, place: str, product: int, kind: str) -> bool:
        """Read once; say whether it was a hit."""
        least = self.board.least(place, product)
        answer = self.links[process].ask(self.requests[place, product])
        self.reads[kind] += 1
        self.hits[kind] += answer.is_hit
        self.stale[f"{kind}: {place}"] += answer.price < least
        return answer.is_hit


def write_and_read(board: Board, ports: list[int], writes: int, until_stale: bool) -> None:
    """Write in each process in turn, look at once in each other one in turn, then in all.

    :param until_stale: end as soon as something is stale.
    """
    reader = Reader(board, ports)
    try:
        for number in range(writes):
            place, product = board.scene()
            writer = number % PROCESSES
            other = (writer + 1 + number // PROCESSES % (PROCESSES - 1)) % PROCESSES
            price = FIRST_PRICE + number
            reader.links[writer].ask(patch_price(product, price))
            board.prices[product] = price
            reader.read(other, place, product, "first look")
            for process in range(PROCESSES):
                reader.read(process, place, product, "look between writes")
            board.writes.value += 1
            if until_stale and reader.stale.total():
                break
    finally:
        board.running.value = 0
    board.counted.put(counted(reader))


def read_all_the_time(board: Board, ports: list[int]) -> None:
    """Keep the processes busy with what is written at the moment."""
    reader = Reader(board, ports)
    while board.running.value:
        for process in range(PROCESSES):
            reader.read(process, *board.scene(), "read at any time")
    board.counted.put(counted(reader))


def counted(reader: Reader) -> dict[str, Counter[str]]:
    return {"reads": reader.reads, "hits": reader.hits, "stale": reader.stale}


def kill(board: Board, settings: dict[str, Any], every: int) -> None:
    """Kill tracking connections at random, once in so many writes."""
    killer = Killer(settings)
    due = 0
    while board.wait_for(due):
        killer.act()
        due += killer.chance.randint(1, 2 * every - 1)
    board.counted.put({"kills": killer.done})


def press(board: Board, port: int) -> None:
    """Give the server's I/O threads something to do at each write."""
    crowd(port, [f"{name()}:tag:"], lambda: bool(board.running.value))
    board.counted.put({})


def quiet_round(
    board: Board, ports: list[int], asked: Server, seconds: float = QUIET_SECONDS
) -> dict[str, int]:
    """Read everything in every process, until the server is not asked for it any more.

    So it is seen that the near caches are in use, and that what was killed comes back by itself.
    Without near caches the server is asked for ever.
    """
    reader = Reader(board, ports)
    deadline = time.monotonic() + seconds
    while True:
        before, hits = asked.asked(), reader.hits.total()
        for process in range(PROCESSES):
            for place in PLACES:
                reader.read(process, place, 1, "read when quiet")
        round_ = {"asked": asked.asked() - before, "hits": reader.hits.total() - hits}
        if round_["asked"] == 0 or time.monotonic() > deadline:
            return round_ | {
                "stale": reader.stale.total(),
                "connections": len(tracking(asked.client)),
            }


def summary(board: Board, participants: int) -> dict[str, Any]:
    """Add up what everybody counted."""
    total = {what: Counter[str]() for what in ("reads", "hits", "stale", "kills")}
    for _ in range(participants):
        for what, counter in board.counted.get().items():
            total[what] += counter
    return {
        "stale": total["stale"].total(),
        "stale_by_kind": dict(total["stale"]),
        "reads": total["reads"],
        "hits": total["hits"],
        "kills": total["kills"].total(),
    }


def run(options: argparse.Namespace, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write and read under all that was asked for."""
    board, asked = Board(), Server(settings["CACHE_REDIS_URL"])
    near = {} if options.near is None else {"CACHE_NEAR_BYTES": options.near}
    application = "sabotaged:create_app()" if options.sabotage else ""
    with gunicorns(PROCESSES, folder, {**settings, **near}, application) as ports:
        targets = [partial(write_and_read, board, ports, options.writes, options.sabotage)]
        targets += [partial(read_all_the_time, board, ports)] if options.load else []
        targets += [partial(kill, board, settings, options.kills)] if options.kills else []
        targets += [partial(press, board, asked.port)] if options.io_threads else []
        began = time.monotonic()
        run_at_once(targets, 120 + options.writes / WRITES_PER_SECOND)
        seconds = time.monotonic() - began
        found = summary(board, len(targets))
        requests = found["reads"].total() + board.writes.value
        return {
            "writes": board.writes.value,
            **found,
            "quiet": quiet_round(board, ports, asked, 0 if options.near == 0 else QUIET_SECONDS),
            "server": asked.name(),
            "threaded": asked.threaded(),
            "complaints": complaints(folder),
            "requests_per_second": round(requests / seconds),
        }


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("writes", type=int)
    parser.add_argument("--near", type=int)
    parser.add_argument("--io-threads", action="store_true")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--sabotage", action="store_true")
    return parser.parse_args(arguments)


def main(*arguments: str) -> None:
    options = parsed(list(arguments))
    more = IO_THREADS if options.io_threads else ()
    with server("RedisCache", *more) as settings, tempfile.TemporaryDirectory() as folder:
        finish(**run(options, settings, Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
