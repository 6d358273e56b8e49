"""Whatever the server does, a lookup is answered: real servers, paused, killed, full and locked."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

import flask_coherent_cache as caching
from flask_coherent_cache._dependencies.dependencies import Dependencies
from flask_coherent_cache._stores import StoreError
from flask_coherent_cache._stores.breaker import CircuitBreaker
from flask_coherent_cache.testing import Server, wait_until
from noise import noise

PATIENT = {"CACHE_CONNECT_TIMEOUT_SECONDS": 5, "CACHE_SOCKET_TIMEOUT_SECONDS": 5}


class Shop:
    """An application with a cache on a server of its own, and a function that counts its fills."""

    def __init__(self, server: Server, **settings: Any) -> None:
        self.server = server
        self.app = Flask("shop", template_folder=None)
        self.app.config.update(
            {"SECRET_KEY": "k" * 40, "CACHE_RETRY_SECONDS": 0.2, **server.settings, **settings}
        )
        self.cache = caching.Cache(self.app)
        self.engine = self.app.extensions["cache"][self.cache]
        self.breaker = self.engine.store.breaker
        self.fills = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self._lock = threading.Lock()
        self._value = self.cache.memoize(300, make_name=lambda _: "value")(self._fill)

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.engine.close()

    def _fill(self, number: int = 0) -> int:
        with self._lock:
            self.fills += 1
            made = self.fills
        assert self.go_on.wait(10)
        return made

    def value(self, number: int = 0) -> int:
        """Call the memoized function in a context of its own."""
        with self.app.app_context():
            return int(self._value(number))

    def is_hit(self) -> bool:
        return self.value() == self.value()

    def follows(self) -> bool:
        near = self.engine.near
        with self.app.app_context():
            return near is None or bool(near.observe(Dependencies()))


def made(kind: str, folder: Path, *options: str) -> Server:
    server = Server(kind, folder, *options)
    if server.command is None:
        pytest.skip(f"no server for {kind} on this machine")
    return server


@pytest.fixture(params=["RedisCache", "MemcachedCache"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with made(request.param, tmp_path) as server:
        yield server


@pytest.fixture
def shop(server: Server) -> Iterator[Shop]:
    with Shop(server) as shop:
        wait_until(lambda: shop.is_hit() and shop.follows())
        yield shop


def test_a_paused_server_costs_one_time_out_and_then_nothing(shop: Shop) -> None:
    shop.server.pause()
    for number in range(1, 50):
        shop.value(number)
    wait_until(lambda: shop.breaker.is_away)
    counts = shop.engine.counts
    asked = {name: count for name, count in counts.items() if name != "store: away"}
    for number in range(1, 50):
        shop.value(number)
    assert asked == {name: count for name, count in counts.items() if name != "store: away"}
    assert asked["store: timeout"] <= 2
    shop.server.resume()
    wait_until(lambda: not shop.breaker.is_open)
    wait_until(shop.is_hit)


def test_a_killed_server_that_comes_back_empty_is_used_again(shop: Shop) -> None:
    shop.server.kill()
    first = shop.value(1)
    wait_until(lambda: shop.breaker.is_away)
    assert shop.value(2) > first
    shop.server.start()
    wait_until(lambda: not shop.breaker.is_open)
    wait_until(shop.is_hit)


def test_a_lost_connection_is_probed_at_once_and_nothing_is_said(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.breaker.open()
    wait_until(lambda: not shop.breaker.is_open)
    assert not caplog.records


def test_the_log_has_one_line_for_each_change(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.server.pause()
    for number in range(1, 50):
        shop.value(number)
    wait_until(lambda: shop.breaker.is_away)
    shop.server.resume()
    wait_until(lambda: not shop.breaker.is_open)
    words = [record.message for record in caplog.records if "store" in record.message]
    assert len(words) == 3
    assert "was done without" in words[0]
    assert "is away" in words[1]
    assert "is back" in words[2]


def test_while_it_is_away_one_thread_computes_and_the_others_wait(shop: Shop) -> None:
    away(shop)
    shop.go_on.clear()
    before = shop.fills
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(shop.value, 7) for _ in range(16)]
        wait_until(lambda: shop.fills > before)
        shop.go_on.set()
        assert {answer.result() for answer in answers} == {before + 1}


def test_so_it_is_without_a_near_cache(server: Server) -> None:
    with Shop(server, CACHE_NEAR_BYTES=0) as shop:
        wait_until(shop.is_hit)
        away(shop)
        first = shop.value(7)
        assert [shop.value(7) for _ in range(5)] == [first] * 5


def test_what_was_computed_meanwhile_is_served_for_seconds_only(shop: Shop) -> None:
    shop.engine.fallback.seconds = 1
    away(shop)
    first = shop.value(8)
    assert shop.value(8) == first
    wait_until(lambda: shop.value(8) > first)


def test_with_no_degraded_seconds_each_computes(server: Server) -> None:
    with Shop(server, CACHE_DEGRADED_SECONDS=0) as shop:
        away(shop)
        assert shop.value(8) < shop.value(8)


def test_what_this_process_invalidates_meanwhile_is_dropped_at_once(shop: Shop) -> None:
    away(shop)
    first = shop.value(8)
    with shop.app.app_context():
        shop.cache.invalidate("unrelated")
    assert shop.value(8) == first
    with shop.app.app_context():
        shop.cache.delete_memoized(shop._value)
    assert shop.value(8) > first


def test_what_was_begun_before_an_invalidation_does_not_stand_by(shop: Shop) -> None:
    away(shop)
    shop.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(shop.value, 9)
        wait_until(lambda: shop.engine.flights.running)
        with shop.app.app_context():
            shop.cache.invalidate("anything")
        shop.go_on.set()
        first = answer.result()
    assert shop.value(9) > first


@pytest.mark.parametrize("looked_first", [True, False])
def test_what_was_waited_for_meanwhile_is_taken_by_who_looked_before_an_invalidation(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, looked_first: bool
) -> None:
    away(shop)
    looks: list[float] = []
    moment = shop.engine.fallback.moment
    monkeypatch.setattr(shop.engine.fallback, "moment", lambda: looks.append(moment()) or looks[-1])
    shop.go_on.clear()
    before = shop.fills
    with ThreadPoolExecutor(9) as pool:
        leader = pool.submit(shop.value, 9)
        wait_until(lambda: shop.fills > before)
        if looked_first:
            readers = [pool.submit(shop.value, 9) for _ in range(8)]
            wait_until(lambda: len(looks) == 9)
        with shop.app.app_context():
            shop.cache.delete_memoized(shop._value)
        if not looked_first:
            readers = [pool.submit(shop.value, 9) for _ in range(8)]
            wait_until(lambda: len(looks) == 9)
        shop.go_on.set()
        assert leader.result() == before + 1
        assert {reader.result() for reader in readers} == {before + 1 + (not looked_first)}
    # Nobody else is served it.
    assert (shop.value(9) > before + 1, shop.fills) == (True, before + 2)


def test_copies_stand_by_after_the_server_was_lost(tmp_path: Path) -> None:
    with (
        made("RedisCache", tmp_path) as server,
        Shop(server, CACHE_DEGRADED_SECONDS=30) as shop,
    ):
        wait_until(lambda: shop.is_hit() and shop.follows())
        wait_until(lambda: shop.value() and len(shop.engine.near) > 0)
        copied = shop.value()
        server.kill()
        shop.value(1)
        wait_until(lambda: shop.breaker.is_away and not shop.follows())
        assert shop.value() == copied
        with shop.app.app_context():
            shop.cache.delete_memoized(shop._value)
        assert shop.value() > copied


def test_a_process_that_follows_the_server_knows_before_it_asks(tmp_path: Path) -> None:
    with made("RedisCache", tmp_path) as server, Shop(server) as shop:
        wait_until(lambda: shop.is_hit() and shop.follows())
        server.kill()
        wait_until(lambda: shop.breaker.is_away)


@pytest.mark.parametrize("write", ["set", "delete", "clear", "invalidate"])
def test_a_write_that_the_store_did_not_take_is_made_up_for(shop: Shop, write: str) -> None:
    with shop.app.app_context():
        shop.cache.set("name", "old")
    kept = shop.value()
    away(shop)
    with shop.app.app_context():
        if write == "set":
            assert not shop.cache.set("name", "new")
        elif write == "delete":
            assert not shop.cache.delete("name")
        elif write == "clear":
            shop.cache.clear()
        else:
            shop.cache.delete_memoized(shop._value)
    shop.server.resume()
    wait_until(lambda: not shop.breaker.is_open)
    if write == "invalidate":
        assert shop.value() > kept
    else:
        with shop.app.app_context():
            assert shop.cache.get("name") is None


def test_so_many_undelivered_ones_become_one_new_generation(shop: Shop) -> None:
    kept = shop.value()
    away(shop)
    with shop.app.app_context():
        for number in range(1100):
            shop.cache.invalidate(f"tag:{number}")
    assert len(shop.engine.outbox._undelivered) < 1000
    shop.server.resume()
    wait_until(lambda: not shop.breaker.is_open)
    assert shop.value() > kept


def test_after_a_fork_somebody_asks_again(shop: Shop) -> None:
    away(shop)
    child = os.fork()
    if not child:
        try:
            shop.value(1)
            os._exit(0 if shop.breaker._thread.is_alive() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


class TestRefusingServer:
    """A Redis that answers, and does not do what it is asked."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        with made("RedisCache", tmp_path) as server:
            yield server

    @pytest.fixture
    def admin(self, server: Server) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(server.settings["CACHE_REDIS_URL"]) as client:
            yield client

    def test_full_and_evicting_nothing(self, shop: Shop, admin: redis.Redis) -> None:
        kept = shop.value()
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", "1")
        with Shop(shop.server, CACHE_NEAR_BYTES=0) as other:
            other.fills = 100
            assert other.value() == kept
            with shop.app.app_context():
                shop.cache.delete_memoized(shop._value)
            # Nothing can be written, and nothing that was written before is served.
            assert other.value() > 100
        assert shop.value() > kept
        assert shop.engine.counts["store: full"] > 0
        wait_until(lambda: shop.breaker.is_away)
        admin.config_set("maxmemory", "0")
        wait_until(lambda: not shop.breaker.is_open)
        wait_until(shop.is_hit)

    @pytest.mark.parametrize("write", ["invalidate", "delete", "clear"])
    def test_what_goes_on_reading_a_full_one_hears_of_writes(
        self, shop: Shop, admin: redis.Redis, write: str
    ) -> None:
        with Shop(shop.server) as other:
            other.fills = 100
            with shop.app.app_context():
                shop.cache.set("name", "old")
            kept = shop.value()
            wait_until(lambda: other.value() == kept and other.follows())
            admin.config_set("maxmemory-policy", "noeviction")
            admin.config_set("maxmemory", "1")
            shop.value(7)
            wait_until(lambda: shop.breaker.is_away)
            with shop.app.app_context():
                if write == "invalidate":
                    shop.cache.delete_memoized(shop._value)
                elif write == "delete":
                    shop.cache.delete("name")
                else:
                    shop.cache.clear()
            with other.app.app_context():
                assert other.cache.get("name") is None
            assert write == "delete" or other.value() > 100

    def test_a_replica_that_takes_no_writes(
        self, shop: Shop, admin: redis.Redis, tmp_path: Path
    ) -> None:
        admin.replicaof("127.0.0.1", "1")
        assert shop.value(1) < shop.value(2)
        assert shop.engine.counts["store: read-only"] > 0
        wait_until(lambda: shop.breaker.is_away)
        admin.replicaof("NO", "ONE")
        wait_until(lambda: not shop.breaker.is_open)
        wait_until(shop.is_hit)

    def test_another_password(self, shop: Shop, admin: redis.Redis) -> None:
        admin.config_set("requirepass", "changed")
        admin.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: shop.value(1) and shop.breaker.is_away)
        assert shop.engine.counts["store: forbidden"] + shop.engine.counts["store: away"] > 0
        admin.config_set("requirepass", "")
        wait_until(lambda: not shop.breaker.is_open)
        wait_until(shop.is_hit)

    def test_loading_its_data(self, shop: Shop, admin: redis.Redis, tmp_path: Path) -> None:
        for number in range(1000):
            admin.set(f"key{number}", noise(1000))
        admin.save()
        shop.server.kill()
        assert shop.server.command is not None
        # Microseconds of a pause after each key, and bytes after which it looks at its clients.
        shop.server.command += ["--key-load-delay", "1000"]
        shop.server.command += ["--loading-process-events-interval-bytes", "1024"]
        shop.server.start()
        wait_until(lambda: shop.value(1) and shop.breaker.is_away)
        wait_until(lambda: not shop.breaker.is_open)
        wait_until(shop.is_hit)

    def test_keys_of_another_type(self, shop: Shop, admin: redis.Redis) -> None:
        kept = shop.value()
        for key in list(admin.scan_iter("app:*")):
            admin.delete(key)
            admin.lpush(key, "foreign")
        with shop.app.app_context():
            shop.cache.delete_memoized(shop._value)
        assert shop.value() > kept
        wait_until(shop.is_hit)
        assert not shop.breaker.is_open

    def test_connections_killed_again_and_again(self, shop: Shop, admin: redis.Redis) -> None:
        stop = threading.Event()

        def kill() -> None:
            while not stop.wait(0.01):
                for kind in ("normal", "pubsub"):
                    admin.client_kill_filter(_type=kind, skipme=True)

        with ThreadPoolExecutor(1) as pool:
            killing = pool.submit(kill)
            try:
                for number in range(300):
                    known = shop.value(number % 7)
                    with shop.app.app_context():
                        shop.cache.delete_memoized(shop._value)
                    assert shop.value(number % 7) > known
            finally:
                stop.set()
            killing.result()
        wait_until(shop.is_hit)


def test_a_value_that_is_too_large_is_no_loss(tmp_path: Path) -> None:
    with made("MemcachedCache", tmp_path, "-I", "1m") as server, Shop(server) as shop:
        with shop.app.app_context():
            assert shop.cache.set("name", "small")
            assert not shop.cache.set("name", noise(2_000_000))
            assert shop.cache.get("name") is None
        assert shop.engine.counts["store: too large"] == 1
        assert not shop.breaker.is_open


def test_one_of_several_memcached_servers_is_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(made("MemcachedCache", tmp_path)) for _ in range(3)]
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        shop = stack.enter_context(Shop(servers[0], CACHE_MEMCACHED_SERVERS=addresses))
        kept = [shop.value(number) for number in range(20)]
        assert kept == [shop.value(number) for number in range(20)]
        servers[1].pause()
        wait_until(lambda: [shop.value(number) for number in range(20)] and shop.breaker.is_away)
        with shop.app.app_context():
            shop.cache.delete_memoized(shop._value)
        servers[1].resume()
        wait_until(lambda: not shop.breaker.is_open)
        assert all(shop.value(number) > max(kept) for number in range(20))


def away(shop: Shop) -> None:
    """Pause a shop's server, and wait until the shop knows."""
    shop.server.pause()
    wait_until(lambda: shop.value(99) and shop.breaker.is_away)


class TestBreaker:
    """The breaker alone, with a server that the test plays."""

    def test_it_is_closed_only_when_what_comes_first_is_done(self) -> None:
        done = threading.Event()

        def before_closing() -> None:
            if not done.is_set():
                raise StoreError("not yet")

        breaker = CircuitBreaker(lambda: None, 0.05)
        breaker.before_closing = before_closing
        breaker.open()
        wait_until(lambda: breaker.is_away)
        with pytest.raises(StoreError):
            breaker.check()
        done.set()
        wait_until(lambda: not breaker.is_open)
        breaker.check()

    def test_opened_once_more_during_a_probe_it_asks_again(self) -> None:
        probes = []

        def probe() -> None:
            probes.append(1)
            if len(probes) == 1:
                breaker.open()

        breaker = CircuitBreaker(probe, 0.05)
        breaker.open()
        wait_until(lambda: not breaker.is_open)
        assert len(probes) == 2

    @pytest.mark.parametrize("failure", ["wrong type", "too large", "other", "away"])
    def test_what_the_next_call_need_not_meet_opens_nothing(self, failure: str) -> None:
        breaker = CircuitBreaker(lambda: None, 0.05)
        breaker.failed(StoreError("no", failure))
        assert not breaker.is_open

    def test_a_fault_of_the_program_is_logged_and_does_not_end_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults = [ZeroDivisionError("a fault"), None]

        def before_closing() -> None:
            if fault := faults.pop(0):
                raise fault

        breaker = CircuitBreaker(lambda: None, 0.05)
        breaker.before_closing = before_closing
        breaker.open()
        wait_until(lambda: not breaker.is_open)
        assert "ZeroDivisionError" in caplog.text
