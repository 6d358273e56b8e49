"""Projects install the library's wheel that lies in them, and a version of it never changes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import baking
import pytest
import vendoring
from baking import ROOT, TEMPLATE, Project, bake, copy_of_repository, generate, rebuilt

# Of the sources, which may be ahead of the wheel that is shipped.
(VERSION,) = re.findall(
    r'^__version__ = "(.+)"$',
    (vendoring.LIBRARY / "src" / "flask_coherent_cache" / "__init__.py").read_text("utf-8"),
    re.MULTILINE,
)
HIGHER = f"{VERSION}.1"
LINE = f'__version__ = "{VERSION}"'


def test_the_shipped_wheel_is_that_of_the_sources_or_an_earlier_version() -> None:
    assert vendoring.problem(vendoring.shipped(), baking.wheel()) is None


def test_the_same_sources_make_the_same_bytes(tmp_path: Path) -> None:
    one, other = (vendoring.build(tmp_path / name) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_a_wheel_holds_nothing_that_git_ignores(tmp_path: Path) -> None:
    names = set(vendoring.contents(vendoring.build(tmp_path)))
    package = {
        name.relative_to("src").as_posix()
        for name in vendoring.files_of_git(vendoring.LIBRARY)
        if name.parts[0] == "src"
    }
    assert package <= names
    assert {name for name in names if ".dist-info/" not in name} == package


def test_a_wheel_that_is_only_packed_otherwise_is_the_same(tmp_path: Path) -> None:
    shipped = vendoring.shipped()
    other = rebuilt(shipped, tmp_path / "other")
    assert other.read_bytes() != shipped.read_bytes()
    assert vendoring.problem(shipped, other) is None
    assert vendoring.problem_if_unreleased(shipped, other) is None


def test_a_version_never_changes(tmp_path: Path) -> None:
    shipped = vendoring.shipped()
    changed = rebuilt(shipped, tmp_path / "changed", text="# More.\n")
    for rule in (vendoring.problem, vendoring.problem_if_unreleased):
        reason = rule(shipped, changed)
        assert reason
        assert f"Version {vendoring.version(shipped)} is released with other contents" in reason
        assert "flask_coherent_cache/__init__.py" in reason
        assert "Raise __version__" in reason


def test_a_higher_version_may_wait_for_its_release(tmp_path: Path) -> None:
    shipped = vendoring.shipped()
    higher = rebuilt(shipped, tmp_path / "higher", version=HIGHER)
    assert vendoring.problem(shipped, higher) is None
    reason = vendoring.problem_if_unreleased(shipped, higher)
    assert reason
    assert "Run `make release-cache`" in reason
    assert "is lower than" in str(vendoring.problem(higher, shipped))


@pytest.fixture
def repository(tmp_path: Path, somebody: None) -> Path:
    """Return a repository of the template, all committed, whose programs are this one's."""
    folder = copy_of_repository(tmp_path / "template")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for command in (
        ("-c", "init.defaultBranch=main", "init", "--quiet"),
        ("add", "--all"),
        ("commit", "--quiet", "--message", "One"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def release(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of a repository of the template."""
    program = repository / "tools" / "vendoring.py"
    return Project(repository, {}).run(sys.executable, program, *arguments, check=False)


def edit(repository: Path, old: str, new: str) -> None:
    """Change the library's sources."""
    module = repository / "flask-coherent-cache" / "src" / "flask_coherent_cache" / "__init__.py"
    text = module.read_text(encoding="utf-8")
    assert old in text
    module.write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_released_is_not_overwritten(repository: Path) -> None:
    before = {path: path.read_bytes() for path in (repository / TEMPLATE.name).rglob("*.whl")}
    edit(repository, LINE, f"# More.\n{LINE}")
    refused = release(repository, "release")
    assert refused.returncode
    assert f"Version {VERSION} is released with other contents" in refused.stderr
    assert f"make release-cache REPLACE={VERSION}" in refused.stderr
    assert {path: path.read_bytes() for path in before} == before
    for command in ("check", "released"):
        assert release(repository, command).returncode


@pytest.mark.network
def test_a_release_renews_wheel_pyproject_and_locks(repository: Path) -> None:
    edit(repository, LINE, LINE.replace(VERSION, HIGHER))
    assert release(repository, "check").returncode == 0
    assert release(repository, "released").returncode
    # Until it is committed, it may be made again.
    for more in ("", "# More.\n"):
        edit(repository, "__version__ = ", f"{more}__version__ = ")
        done = release(repository, "release")
        assert done.returncode == 0, done.stderr
        assert release(repository, "released").returncode == 0
    template = repository / TEMPLATE.name
    (wheel,) = (template / "vendor").iterdir()
    assert wheel.name == f"flask_coherent_cache-{HIGHER}-py3-none-any.whl"
    changed = Project(repository, {}).run("git", "diff", "--stat", "--name-only", "HEAD")
    assert {Path(name).name for name in changed.stdout.split()} - {wheel.name} == {
        *("__init__.py", "pyproject.toml", "runtime.txt", "dev.txt"),
        f"flask_coherent_cache-{VERSION}-py3-none-any.whl",
    }
    # What it took out of a project is what it would take out of the next one.
    project = generate(repository.parent, {}, accept_hooks=False, template=repository)
    for name in ("pyproject.toml", "requirements/runtime.txt", "requirements/dev.txt"):
        assert f"vendor/{wheel.name}" in project.read(name)
        assert f"-{VERSION}-py3" not in project.read(name)


@pytest.mark.network
def test_a_wheel_that_nobody_has_may_be_replaced(repository: Path) -> None:
    edit(repository, LINE, f"# More.\n{LINE}")
    assert release(repository, "release", "--replace", HIGHER).returncode
    assert release(repository, "release", "--replace", VERSION).returncode == 0
    assert release(repository, "released").returncode == 0


def test_projects_of_the_tests_have_the_library_of_the_tree(tmp_path: Path) -> None:
    (wheel,) = (bake(tmp_path).path / "vendor").iterdir()
    assert wheel.read_bytes() == baking.wheel().read_bytes()


def test_put_renews_name_and_hash_in_a_project(tmp_path: Path) -> None:
    project = bake(tmp_path / "project")
    wheel = rebuilt(baking.wheel(), tmp_path / "higher", version=HIGHER, text="# More.\n")
    before = project.read("requirements/dev.txt")
    vendoring.put(wheel, project.path)
    (found,) = (project.path / "vendor").iterdir()
    assert found.read_bytes() == wheel.read_bytes()
    lines = set(project.read("requirements/dev.txt").splitlines()) ^ set(before.splitlines())
    assert len(lines) == 4
    assert wheel.name in project.read("pyproject.toml")


@pytest.mark.network
def test_a_project_installs_the_shipped_wheel(tmp_path: Path) -> None:
    """Not that of the tree: as for those who generate one from a release."""
    project = generate(tmp_path, {}, accept_hooks=False, template=ROOT)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    project.run("make", "install", PATH=path, PYTHON=sys.executable)
    look = "import flask_coherent_cache as module; print(module.__version__)"
    assert project.run(".venv/bin/python", "-c", look).stdout.split() == [
        str(vendoring.version(vendoring.shipped()))
    ]
    installed = project.path / ".venv" / "lib"
    (package,) = installed.glob("*/site-packages/flask_coherent_cache")
    for name, data in vendoring.contents(vendoring.shipped()).items():
        assert (package.parent / name).read_bytes() == data
