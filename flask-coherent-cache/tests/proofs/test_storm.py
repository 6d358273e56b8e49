"""Many threads of several processes read one key while it changes: a fill for each change."""

import pytest
from running import FEW_BACKENDS, STOCK_BACKENDS, run_program


@pytest.mark.parametrize("backend", FEW_BACKENDS)
def test_at_most_one_more_fill_for_each_write(backend: str) -> None:
    counted = run_program("storm.py", "ours", backend)
    # Memcached reads many keys one after the other: a fill may begin just before a write.
    torn = counted["writes"] if backend == "MemcachedCache" else 0
    assert counted["fills"] <= counted["writes"] + 1 + torn
    assert counted["reads"] > counted["fills"]
    assert counted["old"] == 0


@pytest.mark.parametrize("backend", STOCK_BACKENDS)
def test_stock_computes_for_everybody(backend: str) -> None:
    counted = run_program("storm.py", "stock", backend)
    assert counted["fills"] > counted["writes"] + 1
