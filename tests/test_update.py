"""A project takes over a later version of the template with cruft, as the README promises."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import vendoring
from baking import (
    ROOT,
    TEMPLATE,
    Project,
    bake,
    clean_environ,
    copy_of_repository,
    rebuilt,
    source,
    wheel,
)

pytestmark = pytest.mark.usefixtures("somebody")
CRUFT = Path(sys.executable).with_name("cruft")
COOKIECUTTER = Path(sys.executable).with_name("cookiecutter")


def run(folder: Path, *command: str | Path) -> str:
    """Run a command in a folder and return what it prints."""
    return Project(folder, {}).run(*command).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a Git repository that holds the template."""
    folder = copy_of_repository(tmp_path / "flask-cache-template.git")
    run(folder, "git", "-c", "init.defaultBranch=main", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "One")
    return folder


def test_cruft_updates_a_project(tmp_path: Path, repository: Path) -> None:
    run(tmp_path, CRUFT, "create", str(repository), "--no-input")
    project = Project(tmp_path / "my-flask-app", {})
    run(project.path, "git", "add", "--all")
    run(project.path, "git", "commit", "--quiet", "--message", "Remember the template")
    env, head = project.read(".env"), run(project.path, "git", "rev-parse", "HEAD")

    makefile = repository / TEMPLATE.name / "Makefile"
    makefile.write_text(makefile.read_text(encoding="utf-8") + "\n# A later line.\n")
    run(repository, "git", "commit", "--quiet", "--all", "--message", "Two")
    run(project.path, CRUFT, "update", "--skip-apply-ask")

    assert project.read("Makefile").endswith("# A later line.\n")
    assert not list(project.path.rglob("*.rej"))
    assert project.read(".env") == env
    assert run(project.path, "git", "rev-parse", "HEAD") == head
    assert run(project.path, "git", "status", "--porcelain").split() == [
        *("M", ".cruft.json"),
        *("M", "Makefile"),
    ]


def test_cruft_takes_over_a_new_release_of_the_library(tmp_path: Path, repository: Path) -> None:
    run(tmp_path, CRUFT, "create", str(repository), "--no-input")
    project = Project(tmp_path / "my-flask-app", {})
    # The owner has a dependency more, and locked it: the update merges into what is theirs.
    lock = project.path / "requirements" / "runtime.txt"
    own = lock.read_text(encoding="utf-8") + f"zz-own==1 \\\n    --hash=sha256:{'0' * 64}\n"
    lock.write_text(own, encoding="utf-8")
    run(project.path, "git", "add", "--all")
    run(project.path, "git", "commit", "--quiet", "--message", "Remember the template")

    old = wheel()
    higher = f"{old.name.split('-')[1]}.1"
    new = rebuilt(old, tmp_path / "higher", version=higher, text="# More.\n")
    vendoring.put(new, repository / TEMPLATE.name)
    run(repository, "git", "add", "--all")
    run(repository, "git", "commit", "--quiet", "--message", "Two")
    run(project.path, CRUFT, "update", "--skip-apply-ask")

    (found,) = (project.path / "vendor").iterdir()
    assert (found.name, found.read_bytes()) == (new.name, new.read_bytes())
    assert not list(project.path.rglob("*.rej"))
    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    text = project.read("requirements/runtime.txt")
    assert f"vendor/{new.name} \\\n    --hash=sha256:{digest}\n" in text
    assert "zz-own==1" in text
    for name in ("pyproject.toml", "requirements/runtime.txt", "requirements/dev.txt"):
        assert old.name not in project.read(name)
        assert new.name in project.read(name)


def test_every_way_to_name_the_template_works(tmp_path: Path, repository: Path) -> None:
    run(repository, "git", "archive", "--prefix=template/", "-o", tmp_path / "t.zip", "HEAD")
    for number, template in enumerate([repository, f"git+file://{repository}", tmp_path / "t.zip"]):
        output = tmp_path / str(number)
        run(
            tmp_path,
            COOKIECUTTER,
            str(template),
            "--no-input",
            "--output-dir",
            output,
            *config(tmp_path),
        )
        assert (output / "my-flask-app" / ".env").exists()


def config(folder: Path) -> tuple[str, Path]:
    """Return the option that keeps cookiecutter's own files in a folder."""
    path = folder / "config.yaml"
    path.write_text(f"cookiecutters_dir: {folder}/c\nreplay_dir: {folder}/r\n")
    return ("--config-file", path)


def test_replay_gives_the_same_answers(tmp_path: Path) -> None:
    options = config(tmp_path)
    name = 'A {{ "name" }} with {% marks %}'
    first = tmp_path / "1"
    raw = f"{{% raw %}}{name}{{% endraw %}}"
    here = ("--output-dir", first, *options)
    run(ROOT, COOKIECUTTER, ".", "--no-input", f"project_name={raw}", "ci=none", *here)
    run(ROOT, COOKIECUTTER, ".", "--replay", "--output-dir", tmp_path / "2", *options)
    for about in ("pyproject.toml", "README.md", "LICENSE", "compose.yaml"):
        (one,), (other,) = (list((tmp_path / n).glob(f"*/{about}")) for n in ("1", "2"))
        assert one.read_bytes() == other.read_bytes()
    assert name.replace('"', '\\"') in next((tmp_path / "2").glob("*/src/*/about.toml")).read_text()


def test_a_bake_takes_under_a_second_of_the_processor(tmp_path: Path) -> None:
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print('used', used.ru_utime + used.ru_stime)"
    )
    command: list[str | Path] = [
        COOKIECUTTER,
        ".",
        "--no-input",
        "--output-dir",
        tmp_path / "out",
        *config(tmp_path),
    ]
    said = run(ROOT, sys.executable, "-c", program, *command)
    assert float(said.split("used")[-1]) < 1


def test_questions_asked_one_by_one_have_the_same_answers(tmp_path: Path) -> None:
    """Enter at each prompt is the default; each prompt is shown whole."""
    result = subprocess.run(
        [COOKIECUTTER, source(), "--output-dir", tmp_path / "asked", *config(tmp_path)],
        cwd=tmp_path,
        env=clean_environ(COLUMNS="200"),
        input="\n" * 11,
        capture_output=True,
        text=True,
        check=True,
    )
    for words in ("lower-case letters, digits, dashes", "Valkey, which speaks", "you@example.com"):
        assert words in result.stdout
    asked, given = Project(tmp_path / "asked" / "my-flask-app", {}), bake(tmp_path / "given")
    names = set(asked.files()) - {Path(".env")}
    assert names == set(given.files()) - {Path(".env")}
    for name in names:
        assert (asked.path / name).read_bytes() == (given.path / name).read_bytes(), name
