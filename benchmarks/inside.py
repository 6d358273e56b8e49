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
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import subjects
from starting import resident_bytes
from werkzeug.test import EnvironBuilder

BATCH = int(os.environ.get("BENCHMARK_BATCH", "100"))
THREADS = 32

Measures = dict[str, Callable[[float], float]]


def timed(operation: Callable[[], object], count: int = BATCH) -> float:
    """Return the mean of a batch in microseconds."""
    began = time.perf_counter()
    for _ in range(count):
        operation()
    return (time.perf_counter() - began) / count * 1e6


def median(batch: Callable[[], float], seconds: float) -> float:
    """Return the median of batches; the first one only warms up."""
    batch()
    means, end = [batch()], time.perf_counter() + seconds
    while time.perf_counter() < end:
        means.append(batch())
    return statistics.median(means)


def hits(batch: Callable[[], float], seconds: float) -> float:
    """Return the median of batches, in which nothing may be computed."""
    batch()
    before = len(subjects.computed)
    found = median(batch, seconds)
    return found if len(subjects.computed) == before else sys.exit("benchmark: these are no hits")


def pages(
    app: Callable[..., Any], measure: Callable[..., float], new_page: str = "/page"
) -> Measures:
    """Ask for pages as a server does: by a call of the whole application."""
    headers = {"Accept": "*/*", "User-Agent": "benchmark"}
    build = functools.partial(EnvironBuilder, base_url="http://127.0.0.1", headers=headers)
    new_paths = (f"{new_page}/{number}" for number in itertools.count())

    def start(status: str, _headers: list[tuple[str, str]], *_: Any) -> None:
        if status != "200 OK":
            sys.exit(f"benchmark: the application answered {status}")

    def read(environ: dict[str, Any]) -> None:
        body = app(environ, start)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()

    def batch(paths: list[str]) -> float:
        # The requests are made beforehand, as a server's would be.
        environs = iter([build(path).get_environ() for path in paths])
        return timed(lambda: read(next(environs)), len(paths))

    def hit(seconds: float) -> float:
        return measure(lambda: batch(["/hello"] * BATCH), seconds)

    def miss(seconds: float) -> float:
        return median(lambda: batch([*itertools.islice(new_paths, BATCH)]), seconds)

    def grow(count: float) -> float:
        hit(0)
        gc.collect()
        before = resident_bytes()
        for _ in range(0, int(count), BATCH):
            paths = [*itertools.islice(new_paths, BATCH)]
            batch(paths + paths)
        gc.collect()
        return resident_bytes() - before

    return {"page": hit, "page miss": miss, "near cache": grow}


def functions(
    memoize: Callable[[Callable[..., Any]], Any],
    forget: Callable[[Any], None],
    context: Callable[[], contextlib.AbstractContextManager[Any]],
    request: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Measures:
    """Call memoized functions; `forget` drops what one returned for `TWO`."""
    two, slow = memoize(subjects.two_arguments), memoize(subjects.slow)
    known = {
        "memoize 0": memoize(subjects.no_argument),
        "memoize 2": functools.partial(two, *subjects.TWO),
        "memoize 10": functools.partial(memoize(subjects.ten_arguments), *subjects.TEN),
    }
    numbers = itertools.count(100)

    def call(function: Callable[[], object], seconds: float) -> float:
        with context():
            return hits(lambda: timed(function), seconds)

    def miss(seconds: float) -> float:
        # Within a request, as most misses are.
        with request():
            return median(lambda: timed(lambda: two(next(numbers), "new")), seconds)

    def drop() -> float:
        with context():
            two(*subjects.TWO)
            return timed(lambda: forget(two), 1)

    def stampede(_: float) -> float:
        number, barrier, before = next(numbers), Barrier(THREADS), len(subjects.computed)

        def ask(_: int) -> None:
            with context():
                barrier.wait(10)
                slow(number)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, range(THREADS)))
        return len(subjects.computed) - before

    return {
        **{name: functools.partial(call, function) for name, function in known.items()},
        "memoize miss": miss,
        "invalidation": functools.partial(median, drop),
        "stampede": stampede,
    }


def statement_misses(app: Any, function: Callable[[int], object]) -> Measures:
    """Miss what is made of two statements: a page, and a memoized function's value."""
    numbers = itertools.count()

    def memoize_miss(seconds: float) -> float:
        def call() -> None:
            with app.app_context():
                function(next(numbers))

        return median(lambda: timed(call), seconds)

    page_miss = pages(app, median, "/statements")["page miss"]
    return {"statements page miss": page_miss, "statements memoize miss": memoize_miss}


def measures_of(subject: str) -> Measures:
    """Return what can be measured of a subject."""
    if subject.startswith("dogpile"):
        memoize = subjects.region(subject).cache_on_arguments()
        return functions(memoize, lambda two: two.invalidate(*subjects.TWO), contextlib.nullcontext)
    app, cache = subjects.application(subject)
    if cache is None:
        return pages(app, median)
    reads = {}
    if "BENCHMARK_STATEMENTS" in os.environ:
        reads = statement_misses(app, subjects.read_statements(subject, app, cache))
    render = app.jinja_env.from_string(subjects.FRAGMENT, {"hello": subjects.hello}).render

    def fragment(seconds: float) -> float:
        with app.app_context():
            return hits(lambda: timed(render), seconds)

    request = functools.partial(app.test_request_context, "/")
    memoize = cache.memoize(subjects.LIFE_SECONDS)
    called = functions(memoize, cache.delete_memoized, app.app_context, request)
    return {**pages(app, hits), **called, "fragment": fragment, **reads}


if __name__ == "__main__":
    measures = measures_of(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        measure, amount = json.loads(line)
        gc.collect()
        print(measures[measure](amount), flush=True)
