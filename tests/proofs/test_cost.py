"""What lookups, commits and invalidations cost the server, as it counts it."""

import os
from pathlib import Path

import pytest
from baking import ROOT, Project
from running import run_program

ENTRIES = int(os.environ.get("PROOF_ENTRIES", "100000"))
RUNS = 11

Trips = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def trips(project: Project, environment: Path) -> Trips:
    return run_program(project, environment, "round_trips.py")


@pytest.mark.parametrize("kind", ["page", "memoized", "cached_function"])
def test_round_trips_of_lookups(trips: Trips, kind: str) -> None:
    assert trips[kind]["hit"] == trips[kind]["second hit elsewhere"] == 1
    assert trips[kind]["first hit elsewhere"] == 2
    assert {case: count for case, count in trips[kind].items() if count > 4} == {}


def test_round_trips_of_commits(trips: Trips) -> None:
    assert max(trips["commit"].values()) <= 4


def test_invalidation_costs_the_same_however_many_entries_it_reaches(
    project: Project, environment: Path
) -> None:
    program = ROOT / "benchmarks" / "invalidation.py"
    counted = run_program(project, environment, program, project.path, ENTRIES, RUNS)
    assert counted["entries"] == ENTRIES
    assert counted["many_work"] == counted["one_work"]
    assert counted["many_work"]["round trips"] <= 4
