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

import postgresql
import report
from client import held, load
from picture import draw
from servers import caddy
from shop import Shop
from stage import Stage, ask
from storms import Storms

PACKAGES = ("dogpile.cache", "Flask", "Flask-Caching", "gunicorn", "hiredis", "redis", "Werkzeug")
PAGE_BYTES = 4096
#: More than a server's threads.
HELD_REQUESTS = 8
MILLISECONDS_AWAY = 1.0
#: The library has it.
INVALIDATION = (
    Path(__file__).resolve().parents[1] / "flask-coherent-cache/benchmarks/invalidation.py"
)


class Sizes(NamedTuple):
    """How much is measured: times in seconds, rates in requests a second.

    What takes long is measured in the first rounds only.
    """

    rounds: int = 7
    long_rounds: int = 2
    served: float = 0.4
    inside: float = 0.08
    storm: float = 1.5
    expiry: float = 6.0
    rate: float = 200.0
    near_bytes: int = 32 * 2**20
    entries: int = 20_000


QUICK = Sizes(2, 1, 0.1, 0.02, 0.3, 1.5, 100.0, 2**20, 200)


class Bench:
    """All measures of all subjects, round by round.

    `skipped` says of each place that is not on this machine what it lacks.
    """

    def __init__(self, stage: Stage, sizes: Sizes, *gunicorn: str) -> None:
        """Start all that stays up; `gunicorn` is more of its options for ours."""
        self.stage, self.sizes = stage, sizes
        self.figures: report.Figures = defaultdict(lambda: defaultdict(list))
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.client_microseconds: list[float] = []
        self.skipped: dict[str, str] = {}
        told = stage.info("server")
        self.server = {name: told[name] for name in told if name.endswith("_version")}
        for name in dict.fromkeys((*report.SERVED[0].subjects, *report.HELD.subjects)):
            stage.serve(name, "", *(gunicorn if name in ("ours", "quiet") else ()))
            stage.prepare_requests(name)
            if name == "ours":
                stage.record()
        for subject in dict.fromkeys((*report.FLASK, *report.FUNCTIONS)):
            stage.start_worker(subject)
        self.open_places(gunicorn)
        self.storms = Storms(stage)

    def open_places(self, gunicorn: tuple[str, ...]) -> None:
        """Start what is measured elsewhere: behind the edge, with a far Redis, on PostgreSQL."""
        stage = self.stage
        if caddy() is None:
            self.skipped["edge"] = "there is no Caddy on this machine"
        else:
            stage.serve_behind_edge("ours", *gunicorn)
            stage.serve_behind_edge("gthread")
        far = stage.relay(MILLISECONDS_AWAY)
        for subject in report.BESIDE:
            stage.start_worker(subject, "remote", CACHE_REDIS_URL=far, BENCHMARK_BATCH="10")
        folder = postgresql.programs()
        if folder is None:
            self.skipped["PostgreSQL"] = "there is no PostgreSQL on this machine"
            return
        servers = stage.servers
        server = postgresql.server(folder, servers.free_port, servers.wait_until)
        url = stage.stack.enter_context(server)
        Shop(stage, DATABASE_URL=url)
        for subject in report.BESIDE:
            settings = {"DATABASE_URL": url, "BENCHMARK_STATEMENTS": "1", "BENCHMARK_BATCH": "20"}
            stage.start_worker(subject, "PostgreSQL", **settings)

    def warm_up(self) -> None:
        """Load each server and start each application once; the workers warm up by themselves."""
        for name, path in self.stage.requests:
            load(self.stage.ports[name], self.stage.requests[name, path], self.sizes.served)
        for subject in report.START.subjects:
            self.stage.run("starting.py", subject)
        for subject in self.storms.ports:
            self.storms.reads(subject, "page", 1, self.sizes.storm)

    def take(
        self, measure: report.Measure, number: int, figure: Callable[[report.Measure, str], float]
    ) -> None:
        """Take a measure of its subjects; each round begins with another one."""
        shift = number % len(measure.subjects)
        for subject in measure.subjects[shift:] + measure.subjects[:shift]:
            self.figures[measure.name][subject].append(figure(measure, subject))

    def round(self, number: int) -> None:
        """Take every measure once."""
        is_long = number < self.sizes.long_rounds
        for measures, figure in (
            (report.SERVED, self.rate),
            ([report.HELD], self.rate_while_held),
            ([*report.INSIDE, report.STAMPEDE, *report.STATEMENTS], self.inside),
            ([report.START], self.start),
            (report.REMOTE if is_long else [], self.inside),
            (report.STORMS if is_long else [], self.storm),
            ([report.EXPIRY[0]] if is_long else [], self.expire),
            ([report.REACH] if is_long else [], self.reach),
            ([report.GROWTH] if is_long else [], self.growth),
        ):
            for measure in measures:
                if measure.place not in self.skipped:
                    self.take(measure, number, figure)

    def rate(self, measure: report.Measure, subject: str) -> float:
        """Load a server, and return its requests a second."""
        before, name = self.stage.commands(), subject + measure.place
        request = self.stage.requests[name, measure.order]
        loaded = load(self.stage.ports[name], request, self.sizes.served)
        count = len(loaded.latencies)
        if measure is report.SERVED[0]:
            self.client_microseconds.append(loaded.client_seconds / count * 1e6)
            if subject in report.COMMANDS.subjects:
                each = (self.stage.commands() - before) / count
                self.figures[report.COMMANDS.name][subject].append(each)
        return count / loaded.seconds

    def rate_while_held(self, measure: report.Measure, subject: str) -> float:
        """Load a server while slow requests hold each of its threads."""
        with held(self.stage.ports[subject], "/held", HELD_REQUESTS):
            return self.rate(measure, subject)

    def inside(self, measure: report.Measure, subject: str) -> float:
        """Let the subject's own process measure it."""
        worker = self.stage.workers[subject + measure.place]
        return ask(worker, measure.order, self.sizes.inside)

    def storm(self, measure: report.Measure, subject: str) -> float:
        """Read while so many writes a second go on; return the reads a second."""
        return self.storms.reads(subject, "page", float(measure.order), self.sizes.storm)

    def count(self) -> None:
        """Count what needs no rounds: what writes drop in vain, and the tags of entries."""
        shop = Shop(self.stage, "counted", LOG_LEVEL="WARNING")
        counted = json.loads(self.stage.run("many_calls.py", **shop.settings))
        told = json.loads(self.stage.run("precision.py", str(self.stage.project)))
        for write, found in told.items():
            counted[write] = 100 * found["differ"] / found["dropped"]
        for measure in report.COUNTED:
            self.figures[measure.name]["ours"].append(counted[measure.order])

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
            "skipped": self.skipped,
            "client_microseconds_a_request": self.client_microseconds,
            "latencies_in_an_expiry_ms": self.latencies,
            **self.figures,
        }


def measure(project: Path, sizes: Sizes, *gunicorn: str) -> Bench:
    """Run all rounds; whoever is told to stop stops what was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmark: stopped"))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Stage(project, Path(folder), stack), sizes, *gunicorn)
        bench.warm_up()
        for number in range(sizes.rounds):
            print(f"round {number + 1} of {sizes.rounds}", flush=True)
            bench.round(number)
        bench.count()
    return bench


def main() -> None:
    """Measure all, print the table, write the figures and draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("project", type=Path, help="a generated project")
    parser.add_argument("--quick", action="store_true", help="seconds, and figures of no worth")
    parser.add_argument("--figures", type=Path, default=Path("build/bench/results.json"))
    parser.add_argument("--picture", type=Path, default=Path("build/bench/benchmark.svg"))
    parser.add_argument("--worker-class", help="gunicorn's, in the place of the project's own")
    options = parser.parse_args()
    gunicorn = ("--worker-class", options.worker_class) if options.worker_class else ()
    sizes = QUICK if options.quick else Sizes()
    bench = measure(options.project.resolve(), sizes, *gunicorn)
    print(report.table(bench.figures))
    for place, reason in bench.skipped.items():
        print(f"Skipped ({place}): {reason}.")
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in bench.raw().items())
    options.figures.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    options.picture.write_text(draw(bench.figures, bench.latencies), encoding="utf-8")


if __name__ == "__main__":
    main()
