"""Draws anew what the tests draw at random, over and over, until the time is over.

Usage: python tests/explore.py MINUTES [PYTEST-ARGUMENT...]

It ends at once where something fails, and says how to see it again. What is found becomes a fixed
case. Without arguments it asks for the tests that draw: properties, orders of events, coherence,
and what random databases show after random writes.
"""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
DRAWING = (
    HERE / "test_properties.py",
    HERE / "test_oracle.py",
    HERE / "proofs" / "test_cases.py",
    HERE / "proofs" / "test_coherence.py",
)
CHOSEN = ("-k", "properties or stateful or no_read_is_stale or what_differs_after")
#: Orders of events, and cases for each database, in a round, which takes a few minutes.
EXAMPLES, CASES = "300", "20000"


def main(minutes: str, *arguments: str) -> None:
    chosen = arguments or (*map(str, DRAWING), *CHOSEN)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *chosen]
    end, rounds = time.monotonic() + 60 * float(minutes), 0
    while time.monotonic() < end:
        seed = str(secrets.randbelow(10**9))
        drawn = {
            "PROOF_SEED": seed,
            "PROOF_EXAMPLES": os.environ.get("PROOF_EXAMPLES", EXAMPLES),
            "ORACLE_CASES": os.environ.get("ORACLE_CASES", CASES),
        }
        result = subprocess.run(command, env={**os.environ, **drawn}, check=False)
        rounds += 1
        if result.returncode:
            again = " ".join(f"{name}={value}" for name, value in drawn.items())
            sys.exit(f"Round {rounds} failed. To see it again: {again} {' '.join(command)}")
    print(f"{rounds} rounds of {minutes} minutes found nothing.")


if __name__ == "__main__":
    main(*sys.argv[1:])
