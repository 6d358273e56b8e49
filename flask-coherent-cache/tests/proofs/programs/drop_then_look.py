"""Drops by hand in one process and at once looks in another, and counts lost drops.

A drop is lost when a call after it, in any process, still returns what was computed before it.
There are as many ways to drop as the cache offers; each is taken in turn.

Usage: drop_then_look.py DROPS [--io-threads]
"""

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from counting import IO_THREADS, Server
from crowd import crowd
from harness import finish, make_app, processes, run_at_once, server

PROCESSES = 3
TAG, KEY = "thing", "thing by key"
#: What the server tells of them takes more than a socket holds. The one that is looked for comes
#: last, for the server sorts them.
MANY = [f"of many {number:060}" for number in range(6000)]
#: What drops write.
WRITTEN = ("app:tag:", "app:generation", "app:renewed:")

truth = processes.RawValue("Q", 0)
running = processes.RawValue("i", 1)
counted = processes.SimpleQueue()


def tell() -> int:
    """Return what is true at the moment."""
    value: int = truth.value
    return value


class Cached:
    """What is true, remembered in every way, in one process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.app, self.cache = make_app("ours", settings)
        self.function = self.cache.memoize(tags=(TAG,))(tell)
        self.renewing = False
        renewable = self.cache.memoize(
            make_name="{} renewable".format, forced_update=self.is_renewing
        )
        self.renewable = renewable(tell)
        self.by_key = self.cache.cached(key_prefix=KEY, tags=(TAG,))(tell)
        self.app.get("/")(self.cache.cached(tags=(TAG,))(lambda: f"{tell()}"))
        self.ways: dict[str, tuple[Callable[[], object], Callable[[], int]]] = {
            "clear": (self.cache.clear, self.page),
            "invalidate": (lambda: self.cache.invalidate(TAG), self.page),
            "invalidate many": (lambda: self.cache.invalidate(*MANY, TAG), self.page),
            "invalidate_view": (lambda: self.cache.invalidate_view("<lambda>"), self.page),
            "forced_update": (self.renew, self.renewed),
            "delete_memoized": (lambda: self.cache.delete_memoized(self.function), self.memoized),
            "delete": (lambda: self.cache.delete(KEY), self.keyed),
            "delete_many": (lambda: self.cache.delete_many(KEY), self.keyed),
        }

    def page(self) -> int:
        return int(self.app.test_client().get("/").text)

    def memoized(self) -> int:
        with self.app.app_context():
            value: int = self.function()
            return value

    def is_renewing(self, *_: Any, **__: Any) -> bool:
        return self.renewing

    def renew(self) -> None:
        self.renewing = True
        self.renewable()
        self.renewing = False

    def renewed(self) -> int:
        with self.app.app_context():
            value: int = self.renewable()
            return value

    def keyed(self) -> int:
        with self.app.app_context():
            value: int = self.by_key()
            return value

    def drop(self, way: str) -> None:
        with self.app.app_context():
            self.ways[way][0]()


def look(settings: dict[str, Any], orders: Connection) -> None:
    """Look whenever told to."""
    cached = Cached(settings)
    while way := orders.recv():
        orders.send(cached.ways[way][1]())


def drop(settings: dict[str, Any], drops: int, lookers: list[Connection]) -> None:
    """Change what is true, drop, and have the others look."""
    cached, lost = Cached(settings), Counter[str]()
    ways = list(cached.ways)
    for number in range(1, drops + 1):
        way = ways[number % len(ways)]
        # They fetch what is there, and then have copies of it.
        for looker in lookers * 2:
            looker.send(way)
            looker.recv()
        truth.value = number
        cached.drop(way)
        for looker in lookers:
            looker.send(way)
        lost[way] += sum([looker.recv() < number for looker in lookers])
    for looker in lookers:
        looker.send("")
    running.value = 0
    counted.put(lost)


def main(drops: str, *options: str) -> None:
    pairs = [processes.Pipe() for _ in range(PROCESSES - 1)]
    more = IO_THREADS if "--io-threads" in options else ()
    with server("RedisCache", *more) as settings:
        asked = Server(settings["CACHE_REDIS_URL"])
        targets: list[Callable[[], None]] = [partial(look, settings, end) for _, end in pairs]
        targets.append(partial(drop, settings, int(drops), [end for end, _ in pairs]))
        if more:
            targets.append(partial(crowd, asked.port, WRITTEN, lambda: bool(running.value)))
        run_at_once(targets)
        lost = counted.get()
        finish(drops=int(drops), lost=lost.total(), lost_by_way=lost, threaded=asked.threaded())


if __name__ == "__main__":
    main(*sys.argv[1:])
