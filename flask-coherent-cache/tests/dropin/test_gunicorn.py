"""Gunicorn's own tests of its worker with threads, with ours in its place.

They are in its source distribution, which is fetched when this runs; no copy is kept.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1]
TESTS = ("test_gthread.py", "test_gthread_keepalive_shutdown.py")
FEWEST_PASSES = 85
SECONDS = 300


@pytest.fixture(scope="module")
def their_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the installed version, from the package index that pip is configured to use."""
    folder = tmp_path_factory.mktemp("gunicorn")
    program = shutil.which("pip") or shutil.which("pip3")
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [program or ""]
    if not pip[0]:
        pytest.skip("there is no pip to fetch gunicorn's source distribution with")
    wanted = f"gunicorn=={importlib.metadata.version('gunicorn')}"
    options = ["--no-deps", "--no-binary", "gunicorn", "--quiet"]
    options += ["--disable-pip-version-check", "--retries", "0", "--timeout", "5"]
    fetched = subprocess.run(
        [*pip, "download", *options, "--dest", str(folder), wanted],
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    if not (archives := list(folder.glob("*.tar.gz"))):
        last = fetched.stderr.strip().splitlines()[-1:] or ["no reason given"]
        pytest.skip(f"{wanted} cannot be fetched from the package index: {last[0]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/tests"))


def test_gunicorns_tests_pass_with_our_worker(their_tests: Path) -> None:
    paths = [str(HERE / "worker"), str(LIBRARY / "src"), str(their_tests.parent)]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"),
            *("-p", "no:flask_coherent_cache.testing", "--rootdir", str(their_tests.parent)),
            *(str(their_tests / name) for name in TESTS),
        ],
        cwd=their_tests.parent, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", run.stdout)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert passed
    assert int(passed[1]) >= FEWEST_PASSES
