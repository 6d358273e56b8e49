"""Fills a memoized function in several processes while one drops it, and counts lost drops.

A drop is lost when a call after it still returns what was computed before it.

Usage: lost.py ours|stock BACKEND DROPS
"""

import sys
import time
from functools import partial
from itertools import count
from typing import Any

from harness import chance, finish, make_app, processes, run_at_once, server

PROCESSES = 4
MISSES_PER_SECOND = 300
#: A stock miss restores the version that it read: later than the first call after the drop.
LOOKS = 10
#: What the one looks at, and the others, too.
PROBE = 0
#: What was true at its beginning can be untrue at the end of a computation.
WORK_SECONDS = 0.001

truth = processes.Value("Q", 0)
ended = processes.Event()
misses = processes.RawArray("Q", PROCESSES)
seconds = processes.Value("d", 0.0)


def work(number: int) -> int:
    """Return what is true at the moment, with an entry for each number."""
    value: int = truth.value
    time.sleep(WORK_SECONDS)
    return value


def fill(subject: str, settings: dict[str, Any], process: int, ready: Any) -> None:
    """Miss so many times a second, or as often as the machine can."""
    app, cache = make_app(subject, settings)
    function = cache.memoize()(work)
    ready.wait()
    began = time.monotonic()
    for number in count(1):
        if ended.is_set():
            break
        with app.app_context():
            function(number * PROCESSES + process)
            function(PROBE)
        misses[process] = number
        time.sleep(max(0.0, began + number / MISSES_PER_SECOND - time.monotonic()))


def drop(subject: str, settings: dict[str, Any], drops: int, ready: Any, lost: Any) -> None:
    """Change what is true, drop the function, and look."""
    app, cache = make_app(subject, settings)
    function = cache.memoize()(work)
    draw = chance("changes")
    ready.wait()
    began = time.monotonic()
    for number in range(2, 2 * drops + 1, 2):
        change(number - 1, app, cache, function)
        # The second change comes while others fill what the first one dropped.
        time.sleep(draw.random() * 3 * WORK_SECONDS)
        change(number, app, cache, function)
        lost.value += any(look(app, function) < number for _ in range(LOOKS))
    seconds.value = time.monotonic() - began
    ended.set()


def change(number: int, app: Any, cache: Any, function: Any) -> None:
    truth.value = number
    with app.app_context():
        cache.delete_memoized(function)


def look(app: Any, function: Any) -> int:
    with app.app_context():
        value: int = function(PROBE)
        return value


def main(subject: str, backend: str, drops: str) -> None:
    ready = processes.Barrier(PROCESSES + 1, timeout=60)
    lost = processes.Value("i", 0)
    with server(backend) as settings:
        targets = [partial(fill, subject, settings, n, ready) for n in range(PROCESSES)]
        run_at_once([*targets, partial(drop, subject, settings, int(drops), ready, lost)])
    rate = round(sum(misses) / seconds.value)
    finish(drops=int(drops), lost=lost.value, misses=sum(misses), misses_per_second=rate)


if __name__ == "__main__":
    main(*sys.argv[1:])
