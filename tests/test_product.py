"""Every pair of the choices renders to files that are whole, tidy and no more than asked."""

import fnmatch
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from baking import BINARY, CHOICES, CONTEXT, Project

# What is there with one answer and not with another. Said here again, for the hook could be wrong.
ONLY_WITH = {
    ("ci", "github"): [".github"],
    ("ci", "gitlab"): [".gitlab-ci.yml"],
}
LICENSE_BEGINS = {
    "MIT": "MIT License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Apache-2.0": "Apache License",
    "Proprietary": "Copyright",
}
IMAGES = {
    "redis": "redis:",
    "valkey": "valkey/valkey:",
    "memcached": "memcached:",
    "postgresql": "postgres:",
}
MAY_BE_EMPTY = {"__init__.py", "py.typed", ".gitkeep"}
# `${{ … }}` is GitHub's own. An opening brace after another is no mark in JSON or a shell.
MARKS = re.compile(r"(?<!\$)\{\{|\{%|\{#|cookiecutter\.[a-z]+_")


def is_copied(name: Path) -> bool:
    """Tell whether cookiecutter copied a file as it is; such a file has marks of its own."""
    patterns = CONTEXT["_copy_without_render"]
    assert isinstance(patterns, list)
    return any(fnmatch.fnmatch(str(name), pattern) for pattern in patterns)


@cache
def problem_of_text(name: str, text: str, copied: bool) -> str | None:
    """Say what is wrong with a file's text, if anything is. Most files are the same everywhere."""
    mark = None if copied else MARKS.search(text)
    problems = {
        "is empty": not text.strip() and Path(name).name not in MAY_BE_EMPTY,
        "has Windows line ends": "\r" in text,
        f"holds the mark {mark and mark[0]}": mark,
        "does not end with one line end": text and not re.search(r"[^\n]\n\Z", text),
        "has white space at the end of a line": re.search(r"[ \t]\n", text),
        "has two empty lines in a row": not name.endswith((".py", ".mako", ".md"))
        and "\n\n\n" in text,
    }
    try:
        parse(name, text)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        return f"does not parse: {error}"
    return next((words for words, holds in problems.items() if holds), None)


def parse(name: str, text: str) -> None:
    """Read a file by what its name says it is."""
    match Path(name).suffix or Path(name).name:
        case ".py":
            compile(text, name, "exec")
        case ".toml":
            tomllib.loads(text)
        case ".json":
            json.loads(text)
        case ".yaml" | ".yml":
            list(yaml.compose_all(text))


def test_every_file_is_whole_and_tidy(every_project: list[Project]) -> None:
    problems = {
        f"{name}: {problem}".replace(project.package.name, "package")
        for project in every_project
        for name in project.files()
        if name.suffix not in BINARY
        if (problem := problem_of_text(str(name), project.read(str(name)), is_copied(name)))
    }
    assert not problems


def test_no_path_holds_a_mark_or_a_cache(every_project: list[Project]) -> None:
    names = {str(name) for project in every_project for name in project.files()}
    assert not [name for name in names if re.search(r"[{}]|__pycache__|\.pyc$|_cache/", name)]


@pytest.mark.parametrize(("key", "answer"), ONLY_WITH)
def test_what_the_answers_have_no_use_for_is_gone(
    every_project: list[Project], key: str, answer: str
) -> None:
    for project in every_project:
        for path in ONLY_WITH[key, answer]:
            assert (project.path / path).exists() == (project.answers[key] == answer), path


def test_the_license_is_the_chosen_one(every_project: list[Project]) -> None:
    for project in every_project:
        first = project.read("LICENSE").lstrip().splitlines()[0].strip()
        assert first.startswith(LICENSE_BEGINS[project.answers["license"]])


def test_the_images_are_the_chosen_ones(every_project: list[Project]) -> None:
    for project in every_project:
        services = yaml.safe_load(project.read("compose.yaml"))["services"].values()
        servers = yaml.safe_load(project.read("deploy/servers.yaml"))["services"]
        # Where .env says nothing else. Those of a profile are there whatever was chosen.
        extended = [
            servers[re.sub(r"\$\{\w+(:-(\w*)|:\+[\w-]*)\}", r"\2", s["extends"]["service"])]
            for s in services
            if "extends" in s
        ]
        images = {s["image"] for s in extended if not s.get("profiles")}
        chosen = [project.answers["cache_server"], project.answers["database"]]
        expected = [IMAGES[answer] for answer in chosen if answer in IMAGES]
        assert len(images) == len(expected)
        assert all(any(image.startswith(start) for image in images) for start in expected)
        assert f"python:{project.answers['python_version']}-slim" in project.read("Dockerfile")


def test_no_answer_changes_python_or_the_locks(every_project: list[Project]) -> None:
    def sources(project: Project) -> dict[str, str]:
        package = project.package.name
        return {
            # Tests import the package by its name.
            str(name).replace(package, "package"): project.read(str(name)).replace(
                f"from {package}", "from package"
            )
            for name in project.files()
            if name.suffix == ".py" or name.parts[0] == "requirements"
        }

    expected = sources(every_project[0])
    assert len(expected) > 2
    assert all(sources(project) == expected for project in every_project)


def test_every_choice_changes_something(every_project: list[Project]) -> None:
    by_answers = {
        tuple(project.answers[key] for key in CHOICES): project for project in every_project
    }
    first = tuple(values[0] for values in CHOICES.values())
    for place, values in enumerate(CHOICES.values()):
        for value in values[1:]:
            other = (*first[:place], value, *first[place + 1 :])
            assert differences(by_answers[first], by_answers[other])


def differences(one: Project, other: Project) -> set[str]:
    """Return the names of the files that differ by more than the projects' names."""

    def texts(project: Project) -> set[tuple[str, str]]:
        names = (project.path.name, project.package.name)
        result = set()
        for name in project.files():
            if name.name != ".env" and name.suffix not in BINARY:
                text = f"{name}\0{project.read(str(name))}"
                for word in names:
                    text = text.replace(word, "name")
                path, _, content = text.partition("\0")
                result.add((path, content))
        return result

    return {name for name, _ in texts(one) ^ texts(other)}


@pytest.mark.parametrize("command", ["check", "format"])
def test_ruff_has_nothing_to_say(
    every_project: list[Project], environment: Path, command: str
) -> None:
    folder = every_project[0].path.parent
    option = ["--check"] if command == "format" else []
    ruff = environment / "ruff"
    result = subprocess.run(
        [ruff, command, "--no-cache", "--output-format", "concise", *option, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    of_a_project = rf"^{re.escape(str(folder))}/[^/]+/(src/[^/]+/)?"
    words = sorted({re.sub(of_a_project, "", line) for line in result.stdout.splitlines()})
    assert result.returncode == 0, "\n".join(words)[:2000] + result.stderr[-2000:]
