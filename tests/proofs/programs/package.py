"""The package of the generated project, whose name no program spells.

The project's `src/` is on the path of every program, and of what a program starts.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

SOURCES = next(
    folder
    for folder in map(Path, sys.path)
    if folder.name == "src" and (folder.parent / "deploy").is_dir()
)


def name() -> str:
    """Return the name of the one package in src/."""
    (found,) = (path.parent.name for path in SOURCES.glob("*/__init__.py"))
    return found


def load(module: str = "") -> ModuleType:
    """Import a module of the package by its name within it; without one, the package itself."""
    return importlib.import_module(f"{name()}.{module}" if module else name())
