"""The near caches of several processes never show what is older than an acknowledged write.

`PROOF_WRITES=20000 make test-all` writes as often as that.
"""

import os
from pathlib import Path
from typing import Any

from baking import Project
from running import run_program

#: A sabotaged near cache is found out long before.
MOST_SABOTAGED_WRITES = 20_000
#: The processes, and the places of the shop that say where they come from.
PROCESSES, PAGES = 4, 4


def write_then_read(
    project: Project, environment: Path, count: int, *options: object
) -> dict[str, Any]:
    return run_program(project, environment, "write_then_read.py", count, *options)


def writes(otherwise: int) -> int:
    """Return how often to write: as often as is asked for, or so often where nothing is."""
    return int(os.environ.get("PROOF_WRITES", otherwise))


def check_nothing_stale(counted: dict[str, Any], count: int, *, share: float = 0.5) -> None:
    """Check that nothing was stale, and that it was the near caches that answered.

    :param share: of the looks between writes, how many have to be hits at least.
    """
    assert counted["stale_by_kind"] == {}
    assert counted["complaints"] == []
    assert counted["writes"] == counted["reads"]["first look"] == count
    assert counted["hits"]["look between writes"] > share * counted["reads"]["look between writes"]
    quiet = {"asked": 0, "hits": PROCESSES * PAGES, "stale": 0, "connections": PROCESSES}
    assert counted["quiet"] == quiet


def test_a_write_is_seen_at_once_by_every_process(project: Project, environment: Path) -> None:
    count = writes(100)
    check_nothing_stale(write_then_read(project, environment, count), count)


def test_a_write_is_seen_at_once_with_io_threads(project: Project, environment: Path) -> None:
    count = writes(50)
    counted = write_then_read(project, environment, count, "--io-threads")
    check_nothing_stale(counted, count)
    if counted["server"] == "redis":
        assert counted["threaded"] > count, "the threads had nothing to do"


def test_a_write_is_seen_at_once_while_tracking_connections_are_killed(
    project: Project, environment: Path
) -> None:
    count = writes(60)
    counted = write_then_read(project, environment, count, "--load", "--kills", 5)
    # A connection that was lost is made again after up to a second.
    check_nothing_stale(counted, count, share=0)
    # A killed connection is made again once a second at most.
    assert counted["kills"] >= count / 10


def test_late_near_caches_are_found_out(project: Project, environment: Path) -> None:
    counted = write_then_read(project, environment, MOST_SABOTAGED_WRITES, "--load", "--sabotage")
    assert counted["stale"] > 0
