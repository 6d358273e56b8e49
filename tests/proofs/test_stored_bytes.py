"""What others write into the store is never served, never run, and gives way by itself.

`PROOF_VALUES=10000 make test-all` changes as many stored values as that.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from baking import Project
from running import SHARED_BACKENDS, run_program

VALUES = int(os.environ.get("PROOF_VALUES", "1000"))
#: With copies, and on Memcached, fewer show the same.
SHARE = 10
#: A sabotaged look is found out long before.
MOST_SABOTAGED_VALUES = 1000
#: Far below what the values that are made to become large would take.
MOST_GROWN_BYTES = 100_000_000


def change_values(
    project: Project, environment: Path, backend: str, count: int, *options: str
) -> dict[str, Any]:
    return run_program(project, environment, "stored_bytes.py", backend, count, *options)


def check_nothing_came_of_it(counted: dict[str, Any], count: int) -> None:
    """Check that all were misses that were counted and healed, and nothing else."""
    assert counted["errors"] == counted["wrong"] == {}
    assert not counted["code_run"]
    assert counted["uncounted"] == counted["unhealed"] == {}
    assert counted["values"] == count
    assert counted["counts"]["unauthentic entry"] > count / 2
    assert counted["grown_bytes"] < MOST_GROWN_BYTES


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_changed_values_are_misses_that_heal(
    project: Project, environment: Path, backend: str
) -> None:
    count = VALUES if backend == "RedisCache" else VALUES // SHARE
    check_nothing_came_of_it(change_values(project, environment, backend, count), count)


def test_changed_values_are_misses_that_heal_where_copies_are_dropped(
    project: Project, environment: Path
) -> None:
    count = VALUES // SHARE
    counted = change_values(project, environment, "RedisCache", count, "--near")
    check_nothing_came_of_it(counted, count)
    assert counted["copies"] > 0


def test_a_look_that_takes_everything_for_authentic_is_found_out(
    project: Project, environment: Path
) -> None:
    count = MOST_SABOTAGED_VALUES
    assert change_values(project, environment, "RedisCache", count, "--sabotage")["code_run"]
