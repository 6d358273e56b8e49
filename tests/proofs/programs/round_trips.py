"""Counts the round trips of lookups, misses and commits, as the server counts them.

Usage: round_trips.py
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import redis
from harness import finish, server
from shop import Shop

Ask = Callable[[Shop], object]


def page(shop: Shop) -> object:
    return shop.app.test_client().get("/row/1").text


def memoized(shop: Shop) -> object:
    with shop.app.app_context():
        return shop.version_of(1)


def cached_function(shop: Shop) -> object:
    with shop.app.app_context():
        return shop.first_version()


class Counter:
    """Counts what the server reads; each of its own questions is one read."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.total()

    def total(self) -> int:
        total: int = self.client.info("stats")["total_reads_processed"]
        return total

    def trips(self, function: Callable[[], object]) -> int:
        before = self.total()
        function()
        # The first total counted its own question, the second counts its own, too.
        return self.total() - before - 1


def lookups(counter: Counter, ask: Ask, make_shop: Callable[[], Shop]) -> dict[str, int]:
    """Count every way that a lookup can go, in a process that filled and in others."""
    here, there, newer, newest = (make_shop() for _ in range(4))
    clear(here)
    trips = {
        "cold miss": counter.trips(lambda: ask(here)),
        "hit": counter.trips(lambda: ask(here)),
        "first hit elsewhere": counter.trips(lambda: ask(there)),
        "second hit elsewhere": counter.trips(lambda: ask(there)),
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


def connected(shop: Shop) -> Shop:
    """Connect, and make every script known to the server, without a look at the keys counted."""
    with shop.app.app_context():
        shop.sum_of_versions()
    shop.raise_rows([2])
    return shop


def main() -> None:
    with server("RedisCache") as settings, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shop.db"
        Shop("ours", settings, file).create()

        def make_shop() -> Shop:
            return connected(Shop("ours", settings, file))

        counter, shop = Counter(settings["CACHE_REDIS_URL"]), make_shop()
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
    main()
