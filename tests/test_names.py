"""The names that a project may not take are those that its locks and its own files use."""

import json
import re
import subprocess
from pathlib import Path

from baking import TEMPLATE, Project

import local_extensions

INSTALLERS = {"pip", "setuptools", "uv", "wheel"}
LIST_MODULES = """
import importlib.metadata, json
names = set()
for distribution in importlib.metadata.distributions():
    for file in distribution.files or ():
        first = file.parts[0]
        if len(file.parts) > 1 or first.endswith((".py", ".so")):
            names.add(first.split(".")[0] if len(file.parts) == 1 else first)
print(json.dumps(sorted(names)))
"""


def test_the_distributions_are_those_of_the_lock() -> None:
    lock = (TEMPLATE / "requirements" / "dev.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==", lock, re.MULTILINE))
    locked |= {
        name.replace("_", "-") for name in re.findall(r"^vendor/([a-z_]+)-", lock, re.MULTILINE)
    }
    assert locked | INSTALLERS == local_extensions.DISTRIBUTIONS


def test_every_module_of_a_dependency_is_taken(environment: Path) -> None:
    listed = subprocess.run(
        [environment / "python", "-c", LIST_MODULES], capture_output=True, check=True
    )
    modules = {name for name in json.loads(listed.stdout) if re.fullmatch("[a-z][a-z0-9_]*", name)}
    assert len(modules) > 50
    assert modules - local_extensions.taken_modules() == set()
    assert modules >= local_extensions.MODULES


def test_every_name_of_the_project_itself_is_taken(project: Project) -> None:
    top = {name.parts[0] for name in project.files() if len(name.parts) > 1}
    tests = {path.stem for path in (project.path / "tests").glob("*.py")}
    packages = {path.parent.name for path in (project.path / "tests").glob("*/__init__.py")}
    names = {name for name in top | tests | packages if name.isidentifier()}
    own = {name for name in names if not name.startswith("test_")}
    assert own - local_extensions.taken_modules() == set()
