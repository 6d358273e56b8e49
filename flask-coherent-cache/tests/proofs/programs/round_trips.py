"""Counts the round trips of lookups, misses and commits, as a relay before the server sees them.

What near caches ask on their tracking links, while nobody waits for it, is not counted.

Usage: round_trips.py NEAR
NEAR is the near cache's size in bytes; 0 is none.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from counting import Server
from flask_coherent_cache.testing import free_port, wait_until
from harness import finish, server
from killing import tracking
from relay import Relay
from shop import Shop

Ask = Callable[[Shop], object]
#: How long ten hits are counted again before it is taken for true that they ask the server.
PATIENCE = 60


def page(shop: Shop) -> object:
    return shop.app.test_client().get("/row/1").text


def memoized(shop: Shop) -> object:
    with shop.app.app_context():
        return shop.version_of(1)


def cached_function(shop: Shop) -> object:
    with shop.app.app_context():
        return shop.first_version()


class Counter:
    """Counts the round trips between applications and the server.

    :param settings: the settings that lead to the server; ``settings`` lead through the relay.
    :param near: the size of the near caches, which come to know an answer after a while.
    """

    def __init__(self, settings: dict[str, Any], near: int) -> None:
        self.patience = PATIENCE if near else 0
        self.asked, port = Server(settings["CACHE_REDIS_URL"]), free_port()
        self.settings = {**settings, "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        self.relay = Relay(port, self.asked.port)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            self.relay.serve()

    def trips(self, function: Callable[[], object]) -> int:
        before = self.relay.total()
        function()
        return self.relay.total() - before

    def when_steady(self, function: Callable[[], object]) -> int:
        """Count the round trips of ten calls, once the near cache has come to know the answer."""
        deadline = time.monotonic() + self.patience
        while True:
            trips = self.trips(lambda: [function() for _ in range(10)])
            if trips == 0 or time.monotonic() > deadline:
                return trips


def lookups(counter: Counter, ask: Ask, make_shop: Callable[[], Shop]) -> dict[str, int]:
    """Count every way that a lookup can go, in a process that filled and in others."""
    here, there, newer, newest = (make_shop() for _ in range(4))
    clear(here)
    trips = {
        "cold miss": counter.trips(lambda: ask(here)),
        "hit": counter.trips(lambda: ask(here)),
        "first hit elsewhere": counter.trips(lambda: ask(there)),
        "second hit elsewhere": counter.trips(lambda: ask(there)),
        "ten hits": counter.when_steady(lambda: ask(there)),
    }
    here.raise_rows([1])
    trips["miss after a commit"] = counter.trips(lambda: ask(here))
    here.raise_rows([1])
    trips["miss after a commit elsewhere"] = counter.trips(lambda: ask(there))
    here.raise_rows([1])
    trips["first look at what a commit dropped"] = counter.trips(lambda: ask(newer))
    clear(here)
    trips["first look after clear()"] = counter.trips(lambda: ask(newest))
    return trips


def clear(shop: Shop) -> None:
    with shop.app.app_context():
        shop.cache.clear()


class Shops:
    """Makes shops whose connections are there, without a look at the keys that are counted."""

    def __init__(self, counter: Counter, file: Path, near: int) -> None:
        self.counter, self.file, self.near = counter, file, near
        self.made: list[Shop] = []

    def make(self) -> Shop:
        """Connect, and make every script known to the server."""
        settings = self.counter.settings
        shop = Shop("ours", settings, self.file, CACHE_NEAR_BYTES=self.near)
        self.made.append(shop)
        with shop.app.app_context():
            shop.sum_of_versions()
        shop.raise_rows([2])
        links = len(self.made) if self.near else 0
        wait_until(lambda: len(tracking(self.counter.asked.client)) == links)
        return shop


def main(near: str) -> None:
    with server("RedisCache") as settings, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shop.db"
        Shop("ours", settings, file, CACHE_NEAR_BYTES=0).create()
        counter = Counter(settings, int(near))
        make_shop = Shops(counter, file, int(near)).make
        shop = make_shop()
        finish(
            page=lookups(counter, page, make_shop),
            memoized=lookups(counter, memoized, make_shop),
            cached_function=lookups(counter, cached_function, make_shop),
            commit={
                "one row": counter.trips(lambda: shop.raise_rows([1])),
                "ten rows": counter.trips(lambda: shop.raise_rows(list(range(1, 11)))),
                "by one statement": counter.trips(shop.raise_all),
            },
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
