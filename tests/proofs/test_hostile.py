"""Hostile requests get nobody's secrets, change no page, raise no error and fill no memory."""

import os
from pathlib import Path
from typing import Any

import pytest
from baking import Project
from running import run_program

#: In all; each program gets a half.
REQUESTS = int(os.environ.get("PROOF_REQUESTS", "3000"))
SEED = int(os.environ.get("PROOF_SEED", "1"))
#: A safeguard that is switched off is found out long before.
SABOTAGED_REQUESTS = 800
#: So many new pages of a route, or new values of a function, are stored; the shop has five such
#: routes, and six such functions. The rest is there without any flood.
MOST_ENTRIES = 20 * (5 + 6) + 60
NEAR_BYTES = 400_000
LONGEST_KEY = 250
GROWN_BYTES = 60 * 2**20


def hostile(project: Project, environment: Path, requests: int, *options: object) -> dict[str, Any]:
    return run_program(project, environment, "hostile.py", requests, *options)


@pytest.mark.parametrize("proxies", [0, 1])
def test_hostile_requests_do_nothing_to_others(
    project: Project, environment: Path, proxies: int
) -> None:
    requests = REQUESTS // 2
    counted = hostile(project, environment, requests, proxies, SEED)
    assert counted["wrong"] == {}, counted["shown"]
    assert counted["requests"] == requests
    assert counted["distinct"] > 0.9 * requests
    # They were not all turned away at the door.
    assert counted["statuses"]["200"] > requests / 10
    assert counted["cache"]["hit"] > requests / 50
    assert counted["cache"]["fwd=miss"] > requests / 50
    assert counted["entries"] <= MOST_ENTRIES
    assert counted["counts"]["limit: new keys"] > requests / 100
    assert counted["counts"]["limit: long key"] > 0
    assert counted["longest_key"] <= LONGEST_KEY
    assert counted["near_bytes"] <= NEAR_BYTES
    assert counted["grown_bytes"] <= GROWN_BYTES


@pytest.mark.parametrize(
    ("safeguard", "wrong"),
    [("user", "a secret of "), ("vary", "another ")],
)
def test_a_safeguard_that_is_off_is_found_out(
    project: Project, environment: Path, safeguard: str, wrong: str
) -> None:
    counted = hostile(project, environment, SABOTAGED_REQUESTS, 1, SEED, safeguard)
    assert any(what.startswith(wrong) for what in counted["wrong"])


def test_without_bounds_the_store_fills(project: Project, environment: Path) -> None:
    bounded, unbounded = (
        hostile(project, environment, SABOTAGED_REQUESTS, 0, SEED, *options)
        for options in ((), ("unbounded",))
    )
    assert unbounded["cache"]["fwd=miss"] > 1.5 * bounded["cache"]["fwd=miss"]
