"""Runs the programs of the proofs, which count; the tests beside it judge what they counted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
BENCHMARKS = HERE.parents[1] / "benchmarks"
#: Longer than any program takes; each bounds itself.
SECONDS = 3600
SHARED_BACKENDS = ("RedisCache", "MemcachedCache")
BACKENDS = ("SimpleCache", *SHARED_BACKENDS)
#: Of the servers one will do; the other is left to `make proofs`.
FEW_BACKENDS = (*BACKENDS[:2], pytest.param(BACKENDS[2], marks=pytest.mark.long))
#: Stock is wrong on all; that the others are, too, is left to `make proofs`.
STOCK_BACKENDS = (
    "SimpleCache",
    *(pytest.param(backend, marks=pytest.mark.long) for backend in SHARED_BACKENDS),
)


def run(*command: str | Path, path: tuple[Path, ...] = ()) -> str:
    """Run a Python program; return what it prints. Its output is in the failure if it fails."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, *sys.path)))}
    result = subprocess.run(
        [sys.executable, *command],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if result.returncode:
        words = " ".join(map(str, command))
        pytest.fail(f"{words}\n{result.stdout[-8000:]}\n{result.stderr[-8000:]}", pytrace=False)
    return result.stdout


def run_program(program: str | Path, *arguments: object) -> dict[str, Any]:
    """Run a program on the library, and return what it counted.

    One that lacks a server says so, and the test is skipped in its words.
    """
    output = run(PROGRAMS / program, *map(str, arguments))
    counted: dict[str, Any] = json.loads(output.splitlines()[-1])
    print(program, *arguments, counted)
    if "skipped" in counted:
        pytest.skip(counted["skipped"])
    return counted
