"""Time that stands still, or that a test moves: nothing breaks, and freshness follows it."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import flask_coherent_cache as caching
from flask_coherent_cache import _clock as clock

MOMENTS = {"1970": 0.0, "1999": 930_000_000.0, "2050": 2_524_608_000.0}
Freeze = Callable[[float], None]


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Freeze:
    """Freeze time as freezegun does, the monotonic clock, too."""

    def freeze(moment: float) -> None:
        for name in ("time", "monotonic", "perf_counter"):
            monkeypatch.setattr(time, name, lambda: moment)

    return freeze


def counting(cache: Any, **options: Any) -> Callable[[], int]:
    calls: list[int] = []

    @cache.memoize(make_name=str, **options)
    def count() -> int:
        calls.append(1)
        return len(calls)

    return count  # type: ignore[no-any-return]


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_frozen_time_does_not_switch_the_cache_off(
    app: Flask, cache: Any, freeze: Freeze, moment: float
) -> None:
    count = counting(cache, timeout=60)
    freeze(moment)
    with app.app_context():
        cache.clear()
    for expected in (1, 2):
        for _ in range(2):
            with app.app_context():
                assert count() == expected
        with app.app_context():
            cache.delete_memoized(count)


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_an_application_that_begins_in_frozen_time_caches(freeze: Freeze, moment: float) -> None:
    freeze(moment)
    app = Flask("shop")
    cache = caching.Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    count = counting(cache, timeout=60)
    assert [count(), count()] == [1, 1]


def test_a_test_moves_time_past_the_timeout(app: Flask, cache: Any, freeze: Freeze) -> None:
    count = counting(cache, timeout=60)
    freeze(1_700_000_000)
    assert [count(), count()] == [1, 1]
    freeze(1_700_000_059)
    assert count() == 1
    freeze(1_700_000_061)
    assert [count(), count()] == [2, 2]


def test_nothing_of_frozen_time_is_left(
    app: Flask, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = counting(cache, timeout=60)
    with monkeypatch.context() as frozen:
        frozen.setattr(time, "time", lambda: 4_000_000_000.0)
        frozen.setattr(time, "monotonic", lambda: 4_000_000_000.0)
        assert [count(), count()] == [1, 1]
        with app.app_context():
            cache.engine.kill_switch.ask_again()
            asked_at = cache.engine.kill_switch._asked_at
    assert asked_at < 4_000_000_000
    with app.app_context():
        cache.delete_memoized(count)
    assert [count(), count()] == [2, 2]


def test_a_wait_for_another_fill_ends_in_frozen_time(
    make_app: Callable[..., tuple[Flask, Any]], freeze: Freeze
) -> None:
    app, cache = make_app(CACHE_WAIT_SECONDS=0.1)
    count = counting(cache, timeout=60)
    with app.app_context():
        entries = cache.engine
        key = count.make_cache_key(count.uncached)  # type: ignore[attr-defined]
        # Somebody fills it, and never comes to an end.
        entries.store.add(entries.lease(key).name, b"somebody", 60)
        freeze(1_700_000_000)
        assert count() == 1


def test_the_wall_clock_of_readings_is_never_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "host_time", lambda: 0.0)
    assert clock.wall() > 1_000_000_000
    monkeypatch.setattr(clock, "host_time", lambda: 5e9)
    assert clock.wall() == 5e9


def test_nothing_else_asks_the_monotonic_clock() -> None:
    """freezegun would stop it, and with it each wait that it bounds."""
    sources = Path(caching.__file__).parent
    found = [
        str(path.relative_to(sources))
        for path in sources.rglob("*.py")
        if re.search(r"\btime\.monotonic\b|from time import", path.read_text())
        if path.name not in ("_clock.py", "clock.py", "servers.py")
    ]
    assert found == []
