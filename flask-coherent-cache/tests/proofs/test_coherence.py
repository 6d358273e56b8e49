"""No read is older than the last commit that was acknowledged before it began.

`PROOF_READS=200000 make proofs` reads as often as that on each backend.
"""

import os

import pytest
from running import BACKENDS, SHARED_BACKENDS, STOCK_BACKENDS, run_program

READS = int(os.environ.get("PROOF_READS", "5000"))
#: A commit in so many reads: most reads of a row are hits, and every fill meets commits.
PAUSE = 50
STOCK_READS, STOCK_PAUSE = 5000, 20
#: Something is lost in so many reads, and often enough that each kind of thing is.
LOSS_PAUSE = max(10, READS // 500)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_read_is_stale(backend: str) -> None:
    counted = run_program("coherence.py", "ours", backend, READS, PAUSE)
    assert counted["stale_by_kind"] == dict.fromkeys(counted["stale_by_kind"], 0)
    assert counted["reads"] >= READS
    assert counted["commits"] >= READS // PAUSE
    assert counted["hits"] > 0.3, "so few hits prove little"


@pytest.mark.parametrize("backend", STOCK_BACKENDS)
def test_stock_serves_stale(backend: str) -> None:
    counted = run_program("coherence.py", "stock", backend, STOCK_READS, STOCK_PAUSE)
    assert counted["stale"] > 0


@pytest.mark.parametrize("backend", SHARED_BACKENDS)
def test_no_read_is_stale_while_the_server_loses_keys(backend: str) -> None:
    drops = f"drops={LOSS_PAUSE}"
    counted = run_program("coherence.py", "ours", backend, READS // 2, PAUSE, drops)
    assert counted["stale_by_kind"] == dict.fromkeys(counted["stale_by_kind"], 0)
    kinds = {"tag", "entry", "lease", "clock", "generation", "everything"}
    assert kinds <= set(counted["disturbed"])
