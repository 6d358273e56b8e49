"""Compares two generated projects, such as one before a change and one after it.

Usage: python benchmarks/compare.py PROJECT OTHER [ROUNDS [SECONDS]]

Python is one that has the requirements of both, and of the benchmarks. Each round measures both, in
turn, in processes that live through all rounds. A ratio above 1 says that OTHER is faster.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from stage import Stage, ask

MEASURES = (
    *("page", "page miss", "memoize 0", "memoize 2", "memoize 10", "memoize miss"),
    *("fragment", "invalidation"),
)


def main(project: str, other: str, rounds: str = "21", seconds: str = "0.4") -> None:
    """Measure both, and print the ratios with their spread."""
    ratios: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    with ExitStack() as stack:
        workers = []
        for path in (project, other):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stage = Stage(Path(path).resolve(), folder, stack)
            workers.append(stack.enter_context(stage.worker("ours")))
        for number in range(int(rounds)):
            for measure in MEASURES:
                first = number % 2
                times = {}
                for place in (first, 1 - first):
                    times[place] = ask(workers[place], measure, float(seconds))
                ratios[measure].append(times[0] / times[1])
    print("| measure | times faster | middle half of the rounds |\n| --- | --- | --- |")
    for measure, found in ratios.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"| {measure} | {middle:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
