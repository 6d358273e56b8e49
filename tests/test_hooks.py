"""The hooks refuse what cannot work, finish what can, and lose nothing that was there."""

import doctest
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from baking import FREE_TEXT, ROOT, Project, bake, bake_without_hooks
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context

REFUSED = [
    ("project_name", " ", "empty"),
    ("project_name", "one\ntwo", "U+000A"),
    ("description", "a\tb", "U+0009"),
    ("description", "del \x7f", "U+007F"),
    ("author_name", "\x00", "U+0000"),
    ("author_name", "a\x85b", "U+0085"),
    ("project_slug", "My App", "my-app"),
    ("project_slug", "my_app", "my-app"),
    ("project_slug", "-app", "app"),
    ("project_slug", "a--b", "a-b"),
    ("project_slug", "..", "app"),
    ("project_slug", "naïve", "lower-case"),
    ("project_slug", "a" * 51, "50"),
    ("project_slug", "flask", "flask-app"),
    ("package_name", "my-app", "my_app"),
    ("package_name", "1st", "app_1st"),
    ("package_name", "Shop", "shop"),
    ("package_name", "café", "letters"),
    ("package_name", "a" * 51, "50"),
    ("package_name", "class", "class_app"),
    ("package_name", "json", "standard library; json_app"),
    ("package_name", "compression", "compression_app"),
    ("package_name", "flask", "flask_app"),
    ("package_name", "werkzeug", "werkzeug_app"),
    ("package_name", "dotenv", "dotenv_app"),
    ("package_name", "tests", "tests_app"),
    ("package_name", "src", "src_app"),
    ("package_name", "../x", "x"),
    ("author_email", "nobody", "you@example.com"),
    ("author_email", "a b@example.com", "you@example.com"),
    ("author_email", '"><b@example.com', "you@example.com"),
    ("author_email", "a@example", "you@example.com"),
    ("author_email", "", "you@example.com"),
]


@pytest.mark.parametrize(("key", "value", "remedy"), REFUSED)
def test_a_bad_answer_is_refused_in_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], key: str, value: str, remedy: str
) -> None:
    with pytest.raises(FailedHookException):
        bake(tmp_path / "out", **{"project_slug": "fine", "package_name": "fine", key: value})
    said = capfd.readouterr().err
    (line,) = re.findall(r"^  ([a-z_]+: .*)", said, re.MULTILINE)
    assert line.startswith(f"{key}: {value!r}")
    assert remedy in line
    assert generated(tmp_path / "out") == []


def test_all_bad_answers_are_reported_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = {
        "project_name": "\n",
        "project_slug": "A B",
        "package_name": "json",
        "description": "",
        "author_name": "\x1b[31m",
        "author_email": "x",
    }
    with pytest.raises(FailedHookException):
        bake(tmp_path / "out", **bad)
    said = capfd.readouterr().err
    assert re.findall(r"^  ([a-z_]+): ", said, re.MULTILINE) == sorted(
        bad, key=lambda key: (key not in FREE_TEXT, list(bad).index(key))
    )
    assert "\x1b" not in said
    assert generated(tmp_path / "out") == []


def generated(folder: Path) -> list[Path]:
    """Return what lies in a folder beside what `bake` itself puts there."""
    own = {"cookiecutter.yaml", "replay", "templates"}
    return [path for path in folder.iterdir() if path.name not in own]


def test_a_refused_answer_loses_nothing_that_was_there(tmp_path: Path) -> None:
    project = bake(tmp_path, project_slug="fine", package_name="fine")
    before = contents(project)
    with pytest.raises(FailedHookException):
        bake(tmp_path, project_slug="fine", package_name="json")
    assert contents(project) == before


def contents(project: Project) -> dict[str, tuple[int, bytes]]:
    """Return every file of a project with its mode and bytes."""
    return {
        str(name): ((project.path / name).stat().st_mode, (project.path / name).read_bytes())
        for name in project.files()
    }


@pytest.mark.parametrize("text", ['"""', "'''", "\\", '\\"', "{x}", "🛒", "'; import os; '"])
def test_an_answer_is_never_run(tmp_path: Path, text: str) -> None:
    bake(tmp_path, **dict.fromkeys(FREE_TEXT, f'{text}"+open("ran","w").close()+"{text}'))
    assert not list(tmp_path.rglob("ran"))


def rendered_hook(name: str, folder: Path) -> Path:
    """Write a hook as cookiecutter renders it for the default answers."""
    context = generate_context(str(ROOT / "cookiecutter.json"))
    context["cookiecutter"] = prompt_for_config(context, no_input=True)
    hook = create_env_with_context(context).from_string(
        (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    )
    path = folder / f"{name}.py"
    path.write_text(hook.render(**context), encoding="utf-8")
    return path


def test_the_examples_in_the_validators_hold(tmp_path: Path) -> None:
    path = rendered_hook("pre_gen_project", tmp_path)
    spec = importlib.util.spec_from_file_location("pre_gen_project", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = doctest.testmod(module)
    assert result.attempted >= 9
    assert result.failed == 0


def test_env_has_fresh_secrets_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    one = bake(tmp_path / "1")
    other = bake(tmp_path / "2")
    assert (one.path / ".env").stat().st_mode & 0o777 == 0o600
    secrets = [values(project.read(".env")) for project in (one, other)]
    example = values(one.read(".env.example"))
    assert secrets[0].keys() == secrets[1].keys() == example.keys()
    made = {name for name in example if secrets[0][name] != secrets[1][name]}
    assert made >= {"SECRET_KEY", "API_TOKEN", "OPS_TOKEN", "POSTGRES_PASSWORD"}
    assert all(example[name] == "" and len(secrets[0][name]) >= 43 for name in made)
    assert all(secrets[0][name] == example[name] for name in example.keys() - made)


def values(text: str) -> dict[str, str]:
    """Return the settings of an .env file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_a_second_run_is_the_same(tmp_path: Path) -> None:
    project = bake(tmp_path, ci="gitlab")
    (project.path / ".env").write_text("SECRET_KEY=mine\n", encoding="utf-8")
    before = contents(project)
    head = git(project, "rev-parse", "HEAD")
    bake(tmp_path, ci="gitlab")
    assert contents(project) == before
    assert git(project, "rev-parse", "HEAD") == head
    assert git(project, "status", "--porcelain") == ""


def git(project: Project, *arguments: str) -> str:
    """Run Git in a project and return what it prints."""
    return project.run("git", *arguments).stdout.strip()


@pytest.mark.usefixtures("somebody")
def test_the_first_commit_holds_everything_but_secrets(tmp_path: Path) -> None:
    project = bake(tmp_path)
    assert git(project, "rev-list", "--count", "HEAD") == "1"
    assert git(project, "branch", "--show-current") == "main"
    assert git(project, "status", "--porcelain") == ""
    committed = set(git(project, "ls-files").splitlines())
    assert {str(name) for name in project.files()} - committed == {".env"}


@pytest.mark.usefixtures("nobody")
def test_git_without_a_name_is_said_and_survived(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = bake(tmp_path)
    assert "user.email" in capfd.readouterr().out
    assert project.run("git", "rev-parse", "HEAD", check=False).returncode
    assert (project.path / ".env").exists()


def test_no_git_is_said_and_survived(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project = bake(tmp_path)
    assert "Git is not installed" in capfd.readouterr().out
    assert not (project.path / ".git").exists()
    assert (project.path / ".env").exists()


@pytest.mark.usefixtures("somebody")
def test_a_repository_around_the_project_is_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    project = bake(tmp_path / "apps")
    assert "inside a Git repository" in capfd.readouterr().out
    assert not (project.path / ".git").exists()


def test_the_next_steps_are_three(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bake(tmp_path, project_slug="shop")
    said = capfd.readouterr().out
    assert [line[:3] for line in said.splitlines() if line.startswith("  ")] == [
        f"  {number}" for number in (1, 2, 3)
    ]
    for words in ("cd shop", "docker compose up --build", "flask user create"):
        assert words in said


def test_hooks_use_the_standard_library_alone(tmp_path: Path) -> None:
    """They run in whatever interpreter cookiecutter has, with nothing of the template beside."""
    shutil.copytree(ROOT / "hooks", tmp_path / "hooks")
    for name in ("pre_gen_project", "post_gen_project"):
        path = rendered_hook(name, tmp_path)
        subprocess.run(
            [
                shutil.which("python3") or "python3",
                "-I",
                "-S",
                "-c",
                f"import runpy; runpy.run_path({str(path)!r})",
            ],
            check=True,
            cwd=tmp_path,
        )


def test_without_hooks_the_project_still_starts(tmp_path: Path, environment: Path) -> None:
    project = bake_without_hooks(tmp_path)
    assert not (project.path / ".env").exists()
    result = project.run(
        environment / "flask", "--app", project.package.name, "routes", PYTHONPATH="src"
    )
    assert "/products" in result.stdout
