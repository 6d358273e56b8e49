"""What lookups, commits and invalidations cost, in round trips to the server."""

import os

import pytest
from running import BENCHMARKS, run_program

ENTRIES = int(os.environ.get("PROOF_ENTRIES", "20000"))
RUNS = 11
NEAR_BYTES = 1024 * 1024

Trips = dict[str, dict[str, int]]
KINDS = ("page", "memoized", "cached_function")


@pytest.fixture(scope="module")
def trips_without_copies() -> Trips:
    return run_program("round_trips.py", 0)


@pytest.fixture(scope="module")
def trips() -> Trips:
    return run_program("round_trips.py", NEAR_BYTES)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips_of_lookups_without_a_near_cache(
    trips_without_copies: Trips, kind: str
) -> None:
    trips = trips_without_copies[kind]
    assert trips["hit"] == trips["second hit elsewhere"] == 1
    assert trips["first hit elsewhere"] == trips["cold miss"] == 2
    assert trips["miss after a commit"] == 3
    assert trips.pop("ten hits") == 10
    assert {case: count for case, count in trips.items() if count > 4} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_hits_in_the_near_cache_cost_no_round_trip(trips: Trips, kind: str) -> None:
    assert trips[kind]["ten hits"] == 0
    assert trips[kind]["cold miss"] == trips[kind]["miss after a commit"] == 2
    assert {case: count for case, count in trips[kind].items() if count > 4} == {}


def test_round_trips_of_commits(trips: Trips, trips_without_copies: Trips) -> None:
    assert max(trips_without_copies["commit"].values()) <= 3
    assert max(trips["commit"].values()) <= 4


def test_invalidation_costs_the_same_however_many_entries_it_reaches() -> None:
    counted = run_program(BENCHMARKS / "invalidation.py", ENTRIES, RUNS)
    assert counted["entries"] == ENTRIES
    assert counted["many_work"] == counted["one_work"]
    assert counted["many_work"]["round trips"] <= 4
