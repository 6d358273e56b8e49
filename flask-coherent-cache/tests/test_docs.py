"""The documentation: its programs run, and its reference lists all that is public."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from blinker import Signal

import flask_coherent_cache
from flask_coherent_cache import Cache, CachedResponse, settings
from flask_coherent_cache.testing import CacheLog

DOCS = Path(__file__).parents[1] / "docs"
MODULES = ("settings", "tools", "testing", "negotiation", "logs", "gunicorn")
OURS = flask_coherent_cache.__name__


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a module offers, by name."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    ]  # fmt: skip
    for name in names:
        yield name, getattr(module, name)


def summary(thing: Any) -> str:
    """Return the first paragraph of a docstring, as a cell of a table."""
    if isinstance(thing, Signal):
        return "A signal of Flask-Caching, sent where `CACHE_ENABLE_SIGNALS` is true."
    if isinstance(thing, int):
        return "Seconds that `wait_until` waits where no other number is given."
    if thing is CachedResponse:
        return "Flask-Caching's response with a timeout of its own, for a cached view."
    if isinstance(thing, Mapping):
        return "Every setting by its name, each a `Setting`."
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`").replace("|", "\\|").removesuffix("::")


def methods() -> Iterator[tuple[str, Any]]:
    """Yield the public methods of the cache that are ours, in the order of their names."""
    for name, value in sorted(inspect.getmembers(Cache)):
        function = value.fget if isinstance(value, property) else value
        if name[0] != "_" and getattr(function, "__module__", "").startswith(OURS):
            yield name, function


def rendered_api() -> str:
    """Return the tables of the public names as Markdown."""
    lines = [f"### `{OURS}`", "", "| name | what it is |", "| --- | --- |"]
    lines += [f"| `{name}` | {summary(thing)} |" for name, thing in public(flask_coherent_cache)]
    lines += ["", "### `Cache`", "", "| method | what it does |", "| --- | --- |"]
    lines += [f"| `{name}` | {summary(function)} |" for name, function in methods()]
    for name in MODULES:
        module = importlib.import_module(f"{OURS}.{name}")
        lines += ["", f"### `{OURS}.{name}`", "", summary(module), ""]
        lines += ["| name | what it is |", "| --- | --- |"]
        lines += [f"| `{each}` | {summary(thing)} |" for each, thing in public(module)]
    return "\n".join(lines)


def rendered_settings() -> str:
    """Return the table of the settings as Markdown."""
    lines = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for name, setting in settings.SETTINGS.items():
        default = setting.default
        shown = "none" if default is None else getattr(default, "__name__", default)
        shown = ", ".join(default) if isinstance(default, tuple) else shown
        lines.append(f"| `{name}` | {shown} | {setting.help} |")
    return "\n".join(lines)


def parts() -> dict[str, str]:
    """Return what is written into the reference, by the name of its place."""
    return {"api": rendered_api(), "settings": rendered_settings()}


def write_reference() -> None:
    """Write the tables into the reference."""
    page = DOCS / "reference.md"
    text = page.read_text()
    for name, content in parts().items():
        begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
        text = text.partition(begin)[0] + begin + content + end + text.partition(end)[2]
    page.write_text(text)


@pytest.mark.parametrize("part", ["api", "settings"])
def test_the_reference_is_complete(part: str) -> None:
    assert parts()[part] in (DOCS / "reference.md").read_text(), (
        "write it: python tests/test_docs.py"
    )


def test_all_that_is_public_is_described() -> None:
    lines = [line for part in parts().values() for line in part.splitlines()]
    assert [line for line in lines if line.endswith("|  |")] == []


def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "tutorial.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    application, look, rates = blocks[:3]
    program = application + rates + look.replace("from app import app\n", "")
    names: dict[str, Any] = {"__name__": "app"}
    exec(compile(program, "app.py", "exec"), names)  # noqa: S102 - ours
    said = capsys.readouterr().out.splitlines()
    expected = re.findall(r"^print\(.*\)  # (.*)$", look, re.MULTILINE)
    assert len(said) == len(expected) == 4
    for one, other in zip(said, expected, strict=True):
        assert re.sub(r"ttl=\d+", "ttl", one) == re.sub(r"ttl=\d+", "ttl", other)
    undeclared = names["client"].get("/rates?currency=USD").headers["Cache-Status"]
    assert "undeclared: query parameter currency" in undeclared


def test_the_test_in_the_tutorial_passes() -> None:
    text = (DOCS / "tutorial.md").read_text()
    application, _, rates, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (declared,) = re.findall(r"`(@cache\.cached\(timeout=60, query=.*?)`", text)
    program = application + rates.replace("@cache.cached(timeout=60)", declared)
    names: dict[str, Any] = {"__name__": "app"}
    exec(compile(program + test.replace("from app import app\n", ""), "app.py", "exec"), names)  # noqa: S102 - ours
    tests = [names[name] for name in names if name.startswith("test_")]
    assert len(tests) == 2
    for each in tests:
        log = CacheLog()
        with log.listening():
            each(log)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
        }, link


if __name__ == "__main__":
    write_reference()
