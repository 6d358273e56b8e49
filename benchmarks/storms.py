"""Compares reads a second under a storm of writes with those without any cache.

Usage: python benchmarks/storms.py PROJECT [ROUNDS [SECONDS [WRITES...]]]

PROJECT is a generated project. Eight connections ask four workers for one product's page, with
production's settings, while its stock changes so many times a second through the API. Each round
measures with the cache on Redis and with `CACHE_TYPE=NullCache`, in turn.
"""

import itertools
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from client import load, request_of
from report import WRITES
from shop import PRODUCT, Shop, Writer, alone
from stage import Stage

WORKERS = 4


class Storms:
    """The shop, served with the cache and without it."""

    def __init__(self, stage: Stage) -> None:
        """Start both servers."""
        shop = Shop(stage, "storms", WEB_CONCURRENCY=str(WORKERS))
        self.ports = {"ours": shop.serve(), "without": shop.serve(CACHE_TYPE="NullCache")}
        #: What is read: the product's page, and the JSON of the memoized product.
        self.requests = {
            "page": request_of(shop.path(self.ports["ours"])),
            "memoized": request_of(f"/api/products/{PRODUCT}"),
        }

    def reads(self, subject: str, what: str, writes: float, seconds: float) -> float:
        """Return the reads a second of a subject, while so many writes a second go on."""
        port = self.ports[subject]
        with Writer(port, writes):
            loaded = load(port, self.requests[what], seconds)
        return len(loaded.latencies) / loaded.seconds


def main(project: str, rounds: str = "5", seconds: str = "2", *writes: str) -> None:
    """Measure, and print a table."""
    rates = [float(rate) for rate in writes] or [float(rate) for rate in WRITES]
    found: dict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
    with alone(Path(project).resolve()) as stage:
        storms = Storms(stage)
        for number in range(int(rounds)):
            for what, rate in itertools.product(storms.requests, rates):
                order = ("ours", "without") if number % 2 else ("without", "ours")
                took = {each: storms.reads(each, what, rate, float(seconds)) for each in order}
                found[what, rate].append((took["ours"], took["without"]))
    print("| read | writes/s | reads/s | without a cache | ratio | spread |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (what, rate), pairs in found.items():
        ratios = sorted(ours / without for ours, without in pairs)
        middles = [statistics.median(side) for side in zip(*pairs, strict=True)]
        print(
            f"| {what} | {rate:g} | {middles[0]:.0f} | {middles[1]:.0f} "
            f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
