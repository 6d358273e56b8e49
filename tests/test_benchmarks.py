"""The benchmarks run from end to end. What they measure is for people to judge."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from baking import ROOT, bake

pytestmark = pytest.mark.long
BENCH = ROOT / "benchmarks" / "bench.py"


@pytest.fixture(scope="module")
def outcome(bench_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all that a quick run leaves."""
    folder = tmp_path_factory.mktemp("benchmarks")
    # Not the one that other tests read: Python leaves compiled files in it.
    project = bake(tmp_path_factory.mktemp("measured"))
    figures, picture = folder / "results.json", folder / "benchmark.svg"
    files = ("--figures", figures, "--picture", picture)
    result = project.run(
        bench_environment / "python", BENCH, project.path, "--quick", *files, check=False
    )
    if "there is no Redis" in result.stderr:
        pytest.skip("there is no Redis and no Valkey on this machine")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    (folder / "table.md").write_text(result.stdout, encoding="utf-8")
    return folder


def rows(table: Path) -> list[list[str]]:
    """Return the cells of each row, the head left out."""
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize(
    "measure",
    [
        *("page hit", "private page", "304", "page hit in-process", "page miss in-process"),
        *("memoize hit, 0 arguments", "memoize hit, 2 arguments", "memoize hit, 10 arguments"),
        *("memoize miss", "fragment hit", "invalidation", "stampede", "latency in an expiry, 99%"),
        *("Redis commands a page hit", "import and create_app", "memory of a worker"),
        *("growth as the near cache fills, over its bound", "page hit while all threads are held"),
        *("page hit in-process, Redis 1 ms away", "invalidation, Redis 1 ms away"),
        *(f"reads at {writes} writes a second" for writes in (1, 5, 20, 50)),
        *(f"share of the dropped entries that differ, {w}" for w in ("price", "stock")),
        *("tags of an entry, 50 memoized calls", "entries that one change drops, 50 memoized"),
    ],
)
def test_the_table_names_each_measure(outcome: Path, measure: str) -> None:
    assert any(row[0].startswith(measure) for row in rows(outcome / "table.md"))


@pytest.mark.parametrize(
    ("place", "measures"),
    [
        ("edge", ["page hit behind the edge"]),
        ("PostgreSQL", ["page miss, two statements", "memoize miss, two statements"]),
    ],
)
def test_what_this_machine_lacks_is_named_as_skipped(
    outcome: Path, place: str, measures: list[str]
) -> None:
    words = (outcome / "table.md").read_text(encoding="utf-8")
    named = [row[0] for row in rows(outcome / "table.md")]
    skipped = f"Skipped ({place}): there is no" in words
    for measure in measures:
        assert any(name.startswith(measure) for name in named) is not skipped


@pytest.mark.parametrize("server", ["gunicorn's access log", "without its access log"])
def test_hits_are_compared_with_an_access_log_and_without(outcome: Path, server: str) -> None:
    assert any(row[2].endswith(server) for row in rows(outcome / "table.md"))


def test_the_table_says_of_each_bar_whether_it_was_reached(outcome: Path) -> None:
    table = rows(outcome / "table.md")
    assert sum(bool(bar) for *_, bar, _ in table) in (20, 21)
    assert {(bool(bar), reached in ("yes", "no")) for *_, bar, reached in table} == {
        (True, True),
        (False, False),
    }


def test_the_figures_are_those_of_every_round(outcome: Path) -> None:
    raw = json.loads((outcome / "results.json").read_text(encoding="utf-8"))
    for measure in ("page hit", "memoize hit, 2 arguments", "stampede"):
        assert {len(runs) for runs in raw[measure].values()} == {2}
        assert min(map(min, raw[measure].values())) > 0
    assert {"ours", "raw", "bare", "RedisCache", "defaults"} < set(raw["page hit"])


def test_the_picture_is_well_formed_and_names_who_is_compared(outcome: Path) -> None:
    picture = ElementTree.parse(outcome / "benchmark.svg")  # noqa: S314 - our own
    words = {element.text for element in picture.iter() if element.text}
    assert {"this template", "bare Flask", "Flask-Caching, Redis"} <= words


def test_what_is_left_names_no_path_of_this_machine(outcome: Path) -> None:
    for path in outcome.iterdir():
        assert str(ROOT) not in path.read_text(encoding="utf-8")
