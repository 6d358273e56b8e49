"""Compares an invalidation that reaches one entry with one that reaches 100,000, on Redis.

Usage: python benchmarks/invalidation.py [ENTRIES [RUNS]]

Runs alternate. Before each the tag is put back to what it was, so that all entries are valid again;
a sample of them is looked at before and after. The last line says it all in JSON.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis
from flask import Flask, current_app

from flask_coherent_cache import Cache
from flask_coherent_cache.testing import redis_server

PREFIX = "benchmark"
LIFE_SECONDS = 3600
SAMPLE = 20


def entry_of(cache: Any, tag: str, number: int) -> int:
    """Return a number, and depend on a tag: what is memoized here."""
    cache.tag(tag)
    return number


class Tagged:
    """So many entries that carry one tag."""

    def __init__(self, cache: Any, client: Any, tag: str, count: int) -> None:
        """Make them."""
        self.cache, self.client, self.tag, self.count = cache, client, tag, count
        self.function = cache.memoize(args_to_ignore=["cache"])(entry_of)
        self.numbers = range(0, count, max(1, count // SAMPLE))
        self.fill()
        self.raised = client.get(f"{PREFIX}:tag:{tag}")

    def key(self, number: int) -> str:
        """Return the key of an entry."""
        key: str = self.function.make_cache_key(None, self.cache, self.tag, number)
        return key

    def fill(self) -> None:
        """Compute the first entry, and store all others as the store stores a computed one."""
        # In a context of its own: an entry depends on all that its context has read.
        with current_app.app_context():
            self.function(self.cache, self.tag, 0)
        entries, first = self.cache.engine, self.key(0)
        (name,) = (key.decode() for key in self.client.scan_iter(f"{PREFIX}:*:entry:{first}"))
        pattern = entries.sealer.open(first, self.client.get(name))
        for number in range(1, self.count):
            key = self.key(number)
            tags = tuple(tag.replace(first, key) for tag in pattern.tags)
            entries.store.store_entry(
                name.replace(first, key),
                entries.sealer.seal(key, replace(pattern, tags=tags)),
                LIFE_SECONDS,
                f"{PREFIX}:clock",
                [f"{PREFIX}:tag:{tag}" for tag in tags],
                None,
            )

    def check(self, expected: int) -> None:
        """Count the valid ones of the sample, and end where they are not as many as expected."""
        valid = sum(self.cache.has(self.key(number)) for number in self.numbers)
        if valid != expected:
            sys.exit(f"{valid} of {len(self.numbers)} entries were valid, not {expected}")

    def invalidate(self) -> tuple[float, dict[str, int]]:
        """Invalidate all entries; return the seconds, and what the server counted meanwhile."""
        self.client.set(f"{PREFIX}:tag:{self.tag}", self.raised)
        self.check(len(self.numbers))
        before = server_work(self.client)
        began = time.perf_counter()
        self.cache.invalidate(self.tag)
        seconds = time.perf_counter() - began
        work = Counter(server_work(self.client))
        work.subtract({**before, "round trips": before["round trips"] + 1})  # one was this count
        self.check(0)
        return seconds, {name: count for name, count in work.items() if count}


def server_work(client: Any) -> dict[str, int]:
    """Count the reads of sockets and the calls of each command, also those within scripts."""
    info = client.info("all")
    calls = {name[8:]: info[name]["calls"] for name in info if name.startswith("cmdstat_")}
    return {"round trips": info["total_reads_processed"], **calls, "info": 0}


def compare(cache: Any, client: Any, count: int, runs: int) -> dict[str, Any]:
    """Interleave the runs of one entry and of many."""
    sets = [Tagged(cache, client, "one", 1), Tagged(cache, client, "many", count)]
    seconds: dict[str, list[float]] = {"one": [], "many": []}
    work: dict[str, list[dict[str, int]]] = {"one": [], "many": []}
    for run in range(runs):
        for tagged in sets if run % 2 else reversed(sets):
            taken, done = tagged.invalidate()
            seconds[tagged.tag].append(taken)
            work[tagged.tag].append(done)
    one, many = (statistics.median(seconds[tag]) for tag in ("one", "many"))
    return {
        "entries": count,
        "runs": runs,
        "one_microseconds": round(one * 1e6, 1),
        "many_microseconds": round(many * 1e6, 1),
        "ratio": round(many / one, 3),
        # The first run of each makes its script known to the server.
        "one_work": work["one"][-1],
        "many_work": work["many"][-1],
    }


def main(entries: str = "100000", runs: str = "301") -> None:
    """Start a Redis, make an application, and compare."""
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder)) as port,
    ):
        if port is None:
            print(json.dumps({"skipped": "there is no Redis and no Valkey on this machine"}))
            return
        app = Flask("benchmark", static_folder=None, template_folder=None)
        app.config.update(
            SECRET_KEY="k" * 40,
            CACHE_TYPE="RedisCache",
            CACHE_KEY_PREFIX=PREFIX,
            CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/0",
            # What it asks at a time of its own would be counted, too.
            CACHE_NEAR_BYTES=0,
            CACHE_SOCKET_TIMEOUT_SECONDS=10,
        )
        cache = Cache(app)
        client = redis.Redis(port=port)
        with app.app_context():
            found = compare(cache, client, int(entries), int(runs))
        print(
            f"1 entry {found['one_microseconds']} µs, {entries} entries "
            f"{found['many_microseconds']} µs: ratio {found['ratio']}"
        )
        print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
