"""No write leaves an entry that differs: random databases, reads and writes, computed anew.

``make explore`` runs it at length, with other seeds.
"""

import logging
import os
from collections.abc import Iterator

import pytest

from oracle.mutations import MUTATIONS
from oracle.oracle import Stale, explore
from oracle.servers import database

#: How many cases are run: from the first seed on, as many as find each mutation on SQLite.
CASES = {"sqlite": 2200, "postgresql": 1000, "mysql": 600}
SEED = int(os.environ.get("PROOF_SEED", "1"))
#: A seed shortly before the one that finds it, where that is not among the first ones.
FOUND_AT = {
    "cascade_forgotten": 13,
    "flush_state_leaked": 4,
    "on_clause_skipped": 11,
    "text_trusted": 7,
    "view_trusted": 11,
    "row_that_is_not_there": 29,
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is not declared is warned about, here many times."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module", params=CASES)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with database(request.param) as url:
        if url is None:
            pytest.skip(f"there is no {request.param}, or no driver for it, on this machine")
        yield request.param, url


def test_what_differs_after_a_write_was_dropped(server: tuple[str, str]) -> None:
    kind, url = server
    print(explore(kind, url, int(os.environ.get("ORACLE_CASES", CASES[kind])), SEED))


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_is_broken_is_found(name: str) -> None:
    with MUTATIONS[name](), pytest.raises(AssertionError) as found:
        explore("sqlite", "sqlite://", 1000, FOUND_AT.get(name, 1))
    assert isinstance(found.value, Stale) is (name != "everything_dropped")
