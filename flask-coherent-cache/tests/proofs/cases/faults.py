"""Faults and loads at which stock Flask-Caching does wrong, each of them seen there."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import flask_caching
import pytest
import redis
from flask import Flask
from flask_caching.signals import cache_memoize_miss

import flask_coherent_cache
from flask_coherent_cache.testing import free_port
from harness import PATIENT
from subjects import Subject

#: The pickle of an object whose class is gone, as after a deploy.
NO_LONGER_THERE = b"!cshop.gone\nThing\n."
#: What walks over all keys, or wipes them.
SWEEPS = {"keys", "scan", "flushdb", "flushall", "randomkey"}


@pytest.fixture
def server(redis_port: int) -> Any:
    """A connection of the tests' own to an empty Redis, which counts commands."""
    with redis.Redis(port=redis_port) as client:
        client.flushall()
        client.config_resetstat()
        yield client


def commands(server: Any) -> Counter[str]:
    """The commands that the server has run for its clients since the last look."""
    counted = Counter(
        {
            name.removeprefix("cmdstat_").partition("|")[0]: values["calls"]
            for name, values in server.info("commandstats").items()
        }
    )
    server.config_resetstat()
    for of_connecting in ("info", "config", "client", "ping", "hello", "select", "script"):
        del counted[of_connecting]
    return counted


def fill(subject: Subject, count: int) -> Callable[[int], int]:
    @subject.cache.memoize(60, make_name=lambda name: "number")
    def number(value: int) -> int:
        return value

    with subject.app.app_context():
        for value in range(count):
            number(value)
    memoized: Callable[[int], int] = number
    return memoized


def test_an_undecodable_entry_heals(on_redis: Subject, server: Any) -> None:
    calls = Counter[str]()

    @on_redis.cache.cached(60, key_prefix="mine")
    def mine() -> int:
        calls["mine"] += 1
        return calls["mine"]

    on_redis.run(mine)
    (key,) = [key for key in server.keys("*mine") if b":tag:" not in key]
    server.set(key, NO_LONGER_THERE, keepttl=True)
    for _ in range(3):
        on_redis.run(mine)
    on_redis.judge(calls["mine"] == 2)


def test_clear_is_constant_work(on_redis: Subject, server: Any) -> None:
    work = []
    for count in (10, 500):
        fill(on_redis, count)
        commands(server)
        on_redis.run(on_redis.cache.clear)
        done = commands(server)
        # The near caches of all processes ask for the new generation when it is there.
        del done["mget"]
        arguments = 0 if done.keys() & SWEEPS else 1
        work.append((done, arguments))
    (few, plain), (many, _) = work
    on_redis.judge(few == many and bool(plain))


def test_clear_leaves_what_only_begins_alike(on_redis: Subject, server: Any) -> None:
    def named(prefix: str) -> tuple[Flask, Any]:
        app, cache = Flask("shop"), on_redis.cache.__class__()
        cache.init_app(app, {**PATIENT, **on_redis.settings, "CACHE_KEY_PREFIX": prefix})
        return app, cache

    (app, cache), (staging_app, staging) = named("app_"), named("app_staging_")
    with staging_app.app_context():
        staging.set("motto", "kept")
    with app.app_context():
        cache.clear()
    with staging_app.app_context():
        on_redis.judge(staging.get("motto") == "kept")


def test_delete_many_asks_once(on_redis: Subject, server: Any) -> None:
    keys = [f"key{number}" for number in range(20)]
    with on_redis.app.app_context():
        for key in keys:
            on_redis.cache.set(key, key)
        commands(server)
        on_redis.cache.delete_many(*keys)
        done = commands(server)
        assert [on_redis.cache.get(key) for key in keys] == [None] * 20
    # A script's own commands are counted, and are no round trips.
    asked = done["evalsha"] + done["eval"] + done["unlink"] if on_redis.is_ours else done.total()
    on_redis.judge(asked <= 2)


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number

    def __caching_id__(self) -> str:
        return f"Thing({self.number})"

    def method(self) -> int:
        return self.number


def test_nothing_is_left_without_an_expiry(
    on_redis: Subject, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only clock and generation live on; a thousand objects that come and go leave nothing."""
    memoized = on_redis.cache.memoize(60, make_name=lambda name: "method")(Thing.method)
    monkeypatch.setattr(Thing, "method", memoized)
    with on_redis.app.app_context():
        for number in range(100):
            thing = Thing(number)
            thing.method()
            on_redis.cache.delete_memoized(thing.method)
        on_redis.cache.set("plain", 1)
        on_redis.cache.add("lock", 1)
    lasting = {key for key in server.scan_iter() if server.ttl(key) == -1}
    on_redis.judge(lasting <= {b"app:clock", b"app:generation"})


def test_add_is_one_step(on_redis: Subject, server: Any) -> None:
    """A process killed after it took a lock by ``cache.add`` leaves a lock that expires."""
    with on_redis.app.app_context():
        on_redis.cache.get("lock")
        commands(server)
        assert on_redis.cache.add("lock", 1, timeout=60)
        done = commands(server)
    on_redis.judge(done["setnx"] == 0 and done["expire"] == 0)


@pytest.mark.parametrize("call", ["get", "set", "add", "delete", "delete_many", "clear", "drop"])
def test_a_server_that_is_away_is_no_error(name: str, call: str) -> None:
    away = {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "CACHE_KEY_PREFIX": "app",
    }
    app = Flask("shop")
    app.config.update({**PATIENT, **away})
    cache = (flask_coherent_cache if name == "ours" else flask_caching).Cache(app)

    @cache.memoize(60, make_name=lambda name: "number")
    def number() -> int:
        return 1

    arguments = {"set": ("key", 1), "add": ("key", 1), "clear": (), "drop": (number,)}
    method = cache.delete_memoized if call == "drop" else getattr(cache, call)
    with app.app_context():
        assert number() == 1
        if name == "ours":
            method(*arguments.get(call, ("key",)))
        else:
            with pytest.raises(redis.RedisError):
                method(*arguments.get(call, ("key",)))


def test_the_last_application_does_not_set_what_the_first_one_does(on_redis: Subject) -> None:
    """One cache, two applications: signals are sent in the one that asked for them."""
    cache = on_redis.cache.__class__()
    apps = []
    for signals in (True, False):
        app = Flask("shop")
        settings = {**PATIENT, **on_redis.settings, "CACHE_KEY_PREFIX": "last"}
        cache.init_app(app, {**settings, "CACHE_ENABLE_SIGNALS": signals})
        apps.append(app)
    calls = Counter[str]()

    @cache.memoize(60, make_name=lambda name: "number")
    def number(value: int) -> int:
        return value

    def heard(sender: Any, **_: Any) -> None:
        calls["heard"] += 1

    with cache_memoize_miss.connected_to(heard):
        for value, app in enumerate(apps):
            with app.app_context():
                cache.clear()
                number(value)
                calls[f"app {value}"] = calls["heard"]
    on_redis.judge((calls["app 0"], calls["app 1"]) == (1, 1))
