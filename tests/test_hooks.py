"""The hooks refuse what cannot work, finish what can, and lose nothing that was there."""

import doctest
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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
    ("author_name", "a\u202eb", "U+202E"),
    ("project_slug", "My App", "my-app"),
    ("project_slug", "my_app", "my-app"),
    ("project_slug", "-app", "app"),
    ("project_slug", "a--b", "a-b"),
    ("project_slug", "..", "app"),
    ("project_slug", "naïve", "lower-case"),
    ("project_slug", "a" * 51, "50"),
    ("project_slug", "flask", "flask-app"),
    ("project_slug", "con", "con-app"),
    ("package_name", "my-app", "my_app"),
    ("package_name", "1st", "app_1st"),
    ("package_name", "Shop", "shop"),
    ("package_name", "café", "letters"),
    ("package_name", "a" * 51, "50"),
    ("package_name", "class", "class_app"),
    ("package_name", "json", "standard library; use json_app"),
    ("package_name", "compression", "compression_app"),
    ("package_name", "flask", "flask_app"),
    ("package_name", "werkzeug", "werkzeug_app"),
    ("package_name", "dotenv", "dotenv_app"),
    ("package_name", "tests", "tests_app"),
    ("package_name", "src", "src_app"),
    ("package_name", "../x", "x"),
    ("package_name", "lpt1", "lpt1_app"),
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


def loaded_hook(name: str, folder: Path) -> ModuleType:
    """Import a hook as cookiecutter renders it for the default answers."""
    spec = importlib.util.spec_from_file_location(name, rendered_hook(name, folder))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return the hook that checks the answers."""
    return loaded_hook("pre_gen_project", tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return the hook that finishes a project."""
    return loaded_hook("post_gen_project", tmp_path_factory.mktemp("after"))


def test_the_examples_in_the_validators_hold(before: ModuleType) -> None:
    result = doctest.testmod(before)
    assert result.attempted >= 9
    assert result.failed == 0


PORTS = [f"{port}{number}" for port in ("com", "lpt") for number in range(10)]


@pytest.mark.parametrize("name", ["con", "nul", "aux", "prn", *PORTS])
def test_no_name_is_a_device_of_windows(before: ModuleType, name: str) -> None:
    assert "device on Windows" in before.check_slug(name)
    assert "device on Windows" in before.check_package(name)
    assert before.suggestion(name.upper(), "-") == f"{name}-app"
    assert before.check_slug(f"{name}-app") is None


# Unicode's Bidi_Control, and a sample of Default_Ignorable_Code_Point; the last two are others.
UNSEEN = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN += (
    "\u00ad\u034f\u115f\u1160\u17b4\u180e\u200b\u200c\u200d\u2060\u2061\u2064\u2065\u206f\u3164"
)
UNSEEN += "\ufe00\ufe0f\ufeff\uffa0\ufff0\ufffb\U0001d173\U000e0001\U000e0041\U000e0100\u2800\uffff"


@pytest.mark.parametrize("char", UNSEEN, ids=lambda char: f"{ord(char):04X}")
def test_a_character_that_nobody_sees_is_refused(before: ModuleType, char: str) -> None:
    for text in (f"a{char}b", f"{char}a", f"a{char}", f"a {char} b", f"🛒 {char}🛒"):
        assert f"U+{ord(char):04X}" in before.check_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧 👩🏽‍💻 🏳️‍🌈 ❤️‍🔥 ☂︎ 1️⃣ ©️ 🇪🇺",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می\u200cبینم",
        "क्\u200dष ශ්\u200dරී",
        "日本語\u3000の店 متجر שלום e\u0301 a\u00a0b",
        "\U0001fae9 \U0001faea",
    ],
)
def test_what_is_seen_is_accepted(before: ModuleType, text: str) -> None:
    assert before.check_text(text) is None


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of a few files, as a project that has just been rendered."""
    folder = tmp_path / "projects" / "shop"
    for name in (".env", ".env.example", "a.whl", "b.png", "static/c.css", "migrations/d.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    (folder / ".gitignore").write_text(".env\n", encoding="utf-8")
    return folder


COMMITTED = {".env.example", ".gitignore", "a.whl", "b.png", "static/c.css", "migrations/d.py"}
GIT_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-index-change")


def hooks_that_fail(folder: Path, mark: Path) -> Path:
    """Write Git hooks that leave a mark and fail."""
    folder.mkdir(parents=True)
    for name in (*GIT_HOOKS, "reference-transaction"):
        (folder / name).write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        "[core]\n excludesFile = {home}/ignored",
        "",
        "[core]\n attributesFile = {home}/attributes\n"
        "[filter 'gone']\n clean = false\n required = true",
        "[core]\n hooksPath = {home}/hooks\n fsmonitor = {home}/hooks/pre-commit",
        "[init]\n templateDir = {home}/template",
        "[commit]\n gpgSign = true\n[gpg]\n program = false",
        "[commit]\n template = {home}/none\n verbose = true\n cleanup = scissors",
        "[init]\n defaultBranch = trunk\n[core]\n safecrlf = true\n autocrlf = true",
    ],
    ids=["ignore", "xdg", "attributes", "hooks", "template", "gpg", "message", "branch"],
)
@pytest.mark.usefixtures("somebody")
def test_nothing_of_the_machine_decides_what_the_first_commit_is(
    tmp_path: Path, after: ModuleType, folder: Path, settings: str
) -> None:
    everything = ".env*\n*.whl\nstatic/\nmigrations\n"
    mark = tmp_path / "ran"
    (tmp_path / "ignored").write_text(everything, encoding="utf-8")
    (tmp_path / "git").mkdir()  # $XDG_CONFIG_HOME/git/ignore is read where no setting names one
    (tmp_path / "git" / "ignore").write_text(everything, encoding="utf-8")
    (tmp_path / "attributes").write_text("* filter=gone\n", encoding="utf-8")
    hooks_that_fail(tmp_path / "hooks", mark)
    hooks_that_fail(tmp_path / "template" / "hooks", mark)
    (tmp_path / "template" / "info").mkdir()
    (tmp_path / "template" / "info" / "exclude").write_text(everything, encoding="utf-8")
    settings = settings.format(home=tmp_path).replace("'", '"')
    (tmp_path / ".gitconfig").write_text(settings, encoding="utf-8")
    after.start_repository(folder)
    # The answer may not depend on these settings either.
    (tmp_path / ".gitconfig").unlink()
    project = Project(folder, {})
    assert set(git(project, "ls-tree", "-r", "--name-only", "HEAD").splitlines()) == COMMITTED
    assert git(project, "log", "--format=%an %s %G?") == "Somebody First commit N"
    assert git(project, "branch", "--show-current") == "main"
    assert not mark.exists()
    # What the person wants in each repository is there from now on.
    assert (folder / ".git" / "hooks" / "post-commit").exists() == ("templateDir" in settings)


@pytest.mark.usefixtures("somebody")
def test_a_variable_of_another_repository_does_not_reach_the_first_commit(
    tmp_path: Path, after: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "NAMESPACE"):
        monkeypatch.setenv(f"GIT_{name}", str(tmp_path / "other"))
    after.start_repository(folder)
    for name in ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "NAMESPACE"):
        monkeypatch.delenv(f"GIT_{name}")
    assert set(git(Project(folder, {}), "ls-files").splitlines()) == COMMITTED
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("nobody")
def test_git_without_a_name_is_said_and_survived(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = bake(tmp_path)
    assert "user.email" in capfd.readouterr().out
    assert project.run("git", "rev-parse", "HEAD", check=False).returncode
    assert (project.path / ".env").exists()


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("GIT_AUTHOR_DATE=some day", "invalid date format"),
        ("GIT_AUTHOR_NAME=...", "name consists only of disallowed characters"),
        ("GIT_CONFIG_COUNT=many", "bogus count in GIT_CONFIG_COUNT"),
    ],
)
@pytest.mark.usefixtures("somebody")
def test_why_there_is_no_commit_is_said_in_the_words_of_git(
    after: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, words: str
) -> None:
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    with pytest.raises(after.NotDone, match=words) as raised:
        after.start_repository(folder)
    assert "user.name" not in str(raised.value)


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
    said = capfd.readouterr().out
    assert f"inside the Git repository {tmp_path}" in said
    assert "CI, Dependabot and\nthe hooks" in said
    assert not (project.path / ".git").exists()


@pytest.mark.usefixtures("somebody")
def test_a_repository_of_another_owner_is_told_apart(
    tmp_path: Path, after: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    # Git's own tests take this variable for a folder of somebody else.
    script = f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n'
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(script, encoding="utf-8")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    with pytest.raises(after.NotDone, match="repository of another owner") as raised:
        after.start_repository(folder)
    assert "safe.directory" in str(raised.value)
    assert not (folder / ".git").exists()


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("ci", ["none", "github", "gitlab"])
def test_files_that_were_there_are_kept_and_not_committed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ci: str
) -> None:
    own = [".github/workflows/own.yml", ".github/CODEOWNERS", ".env.local", "src/own/a.py"]
    # Of the same name as a file of the template, which this answer has not chosen.
    own += {
        "none": [".gitlab-ci.yml", ".github/workflows/ci.yml", ".github/dependabot.yml"],
        "github": [".gitlab-ci.yml"],
        "gitlab": [".github/workflows/ci.yml"],
    }[ci]
    for name in own:
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine", encoding="utf-8")
    project = bake(tmp_path, project_slug="shop", ci=ci)
    assert {name: project.read(name) for name in own} == dict.fromkeys(own, "mine")
    assert "This folder held files before" in capfd.readouterr().out
    assert not (project.path / ".git").exists()
    assert not (project.path / ".cookiecutter-existed").exists()


def test_the_next_steps_are_three(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project = bake(tmp_path / "else where", project_slug="shop")
    said = capfd.readouterr().out
    assert [line[:3] for line in said.splitlines() if line.startswith("  ")] == [
        f"  {number}" for number in (1, 2, 3)
    ]
    # It holds wherever cookiecutter was called.
    (folder,) = re.findall(r"1\. cd (.*)", said)
    assert shlex.split(folder) == [str(project.path)]
    for words in ("docker compose up --build", "flask user create"):
        assert words in said


CONSOLES = {"gone": ">&- 2>&-", "full": ">/dev/full 2>&1", "a pipe": "2>&1", "ASCII": ""}


@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize(
    ("hook", "answer", "status"),
    [
        ("post_gen_project", "shop", 0),
        ("pre_gen_project", "shop", 0),
        ("pre_gen_project", "con", 1),
    ],
)
def test_a_message_that_cannot_be_shown_fails_no_hook(
    tmp_path: Path, hook: str, answer: str, status: int, console: str
) -> None:
    script = rendered_hook(hook, tmp_path)
    text = script.read_text(encoding="utf-8").replace("'my-flask-app'", repr(answer))
    script.write_text(text, encoding="utf-8")
    folder = tmp_path / "Zoë 🛒"
    folder.mkdir()
    environ = {"PYTHONIOENCODING": "ascii", "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" "$1" {CONSOLES[console]}', sys.executable, script],
            cwd=folder,
            env={**os.environ, **environ},
            stdout=pipe if console == "a pipe" else subprocess.DEVNULL,
            check=False,
        )
    assert done.returncode == status
    assert list(folder.iterdir()) == [folder / ".git"] * (hook == "post_gen_project")


def test_a_step_that_fails_leaves_the_project(
    tmp_path: Path,
    after: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(project: Path) -> None:
        raise PermissionError("no way")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(after, "start_repository", broken)
    after.main()
    assert "There is no .env" in capsys.readouterr().out
    monkeypatch.setattr(after, "write_env", broken)
    after.main()
    assert "no way" in capsys.readouterr().out


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
