"""The application is small, uses the library's public names only, and documents its settings."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from baking import Project

#: What the application, its tests and its tools may import of the library.
PUBLIC = {
    "flask_coherent_cache",
    *(f"flask_coherent_cache.{name}" for name in ("gunicorn", "logs", "negotiation")),
    *(f"flask_coherent_cache.{name}" for name in ("settings", "testing", "tools")),
}
#: Settings that `.env.example` leaves out: they hold Python objects, or belong to the code.
OF_THE_CODE = {
    "CACHE_ARGS",
    "CACHE_ENABLE_SIGNALS",
    "CACHE_HASH_METHOD",
    "CACHE_OPTIONS",
    "CACHE_SOURCE_CHECK",
    "CACHE_STRICT",
}
#: Settings for which the application has a default of its own.
OWN_DEFAULT = {"CACHE_POOL_SIZE", "CACHE_TOOLBAR", "WEB_CONCURRENCY"}
LIST_DEFAULTS = """
import json
from flask_coherent_cache.settings import SETTINGS
print(json.dumps({name: setting.default for name, setting in SETTINGS.items()}, default=str))
"""
#: What only `flask db` needs, if the application has it imported.
START = """
import sys
from {package} import create_app
create_app(APP_ENV="testing")
print([name for name in ("alembic", "flask_migrate", "mako", "pygments") if name in sys.modules])
"""


def imports(path: Path) -> Iterator[str]:
    """Yield the names that a file imports absolutely, those of modules with what is taken."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
            yield from (f"{node.module}.{a.name}" for a in node.names if a.name.startswith("_"))


def test_the_application_imports_public_names_of_the_library_only(project: Project) -> None:
    files = [path for path in project.files() if path.suffix == ".py" and path.parts[0] != "tests"]
    found = {name for path in files for name in imports(project.path / path)}
    of_library = {name for name in found if name.partition(".")[0] == "flask_coherent_cache"}
    assert of_library
    assert of_library <= PUBLIC


def test_an_owner_can_read_the_application_in_an_evening(project: Project) -> None:
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in project.package.rglob("*.py")
    }
    assert sum(lines.values()) <= 2500
    assert max(lines.values()) <= 260


def test_each_setting_of_the_cache_is_documented_with_its_default(
    project: Project, environment: Path
) -> None:
    listed = subprocess.run(
        [environment / "python", "-c", LIST_DEFAULTS], capture_output=True, text=True, check=True
    )
    defaults = json.loads(listed.stdout)
    example = project.read(".env.example")
    shown = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert defaults.keys() - shown.keys() == OF_THE_CODE
    assert {name for name in shown if name.startswith("CACHE_")} <= defaults.keys()
    for name, default in defaults.items():
        if isinstance(default, int | float) and name in shown.keys() - OWN_DEFAULT:
            assert shown[name] == str(default).lower()


def test_a_server_starts_without_what_only_migrations_need(
    project: Project, environment: Path
) -> None:
    source = START.format(package=project.package.name)
    told = project.run(environment / "python", "-c", source, PYTHONPATH=str(project.path / "src"))
    assert told.stdout.split("\n")[-2] == "[]"
