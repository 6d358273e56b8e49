"""No way to install a project takes a package of the library's name from an index.

An index on this machine offers version 99 of it. Each way is taken with that index beside the
configured one; then the index must not even have been asked for the name.
"""

import itertools
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from baking import CHOICES, Project, bake
from index import MODULE, NAME, OLD_PIP, VERSION, Index, pip_of, served
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from stacks import needs_engine

UV = Path(sys.executable).with_name("uv")
LOOK = f"import {MODULE} as module; print(module.__version__, module.__file__)"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Return the index. Afterwards nothing of it may have run, nor its library been asked for."""
    with served(tmp_path) as result:
        yield result


@pytest.fixture
def unasked(index: Index) -> Iterator[Index]:
    """Return the index, which is not asked for the library."""
    yield index
    assert index.asked_for_the_library() == []
    assert not index.mark.exists()


@pytest.fixture
def own(tmp_path: Path) -> Project:
    """Return a project of the test's own."""
    return bake(tmp_path / "own")


def vendored(project: Project) -> str:
    """Return the version of a project's wheel."""
    (wheel,) = (project.path / "vendor").iterdir()
    return wheel.name.split("-")[1]


def without_uv(tmp_path: Path) -> str:
    """Return a PATH on which this Python is and no uv."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    folders = [name for name in os.environ["PATH"].split(":") if not (Path(name) / "uv").exists()]
    path = ":".join([str(tmp_path / "bin"), *folders])
    if not shutil.which("make", path=path):
        pytest.skip("uv lies in the folder of make")
    return path


def test_the_name_alone_is_nowhere_in_what_pip_reads(project: Project) -> None:
    read = tomllib.loads(project.read("pyproject.toml"))
    about, groups = read["project"], read["dependency-groups"]
    lists = [
        read["build-system"]["requires"],
        about["dependencies"],
        *about.get("optional-dependencies", {}).values(),
        *groups.values(),
    ]
    named = [
        requirement
        for text in itertools.chain.from_iterable(lists)
        if isinstance(text, str)
        for requirement in [Requirement(text)]
        if canonicalize_name(requirement.name) == NAME
    ]
    (requirement,) = named
    assert requirement.url == f"file:///${{PROJECT_ROOT}}/vendor/{wheel_name(project)}"
    for path in (project.path / "requirements").iterdir():
        assert not path.read_text(encoding="utf-8").startswith(NAME)
        assert f"\n{NAME}" not in path.read_text(encoding="utf-8")


def wheel_name(project: Project) -> str:
    """Return the name of a project's wheel."""
    (wheel,) = (project.path / "vendor").iterdir()
    return wheel.name


@pytest.mark.network
class TestControl:
    """The index is a danger: who asks for the library by its name gets the stranger's."""

    def test_pip(self, project: Project, index: Index) -> None:
        assert chosen_by_pip(project, index, "", NAME)[NAME]["version"] == VERSION
        assert index.asked_for_the_library()

    def test_pip_with_a_lower_bound_and_a_source_for_uv(self, own: Project, index: Index) -> None:
        by_name(own)
        assert chosen_by_pip(own, index, "", ".")[NAME]["version"] == VERSION

    def test_a_stranger_that_is_built(self, own: Project, index: Index) -> None:
        command = (pip_of(""), "-m", "pip", "install", "--dry-run", "--no-binary", NAME, NAME)
        index.run(own, *command, check=False)
        assert index.mark.exists()

    def test_a_stranger_that_is_imported(self, own: Project, index: Index) -> None:
        own.run(UV, "venv", "--quiet", "-p", sys.executable, ".venv")
        index.run(own, UV, "pip", "install", NAME)
        own.run(".venv/bin/python", "-c", f"import {MODULE}")
        assert index.mark.exists()


def by_name(project: Project) -> None:
    """Declare the library as projects do elsewhere, by its name and a path for uv."""
    pyproject = project.path / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    text = text.replace("\ndependencies = [", f'\ndependencies = [\n    "{NAME}>=0.2",')
    text += f'\n[tool.uv.sources]\n{NAME} = {{ path = "vendor/{wheel_name(project)}" }}\n'
    pyproject.write_text(text, encoding="utf-8")


def chosen_by_pip(
    project: Project, index: Index, version: str, *arguments: str
) -> dict[str, dict[str, str]]:
    """Return what a pip would install, by name: the version and the address of its file."""
    report = project.path / "build" / "report.json"
    report.parent.mkdir(exist_ok=True)
    options = ("--quiet", "--dry-run", "--ignore-installed", "--report", report)
    install = (pip_of(version), "-m", "pip", "install", *options)
    index.run(project, *install, *arguments)
    installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        canonicalize_name(each["metadata"]["name"]): {
            "version": each["metadata"]["version"],
            "url": each["download_info"]["url"],
        }
        for each in installed
    }


@pytest.mark.network
@pytest.mark.parametrize(
    "version",
    [pytest.param(OLD_PIP, marks=pytest.mark.long, id="old"), pytest.param("", id="newest")],
)
class TestPip:
    """What pip would install, the oldest that we know of and the newest."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ("-r", "requirements/runtime.txt"),
            ("--require-hashes", "-r", "requirements/requirements.txt"),
        ],
        ids=" ".join,
    )
    def test_a_lock(
        self, own: Project, unasked: Index, version: str, arguments: tuple[str, ...]
    ) -> None:
        chosen = chosen_by_pip(own, unasked, version, *arguments)
        assert chosen[NAME]["version"] == vendored(own)
        assert chosen[NAME]["url"] == (own.path / "vendor" / wheel_name(own)).as_uri()

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param((".",), id="."),
            pytest.param(("-e", "."), marks=pytest.mark.long, id="-e ."),
        ],
    )
    def test_the_project_alone(
        self, own: Project, unasked: Index, version: str, arguments: tuple[str, ...]
    ) -> None:
        chosen = chosen_by_pip(own, unasked, version, *arguments)
        assert "flask" in chosen
        assert NAME not in chosen


@pytest.mark.network
class TestGroupsOfPip:
    """The groups of pyproject.toml, which pip knows since 25.1."""

    @pytest.mark.long
    def test_dev(self, own: Project, unasked: Index) -> None:
        chosen = chosen_by_pip(own, unasked, "", ".", "--group", "dev")
        assert {"flask", "pytest"} < chosen.keys()
        assert NAME not in chosen

    def test_the_one_that_is_for_uv(self, own: Project, unasked: Index) -> None:
        """Pip takes the path as it stands, and finds nothing there."""
        install = (pip_of(""), "-m", "pip", "install", "--dry-run", "--group", "vendored")
        result = unasked.run(own, *install, check=False)
        assert result.returncode
        assert wheel_name(own) in result.stderr


@pytest.mark.network
class TestUv:
    """The commands of uv, which finds the path in pyproject.toml by the project's folder."""

    @pytest.mark.parametrize(
        "options",
        [(), pytest.param(("--no-dev",), marks=pytest.mark.long)],
        ids=["", "no-dev"],
    )
    def test_sync(self, own: Project, unasked: Index, options: tuple[str, ...]) -> None:
        unasked.run(own, UV, "sync", "--quiet", "-p", sys.executable, *options)
        assert looked_at(own, ".venv/bin/python") == vendored(own)
        assert "warning" not in unasked.run(own, UV, "lock", "--check").stderr
        # Wherever it is cloned to, and with the newest of all.
        assert str(own.path) not in own.read("uv.lock")
        unasked.run(own, UV, "lock", "--upgrade")
        unasked.run(own, UV, "export", "--quiet", "-o", "build/exported.txt")
        unasked.run(own, UV, "run", *options, "python", "-c", LOOK)

    def test_a_folder_of_the_project_is_not_enough(self, own: Project, unasked: Index) -> None:
        """It looks for the wheel in the working directory, and says so."""
        above = Project(own.path.parent, {})
        result = unasked.run(above, UV, "sync", "--project", own.path.name, check=False)
        assert result.returncode
        assert wheel_name(own) in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "there"),
        [
            (("-r", "requirements/runtime.txt"), True),
            (("-r", "requirements/requirements.txt", "--require-hashes"), True),
            (("-r", "pyproject.toml", "--group", "vendored"), True),
            (("-r", "pyproject.toml", "--group", "dev"), False),
            ((".",), False),
            (("-e", "."), False),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_pip_install(
        self, own: Project, unasked: Index, arguments: tuple[str, ...], there: bool
    ) -> None:
        own.run(UV, "venv", "--quiet", "-p", sys.executable, ".venv")
        unasked.run(own, UV, "pip", "install", "--quiet", *arguments)
        listed = own.run(UV, "pip", "list", "--format", "json").stdout
        versions = {each["name"]: each["version"] for each in json.loads(listed)}
        assert versions.get(NAME) == (vendored(own) if there else None)


def looked_at(project: Project, python: str) -> str:
    """Return the version of the library that a Python imports. It lies in the environment."""
    version, file = project.run(python, "-c", LOOK).stdout.split()
    assert Path(file).is_relative_to(project.path / ".venv")
    return version


@pytest.mark.network
class TestMake:
    """The targets that install something."""

    def test_install_and_lock_with_uv(self, own: Project, unasked: Index) -> None:
        path = f"{UV.parent}:{os.environ['PATH']}"
        command = ("env", f"PATH={path}", f"PYTHON={sys.executable}", "make")
        unasked.run(own, *command, "install")
        assert looked_at(own, ".venv/bin/python") == vendored(own)
        unasked.run(own, *command, "lock", "ARGS=--upgrade")
        assert f"vendor/{wheel_name(own)} \\\n" in own.read("requirements/runtime.txt")
        unasked.run(own, *command, "install")
        assert looked_at(own, ".venv/bin/python") == vendored(own)

    @pytest.mark.long
    def test_install_and_lock_with_pip(self, tmp_path: Path, own: Project, unasked: Index) -> None:
        path = without_uv(tmp_path)
        command = ("env", f"PATH={path}", f"PYTHON={sys.executable}", "make")
        unasked.run(own, *command, "install")
        assert looked_at(own, ".venv/bin/python") == vendored(own)
        before = own.read("requirements/runtime.txt")
        unasked.run(own, *command, "lock")
        assert own.read("requirements/runtime.txt") == before


@pytest.mark.network
@pytest.mark.docker
@needs_engine
def test_the_image(tmp_path: Path, own: Project, index: Index) -> None:
    """Build with a base image whose pip asks the index, too, on the network of this machine."""
    base = f"python:{CHOICES['python_version'][0]}-slim"
    tag = f"fct-strangers-{os.getpid()}"
    (tmp_path / "base").mkdir()
    settings = f"FROM {base}\nENV PIP_EXTRA_INDEX_URL={index.url}\n"
    (tmp_path / "base" / "Dockerfile").write_text(settings, encoding="utf-8")
    build = ("docker", "build", "--quiet", "--network", "host", "--tag")
    run = ("docker", "run", "--rm", "--network", "host")
    try:
        own.run(*build, f"{tag}-base", tmp_path / "base")
        pip = ("pip", "install", "--quiet", "--dry-run", "--report", "-", "--ignore-installed")
        control = own.run(*run, f"{tag}-base", *pip, "--break-system-packages", NAME)
        (stranger,) = json.loads(control.stdout)["install"]
        assert stranger["metadata"]["version"] == VERSION
        index.asked.clear()

        text = own.read("Dockerfile").replace(f"FROM {base}", f"FROM {tag}-base")
        (own.path / "Dockerfile").write_text(text, encoding="utf-8")
        own.run(*build, tag, "--no-cache", ".")
        seen = own.run(*run, tag, "python", "-c", LOOK).stdout
        assert seen.split() == [vendored(own), seen.split()[1]]
        assert index.asked
        assert index.asked_for_the_library() == []
    finally:
        own.run("docker", "image", "rm", "--force", tag, f"{tag}-base", check=False)
    assert not index.mark.exists()
    shutil.rmtree(tmp_path / "base")
