"""The locks hold what is declared, whole, hashed and without the address of an index."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from baking import ROOT, TEMPLATE, Project, bake, clean_environ
from index import OLD_PIP, pip_of

LIBRARY = ROOT / "flask-coherent-cache"
FOLDERS = tuple(folder / "requirements" for folder in (ROOT, TEMPLATE, LIBRARY))
# requirements.txt names the others.
LOCKS = [
    path
    for folder in FOLDERS
    for path in sorted(folder.glob("*.txt"))
    if path.name != "requirements.txt"
]
PIN = re.compile(r"[a-z0-9-]+(\[[a-z,-]+\])?==[^ ]+( ; .*)? \\\n    --hash=sha256:")
# One hash, as it is one file.
VENDORED = re.compile(
    r"(vendor/[a-z_]+-[0-9.]+-py3-none-any\.whl) \\\n    --hash=sha256:([0-9a-f]{64})"
)
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
    library = tmp_path / LIBRARY.name
    shutil.copytree(LIBRARY / "requirements", library / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
        shutil.copy2(LIBRARY / name, library / name)
    shutil.copy2(ROOT / bound, tmp_path / bound)
    lock_again(tmp_path)
    assert locks(tmp_path) == locks(ROOT)
    assert locks(library) == locks(LIBRARY)


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
        if block.startswith("vendor/"):
            found = VENDORED.fullmatch(block.rstrip())
            assert found
            wheel = (lock.parent.parent / found[1]).read_bytes()
            assert hashlib.sha256(wheel).hexdigest() == found[2]
        else:
            assert PIN.match(block)


@pytest.mark.parametrize(
    ("folder", "small", "big"),
    [(ROOT, "bake", "dev"), (TEMPLATE, "runtime", "dev")],
    ids=["template", "project"],
)
def test_the_big_lock_holds_the_small_one(folder: Path, small: str, big: str) -> None:
    def pins(name: str) -> set[str]:
        text = (folder / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return set(re.findall(r"^([^ =]+==[^ ]+|vendor/[^ ]+)", text, re.MULTILINE))

    assert pins(small) < pins(big)


def test_the_environment_of_the_tests_is_the_lock(project: Project, environment: Path) -> None:
    """A project's own check of what is installed has nothing to say."""
    project.run(VENV / "bin" / "uv", "pip", "check", "--python", environment / "python")


# What Dependabot takes for a line of requirements where no file names the file that it is in:
# python/lib/dependabot/python/requirement_parser.rb of dependabot/dependabot-core.
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
LINE_OF_REQUIREMENTS = re.compile(
    rf"""\s* ( $ | \# | -[rce]\  | --
    | {NAME} \s* (\[[A-Za-z0-9._,\s-]+\])? \s*
      ( (===|==|>=|<=|<|>|~=|!=) \s* [0-9][A-Za-z0-9.*+!_-]* ,? \s* )*
      (;[^\#]*)? \\?\s* (\#.*)? $ )""",
    re.VERBOSE,
)


def files_of_dependabot(folder: Path) -> set[str]:
    """Return the names of the files in which Dependabot looks for requirements.

    Those whose name says so, those that hold nothing else, and those that one of these names.
    """
    taken = {
        path.name
        for path in folder.glob("*.txt")
        if "requirements" in path.name
        or all(map(LINE_OF_REQUIREMENTS.match, path.read_text(encoding="utf-8").splitlines()))
    }
    for name in sorted(taken):
        text = (folder / name).read_text(encoding="utf-8")
        taken |= set(re.findall(r"^-[rc] ?(.*\.(?:txt|in))", text, re.MULTILINE))
    return taken


# What it does with each of them: python/helpers/lib/parser.py of the same.
PARSE = """
import json, sys
from pip._internal.network.session import PipSession
from pip._internal.req.constructors import install_req_from_parsed_requirement
from pip._internal.req.req_file import parse_requirements
parsed = parse_requirements(sys.argv[1], session=PipSession())
found = [install_req_from_parsed_requirement(requirement) for requirement in parsed]
seen = [r for r in found if r.req and not (r.link and r.link.is_file)]
print(json.dumps({"all": len(found), "seen": [str(r.req) for r in seen]}))
"""


def test_dependabot_finds_every_lock(project: Project) -> None:
    folder = project.path / "requirements"
    assert files_of_dependabot(folder) == {"dev.txt", "requirements.txt", "runtime.txt"}
    config = yaml.safe_load(project.read(".github/dependabot.yml"))
    (pip,) = (entry for entry in config["updates"] if entry["package-ecosystem"] == "pip")
    assert pip["directory"] == "/requirements"
    # It gives up a job over a path that begins with a dot.
    for path in folder.glob("*.txt"):
        assert not re.search(r"^[\"']?(?:file:)?\.", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.network
@pytest.mark.parametrize("version", [OLD_PIP, ""], ids=["old", "newest"])
@pytest.mark.parametrize("lock", ["runtime", "dev"])
def test_dependabot_updates_all_but_the_wheel(
    tmp_path: Path, project: Project, lock: str, version: str
) -> None:
    # It has the files of the one folder only.
    for path in (project.path / "requirements").iterdir():
        shutil.copy2(path, tmp_path)
    answer = Project(tmp_path, {}).run(pip_of(version), "-c", PARSE, f"{lock}.txt")
    parsed = json.loads(answer.stdout)
    pins = re.findall(r"^([^ =]+==[^ ]+)", project.read(f"requirements/{lock}.txt"), re.MULTILINE)
    assert parsed["seen"] == pins
    assert parsed["all"] == len(pins) + 1
