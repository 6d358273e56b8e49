"""Measures one subject without a server: reads orders as lines of JSON, answers each with a number.

Usage: python benchmarks/inside.py SUBJECT

An order is `[measure, seconds]`, and the answer the microseconds of one operation: the median of
as many batches as fit into the time. Two differ: "stampede" answers computations, and "near cache",
whose order is a number of pages, bytes by which this process grew.
"""

import contextlib
import functools
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import subjects
from starting import resident_bytes
from werkzeug.test import EnvironBuilder

THREADS = 32
BATCH = 100
ARGUMENTS: dict[Callable[..., Any], tuple[Any, ...]] = {
    subjects.no_argument: (),
    subjects.two_arguments: (7, "seven"),
    subjects.ten_arguments: (1, 2, 3, 4, 5, "f", "g", "h", "i", "j"),
}


def timed(operation: Callable[[], object], count: int = BATCH) -> float:
    """Return the mean of a batch in microseconds."""
    began = time.perf_counter()
    for _ in range(count):
        operation()
    return (time.perf_counter() - began) / count * 1e6


def median(batch: Callable[[], float], seconds: float) -> float:
    """Return the median of batches, of which the first only warms up."""
    batch()
    means, end = [batch()], time.perf_counter() + seconds
    while time.perf_counter() < end:
        means.append(batch())
    return statistics.median(means)


class Pages:
    """Pages, asked for as a server asks: by a call of the whole application."""

    def __init__(self, app: Callable[..., Any]) -> None:
        """Measure `app`."""
        self.app, self.numbers = app, itertools.count()

    def ask(self, environ: dict[str, Any]) -> None:
        """Read an answer to its end."""
        body = self.app(environ, self.start)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()

    def start(self, status: str, _headers: list[tuple[str, str]], *_: Any) -> None:
        """Take the head of an answer."""
        if status != "200 OK":
            sys.exit(f"benchmark: the application answered {status}")

    def time(self, paths: list[str]) -> float:
        """Ask for each path once; the requests are made beforehand, as a server's would be."""
        headers = {"Accept": "*/*", "User-Agent": "benchmark"}
        build = functools.partial(EnvironBuilder, base_url="http://127.0.0.1", headers=headers)
        known = {path: build(path).get_environ() for path in set(paths)}
        waiting = iter([dict(known[path]) for path in paths])
        return timed(lambda: self.ask(next(waiting)), len(paths))

    def hit(self, seconds: float) -> float:
        """Ask for one page."""
        return median(lambda: self.time(["/hello"] * BATCH), seconds)

    def misses(self) -> list[str]:
        """Name pages that nobody has asked for."""
        return [f"/page/{next(self.numbers)}" for _ in range(BATCH)]

    def miss(self, seconds: float) -> float:
        """Ask for other pages each time."""
        return median(lambda: self.time(self.misses()), seconds)

    def grow(self, count: float) -> float:
        """Ask for so many new pages, each twice; return the bytes by which this process grew."""
        self.hit(0)
        gc.collect()
        before = resident_bytes()
        for _ in range(0, int(count), BATCH):
            paths = self.misses()
            self.time(paths)
            self.time(paths)
        gc.collect()
        return resident_bytes() - before


class Functions:
    """Functions, as each of the libraries keeps what they return."""

    def __init__(
        self,
        memoize: Callable[[Callable[..., Any]], Any],
        forget: Callable[[Any], None],
        context: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        """Measure `memoize`; `forget` drops the entry of two arguments."""
        self.two, self.forget, self.context = memoize(subjects.two_arguments), forget, context
        self.numbered, self.slow = memoize(subjects.numbered), memoize(subjects.slow)
        self.hits = {
            f"memoize {len(arguments)}": functools.partial(memoize(function), *arguments)
            for function, arguments in ARGUMENTS.items()
        }
        self.numbers = itertools.count()

    def hit(self, measure: str, seconds: float) -> float:
        """Call with the same arguments."""
        with self.context():
            return median(lambda: timed(self.hits[measure]), seconds)

    def miss(self, seconds: float) -> float:
        """Call with others each time."""
        with self.context():
            return median(lambda: timed(lambda: self.numbered(next(self.numbers))), seconds)

    def invalidate(self, seconds: float) -> float:
        """Drop what was stored; storing it is not measured."""

        def drop() -> float:
            with self.context():
                self.two(*ARGUMENTS[subjects.two_arguments])
                return timed(lambda: self.forget(self.two), 1)

        return median(drop, seconds)

    def stampede(self, _seconds: float) -> float:
        """Call with new arguments from many threads at once, and return the computations."""
        number, barrier = next(self.numbers), Barrier(THREADS)
        before = next(subjects.computed)

        def call(_: int) -> None:
            with self.context():
                barrier.wait(10)
                self.slow(number)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(call, range(THREADS)))
        return next(subjects.computed) - before - 1


def measures_of(subject: str) -> Iterator[tuple[str, Callable[[float], float]]]:
    """Yield what can be measured of a subject."""
    if subject.startswith("dogpile"):
        region = subjects.region(subject)
        memoize = region.cache_on_arguments()
        functions = Functions(
            memoize, lambda function: function.invalidate(7, "seven"), contextlib.nullcontext
        )
    else:
        app, cache = subjects.application(subject)
        pages = Pages(app)
        yield from [("page", pages.hit), ("page miss", pages.miss), ("near cache", pages.grow)]
        if cache is None:
            return
        template = app.jinja_env.from_string(subjects.FRAGMENT)
        functions = Functions(
            cache.memoize(subjects.LIFE_SECONDS),
            cache.delete_memoized,
            app.app_context,
        )

        def fragment(seconds: float) -> float:
            with app.app_context():
                return median(lambda: timed(template.render), seconds)

        yield "fragment", fragment
    yield from ((name, functools.partial(functions.hit, name)) for name in functions.hits)
    yield from [("memoize miss", functions.miss), ("invalidation", functions.invalidate)]
    yield "stampede", functions.stampede


def main(subject: str) -> None:
    """Obey until the input ends."""
    measures = dict(measures_of(subject))
    for line in sys.stdin:
        measure, amount = json.loads(line)
        gc.collect()
        print(measures[measure](amount), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
