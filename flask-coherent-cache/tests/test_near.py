"""The near cache: copies in the process, which are right or are not used."""

import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask

from flask_coherent_cache._dependencies.dependencies import Dependencies
from flask_coherent_cache._functions.values import shared_bytes
from flask_coherent_cache.testing import wait_until

MakeApp = Callable[..., tuple[Flask, Any]]

seen: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    name: str


@pytest.fixture
def backend(server_settings: dict[str, Any]) -> dict[str, Any]:
    """Only where the server tells what is written."""
    if "RedisCache" not in server_settings:
        pytest.skip("no Redis and no Valkey on this machine")
    return {"CACHE_TYPE": "RedisCache", **server_settings["RedisCache"]}


@pytest.fixture
def server(backend: dict[str, Any]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(backend["CACHE_REDIS_URL"]) as client:
        yield client


@pytest.fixture(autouse=True)
def _context(app: Flask, cache: Any) -> None:
    seen.clear()
    ready(app, cache)


def ready(app: Flask, cache: Any) -> Any:
    """Wait until a near cache follows its server; return it."""
    near = cache.engine.near
    with app.app_context():
        cache.engine.observe()  # A generation is there.
        wait_until(lambda: near.observe(Dependencies()))
    return near


def value_of(number: int) -> list[int]:
    seen["value"] += 1
    return [number, seen["value"]]


def commands(server: redis.Redis) -> int:
    """How often entries and tags were asked for, and the clock with them."""
    stats = server.info("commandstats")
    return sum(
        values["calls"] for name, values in stats.items() if name[8:] in ("get", "mget", "evalsha")
    )


def call(app: Flask, function: Callable[..., Any], *args: Any) -> Any:
    with app.app_context():
        return function(*args)


def test_a_hit_asks_the_server_nothing(app: Flask, cache: Any, server: redis.Redis) -> None:
    function = cache.memoize(60)(value_of)
    first = [call(app, function, 1) for _ in range(3)]
    before = commands(server)
    assert [call(app, function, 1) for _ in range(100)] == [first[0]] * 100
    assert commands(server) == before


def test_what_another_process_drops_is_gone_at_once(
    make_app: MakeApp, app: Flask, cache: Any
) -> None:
    other_app, other = make_app()
    function = cache.memoize(60)(value_of)
    for expected in range(1, 200):
        assert [call(app, function, 7)[1] for _ in range(3)] == [expected] * 3
        call(other_app, other.delete_memoized, other.memoize(60)(value_of), 7)


@pytest.mark.parametrize(
    "drop",
    [
        lambda cache, function: cache.invalidate(f"fn:{__name__}.value_of"),
        lambda cache, function: cache.delete(function.make_cache_key(None, 1)),
        lambda cache, function: cache.clear(),
        lambda cache, function: cache.refresh(function, 1),
        lambda cache, function: cache.memoize(60, forced_update=lambda: True)(value_of)(1),
    ],
    ids=["invalidate", "delete", "clear", "refresh", "forced_update"],
)
def test_every_way_to_drop_reaches_the_copies_of_others(
    make_app: MakeApp, app: Flask, cache: Any, drop: Callable[..., object]
) -> None:
    other_app, other = make_app()
    function = cache.memoize(60)(value_of)
    for _ in range(3):
        assert call(app, function, 1) == [1, 1]
    call(other_app, drop, other, other.memoize(60)(value_of))
    assert call(app, function, 1) == [1, 2]


def test_an_emptied_server_empties_the_copies(app: Flask, cache: Any, server: redis.Redis) -> None:
    function = cache.memoize(60)(value_of)
    for _ in range(3):
        call(app, function, 1)
    server.flushall()
    server.ping()  # What it tells of a command can come after the reply to it.
    assert call(app, function, 1) == [1, 2]


def test_a_killed_connection_comes_back_and_nothing_is_missed(
    make_app: MakeApp, app: Flask, cache: Any, server: redis.Redis
) -> None:
    other_app, other = make_app()
    function, others = (each.memoize(60)(value_of) for each in (cache, other))
    for _ in range(20):
        dropped = seen["value"]
        assert min(call(app, function, 7)[1] for _ in range(3)) > dropped
        # A process that hears of its loss goes on without the server until that has answered.
        wait_until(lambda: call(app, function, 7) == call(app, function, 7))
        for client in server.client_list():
            if client["name"] == "app-near":
                server.client_kill_filter(_id=client["id"])
        call(other_app, other.delete_memoized, others, 7)
        wait_until(lambda: not other.engine.store.breaker.is_open)
    assert ready(app, cache).observe(Dependencies())


def test_a_fork_makes_a_connection_of_its_own(app: Flask, cache: Any) -> None:
    function = cache.memoize(60)(value_of)
    for _ in range(3):
        call(app, function, 1)
    child = os.fork()
    if child == 0:
        try:
            near = ready(app, cache)
            assert not near.bytes
            assert [call(app, function, 1) for _ in range(3)] == [[1, 1]] * 3
            assert near.bytes
            call(app, cache.invalidate, f"fn:{__name__}.value_of")
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert call(app, function, 1) == [1, 2]


def test_a_context_that_is_ahead_of_the_copies_does_not_use_them(app: Flask, cache: Any) -> None:
    function, near = cache.memoize(60)(value_of), cache.engine.near
    for _ in range(3):
        call(app, function, 1)
    key = function.make_cache_key(None, 1)
    reads = Dependencies()
    assert near.find(key, reads) is not None
    reads.started += 1
    assert near.find(key, reads) is None


def test_copies_are_bounded(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_NEAR_BYTES=100_000, CACHE_NEAR_ENTRIES=20)
    near = ready(app, cache)

    @cache.memoize(60)
    def text(number: int, length: int) -> str:
        return "x" * length

    def look(number: int, length: int) -> None:
        for _ in range(3):
            call(app, text, number, length)

    for number in range(50):
        look(number, 10)
    assert 10 < len(near) <= 20
    for number in range(50):
        look(number, 10_000)
    assert 0 < len(near) < 10
    assert 50_000 < near.bytes <= 100_000
    kept = len(near)
    look(0, 90_000)
    assert len(near) == kept, "one value does not push all others out"


def test_a_changeable_value_is_the_callers_own(app: Flask, cache: Any) -> None:
    function = cache.memoize(60)(value_of)
    for _ in range(4):
        value = call(app, function, 1)
        assert value == [1, 1]
        value.append("changed")


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ({"a": 1}, lambda value: value.update(a=2)),
        ([1, "a"], lambda value: value.clear()),
        ({1, 2}, lambda value: value.add(3)),
        ({"a": [1]}, lambda value: value["a"].append(2)),
        ([{"a": 1}], lambda value: value[0].update(a=2)),
        (([1],), lambda value: value[0].append(2)),
        (OrderedDict(a=1), lambda value: value.update(a=2)),
    ],
)
def test_what_a_caller_changes_nobody_else_gets(
    app: Flask, cache: Any, value: Any, change: Callable[[Any], object]
) -> None:
    @cache.memoize(60)
    def function() -> Any:
        return deepcopy(value)

    for _ in range(4):
        answer = call(app, function)
        assert answer == value
        assert type(answer) is type(value)
        change(answer)


def test_an_unchangeable_value_is_decoded_once(app: Flask, cache: Any) -> None:
    @cache.memoize(60)
    def points(name: str) -> tuple[Point, ...]:
        return (Point(1, name), Point(2, name))

    values = [call(app, points, "a") for _ in range(4)]
    assert values == [(Point(1, "a"), Point(2, "a"))] * 4
    assert values[2] is values[3]


def test_it_is_left_out_where_it_is_not_wanted(make_app: MakeApp) -> None:
    assert make_app(CACHE_NEAR_BYTES=0)[1].engine.near is None
    assert make_app(CACHE_TYPE="SimpleCache")[1].engine.near is None


def test_a_user_who_may_not_track_goes_on_without(
    make_app: MakeApp, backend: dict[str, Any], server: redis.Redis
) -> None:
    server.execute_command(
        "ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-client|tracking"
    )  # fmt: skip
    url = backend["CACHE_REDIS_URL"].replace("redis://", "redis://plain:secret@")
    try:
        app, cache = make_app(CACHE_REDIS_URL=url)
        function = cache.memoize(60)(value_of)
        assert [call(app, function, 1) for _ in range(5)] == [[1, 1]] * 5
        assert not len(cache.engine.near)
    finally:
        server.execute_command("ACL", "DELUSER", "plain")


def test_a_value_that_cannot_be_decoded_any_more_is_filled_anew(app: Flask, cache: Any) -> None:
    class Gone:
        pass

    globals()["Gone"], Gone.__qualname__ = Gone, "Gone"

    @cache.memoize(60)
    def made(number: int) -> Any:
        seen["made"] += 1
        return globals().get("Gone", int)()

    for _ in range(3):
        call(app, made, 1)
    del globals()["Gone"]
    assert call(app, made, 1) == 0
    assert seen["made"] == 2


@dataclass(frozen=True)
class Open:
    """It can hold more than its fields, such as a ``cached_property``."""

    x: int


class Inherited(Point):
    pass


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        ((1, "a", b"b", None, frozenset({2.5})), True),
        (Point(1, "a"), True),
        ((Point(1, "a"), (Point(2, "b"),)), True),
        ([1], False),
        ((1, [2]), False),
        ({"a": 1}, False),
        (Open(1), False),
        (Inherited(1, "a"), False),
    ],
    ids=repr,
)
def test_only_what_cannot_be_changed_is_shared(value: Any, shared: bool) -> None:
    assert (shared_bytes(value) is not None) is shared


def test_parts_that_occur_often_are_looked_at_once() -> None:
    value: tuple[Any, ...] = ()
    for _ in range(200):
        value = (value, value)
    assert shared_bytes(value) < 20_000


def test_bytes_are_those_of_what_is_there(make_app: MakeApp, server: redis.Redis) -> None:
    app, cache = make_app()
    near = ready(app, cache)

    @cache.memoize(60, make_name=lambda name: "tagged")
    def tagged(number: int) -> int:
        cache.tag("common", *(f"tag:{number}:{n}" for n in range(50)))
        return number

    counted = []
    for _ in range(4):
        for number in range(3):
            for _ in range(3):
                call(app, tagged, number)
        counted.append(near.bytes)
        call(app, cache.invalidate, "common")
        near = ready(app, cache)
    assert len(set(counted)) == 1
    server.flushall()
    wait_until(lambda: not near.observe(Dependencies()) and near.bytes == 0)
