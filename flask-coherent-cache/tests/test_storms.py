"""Write storms: who waits for a fill takes its result, also if a write has made it invalid."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache._stores import is_overdue
from flask_coherent_cache.testing import wait_until

READERS = 8


class Shop:
    """A number that changes, a function that is built of it, and one that is built of that.

    :param held: whether a fill goes on until :meth:`go_on` is called.
    """

    def __init__(self, app: Flask, cache: Any) -> None:
        self.app, self.cache = app, cache
        self.stock, self.fills, self.shown = 1, 0, 0
        self.held, self.filling = threading.Event(), threading.Event()
        self.held.set()
        self._lock = threading.Lock()
        options = {"make_name": lambda name: name.rpartition(".")[2]}
        self.read = cache.memoize(600, **options)(self._stock())
        self.show = cache.memoize(600, **options)(self._page())

    def _stock(self) -> Callable[[], int]:
        def stock() -> int:
            self.cache.tag("stock")
            with self._lock:
                self.fills += 1
            found = self.stock
            self.filling.set()
            assert self.held.wait(30)
            return found

        return stock

    def _page(self) -> Callable[[], int]:
        def page() -> int:
            self.shown += 1
            return int(self.read())

        return page

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with self.app.app_context():
            return function(*arguments)

    def change(self) -> None:
        self.stock += 1
        self.run(self.cache.invalidate, "stock")

    @contextmanager
    def fill_under_way(self, pool: ThreadPoolExecutor) -> Iterator[Any]:
        """Hold a fill, which has read already, until the block ends."""
        self.held.clear()
        self.filling.clear()
        try:
            leader = pool.submit(self.run, self.read)
            assert self.filling.wait(30)
            yield leader
        finally:
            self.held.set()

    def wait_for(self, looks: int) -> "_Looks":
        return _Looks(self, looks)


class _Looks:
    """Lets a block end once so many first looks are done, and the threads wait."""

    def __init__(self, shop: Shop, count: int) -> None:
        with shop.app.app_context():
            self._lookup = shop.cache.engine.lookup
        self._count, self._done = count, 0
        self._find = self._lookup.find

    def __enter__(self) -> None:
        def find(*arguments: Any, again: bool = False) -> Any:
            found = self._find(*arguments, again=again)
            self._done += not again
            return found

        self._lookup.find = find

    def __exit__(self, *_: object) -> None:
        wait_until(lambda: self._done >= self._count)
        self._lookup.find = self._find


@pytest.fixture
def shop(app: Flask, cache: Any) -> Shop:
    return Shop(app, cache)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(READERS + 1) as pool:
        yield pool


def test_who_looked_before_the_write_takes_what_was_waited_for(
    shop: Shop, pool: ThreadPoolExecutor
) -> None:
    with shop.fill_under_way(pool) as leader:
        # One of them fills what is shown, and looks for what is being filled.
        with shop.wait_for(READERS + 1):
            readers = [pool.submit(shop.run, shop.show) for _ in range(READERS)]
        shop.change()
    assert leader.result() == 1
    assert {reader.result() for reader in readers} == {1}
    assert shop.fills == 1
    # What was built on it is invalid, as it is.
    assert (shop.run(shop.show), shop.fills) == (2, 2)


def test_who_looked_after_the_write_gets_the_new_value(
    shop: Shop, pool: ThreadPoolExecutor
) -> None:
    with shop.fill_under_way(pool) as leader:
        shop.change()
        with shop.wait_for(READERS):
            readers = [pool.submit(shop.run, shop.read) for _ in range(READERS)]
    assert leader.result() == 1
    assert {reader.result() for reader in readers} == {2}
    assert shop.fills == 2


def test_nobody_reads_before_a_write_of_its_own(shop: Shop, pool: ThreadPoolExecutor) -> None:
    """Also where the context looked at something before it."""

    def write_and_read() -> int:
        shop.cache.get("anything")
        shop.stock += 1
        shop.cache.invalidate("stock")
        return int(shop.read())

    with shop.fill_under_way(pool) as leader, shop.wait_for(2):
        writer = pool.submit(shop.run, write_and_read)
    assert (leader.result(), writer.result()) == (1, 2)


def test_what_is_in_doubt_is_not_taken(shop: Shop, pool: ThreadPoolExecutor) -> None:
    """Its writer may have returned, and the store not have its invalidation yet."""
    with shop.fill_under_way(pool) as leader:
        shop.stock += 1
        token = shop.run(lambda: shop.cache.engine.mark(["stock"]))
        with shop.wait_for(2):
            readers = [pool.submit(shop.run, shop.read) for _ in range(2)]
    assert leader.result() == 1
    assert {reader.result() for reader in readers} == {2}
    shop.run(lambda: shop.cache.engine.invalidate(["stock"], token))
    assert shop.run(shop.read) == 2


def test_what_was_invalidated_late_is_not_taken(shop: Shop, pool: ThreadPoolExecutor) -> None:
    """The writer lost the store and returned, and its outbox delivers while others wait."""
    engine = shop.run(lambda: shop.cache.engine)
    with shop.fill_under_way(pool) as leader:
        shop.stock += 1
        token = shop.run(lambda: engine.mark(["stock"]))
        with shop.wait_for(2):
            readers = [pool.submit(shop.run, shop.read) for _ in range(2)]
        engine.outbox.postpone(partial(engine.invalidator._bump, ["stock"], token))
        wait_until(lambda: not engine.store.breaker.is_open)
    assert leader.result() == 1
    assert {reader.result() for reader in readers} == {2}


def test_what_was_computed_before_all_was_cleared_is_not_taken(
    shop: Shop, pool: ThreadPoolExecutor
) -> None:
    """A new generation does not advance the clock."""
    with shop.fill_under_way(pool) as leader:
        shop.stock += 1
        shop.run(shop.cache.clear)
        with shop.wait_for(2):
            readers = [pool.submit(shop.run, shop.read) for _ in range(2)]
    assert leader.result() == 1
    assert {reader.result() for reader in readers} == {2}


def test_what_was_read_from_a_replica_that_lags_is_not_taken(
    make_app: Callable[..., tuple[Flask, Any]], pool: ThreadPoolExecutor
) -> None:
    """For as long, what begins after the write reads what was so before it."""
    shop = Shop(*make_app(CACHE_KEY_PREFIX="lag", CACHE_REPLICA_LAG_SECONDS=1))

    def is_over() -> bool:
        store = shop.cache.engine.store
        (tag,) = store.get_many(["lag:tag:stock"])
        return tag is None or is_overdue(tag, store.now())

    shop.run(lambda: shop.cache.engine.invalidate(["stock"], lag=shop.cache.engine.replica_lag))
    with shop.fill_under_way(pool) as leader:
        with shop.wait_for(2):
            readers = [pool.submit(shop.run, shop.read) for _ in range(2)]
        wait_until(lambda: shop.run(is_over))
        shop.stock = 2
    assert leader.result() == 1
    assert {reader.result() for reader in readers} == {2}


def test_who_renews_computes_in_any_case(shop: Shop, pool: ThreadPoolExecutor) -> None:
    renew = shop.cache.memoize(600, make_name=lambda name: "renewed", forced_update=lambda: True)(
        shop._stock()
    )
    shop.held.clear()
    callers = [pool.submit(shop.run, renew) for _ in range(READERS)]
    assert shop.filling.wait(30)
    shop.held.set()
    assert {caller.result() for caller in callers} == {1}
    assert shop.fills == READERS


@pytest.mark.parametrize("function", ["read", "show"])
def test_at_most_one_more_fill_for_each_write(
    shop: Shop, pool: ThreadPoolExecutor, function: str
) -> None:
    """However many read meanwhile, and none of them what was so before its look."""
    writes, going, old = 40, [True], []

    def read() -> int:
        count = 0
        while going:
            known = written[0]
            if shop.run(getattr(shop, function)) < known:
                old.append(known)
            count += 1
        return count

    written = [shop.stock]
    readers = [pool.submit(read) for _ in range(READERS)]
    for _ in range(writes):
        before = shop.fills
        shop.change()
        written[0] = shop.stock
        wait_until(lambda before=before: shop.fills > before)
    going.clear()
    assert all(reader.result() for reader in readers)
    assert not old
    # Memcached reads many keys one after the other: a fill may begin just before a write.
    torn = writes if shop.app.config["CACHE_TYPE"] == "MemcachedCache" else 0
    assert shop.fills <= writes + 1 + torn
