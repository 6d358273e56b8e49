"""Flask-Caching's own tests, with its ``Cache`` replaced by ours.

They are in its source distribution, which is fetched when this runs; no copy is kept. What fails
stands in ``differences.toml`` with the reason, and nothing else may.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1]
PAGE = LIBRARY / "docs" / "differences.md"
#: Of Flask-Caching's backends themselves, which no ``Cache`` stands before.
NOT_OF_CACHE = "test_backend_cache.py"
FEWEST_PASSES = 108
#: Of what the decorators, the views and the templates do; the others are of settings and backends.
OF_CALLS = ("test_cache", "test_memoize", "test_view", "test_templates", "test_signals")
SECONDS = 300


def differences() -> list[dict]:
    """The table: each row has a title, a reason, and the tests that fail by it."""
    rows: list[dict] = tomllib.loads((HERE / "differences.toml").read_text())["difference"]
    return rows


@pytest.fixture(scope="session")
def their_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the installed version, from the package index that pip is configured to use."""
    for needed in ("asgiref", "xprocess"):
        pytest.importorskip(needed, reason=f"Flask-Caching's tests need {needed}")
    folder = tmp_path_factory.mktemp("flask-caching")
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [_pip_on_path()]
    wanted = f"flask-caching=={importlib.metadata.version('flask-caching')}"
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--quiet"]
    options += ["--disable-pip-version-check", "--retries", "0", "--timeout", "5"]
    fetched = subprocess.run(
        [*pip, "download", *options, "--dest", str(folder), wanted],
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    if fetched.returncode:
        last = fetched.stderr.strip().splitlines()[-1:] or ["no reason given"]
        pytest.skip(f"{wanted} cannot be fetched from the package index: {last[0]}")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/tests"))


def _pip_on_path() -> str:
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        pytest.skip("there is no pip to fetch Flask-Caching's source distribution with")
    return found


@pytest.fixture(scope="session")
def outcomes(their_tests: Path) -> dict[str, str]:
    """What each of their tests came to with our ``Cache``."""
    file = their_tests.parent / "outcomes.json"
    # With CI set they start no server of their own, and fail.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    path = f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(LIBRARY / 'src')!r}]; "
    run = subprocess.run(
        [
            sys.executable, "-c", path + "import pytest; sys.exit(pytest.main(sys.argv[1:]))",
            "-q", "-p", "substitute", "--outcomes", str(file),
            "-o", f"cache_dir={their_tests.parent / 'cache'}",
            # What their settings of pytest say has plugins in mind that are not needed.
            "-c", str(their_tests.parent / "pyproject.toml"), "--import-mode=prepend",
            "--ignore", str(their_tests / NOT_OF_CACHE), str(their_tests),
        ],
        cwd=their_tests.parent, env=environment,
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert file.exists(), run.stdout[-4000:] + run.stderr[-4000:]
    found: dict[str, str] = json.loads(file.read_text())
    return {name.removeprefix("tests/"): outcome for name, outcome in found.items()}


def test_their_tests_pass_but_for_the_differences(outcomes: dict[str, str]) -> None:
    count = Counter(outcomes.values())
    version = importlib.metadata.version("flask-caching")
    print(
        f"Flask-Caching {version}: {count['passed']} passed, {count['failed']} failed, "
        f"{count['skipped']} skipped of {len(outcomes)}"
    )
    listed = {name for row in differences() for name in row["tests"]}
    failed = {name for name, outcome in outcomes.items() if outcome == "failed"}
    passed = {name for name, outcome in outcomes.items() if outcome == "passed"}

    assert sorted(name for name in failed if not _is_listed(name, listed)) == []
    assert sorted(name for name in passed if _is_listed(name, listed)) == []
    named = failed | {name.partition("[")[0] for name in failed}
    skipped = {name for name, outcome in outcomes.items() if outcome == "skipped"}
    assert sorted(listed - named - skipped) == [], "no test has this name any more"
    assert count["passed"] >= FEWEST_PASSES
    of_calls = [o for name, o in outcomes.items() if name.partition(".py")[0] in OF_CALLS]
    said = f"{of_calls.count('passed')} of the {len(of_calls)}"
    print(f"In {', '.join(OF_CALLS)}: {said}")
    assert said in " ".join(PAGE.read_text().split())


def test_each_difference_has_a_reason_and_stands_in_the_documentation() -> None:
    rows = differences()
    names = [name for row in rows for name in row["tests"]]

    assert all(row["title"] and row["reason"] for row in rows)
    assert len(names) == len(set(names))
    assert rendered(rows) in PAGE.read_text(), "write it: python tests/dropin/test_dropin.py"


def write_page() -> None:
    """Write the table into the documentation."""
    begin, end = "<!-- differences: begin -->\n", "\n<!-- differences: end -->"
    page = PAGE.read_text()
    before, after = page.partition(begin)[0], page.partition(end)[2]
    PAGE.write_text(before + begin + rendered(differences()) + end + after)


def rendered(rows: list[dict]) -> str:
    """The table as Markdown."""
    lines = ["| What is different | Why | Tests |", "| --- | --- | --- |"]
    for row in rows:
        reason = " ".join(row["reason"].split())
        lines.append(f"| {row['title']} | {reason} | {len(row['tests'])} |")
    return "\n".join(lines)


def _is_listed(name: str, listed: set[str]) -> bool:
    """A row without parameters in brackets is about all of them."""
    return name in listed or name.partition("[")[0] in listed


if __name__ == "__main__":
    write_page()
