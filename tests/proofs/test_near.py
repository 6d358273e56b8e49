"""The near caches of several processes never show what is older than an acknowledged write.

`PROOF_WRITES=20000 make test` writes as often as that.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from baking import Project
from running import run_program

READS = int(os.environ.get("PROOF_READS", "20000"))
#: A sabotaged near cache is found out long before.
MOST_SABOTAGED_WRITES = 20_000
DROPS = 240
#: A commit in so many reads: often enough that copies are used, and that they are dropped.
PAUSE = 200
#: The processes, and the places of the shop that say where they come from.
PROCESSES, PAGES = 4, 4


def write_then_read(
    project: Project, environment: Path, count: int, *options: object
) -> dict[str, Any]:
    return run_program(project, environment, "write_then_read.py", count, *options)


def writes(otherwise: int) -> int:
    """Return how often to write: as often as is asked for, or so often where nothing is."""
    return int(os.environ.get("PROOF_WRITES", otherwise))


def check_nothing_stale(counted: dict[str, Any], count: int) -> None:
    """Check that nothing was stale, and that it was the near caches that answered."""
    assert counted["stale_by_kind"] == {}
    assert counted["complaints"] == []
    assert counted["writes"] == counted["reads"]["first look"] == count
    assert counted["hits"]["look between writes"] > counted["reads"]["look between writes"] / 2
    quiet = {"asked": 0, "hits": PROCESSES * PAGES, "stale": 0, "connections": PROCESSES}
    assert counted["quiet"] == quiet


def test_a_write_is_seen_at_once_by_every_process(project: Project, environment: Path) -> None:
    count = writes(400)
    check_nothing_stale(write_then_read(project, environment, count), count)


def test_a_write_is_seen_at_once_with_io_threads(project: Project, environment: Path) -> None:
    count = writes(150)
    counted = write_then_read(project, environment, count, "--io-threads")
    check_nothing_stale(counted, count)
    if counted["server"] == "redis":
        assert counted["threaded"] > count, "the threads had nothing to do"


def test_a_write_is_seen_at_once_while_tracking_connections_are_killed(
    project: Project, environment: Path
) -> None:
    count = writes(200)
    counted = write_then_read(project, environment, count, "--load", "--kills", 5)
    check_nothing_stale(counted, count)
    assert counted["kills"] > count / 5


def test_late_near_caches_are_found_out(project: Project, environment: Path) -> None:
    counted = write_then_read(project, environment, MOST_SABOTAGED_WRITES, "--load", "--sabotage")
    assert counted["stale"] > 0


@pytest.mark.parametrize("options", [(), ("--io-threads",)], ids=["plain", "io-threads"])
def test_no_drop_is_lost_elsewhere(
    project: Project, environment: Path, options: tuple[str, ...]
) -> None:
    counted = run_program(project, environment, "drop_then_look.py", DROPS, *options)
    assert counted["drops"] == DROPS
    assert counted["lost_by_way"] == dict.fromkeys(counted["lost_by_way"], 0)


def coherence(project: Project, environment: Path, reads: int, *more: str) -> dict[str, Any]:
    arguments = ("ours", "RedisCache", reads, PAUSE, *more)
    counted = run_program(project, environment, "coherence.py", *arguments)
    assert counted["stale_by_kind"] == {}
    assert counted["reads"] >= reads
    assert counted["near"] > 0.1, "so few copies used prove little"
    return counted


def test_no_read_is_stale_while_tracking_connections_are_killed(
    project: Project, environment: Path
) -> None:
    counted = coherence(project, environment, READS // 2, "kills=100", "drops=200")
    assert counted["disturbed"]["tracking connection"] > READS // 200


def test_no_read_is_stale_while_the_server_stops(project: Project, environment: Path) -> None:
    counted = coherence(project, environment, READS // 4, f"stops={READS // 8 + 1}")
    assert counted["disturbed"] == {"stop": 1}


def test_a_half_open_link_is_not_trusted_for_longer_than_it_may_be(
    project: Project, environment: Path
) -> None:
    counted = run_program(project, environment, "half_open.py")
    stale = counted["stale"]
    assert stale["before"] == stale["afterwards"] == 0
    assert stale["while trusted"] > 0, "the link was not frozen"


def test_a_half_open_link_that_is_trusted_for_ever_is_found_out(
    project: Project, environment: Path
) -> None:
    stale = run_program(project, environment, "half_open.py", "--trusting")["stale"]
    assert stale["before"] == 0
    assert stale["afterwards"] > 0
