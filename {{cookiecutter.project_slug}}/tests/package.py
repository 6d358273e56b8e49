"""The package under test, whose name no test spells."""

import importlib
from pathlib import Path
from types import ModuleType

SOURCES = Path(__file__).parents[1] / "src"


def name() -> str:
    """Return the name of the one package in src/."""
    (found,) = (path.parent.name for path in SOURCES.glob("*/__init__.py"))
    return found


def load(module: str = "") -> ModuleType:
    """Import a module of the package by its name within it; without one, the package itself."""
    return importlib.import_module(f"{name()}.{module}" if module else name())
