"""Many threads of two processes ask for one key at once, and one of them computes."""

import pytest
from running import FEW_BACKENDS, STOCK_BACKENDS, run_program


@pytest.mark.parametrize("backend", FEW_BACKENDS)
def test_one_fill_and_nobody_waits_within_grace(backend: str) -> None:
    scenes = run_program("stampede.py", "ours", backend)
    fills = {scene: counted["fills"] for scene, counted in scenes.items()}
    assert fills == dict.fromkeys(scenes, 1)
    for scene in ("grace page", "grace function"):
        # The refill ended only when everybody had been answered.
        assert scenes[scene]["served_old"] == scenes[scene]["callers"] > 0


@pytest.mark.parametrize("backend", STOCK_BACKENDS)
def test_stock_computes_for_everybody(backend: str) -> None:
    scenes = run_program("stampede.py", "stock", backend)
    for scene, counted in scenes.items():
        assert counted["fills"] > counted["callers"] / 2, scene
