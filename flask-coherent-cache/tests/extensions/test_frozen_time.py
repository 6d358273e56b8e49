"""freezegun and time-machine: tests that freeze time, and move it past a timeout."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from visits import NOT_INSTALLED

freezegun: Any = pytest.importorskip("freezegun", reason=NOT_INSTALLED)
time_machine: Any = pytest.importorskip("time_machine", reason=NOT_INSTALLED)

FREEZERS = [
    pytest.param(freezegun.freeze_time, id="freezegun"),
    pytest.param(lambda moment: time_machine.travel(moment, tick=False), id="time-machine"),
]


@pytest.mark.parametrize("freeze", FREEZERS)
@pytest.mark.parametrize("day", ["1970-01-01", "1999-12-31", "2035-01-01"])
def test_frozen_time_caches(app: Flask, cache: Any, freeze: Any, day: str) -> None:
    calls: list[int] = []

    @cache.memoize(60, make_name=str)
    def count() -> int:
        calls.append(1)
        return len(calls)

    with freeze(day):
        known = settled(count)
        cache.delete_memoized(count)
        assert (later := settled(count)) > known
    with freeze(f"{day} 00:00:59"):
        assert count() == later
    with freeze(f"{day} 00:01:01"):
        assert (known := settled(count)) > later
    cache.delete_memoized(count)
    assert settled(count) > known


def settled(count: Callable[[], int]) -> int:
    """Return what is cached; after a leap back, what was written in the future is written anew."""
    found = [count() for _ in range(6)]
    assert found[-1] == found[-2]
    return found[-1]
