"""The near caches of several processes never show what is older than an acknowledged write."""

import os
from typing import Any

import pytest
from running import run_program

READS = int(os.environ.get("PROOF_READS", "5000"))
DROPS = 240
#: A commit in so many reads: often enough that copies are used, and that they are dropped.
PAUSE = 200


@pytest.mark.parametrize(
    "options",
    [(), pytest.param(("--io-threads",), marks=pytest.mark.long)],
    ids=["plain", "io-threads"],
)
def test_no_drop_is_lost_elsewhere(options: tuple[str, ...]) -> None:
    counted = run_program("drop_then_look.py", DROPS, *options)
    assert counted["drops"] == DROPS
    assert counted["lost_by_way"] == dict.fromkeys(counted["lost_by_way"], 0)


def coherence(reads: int, *more: str) -> dict[str, Any]:
    arguments = ("ours", "RedisCache", reads, PAUSE, *more)
    counted = run_program("coherence.py", *arguments)
    assert counted["stale_by_kind"] == {}
    assert counted["reads"] >= reads
    assert counted["near"] > 0.1, "so few copies used prove little"
    return counted


def test_no_read_is_stale_while_tracking_connections_are_killed() -> None:
    counted = coherence(READS // 2, "kills=100", "drops=200")
    assert counted["disturbed"]["tracking connection"] > READS // 200


def test_no_read_is_stale_while_the_server_stops() -> None:
    counted = coherence(READS // 4, f"stops={READS // 6}")
    assert counted["disturbed"] == {"stop": 1}


def test_a_half_open_link_is_not_trusted_for_longer_than_it_may_be() -> None:
    stale = run_program("half_open.py")["stale"]
    assert stale.get("before", 0) == stale.get("afterwards", 0) == 0
    assert stale["while trusted"] > 0, "the link was not frozen"


def test_a_half_open_link_that_is_trusted_for_ever_is_found_out() -> None:
    stale = run_program("half_open.py", "--trusting")["stale"]
    assert stale.get("before", 0) == 0
    assert stale["afterwards"] > 0
