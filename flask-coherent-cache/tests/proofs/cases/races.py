"""The cases that break simpler designs: between writers, readers, and what the store forgets."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import g

from flask_coherent_cache.testing import wait_until
from subjects import Subject

LOSSES = [
    names
    for size in range(4)
    for names in itertools.combinations(("clock", "generation", "tag:stock"), size)
]


@pytest.fixture
def ours(every_backend: dict[str, Any]) -> Subject:
    return Subject("ours", every_backend)


def in_thread(subject: Subject, function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function at the same time as what runs here, in a context of its own."""
    thread = threading.Thread(target=subject.run, args=(function, *arguments))
    thread.start()
    thread.join()


class Stock:
    """Data that is cached: a number, and what to do in the middle of its computation."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.value = 1
        self.meanwhile: Callable[[], Any] | None = None
        self.read = subject.cache.memoize(600, make_name=lambda name: "stock")(self._compute)

    def _compute(self) -> int:
        self.subject.cache.tag("stock")
        found = self.value
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return found

    def change(self) -> None:
        """Change the data, and say so."""
        self.value += 1
        in_thread(self.subject, self.subject.cache.invalidate, "stock")

    def lose(self, names: tuple[str, ...]) -> None:
        """Take keys from the store, as an eviction does."""
        store = self.subject.run(lambda: self.subject.cache.engine.store)
        store.delete([f"app:{name}" for name in names] or ["app:nothing"])

    def is_right(self) -> bool:
        """Tell whether what is served is what is so, twice: when filled, and when hit."""
        return [self.subject.run(self.read) for _ in range(2)] == [self.value] * 2


@pytest.mark.parametrize("after", [True, False], ids=["after the change", "before it"])
@pytest.mark.parametrize("names", LOSSES, ids=" and ".join)
def test_what_is_evicted_during_a_fill(ours: Subject, names: tuple[str, ...], after: bool) -> None:
    """A tag, the clock, the generation: whichever are lost while a fill and a change overlap."""
    stock = Stock(ours)

    def meanwhile() -> None:
        if not after:
            stock.lose(names)
        stock.change()
        if after:
            stock.lose(names)

    for known in (False, True):
        if known:
            stock.change()
        stock.meanwhile = meanwhile
        ours.run(stock.read)
        assert stock.is_right()


@pytest.mark.parametrize("names", LOSSES, ids=" and ".join)
def test_what_is_evicted_between_a_fill_and_a_change(ours: Subject, names: tuple[str, ...]) -> None:
    stock = Stock(ours)
    ours.run(stock.read)
    stock.lose(names)
    stock.change()
    assert stock.is_right()
    stock.change()
    stock.lose(names)
    assert stock.is_right()


def test_a_late_writer_does_not_lower_a_tag(ours: Subject) -> None:
    """One writer takes its reading first and is the last to write the tag."""
    stock = Stock(ours)
    store = ours.run(lambda: ours.cache.engine.store)
    change = getattr(store, "_change", None)
    if change is None:
        pytest.skip("this store takes the reading and raises the tag as one step")

    def late(*arguments: Any) -> None:
        # The reading is taken, the tag not raised: now the other comes and goes, and a fill
        # that began between the two ends after both.
        store._change = change
        in_thread(ours, ours.cache.delete_memoized, stock.read)
        stock.meanwhile = stock.change
        in_thread(ours, stock.read)
        assert stock.meanwhile is None
        change(*arguments)

    store._change = late
    try:
        stock.change()
    finally:
        store._change = change
    assert stock.is_right()


def test_a_tag_only_ever_rises(ours: Subject) -> None:
    """Writers at once, on every store: whoever is last, no reader sees a tag fall."""
    store = ours.run(lambda: ours.cache.engine.store)
    ours.run(ours.cache.get, "any")
    seen, going = [0], [True]

    def watch() -> None:
        while going:
            (value,) = store.get_many(["app:tag:stock"])
            seen.append(int(value or 0))

    watcher = threading.Thread(target=watch)
    watcher.start()

    def write(count: int) -> None:
        list(pool.map(lambda _: ours.run(ours.cache.invalidate, "stock"), range(count)))

    with ThreadPoolExecutor(8) as pool:
        write(400)
        # On a busy machine the watcher may not have had its turns yet.
        wait_until(lambda: write(8) or len(set(seen)) > 2, 60)
    going.clear()
    watcher.join()
    assert seen == sorted(seen)


def test_who_began_before_the_change_and_looks_after_it(redis_settings: dict[str, Any]) -> None:
    """Its own value would be invalid, too: after one new leader, all compute side by side."""
    settings = {"CACHE_KEY_PREFIX": "dead", "CACHE_WAIT_SECONDS": 30}
    first = Subject("ours", {**redis_settings, **settings})
    second_app, second = first.another()
    value, computing, go_on = [1], threading.Event(), threading.Event()
    turns, side_by_side = itertools.count(), threading.Barrier(4)

    def compute() -> int:
        found = value[0]
        if found == 1:
            computing.set()
            assert go_on.wait(30)
        elif next(turns):
            side_by_side.wait(20)
        return found

    decorated = [
        cache.memoize(60, tags=("stock",), make_name=lambda name: "dead")(compute)
        for cache in (first.cache, second)
    ]
    with second_app.app_context():
        entries = second.engine
    looks, look = Counter[str](), entries.lookup.find

    def counted(*arguments: Any, **how: Any) -> Any:
        found = look(*arguments, **how)
        looks["done"] += 1
        return found

    began, changed = threading.Barrier(6), threading.Barrier(6)

    def follow(_: int) -> int:
        with second_app.app_context():
            second.get("any")  # the reading by which it asks is from before the change
            began.wait(30)
            changed.wait(30)
            return int(decorated[1]())

    with ThreadPoolExecutor(6) as pool:
        leader = pool.submit(first.run, decorated[0])
        assert computing.wait(30)
        followers = pool.map(follow, range(5))
        began.wait(30)
        value[0] = 2
        first.run(first.cache.invalidate, "stock")
        entries.lookup.find = counted
        changed.wait(30)
        wait_until(lambda: looks["done"] > 2 * 5)  # each has looked for the value, and waits
        go_on.set()
        assert leader.result() == 1
        assert list(followers) == [2] * 5


class Tenants:
    """One release of a function whose value differs by tenant."""

    def __init__(self, release: str, settings: dict[str, Any], grace: int) -> None:
        self.release = release
        self.calls = 0
        self.subject = Subject("ours", {**settings, "RELEASE": release, "CACHE_KEY_PREFIX": "side"})
        self.subject.cache.tenant(lambda: g.get("tenant", ""))
        named = self.subject.cache.memoize(60, grace=grace, make_name=lambda name: "greeting")
        self.greeting = named(self._greeting)

    def _greeting(self) -> str:
        self.calls += 1
        self.subject.cache.tag("greetings")
        return f"{greetings[0]} {g.get('tenant', 'nobody')} from {self.release}"

    def as_tenant(self, tenant: str, function: Callable[..., Any], *arguments: Any) -> Any:
        with self.subject.app.app_context():
            g.tenant = tenant
            return function(*arguments)

    def assert_right(self) -> None:
        for tenant in ("north", "south"):
            right = f"{greetings[0]} {tenant} from {self.release}"
            for _ in range(2):
                assert self.as_tenant(tenant, self.greeting) == right


greetings = ["Hello"]


@pytest.mark.parametrize("grace", [0, 60])
def test_two_releases_and_two_tenants_side_by_side(
    redis_settings: dict[str, Any], grace: int
) -> None:
    """Each has entries of its own, also refilled ones; a change in any reaches them all."""
    releases = [Tenants(release, redis_settings, grace) for release in ("1", "2")]
    for writer in releases:
        greetings[0] += "!"
        writer.subject.run(writer.subject.cache.invalidate, "greetings")
        for release in releases:
            release.assert_right()
    for release in releases:
        before = release.calls
        for tenant in ("north", "south"):
            release.as_tenant(tenant, release.subject.cache.refresh, release.greeting)
            release.as_tenant(tenant, release.greeting)
        wait_until(lambda release=release, before=before: release.calls == before + 2)
    for release in releases:
        for _ in range(10):
            release.assert_right()
