"""The kill switch: a cache that is off, in all processes, and on again."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache import Cache
from flask_coherent_cache._engine import kill_switch as kill_switch_module
from flask_coherent_cache._engine.kill_switch import KillSwitch, seconds_off
from flask_coherent_cache.testing import Server, wait_until

MakeApp = Callable[..., tuple[Flask, Any]]

_numbers = itertools.count()


class Shop:
    """An application with something cached in every way; ``version`` is what it is built from."""

    def __init__(self, made: tuple[Flask, Any]) -> None:
        self.app, self.cache = made
        self.version, self.fills = 1, 0
        self.engine: Any = self.cache.app.extensions["cache"][self.cache]
        self.client = self.app.test_client(use_cookies=False)
        self.app.config["SESSION_REFRESH_EACH_REQUEST"] = False
        self.app.get("/page")(self.cache.cached(60, tags=("version",))(self.page))
        self.value = self.cache.memoize(60, tags=("version",), make_name=lambda _: "value")(
            self.fill
        )
        self.app.add_template_global(self.fill, "fill")

    def page(self) -> str:
        return f"page {self.fill()}"

    def fill(self) -> int:
        self.fills += 1
        return self.version

    def ask(self) -> str:
        """Ask for the page; return what the cache says that it did."""
        answer = self.client.get("/page")
        assert answer.text == f"page {self.version}"
        return str(answer.headers["Cache-Status"])

    def call(self, function: Callable[..., Any] | None = None, *args: Any) -> Any:
        with self.app.app_context():
            return (function or self.value)(*args)

    def fragment(self) -> str:
        with self.app.test_request_context():
            template = "{% cache 60, 'part' %}{{ fill() }}{% endcache %}"
            return self.app.jinja_env.from_string(template).render()

    def fills_of(self, function: Callable[[], object]) -> int:
        """Count the fills of three calls."""
        before = self.fills
        for _ in range(3):
            function()
        return self.fills - before

    def wait_for(self, *, off: bool) -> None:
        """Wait until the process has heard of it, as it does while it is asked."""
        wait_until(lambda: ("detail=off" in self.ask()) == off)


@pytest.fixture(params=["near", "no near"])
def make_shop(make_app: MakeApp, request: pytest.FixtureRequest) -> Iterator[Callable[[], Shop]]:
    """Make shops that share a store, which nothing else of the tests uses."""
    prefix, near = f"switch{next(_numbers)}", 2**25 if request.param == "near" else 0
    made: list[Shop] = []

    def make() -> Shop:
        made.append(Shop(make_app(CACHE_KEY_PREFIX=prefix, CACHE_NEAR_BYTES=near)))
        kind = made[-1].app.config["CACHE_TYPE"]
        if kind == "SimpleCache" or (near and kind != "RedisCache"):
            pytest.skip("it is not shared, or has no near cache")
        return made[-1]

    yield make
    for shop in made:
        shop.engine.kill_switch.switch_on()


# -- off -------------------------------------------------------------------------------


def test_every_lookup_of_every_process_goes_past(make_shop: Callable[[], Shop]) -> None:
    here, there = make_shop(), make_shop()
    for shop in (here, there):
        assert shop.fills_of(shop.ask) <= 1
        assert shop.fills_of(shop.call) <= 1
        assert shop.fills_of(shop.fragment) <= 1
    here.engine.kill_switch.switch_off()
    there.wait_for(off=True)
    for shop in (here, there):
        assert shop.ask() == "page-cache; fwd=bypass; detail=off"
        assert shop.fills_of(shop.ask) == 3
        assert shop.fills_of(shop.call) == 3
        assert shop.fills_of(shop.fragment) == 3
    for lookups in there.engine.statistics.all_lookups():
        assert lookups.results["bypass"] >= 3
        assert lookups.results["error"] == 0


def test_nothing_is_stored_and_what_was_there_is_used_again(
    make_shop: Callable[[], Shop],
) -> None:
    here, there = make_shop(), make_shop()
    here.ask()
    here.engine.kill_switch.switch_off()
    there.wait_for(off=True)
    for shop in (here, there):
        shop.call()
        shop.fragment()
    here.engine.kill_switch.switch_on()
    there.wait_for(off=False)
    assert "; hit" in there.ask()
    assert there.fills_of(there.call) == 1, "it was never stored"
    assert here.fills_of(here.fragment) == 1, "it was never stored"


def test_invalidations_still_happen(make_shop: Callable[[], Shop]) -> None:
    here, there = make_shop(), make_shop()
    for shop in (here, there):
        shop.ask()
        shop.call()
    here.engine.kill_switch.switch_off()
    there.wait_for(off=True)
    here.version = there.version = 2
    there.call(there.cache.invalidate, "version")
    here.engine.kill_switch.switch_on()
    there.wait_for(off=False)
    for shop in (here, there):
        shop.ask()
        assert shop.call() == 2


def test_plain_values_are_neither_read_nor_written(make_shop: Callable[[], Shop]) -> None:
    here, there = make_shop(), make_shop()
    here.call(here.cache.set, "kept", 1)
    here.call(here.cache.set, "replaced", 1)
    here.engine.kill_switch.switch_off()
    there.wait_for(off=True)
    for shop in (here, there):
        assert shop.call(shop.cache.get, "kept") is None
        assert not shop.call(shop.cache.has, "kept")
        assert not shop.call(shop.cache.set, "replaced", 2)
        assert not shop.call(shop.cache.add, "added", 1)
        events = shop.engine.statistics.last_events()
        assert shop.call(shop.cache.check) == "off"
        assert shop.engine.statistics.last_events() == events, "a probe drops nothing"
    here.engine.kill_switch.switch_on()
    there.wait_for(off=False)
    values = there.call(there.cache.get_many, "kept", "replaced", "added")
    assert values == [1, None, None], "the one that would have been replaced is outdated"
    assert there.call(there.cache.check) == "ok"


def test_a_process_that_starts_later_is_off_from_its_first_lookup(
    make_shop: Callable[[], Shop],
) -> None:
    here = make_shop()
    here.ask()
    here.call()
    here.call(here.cache.set, "plain", 1)
    here.engine.kill_switch.switch_off()
    assert "detail=off" in make_shop().ask()
    later = make_shop()
    assert later.fills_of(later.call) == 3
    later = make_shop()
    assert later.call(later.cache.get, "plain") is None
    later = make_shop()
    assert not later.call(later.cache.set, "plain", 2)
    later = make_shop()
    assert later.call(later.cache.check) == "off"
    # And one that is to fill in any case, which takes no look before its lease.
    later = make_shop()
    renewed = later.cache.memoize(60, make_name=lambda _: "v", forced_update=lambda: True)(
        later.fill
    )
    assert later.fills_of(lambda: later.call(renewed)) == 3
    (lookups,) = later.engine.statistics.all_lookups()
    assert (lookups.results["bypass"], lookups.results["miss"]) == (3, 0)
    here.engine.kill_switch.switch_on()
    here.wait_for(off=False)
    plain = here.cache.memoize(60, make_name=lambda _: "v")(here.fill)
    assert here.fills_of(lambda: here.call(plain)) == 1, "it was not stored"


def test_what_is_filled_while_it_is_switched_off_is_not_stored(
    make_shop: Callable[[], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if each fill took longer than a second.
    monkeypatch.setattr(kill_switch_module, "ASK_SECONDS", 0.0)
    here, there = make_shop(), make_shop()
    filling, finish = threading.Event(), threading.Event()
    fill = here.fill

    def slow() -> int:
        filling.set()
        assert finish.wait(60)
        return fill()

    value = here.cache.memoize(60, make_name=lambda _: "slow")(slow)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(here.call, value)
        assert filling.wait(60)
        there.engine.kill_switch.switch_off()
        finish.set()
        assert running.result(60) == 1
    there.engine.kill_switch.switch_on()
    here.wait_for(off=False)
    assert here.fills_of(lambda: here.call(value)) == 1, "it was not stored"


def test_a_context_that_met_it_off_goes_past_to_its_end(make_shop: Callable[[], Shop]) -> None:
    """What it read meanwhile has no timestamp, so it may store nothing that is built on it."""
    shop = make_shop()
    shop.engine.kill_switch.switch_off()
    with shop.app.app_context():
        assert [shop.value(), shop.value()] == [1, 1]
        shop.engine.kill_switch.switch_on()
        assert shop.fills_of(shop.value) == 3
        assert shop.engine.observe().started is None
    assert shop.fills_of(shop.call) == 1


def test_a_bypass_is_no_error_though_the_context_has_no_timestamp(
    make_shop: Callable[[], Shop],
) -> None:
    shop = make_shop()
    shop.engine.kill_switch.switch_off()
    with shop.app.app_context():
        # As of a transaction that began while the cache was off.
        shop.engine.observe().lost = True
        shop.value()
    (lookups,) = shop.engine.statistics.all_lookups()
    assert (lookups.results["bypass"], lookups.results["error"]) == (1, 0)


def test_foreign_bytes_in_its_place_switch_it_off_and_can_be_switched_on(
    make_shop: Callable[[], Shop],
) -> None:
    shop = make_shop()
    for value in (b"", b"on", b"\xff" * 9, b"9" * 5000):
        shop.engine.store.put(shop.engine.kill_switch.key, value, None)
        assert shop.engine.kill_switch.since() == 0
        assert "detail=off" in shop.ask()
        shop.engine.kill_switch.switch_on()
        assert shop.engine.kill_switch.since() is None
        assert "detail=off" not in shop.ask()


# -- before Flask, and what it costs -----------------------------------------------------


def test_pages_are_not_served_before_flask_either(make_shop: Callable[[], Shop]) -> None:
    here, there = make_shop(), make_shop()
    near = there.engine.near
    if near is None:
        pytest.skip("without a near cache nothing is served before Flask")
    asked = []
    plain = there.app.full_dispatch_request
    there.app.full_dispatch_request = lambda: asked.append(1) or plain()  # type: ignore[method-assign, func-returns-value]
    assert there.cache.serve_before_flask(there.app)

    def flask_is_asked() -> bool:
        asked.clear()
        there.ask()
        return bool(asked)

    wait_until(lambda: not flask_is_asked())
    here.engine.kill_switch.switch_off()
    # Told by the server: no lookup asks it.
    wait_until(lambda: there.engine.kill_switch.is_off)
    assert flask_is_asked()
    assert "detail=off" in there.ask()
    here.engine.kill_switch.switch_on()
    wait_until(lambda: not there.engine.kill_switch.is_off)
    wait_until(lambda: not flask_is_asked())


def test_a_hit_asks_the_store_no_more_than_it_did(make_shop: Callable[[], Shop]) -> None:
    shop = make_shop()
    calls: list[float] = []
    shop.engine.store.on_call = calls.append

    def calls_of_a_hit() -> int:
        calls.clear()
        assert shop.call() == 1
        return len(calls)

    expected = 1 if shop.engine.near is None else 0
    wait_until(lambda: calls_of_a_hit() == expected)
    assert shop.fills_of(calls_of_a_hit) == 0
    assert calls_of_a_hit() == expected


def test_while_it_is_off_the_store_is_asked_once_a_second(
    make_shop: Callable[[], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop()
    shop.call()
    shop.engine.kill_switch.switch_off()
    calls: list[float] = []
    shop.engine.store.on_call = calls.append
    monkeypatch.setattr(kill_switch_module, "ASK_SECONDS", 3600.0)
    assert shop.fills_of(shop.call) == 3
    assert calls == []
    monkeypatch.setattr(kill_switch_module, "ASK_SECONDS", 0.0)
    assert shop.fills_of(shop.call) == 3
    assert len(calls) == 3


# -- a store that is away ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RedisCache", "MemcachedCache"])
def test_a_store_that_is_away_leaves_what_was_known_last(kind: str, tmp_path: Path) -> None:
    server = Server(kind, tmp_path)
    if server.command is None:
        pytest.skip(f"no server for {kind} on this machine")
    with server:
        app = Flask("shop", template_folder=None)
        app.config.update(SECRET_KEY="k" * 40, CACHE_NEAR_BYTES=0, **server.settings)
        shop = Shop((app, Cache(app)))
        shop.ask()
        shop.engine.kill_switch.switch_off()
        assert "detail=off" in shop.ask()
        server.kill()
        shop.engine.store.breaker.open()
        wait_until(lambda: shop.engine.store.breaker.is_away)
        shop.engine.kill_switch._asked_at = shop.engine.kill_switch._next_ask = 0.0
        assert "detail=off" in shop.ask()
        assert shop.engine.kill_switch.is_off
        shop.engine.close()


# -- the switch alone --------------------------------------------------------------------


def test_an_answer_that_was_overtaken_counts_no_more(make_shop: Callable[[], Shop]) -> None:
    kill_switch = KillSwitch(make_shop().engine.store, "overtaken")
    assert kill_switch.learn(b"1", 20.0)
    assert kill_switch.learn(None, 10.0), "it was asked before"
    assert not kill_switch.learn(None, 30.0)
    assert not kill_switch.learn(b"1", 20.0)


def test_it_says_since_when() -> None:
    assert [seconds_off(value) for value in (None, b"", b"1700000000", b"x")] == [
        None, 0.0, 1_700_000_000.0, 0.0,
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_while_a_thread_learns_does_not_hang() -> None:
    program = """
import os
from flask_coherent_cache._engine.kill_switch import KillSwitch

kill_switch = KillSwitch(None, "app")
kill_switch._lock.acquire()
if (pid := os.fork()) == 0:
    os._exit(0 if kill_switch._lock.acquire(timeout=10) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_within_one_process_it_works_too() -> None:
    app = Flask("shop", template_folder=None)
    shop = Shop((app, Cache(app, config={"CACHE_TYPE": "SimpleCache"})))
    shop.ask()
    shop.engine.kill_switch.switch_off()
    assert "detail=off" in shop.ask()
    shop.engine.kill_switch.switch_on()
    assert "; hit" in shop.ask()
