"""The table: wherever an input is read, and whatever is cached, each visitor gets an own answer.

Each cell is an application of its own. Its verdict is computed by ``rule`` before it runs.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import flask_caching
import pytest

from isolation.applications import build
from isolation.cells import CELLS, PLACES, SKIPPED, STORES, Cell, all_cells
from isolation.rule import CACHED, NOT_CACHED, RAISES, expected
from isolation.running import COUNTS, leaks, problems, visit_in_turn
from shared_cache import SharedCache

#: A time-out would be a bypass, and these tests count fills.
PATIENT = {
    "CACHE_CONNECT_TIMEOUT_SECONDS": 5,
    "CACHE_SOCKET_TIMEOUT_SECONDS": 5,
}
OWN_NULL = [Cell(c.place, c.input, c.level, c.use, "NullCache") for c in CELLS]
OUTSIDE_SECONDS = 60


def parameters() -> list[Any]:
    return [
        pytest.param(cell, marks=() if is_short else (pytest.mark.long,), id=f"{cell}")
        for cell, is_short in all_cells()
    ]


#: The uses of what was read by which the visitors' answers differ.
_DIFFERING = ("shown", "declared")


def in_front() -> list[Any]:
    """Cells behind a shared cache: in the short run, some of those whose answers differ.

    What a view says that is not cached, and what middleware adds, they must keep from it
    themselves.
    """
    return [
        pytest.param(
            cell,
            marks=() if number % 5 == 0 and cell.use in _DIFFERING else (pytest.mark.long,),
            id=f"{cell}",
        )
        for number, cell in enumerate(CELLS)
        if cell.is_page and not (cell.place == "wsgi_middleware" and cell.use == "unused")
    ]


@pytest.fixture
def run(request: pytest.FixtureRequest, log: list[str]) -> Iterator[Any]:
    """Run a cell; return its answers and close its cache."""
    closing: list[Any] = []

    def run_cell(cell: Cell, in_front: Any = None, **settings: Any) -> list[Any]:
        if cell.store in STORES[1:]:
            servers = request.getfixturevalue("server_settings")
            if cell.store not in servers:
                pytest.skip(f"no server for {cell.store} on this machine")
            settings.update(servers[cell.store], CACHE_KEY_PREFIX=f"{cell}".replace("_", ""))
        app = build(cell, **PATIENT, **settings)
        closing.append(app)
        cache: Any = next(iter(app.extensions["cache"]))
        cache.serve_before_flask(app)
        return visit_in_turn(app, cell, in_front and in_front(app.wsgi_app))

    yield run_cell
    for app in closing:
        entries = next(iter(app.extensions["cache"].values()))
        if entries is not None:
            entries.close()


@pytest.mark.parametrize("cell", parameters())
def test_cell(cell: Cell, run: Any, log: list[str]) -> None:
    verdict = expected(cell)
    found = problems(cell, verdict, run(cell), log)
    COUNTS[f"{cell.store}, {cell.mode}: {verdict.kind}"] += 1
    assert not found, f"{cell}: expected {verdict}, but {'; '.join(found)}"


@pytest.mark.long
@pytest.mark.parametrize("cell", [pytest.param(cell, id=f"{cell}") for cell in OWN_NULL])
def test_the_application_is_right_without_a_cache(cell: Cell, run: Any) -> None:
    answers = run(cell)
    assert not leaks(cell, answers)
    assert not any(answer.raised for answer in answers)


@pytest.mark.parametrize("cell", in_front())
def test_nobody_gets_anothers_through_a_cache_in_front(cell: Cell, run: Any) -> None:
    answers = run(cell, SharedCache, MAX_AGE=OUTSIDE_SECONDS)
    assert not leaks(cell, answers)
    COUNTS["behind a shared cache: right"] += 1


def test_stock_fails_the_table() -> None:
    """The table can fail: stock Flask-Caching serves one visitor's answer to the other."""
    wrong: set[str] = set()
    for cell in CELLS:
        has_more = cell.level == "private_page" or (cell.place == "error_handler" and cell.is_page)
        if cell.use == "shown" and not has_more:
            app = build(cell, flask_caching.Cache)
            if leaks(cell, visit_in_turn(app, cell)):
                wrong.add(cell.place)
    assert wrong == set(PLACES)


def test_the_rule_lets_nobody_skip_or_refuse_all() -> None:
    kinds = Counter(expected(cell).kind for cell, _ in all_cells())
    assert kinds == {CACHED: 5358, NOT_CACHED: 4452, RAISES: 1218}
    assert SKIPPED.total() == 1462
    assert sum(is_short for _, is_short in all_cells()) > 900
