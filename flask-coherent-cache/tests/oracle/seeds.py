"""Print the first seeds of worlds that show each way to break the analysis.

Usage: python -m oracle.seeds [MUTATION...]   (in the folder of the tests)

After a change of what is drawn, this says what to write into :data:`.mutations.MUTATIONS`.
"""

import logging
import sys

from .mutations import MUTATIONS
from .oracle import Figures, Stale, _world

SEEDS, ENOUGH = 60, 3


def main(*names: str) -> None:
    logging.disable(logging.WARNING)
    for name in names or MUTATIONS:
        mutation = MUTATIONS[name]
        run = mutation.run()
        found: list[int] = []
        for seed in range(1, SEEDS):
            with mutation.apply():
                try:
                    _world(run, seed, Figures())
                except Stale as stale:
                    found.append(seed)
                    print("   ", stale)
            if len(found) == ENOUGH:
                break
        print(name, found, "of", seed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
