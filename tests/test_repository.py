"""What the repository says of itself is true, and its Makefile says in words what is missing."""

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from baking import CHOICES, CONTEXT, ROOT, TEMPLATE, clean_environ

from local_extensions import SLUG_LENGTH

QUESTIONS = [key for key in CONTEXT if not key.startswith("_")]


def test_every_question_has_a_prompt_and_every_choice_a_label() -> None:
    prompts = CONTEXT["__prompts__"]
    assert isinstance(prompts, dict)
    assert list(prompts) == QUESTIONS
    for key, values in CHOICES.items():
        assert list(prompts[key]) == ["__prompt__", *values]
    # Rich takes what is in brackets for a colour, and drops it.
    assert not re.search(r'"[^"]*\[[^"]*"', json.dumps(prompts))


def test_the_readme_names_every_question_and_choice() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", readme, re.MULTILINE))
    assert list(rows) == QUESTIONS
    for key, values in CHOICES.items():
        assert all(value in rows[key] for value in values)


def test_the_readme_links_to_files_that_exist() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
        assert not [link for link in links if not (ROOT / link).exists()]


def test_python_holds_no_jinja_but_the_package_that_tests_import() -> None:
    """The sources are plain Python, and copied as they are.

    The owner's tests are rendered, for they import the application by its name: on lines of their
    own, which no name is too long for.
    """
    patterns = CONTEXT["_copy_without_render"]
    assert isinstance(patterns, list)
    name = "{{cookiecutter.package_name}}"
    for path in TEMPLATE.rglob("*.py"):
        file = path.relative_to(TEMPLATE).as_posix()
        is_test = file.startswith("tests/")
        assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns) != is_test, file
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"\{[{%#].*cookiecutter", line) or (
                is_test
                and re.fullmatch(rf"(from|import) {re.escape(name)}[\w. ,]*", line)
                and len(line.replace(name, "x" * SLUG_LENGTH)) <= 100
            ), f"{file}: {line}"


def test_hooks_of_pre_commit_come_from_the_lock() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in config["repos"]} == {"local"}


def machine(tmp_path: Path, **programs: str) -> dict[str, str]:
    """Return the environment of a machine that has a shell, make and these scripts, no Python."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "make", "rm", "touch", "sed", "cat", "env"):
        (folder / name).symlink_to(shutil.which(name) or name)
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    environ = clean_environ(PATH=str(folder))
    # Where somebody has named the interpreter of these tests to make.
    environ.pop("PYTHON", None)
    return environ


OLD = 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac'
WITHOUT_VENV = 'case "$2" in *venv*) exit 1;; esac'


@pytest.mark.parametrize(
    ("programs", "words"),
    [
        ({}, "Python 3.11 or newer is needed"),
        ({"python3": OLD}, "Python 3.11 or newer is needed"),
        ({"python3": WITHOUT_VENV}, "apt install python3-venv"),
    ],
    ids=["no Python", "an old Python", "no venv"],
)
@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_says_what_is_missing(
    tmp_path: Path, programs: dict[str, str], words: str, target: str
) -> None:
    environ = machine(tmp_path, **programs)
    result = subprocess.run(
        ["make", target], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert result.returncode
    assert words in result.stdout
    assert not (tmp_path / ".venv").exists()


def test_make_names_the_old_python_that_it_was_given(tmp_path: Path) -> None:
    environ = machine(tmp_path, python39=OLD)
    command = ["make", "test", "PYTHON=python39"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert "python39 is not: Python 3.9.2" in result.stdout


def test_make_finds_a_newer_python_beside_an_old_one(tmp_path: Path) -> None:
    environ = machine(tmp_path, **{"python3": OLD, "python3.12": "echo used $0 $* >&2; exit 0"})
    result = subprocess.run(
        ["make", "test"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert "used" in result.stderr
    assert "python3.12 -m venv" in result.stderr


def test_make_help_lists_every_target() -> None:
    result = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert re.findall(r"^  make ([a-z-]+)", result.stdout, re.MULTILINE) == targets.split()
