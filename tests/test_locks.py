"""The locks hold what is declared, whole, hashed and without the address of an index."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from baking import ROOT, TEMPLATE, Project, bake, clean_environ

LOCKS = sorted([*ROOT.glob("requirements/*.txt"), *TEMPLATE.glob("requirements/*.txt")])
VENV = Path(sys.executable).parent.parent
OUT_OF_REACH = re.compile(r"dns error|error sending request|Failed to fetch|Connection refused")


def lock_again(folder: Path) -> None:
    """Run a folder's `make lock`. What is locked stays, if it still satisfies what is declared."""
    path = f"{VENV / 'bin'}:{clean_environ()['PATH']}"
    result = subprocess.run(
        ["make", "lock", f"VENV={VENV}"],
        cwd=folder,
        env=clean_environ(PATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode and OUT_OF_REACH.search(result.stderr):
        pytest.skip("the package index is out of reach, so nothing can be locked")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def locks(folder: Path) -> dict[str, str]:
    """Return the texts of a folder's locks by name."""
    return {path.name: path.read_text() for path in (folder / "requirements").glob("*.txt")}


@pytest.mark.network
def test_the_locks_of_the_template_are_current(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    # What the benchmarks need has to go with a project's requirements.
    bound = TEMPLATE.relative_to(ROOT) / "requirements" / "dev.txt"
    (tmp_path / bound).parent.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", bound):
        shutil.copy2(ROOT / name, tmp_path / name)
    lock_again(tmp_path)
    assert locks(tmp_path) == locks(ROOT)


@pytest.mark.network
def test_the_locks_of_a_project_are_current(tmp_path: Path) -> None:
    project = bake(tmp_path)
    before = locks(project.path)
    lock_again(project.path)
    assert locks(project.path) == before


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_a_lock_names_no_address_and_pins_all_by_hash(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "make lock" in text.splitlines()[1]
    assert not re.search(r"://|^--|\bfile:", text, re.MULTILINE)
    for block in re.split(r"\n(?=[a-z])", text)[1:]:
        assert re.match(r"[a-z0-9-]+(\[[a-z,-]+\])?==[^ ]+( ; .*)? \\\n    --hash=sha256:", block)


@pytest.mark.parametrize(
    ("folder", "small", "big"),
    [(ROOT, "bake", "dev"), (TEMPLATE, "runtime", "dev")],
    ids=["template", "project"],
)
def test_the_big_lock_holds_the_small_one(folder: Path, small: str, big: str) -> None:
    def pins(name: str) -> set[str]:
        text = (folder / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return set(re.findall(r"^([^ =]+==[^ ]+)", text, re.MULTILINE))

    assert pins(small) < pins(big)


def test_the_environment_of_the_tests_is_the_lock(project: Project, environment: Path) -> None:
    """A project's own check of what is installed has nothing to say."""
    project.run(VENV / "bin" / "uv", "pip", "check", "--python", environment / "python")
