"""No write leaves an entry that differs: random databases, reads and writes, computed anew.

``make explore`` runs it at length, with other seeds.
"""

import logging
import os
from collections.abc import Iterator

import pytest

from oracle.mutations import MUTATIONS
from oracle.oracle import Run, Stale, explore
from oracle.servers import database

#: How many cases are run, from the first seed on.
CASES = {"sqlite": 1100, "postgresql": 600, "mysql": 400}
#: The share of a table's drops that its rows and columns may come to.
LESS = 0.85
SEED = int(os.environ.get("PROOF_SEED", "1"))


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
    cases = int(os.environ.get("ORACLE_CASES", CASES[kind]))
    figures = explore(Run(kind, url), cases, SEED)
    print(figures)
    # What few worlds keep is a matter of luck.
    if (cases, SEED) == (CASES["sqlite"], 1):
        figures.check()


def test_rows_and_columns_drop_less_than_tables() -> None:
    narrow, whole = (
        explore(Run("sqlite", "sqlite://", settings={"CACHE_NARROW": narrow}), 600, 1)
        for narrow in (True, False)
    )
    print(f"rows and columns: {narrow}\nwhole tables: {whole}")
    assert narrow.dropped < LESS * whole.dropped


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_is_broken_is_found(name: str) -> None:
    mutation = MUTATIONS[name]
    with mutation.apply(), pytest.raises(AssertionError) as found:
        explore(mutation.run(), 400, mutation.seed).check()
    assert isinstance(found.value, Stale) is (name != "everything_dropped")
