"""A drop of a memoized function that other processes fill at the same moment is never lost."""

from pathlib import Path

import pytest
from baking import Project
from running import SHARED_BACKENDS, run_program

DROPS = 400


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_no_drop_is_lost(project: Project, environment: Path, backend: str) -> None:
    counted = run_program(project, environment, "lost.py", "ours", backend, DROPS)
    assert counted["lost"] == 0
    assert counted["misses"] > counted["drops"], "so few misses at the same time prove little"


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_stock_loses_drops(project: Project, environment: Path, backend: str) -> None:
    assert run_program(project, environment, "lost.py", "stock", backend, DROPS)["lost"] > 0
