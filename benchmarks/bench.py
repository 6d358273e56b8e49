"""Measures a generated project's application beside others, in rounds, on this machine alone.

Usage: python benchmarks/bench.py PROJECT [--quick] [--figures FILE] [--picture FILE]

`make bench` runs it. In each round every measure is taken of every subject in turn, so that what
else the machine does meets all alike. A ratio is one of two figures of the same round; the table
shows the median of the rounds, and the quartiles as their spread. Rounds are many and short: what
is compared lies close together in time.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import report
from client import load
from picture import draw
from stage import Stage, ask

PACKAGES = ("dogpile.cache", "Flask", "Flask-Caching", "gunicorn", "hiredis", "redis", "Werkzeug")
PAGE_BYTES = 4096
#: The library has it.
INVALIDATION = (
    Path(__file__).resolve().parents[1] / "flask-coherent-cache/benchmarks/invalidation.py"
)


class Sizes(NamedTuple):
    """How much is measured: times in seconds, rates in requests a second.

    What takes long is measured in the first rounds only.
    """

    rounds: int = 21
    long_rounds: int = 3
    served: float = 0.5
    inside: float = 0.1
    expiry: float = 6.0
    rate: float = 200.0
    near_bytes: int = 32 * 2**20
    entries: int = 20_000


QUICK = Sizes(2, 1, 0.1, 0.02, 1.5, 100.0, 2**20, 200)


class Bench:
    """All measures of all subjects, round by round."""

    def __init__(self, stage: Stage, sizes: Sizes) -> None:
        """Start all that stays up from round to round."""
        self.stage, self.sizes = stage, sizes
        self.figures: report.Figures = defaultdict(lambda: defaultdict(list))
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.client_microseconds: list[float] = []
        told = stage.info("server")
        self.server = {name: told[name] for name in told if name.endswith("_version")}
        for subject in report.SERVED[0].subjects:
            stage.serve(subject)
            if subject == "ours":
                stage.record()
        for subject in dict.fromkeys((*report.FLASK, *report.FUNCTIONS)):
            stage.workers[subject] = stage.stack.enter_context(stage.worker(subject))

    def warm_up(self) -> None:
        """Load each server and start each application once; the workers warm up by themselves."""
        for subject, path in self.stage.requests:
            load(self.stage.ports[subject], self.stage.requests[subject, path], self.sizes.served)
        for subject in report.START.subjects:
            self.stage.run("starting.py", subject)

    def take(
        self, measure: report.Measure, number: int, figure: Callable[[report.Measure, str], float]
    ) -> None:
        """Take a measure of its subjects; each round begins with another one."""
        shift = number % len(measure.subjects)
        for subject in measure.subjects[shift:] + measure.subjects[:shift]:
            self.figures[measure.name][subject].append(figure(measure, subject))

    def round(self, number: int) -> None:
        """Take every measure once."""
        for measure in report.SERVED:
            self.take(measure, number, self.rate)
        for measure in [*report.INSIDE, report.STAMPEDE]:
            self.take(measure, number, self.inside)
        self.take(report.START, number, self.start)
        if number < self.sizes.long_rounds:
            self.take(report.EXPIRY[0], number, self.expire)
            self.take(report.REACH, number, self.reach)
            self.take(report.GROWTH, number, self.growth)

    def rate(self, measure: report.Measure, subject: str) -> float:
        """Load a server, and return its requests a second."""
        before = self.stage.commands()
        request = self.stage.requests[subject, measure.order]
        loaded = load(self.stage.ports[subject], request, self.sizes.served)
        count = len(loaded.latencies)
        if measure is report.SERVED[0]:
            self.client_microseconds.append(loaded.client_seconds / count * 1e6)
            if subject in report.COMMANDS.subjects:
                each = (self.stage.commands() - before) / count
                self.figures[report.COMMANDS.name][subject].append(each)
        return count / loaded.seconds

    def inside(self, measure: report.Measure, subject: str) -> float:
        """Let the subject's own process measure it."""
        return ask(self.stage.workers[subject], measure.order, self.sizes.inside)

    def start(self, _: report.Measure, subject: str) -> float:
        """Start the application in a process of its own; return milliseconds, and note its size."""
        seconds, size = map(float, self.stage.run("starting.py", subject).split())
        self.figures[report.MEMORY.name][subject].append(size / 2**20)
        return seconds * 1000

    def expire(self, _: report.Measure, subject: str) -> float:
        """Ask at a steady rate for a page that expires each second; return and note latencies."""
        port, request = self.stage.ports[subject], self.stage.requests[subject, "/expires"]
        loaded = load(port, request, self.sizes.expiry, self.sizes.rate)
        latencies = sorted(round(seconds * 1000, 3) for seconds in loaded.latencies)
        self.latencies[subject] += latencies
        self.figures[report.EXPIRY[1].name][subject].append(latencies[len(latencies) * 99 // 100])
        self.figures[report.EXPIRY[2].name][subject].append(latencies[-1])
        return statistics.median(latencies)

    def reach(self, _: report.Measure, _subject: str) -> float:
        """Compare an invalidation that reaches many entries with one that reaches one."""
        words = self.stage.run(str(INVALIDATION), str(self.sizes.entries), "21")
        return float(json.loads(words)["ratio"])

    def growth(self, measure: report.Measure, subject: str) -> float:
        """Fill an empty near cache to its bound and beyond; return the growth over the bound."""
        bound = self.sizes.near_bytes
        with self.stage.worker(subject, CACHE_NEAR_BYTES=str(bound)) as worker:
            return ask(worker, measure.order, 1.25 * bound / PAGE_BYTES) / bound

    def raw(self) -> dict[str, object]:
        """Return all figures, and what they were measured with."""
        return {
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "server": self.server,
            "sizes": self.sizes._asdict(),
            "client_microseconds_a_request": self.client_microseconds,
            "latencies_in_an_expiry_ms": self.latencies,
            **self.figures,
        }


def measure(project: Path, sizes: Sizes) -> Bench:
    """Run all rounds; whoever is told to stop stops what was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmark: stopped"))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Stage(project, Path(folder), stack), sizes)
        bench.warm_up()
        for number in range(sizes.rounds):
            print(f"round {number + 1} of {sizes.rounds}", flush=True)
            bench.round(number)
    return bench


def main() -> None:
    """Measure all, print the table, write the figures and draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("project", type=Path, help="a generated project")
    parser.add_argument("--quick", action="store_true", help="seconds, and figures of no worth")
    parser.add_argument("--figures", type=Path, default=Path("benchmarks/results.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/benchmark.svg"))
    options = parser.parse_args()
    bench = measure(options.project.resolve(), QUICK if options.quick else Sizes())
    print(report.table(bench.figures))
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in bench.raw().items())
    options.figures.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    options.picture.write_text(draw(bench.figures, bench.latencies), encoding="utf-8")


if __name__ == "__main__":
    main()
