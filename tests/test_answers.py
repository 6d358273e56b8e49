"""Answers of any kind come out as they were typed, in every file that they reach."""

import html
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from baking import BINARY, FREE_TEXT, Project, bake
from markdown_it import MarkdownIt
from markdown_it.token import Token

HOSTILE = {
    "quotes": """Zoë's "shop" `run` \\'""",
    "triple quotes": '""" \'\'\' """',
    "backslashes": r"C:\new\table \u0041 \x \\ \"",
    "braces": "{a} {{ b }} {% c %} {# d #} ${E} $F %(g)s %h",
    "YAML": "- a: b # c, [d] & *e !f | > ? yes",
    "only YAML": "null",
    "number": "007",
    "Markdown": "# *a* _b_ [c](d) <b>e</b> ~~f~~ | g | ![h](i) &amp; https://example.com",
    "list": "1. one",
    "dash": "- dash",
    "HTML": "</title><script>alert(1)</script>",
    "shell": "$(id) `id` ; && | > < ! ~ * ? '",
    "emoji": "🛒 👩‍👩‍👧 🇪🇺",
    "non-Latin": "Магазин 日本語の店 متجر Ελληνικά",
    "lines of Unicode": "a\u2028b\u2029c\u00a0d",
    "combining": "e\u0301 क्\u200dष می\u200cبینم",
    "long": "Name " * 40,
    "long word": "x" * 200,
}


#: One of each kind; `make test-all` tries the others, too.
SHORT = {"quotes", "backslashes", "braces", "YAML", "Markdown", "HTML", "lines of Unicode"}


@pytest.fixture(
    scope="module",
    params=[
        name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in HOSTILE
    ],
)
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a hostile text in each free answer."""
    answers = {key: f"{HOSTILE[request.param]}".strip() for key in FREE_TEXT}
    return bake(tmp_path_factory.mktemp("hostile"), **answers)


def test_free_text_reaches_only_the_files_below(tmp_path: Path) -> None:
    marks = {key: f"Qz{key.replace('_', '')}" for key in FREE_TEXT}
    project = bake(tmp_path, **marks, author_email="qzmail@example.com", project_slug="slug")
    package = "src/slug"
    reached = {
        (key, str(name))
        for name in project.files()
        for key, mark in {**marks, "author_email": "qzmail"}.items()
        if name.suffix not in BINARY and mark in project.read(str(name))
    }
    assert reached == {
        ("project_name", f"{package}/about.toml"),
        ("project_name", "README.md"),
        ("description", f"{package}/about.toml"),
        ("description", "README.md"),
        ("description", "pyproject.toml"),
        ("author_name", "pyproject.toml"),
        ("author_name", "LICENSE"),
        ("author_email", "pyproject.toml"),
    }


def test_toml_holds_the_answers(hostile: Project) -> None:
    about = tomllib.loads((hostile.package / "about.toml").read_text(encoding="utf-8"))
    assert about["name"] == hostile.answers["project_name"]
    assert about["description"] == hostile.answers["description"]
    project = tomllib.loads(hostile.read("pyproject.toml"))["project"]
    assert project["description"] == hostile.answers["description"]
    assert project["authors"][0]["name"] == hostile.answers["author_name"]


def test_the_readme_shows_the_answers(hostile: Project) -> None:
    blocks = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(hostile.read("README.md"))
    )
    heading, paragraph = [block for block in blocks if block.type == "inline"][:2]
    assert words(shown(heading)) == words(hostile.answers["project_name"])
    assert words(hostile.answers["description"]) in words(shown(paragraph))


def shown(block: Token) -> str:
    """Return the text that a reader of a paragraph sees, if it is nothing but text."""
    assert block.children is not None
    for part in block.children:
        assert part.type in {"text", "text_special", "softbreak"}, part
    return "".join(part.content or " " for part in block.children)


def words(text: str) -> str:
    """Return a text with each white space as one blank, as HTML shows it."""
    return " ".join(text.split())


def test_the_license_names_the_author(hostile: Project) -> None:
    assert hostile.answers["author_name"] in hostile.read("LICENSE")


def test_the_other_files_still_parse(hostile: Project) -> None:
    for name in hostile.files():
        if name.suffix in {".yaml", ".yml"}:
            yaml.safe_load(hostile.read(str(name)))
        if name.suffix == ".py":
            compile(hostile.read(str(name)), str(name), "exec")


SHOW = """
import importlib, json, sys
application = importlib.import_module(sys.argv[1]).create_app(
    APP_ENV="testing", SQLALCHEMY_DATABASE_URI="sqlite://", TESTING=True
)
importlib.import_module(f"{sys.argv[1]}.extensions").db
with application.app_context():
    importlib.import_module(f"{sys.argv[1]}.extensions").db.create_all()
page = application.test_client().get("/").get_data(as_text=True)
print(json.dumps([application.config["SITE_NAME"], application.config["SITE_DESCRIPTION"], page]))
"""


def test_pages_show_the_name_as_text(hostile: Project, environment: Path) -> None:
    python = environment / "python"
    result = hostile.run(
        python, "-B", "-c", SHOW, hostile.package.name, PYTHONPATH="src", APP_ENV="testing"
    )
    name, description, page = json.loads(result.stdout.splitlines()[-1])
    assert (name, description) == (hostile.answers["project_name"], hostile.answers["description"])
    title = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    assert title
    assert "<" not in title[1]
    assert words(name) in words(html.unescape(title[1]))


@pytest.mark.parametrize(
    ("name", "slug", "package"),
    [
        ("My Flask App", "my-flask-app", "my_flask_app"),
        ("Crème Brûlée & Co.", "creme-brulee-co", "creme_brulee_co"),
        ("日本語", "app", "app"),
        ("🛒", "app", "app"),
        ("2048", "2048", "app_2048"),
        ("Flask", "flask-app", "flask_app"),
        ("Calendar", "calendar", "calendar_app"),
        ("Class", "class", "class_app"),
        ("Tests", "tests", "tests_app"),
        ("NUL", "nul-app", "nul_app"),
        ("x" * 200, "x" * 50, "x" * 50),
        ("ab " * 60, "-".join(["ab"] * 17)[:50], "_".join(["ab"] * 17)[:50]),
    ],
)
def test_slug_and_package_follow_from_the_name(
    tmp_path: Path, name: str, slug: str, package: str
) -> None:
    project = bake(tmp_path, project_name=name)
    assert (project.path.name, project.package.name) == (slug, package)
