"""Helpers for tests: what the caches did, as a pytest fixture, and real cache servers.

pytest loads this module by itself where the library is installed. A test that names the fixture
:func:`cache_log` sees what the caches of its applications did, and why::

    def test_the_list_follows_its_products(client, cache_log):
        client.get("/products")
        client.get("/products")
        cache_log.page("catalog.products").was_filled(times=1).was_hit(times=1)

        client.patch("/api/products/5", json={"price_cents": 99})
        cache_log.page("catalog.products").was_dropped(by="PATCH api.update")

An assertion that does not hold lists everything that the caches did. With ``CACHE_VERIFY = 1``
each hit is computed again, and :func:`close_cache` checks at the end that none differed.
:func:`redis_server` and :func:`memcached_server` start servers for tests that need one.

PYTEST_DONT_REWRITE: nothing here is an ``assert`` statement, so it may be imported before pytest
takes it for a plugin.
"""

from collections.abc import Iterator

import pytest

from ._extension import Cache
from ._testing.cache_log import CacheLog, Entries, Event
from ._testing.servers import (
    PATIENCE_SECONDS,
    Server,
    ServerEndedError,
    free_port,
    memcached_server,
    redis_server,
    wait_until,
)

__all__ = [
    "PATIENCE_SECONDS",
    "CacheLog",
    "Entries",
    "Event",
    "Server",
    "ServerEndedError",
    "cache_log",
    "close_cache",
    "free_port",
    "memcached_server",
    "redis_server",
    "wait_until",
]


@pytest.fixture
def cache_log() -> Iterator[CacheLog]:
    """What the caches of all applications did since the test began.

    It costs nothing in tests that do not ask for it. Caches of other processes are not seen.
    """
    log = CacheLog()
    with log.listening():
        yield log


def close_cache(cache: Cache) -> None:
    """Close the cache of the current application, and check that its hits were right.

    :raises AssertionError: if a hit that ``CACHE_VERIFY`` had computed again was not the same: the
        page or the value was stale, or depends on something that its key does not hold.

    ::

        with app.app_context():
            close_cache(cache)
    """
    engine = cache.engine
    if engine is None:
        return
    engine.close()
    differences = [f"{level} {name}" for level, name in engine.statistics.differences]
    if differences:
        raise AssertionError(f"What is computed now differs from what was served: {differences}")
