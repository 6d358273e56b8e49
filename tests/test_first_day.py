"""An environment fits its folder and its Python, and make's targets do what their names say.

The installer is a script here that notes what it was called for: what is looked at is when the
three Makefiles call it, and with what around.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from baking import ROOT, TEMPLATE, Project, bake, clean_environ, wheel
from packaging.metadata import Metadata
from packaging.requirements import Requirement

UV = """#!/bin/sh
echo "$1" >> "$LOG"
env > "$LOG.environ"
[ "$1" = venv ] || exit 0
while [ $# -gt 1 ]; do
    [ "$1" = --python ] && python=$2
    shift
done
rm -rf "$1" && exec "$python" -m venv --without-pip "$1"
"""
#: A folder with a Makefile, and what makes its environment.
FOLDERS = {
    "project": (TEMPLATE, "install"),
    "template": (ROOT, ".venv/.dev"),
    "library": (ROOT / "flask-coherent-cache", "install"),
}
ANOTHER = "#!/bin/sh\necho another\n"


@dataclass
class Checkout:
    """A folder with a Makefile, on a machine that has a uv of ours."""

    path: Path
    target: str
    log: Path

    def run(self, *arguments: str, path: str = "", **environ: str) -> str:
        """Run make and return its output."""
        path = path or f"{self.log.parent}:{os.environ['PATH']}"
        environment = {**clean_environ(), "PATH": path, "LOG": str(self.log), **environ}
        environment.pop("PYTHON", None)
        result = subprocess.run(
            ["make", *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def called(self, *arguments: str, **environ: str) -> list[str]:
        """Make the environment, and return what uv was called for."""
        self.log.write_text("")
        self.run(self.target, *arguments, **environ)
        return sorted(set(self.log.read_text().split()))


@pytest.fixture(params=FOLDERS)
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    """Return a folder in which the environment has been made."""
    source, target = FOLDERS[request.param]
    folder = tmp_path / "first"
    shutil.copytree(source / "requirements", folder / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(source / name, folder)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(UV, encoding="utf-8")
    (tmp_path / "bin" / "uv").chmod(0o755)
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    result = Checkout(folder, target, tmp_path / "bin" / "log")
    assert result.called() == ["pip", "venv"]
    assert result.called() == []
    return result


@pytest.mark.parametrize("name", ["mo ved", "Zoë's", "$HOME & (x)"])
def test_a_folder_that_was_moved_has_its_environment_made_anew(
    checkout: Checkout, name: str
) -> None:
    checkout.path = checkout.path.rename(checkout.path.with_name(name))
    assert checkout.called() == ["pip", "venv"]
    assert checkout.called() == []


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    for python in (checkout.path / ".venv" / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nowhere/python")
    assert checkout.called() == ["pip", "venv"]
    assert checkout.called() == []


def test_an_environment_on_another_python_is_made_anew(checkout: Checkout) -> None:
    for python in (checkout.path / ".venv" / "bin").glob("python*"):
        python.unlink()
        python.write_text(ANOTHER, encoding="utf-8")
        python.chmod(0o755)
    assert checkout.called() == ["pip", "venv"]


def test_another_python_that_is_named_takes_the_place_of_the_one_there(
    checkout: Checkout, tmp_path: Path
) -> None:
    assert checkout.called(f"PYTHON={sys.executable}") == []
    other = tmp_path / "other python"
    other.write_text(
        f'{ANOTHER.replace("echo", "[ $1 = -I ] && exec echo")}exec {sys.executable} "$@"\n'
    )
    other.chmod(0o755)
    assert checkout.called(f"PYTHON={other}") == ["pip", "venv"]


def test_a_new_lock_is_installed_into_the_environment_there(checkout: Checkout) -> None:
    # Also where no Python is on PATH that could make one.
    stamps = [path.stat().st_mtime for path in (checkout.path / ".venv").glob(".*")]
    os.utime(checkout.path / "requirements" / "dev.txt", (max(stamps) + 1,) * 2)
    (checkout.log.parent / "python3").write_text("#!/bin/sh\nexit 1\n")
    assert checkout.called() == ["pip"]


def test_an_environment_of_uv_is_made_anew_where_uv_is_gone(checkout: Checkout) -> None:
    (checkout.log.parent / "uv").unlink()
    folders = [name for name in os.environ["PATH"].split(":") if not (Path(name) / "uv").exists()]
    path = ":".join([str(checkout.log.parent), *folders])
    if not shutil.which("make", path=path):
        pytest.skip("uv lies in the folder of make")
    assert "-m venv --clear" in checkout.run("-n", checkout.target, path=path)


@pytest.mark.parametrize("link", [False, True], ids=["named", "a link"])
def test_an_environment_of_somebody_else_is_never_cleared(
    checkout: Checkout, tmp_path: Path, link: bool
) -> None:
    own = (checkout.path / ".venv").rename(tmp_path / "own")
    (own / "mine").touch()
    words = [f"VENV={own}"]
    target = checkout.target
    if link:
        (checkout.path / ".venv").symlink_to(own)
        words = []
    else:
        checkout.target = target.replace(".venv", str(own))
    # Neither its folder nor its Python is the one that this folder has.
    checkout.path = checkout.path.rename(checkout.path.with_name("moved"))
    for stamp in own.glob(".*"):
        stamp.write_text("another")
    os.utime(checkout.path / "requirements" / "dev.txt", (time.time() + 60,) * 2)
    assert checkout.called(*words) == ["pip"]
    assert (own / "mine").exists()


def test_settings_of_others_do_not_reach_the_installer(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "home").touch()  # nobody can write in it
    (checkout.path / ".venv" / "bin" / "python").unlink()
    names = "PYTHONHOME PIP_TARGET PIP_PREFIX PIP_REQUIRE_HASHES UV_CONSTRAINT FLASK_APP".split()
    others = dict.fromkeys(names, "/other")
    home = str(tmp_path / "home")
    assert checkout.called(PYTHONPATH="/other", PIP_USER="1", HOME=home, **others) == [
        "pip",
        "venv",
    ]
    environ = Path(f"{checkout.log}.environ").read_text()
    assert "/other" not in environ
    assert "\nPIP_USER=0\n" in environ
    (caches,) = re.findall(r"^XDG_CACHE_HOME=(.*)$", environ, re.MULTILINE)
    assert Path(caches).is_relative_to(checkout.path)


def test_no_tool_is_started_by_a_script_that_names_its_folder() -> None:
    for folder, _ in FOLDERS.values():
        makefile = (folder / "Makefile").read_text(encoding="utf-8")
        started = re.findall(r"^\t[@-]?\$\(BIN\)/(\S+)", makefile, re.MULTILINE)
        assert len(started) > 5
        assert set(started) == {"python"}


def test_a_hook_of_a_folder_that_was_moved_says_what_to_do(
    project: Project, tmp_path: Path
) -> None:
    tool = tmp_path / ".venv" / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/gone/.venv/bin/python\n")
    tool.chmod(0o755)
    result = subprocess.run(
        [project.path / "scripts" / "in-venv", "tool"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in {126, 127}
    assert "run `make install`" in result.stderr


@pytest.mark.long
@pytest.mark.network
def test_a_project_goes_on_after_a_move(tmp_path: Path) -> None:
    """With the real installer, and a person's Python of elsewhere in the way."""
    project = bake(tmp_path / "first")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    make = ("env", f"PATH={path}", "PYTHONPATH=/other", "PIP_USER=1", "VIRTUAL_ENV=/other", "make")
    project.run(*make, "install")
    moved = Project(project.path.rename(tmp_path / "Zoë's pro ject"), {})
    few = "ARGS=-q -p no:cacheprovider -k sign_in tests/account/test_session.py"
    for words in (["test", few], ["lint"], ["format"], ["sbom"], ["hooks"], ["lock"]):
        moved.run(*make, *words)
    # Its programs, too.
    assert "routes" in moved.run(".venv/bin/flask", "--help").stdout


def in_environment(project: Project, environment: Path, *arguments: str) -> str:
    """Run make in a project with the shared environment."""
    (environment.parent / ".installed").touch()
    source = str(project.path / "src")
    return project.run("make", *arguments, f"VENV={environment.parent}", PYTHONPATH=source).stdout


def test_formatting_goes_on_after_what_cannot_be_fixed(tmp_path: Path, environment: Path) -> None:
    project = bake(tmp_path)
    file = project.package / "new.py"
    file.write_text("import os\nx=eval('1')\n", encoding="utf-8")
    in_environment(project, environment, "format")
    assert file.read_text(encoding="utf-8") == 'x = eval("1")\n'


def test_tests_that_are_chosen_are_not_judged_by_coverage(
    tmp_path: Path, environment: Path
) -> None:
    project = bake(tmp_path)
    said = in_environment(project, environment, "test", "ARGS=-k client_has tests/account")
    assert "passed" in said
    assert "coverage" not in said
    assert "pytest --cov\n" in in_environment(project, environment, "-n", "test")


LOCK_ERRORS = {
    "below the bound": ("dev", r"^gunicorn==\S+", "gunicorn==26.0.0", "gunicorn>=27"),
    "another in production": ("runtime", r"^flask==\S+", "flask==3.9.0", "tests would run"),
    "gone": ("dev", r"^djlint==.*\n(    --hash.*\n)+", "", "djlint>=1.49; dev.txt has none"),
}


@pytest.mark.parametrize("error", LOCK_ERRORS)
def test_a_lock_that_does_not_meet_what_is_declared_is_named(
    tmp_path: Path, environment: Path, error: str
) -> None:
    project = bake(tmp_path)
    check = (environment / "python", "scripts/check_locks.py")
    project.run(*check)
    name, pattern, replacement, words = LOCK_ERRORS[error]
    lock = project.path / "requirements" / f"{name}.txt"
    text, count = re.subn(pattern, replacement, lock.read_text(), flags=re.MULTILINE)
    assert count == 1
    lock.write_text(text)
    result = project.run(*check, check=False)
    assert result.returncode
    assert words in result.stderr


def test_lint_runs_in_ci_and_checks_the_locks_and_what_is_installed(project: Project) -> None:
    said = project.run("make", "-n", "lint", "VENV=elsewhere").stdout
    assert "scripts/check_locks.py" in said
    assert "pip check" in said
    assert "run: make lint" in project.read(".github/workflows/ci.yml")


def test_dependabot_leaves_alone_what_the_wheel_bounds_and_majors_of_the_database(
    project: Project,
) -> None:
    config = yaml.safe_load(project.read(".github/dependabot.yml"))
    ignored = {
        entry["package-ecosystem"]: {
            each["dependency-name"]: each.get("versions") or each["update-types"]
            for each in entry.get("ignore", ())
        }
        for entry in config["updates"]
    }
    assert ignored.pop("docker-compose") == {"postgres": ["version-update:semver-major"]}
    assert ignored.pop("pip") == {
        requirement.name: [f">={specifier.version}"]
        for requirement in requirements_of_the_wheel()
        for specifier in requirement.specifier
        if specifier.operator == "<"
    }
    assert not any(ignored.values())


def requirements_of_the_wheel() -> list[Requirement]:
    """Return what the library declares."""
    with zipfile.ZipFile(wheel()) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Metadata.from_email(archive.read(name), validate=False).requires_dist or []


@pytest.mark.usefixtures("somebody")
class TestRemovingTheExample:
    """What `make remove-example` says and minds."""

    def remove(self, project: Project, environment: Path) -> str:
        """Take the example out, and return all that is said."""
        script = (environment / "python", "scripts/remove_example.py")
        result = project.run(*script, check=False)
        return result.stdout + result.stderr

    def test_the_commands_that_it_prints_run(self, tmp_path: Path, environment: Path) -> None:
        project = bake(tmp_path)
        said = self.remove(project, environment)
        commands = re.findall(r"^    (\S.*)$", said, re.MULTILINE)
        assert len(commands) == 3
        (project.path / ".venv").symlink_to(environment.parent)
        for command in commands[:2]:
            project.run(*shlex.split(command), PYTHONPATH="src")
        versions = project.package / "migrations" / "versions"
        assert [path.name for path in versions.glob("*_first_tables.py")]
        in_environment(project, environment, "-n", *shlex.split(commands[2])[1:])

    def test_a_file_that_git_does_not_have_is_not_deleted(
        self, tmp_path: Path, environment: Path
    ) -> None:
        project = bake(tmp_path)
        (project.path / ".git" / "info" / "exclude").write_text("own.py\n", encoding="utf-8")
        own = project.package / "catalog" / "own.py"
        own.touch()
        assert "uncommitted changes" in self.remove(project, environment)
        assert own.exists()

    def test_changes_elsewhere_in_a_larger_repository_do_not_count(
        self, tmp_path: Path, environment: Path
    ) -> None:
        subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
        project = bake(tmp_path / "apps")
        project.run("git", "add", ".")
        project.run("git", "commit", "--quiet", "--message", "One")
        (tmp_path / "elsewhere").touch()
        assert "The example is gone" in self.remove(project, environment)

    def test_why_git_cannot_tell_is_said_in_its_words(
        self, tmp_path: Path, environment: Path
    ) -> None:
        project = bake(tmp_path)
        (project.path / ".git" / "config").write_text("[core", encoding="utf-8")
        assert "bad config line" in self.remove(project, environment)
        assert (project.package / "catalog").exists()
