"""A drop of a memoized function that other processes fill at the same moment is never lost."""

import pytest
from running import SHARED_BACKENDS, run_program

DROPS = 400


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_no_drop_is_lost(backend: str) -> None:
    counted = run_program("lost.py", "ours", backend, DROPS)
    assert counted["lost"] == 0
    assert counted["misses"] > counted["drops"], "so few misses at the same time prove little"


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_stock_loses_drops(backend: str) -> None:
    assert run_program("lost.py", "stock", backend, DROPS)["lost"] > 0
