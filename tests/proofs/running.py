"""Runs programs on a generated project, which count; the tests beside it judge them."""

import json
from pathlib import Path
from typing import Any

import pytest
from baking import ROOT, Project

PROGRAMS = Path(__file__).parent / "programs"
#: What they share with the library's own proofs.
SHARED = ROOT / "flask-coherent-cache" / "tests" / "proofs" / "programs"
#: Longer than any program takes; each bounds itself.
SECONDS = 3600
SHARED_BACKENDS = ("RedisCache", "MemcachedCache")


def run_program(
    project: Project, environment: Path, program: str, *arguments: object
) -> dict[str, Any]:
    """Run a program on a project, and return what it counted.

    One that lacks a server says so, and the test is skipped in its words.
    """
    command: list[str | Path] = [environment / "python", PROGRAMS / program, *map(str, arguments)]
    paths = f"{project.path / 'src'}:{SHARED}"
    result = project.run(*command, timeout=SECONDS, PYTHONPATH=paths)
    counted: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    print(program, *arguments, counted)
    if "skipped" in counted:
        pytest.skip(counted["skipped"])
    return counted
