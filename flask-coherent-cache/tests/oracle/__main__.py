"""Explore random databases at length, and print what was dropped and what had to be.

Usage: python -m oracle DATABASE CASES [SEED [SETTING=VALUE...]]   (in the folder of the tests)

DATABASE is sqlite, postgresql or mysql; a SETTING is one of the cache, such as CACHE_NARROW=0.
"""

import logging
import sys

from .oracle import Run, explore
from .servers import database


def main(kind: str, cases: str, seed: str = "1", *settings: str) -> None:
    logging.disable(logging.WARNING)
    given = {name: bool(int(value)) for name, _, value in (s.partition("=") for s in settings)}
    with database(kind) as url:
        if url is None:
            sys.exit(f"There is no {kind}, or no driver for it, on this machine.")
        figures = explore(Run(kind, url, settings=given), int(cases), int(seed))
    print(f"{kind}: {figures}")
    for name, dropped in sorted(figures.kinds.items()):
        needed = figures.needed[name]
        print(
            f"  {name:35} {dropped:6} dropped, {needed:6} needed ({needed / max(1, dropped):.0%})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
