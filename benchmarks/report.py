"""What is measured of whom, the bars, and the table that compares them."""

import statistics
from dataclasses import dataclass

#: Of each measure and subject, a figure a round.
Figures = dict[str, dict[str, list[float]]]

NAMES = {
    "ours": "this template",
    "raw": "a raw WSGI callable",
    "bare": "bare Flask",
    "RedisCache": "Flask-Caching, Redis",
    "SimpleCache": "Flask-Caching, SimpleCache",
    "defaults": "Flask-Caching, Redis, gunicorn's defaults",
    "dogpile.cache.redis": "dogpile.cache, Redis",
    "dogpile.cache.memory": "dogpile.cache, memory",
    "same": "the same application, Flask-Caching",
    "logged": "Flask-Caching, Redis, gunicorn's access log",
    "quiet": "the same without its access log",
    "gthread": "the same on gthread",
    "without": "the same with CACHE_TYPE=NullCache",
}
STOCK = ("RedisCache", "SimpleCache")
FLASK = ("ours", "bare", *STOCK)
FUNCTIONS = ("ours", *STOCK, "dogpile.cache.redis", "dogpile.cache.memory")


@dataclass(frozen=True)
class Measure:
    """One thing that is measured; `order` is what a subject's process knows it by.

    `place` is where it is measured, if that is not beside all others.
    """

    name: str
    unit: str
    subjects: tuple[str, ...]
    order: str
    more_is_better: bool = False
    place: str = ""


BESIDE = ("ours", "RedisCache")
SERVED = [
    Measure(
        *("page hit", "requests/s", (*FLASK, "raw", "logged", "defaults", "quiet"), "/hello", True)
    ),
    Measure("private page", "requests/s", FLASK, "/private", True),
    Measure("304", "requests/s", (*FLASK, "raw"), "/conditional", True),
    Measure("page hit behind the edge", "requests/s", ("ours", "gthread"), "/hello", True, "edge"),
]
HELD = Measure(
    "page hit while all threads are held", "requests/s", ("ours", "gthread"), "/hello", True
)
INSIDE = [
    Measure("page hit in-process", "µs", FLASK, "page"),
    Measure("page miss in-process", "µs", FLASK, "page miss"),
    *(Measure(f"memoize hit, {n} arguments", "µs", FUNCTIONS, f"memoize {n}") for n in (0, 2, 10)),
    Measure("memoize miss", "µs", FUNCTIONS, "memoize miss"),
    Measure("fragment hit", "µs", ("ours", *STOCK), "fragment"),
    Measure("invalidation", "µs", FUNCTIONS, "invalidation"),
]
STAMPEDE = Measure("stampede", "computations", FUNCTIONS, "stampede")
EXPIRY = [
    Measure(f"latency in an expiry, {name}", "ms", ("ours", "RedisCache"), name)
    for name in ("median", "99%", "longest")
]
COMMANDS = Measure("Redis commands a page hit", "", ("ours", "RedisCache"), "")
START = Measure("import and create_app", "ms", ("ours", "same"), "")
MEMORY = Measure("memory of a worker", "MiB", ("ours", "same"), "")
REACH = Measure("invalidation of many entries, over one's", "x", ("ours",), "")
GROWTH = Measure("growth as the near cache fills, over its bound", "x", ("ours",), "near cache")
#: A Redis whose every answer takes 2 ms more, as one in another building.
REMOTE = [
    Measure(f"{name}, Redis 1 ms away", "µs", BESIDE, order, place="remote")
    for name, order in {
        "page hit in-process": "page",
        "page miss in-process": "page miss",
        "memoize miss": "memoize miss",
        "invalidation": "invalidation",
    }.items()
]
STATEMENTS = [
    Measure(f"{name}, two statements", "µs", BESIDE, f"statements {name}", place="PostgreSQL")
    for name in ("page miss", "memoize miss")
]
WRITES = (1, 5, 20, 50)
STORMS = [
    Measure(f"reads at {rate} writes a second", "requests/s", ("ours", "without"), f"{rate}", True)
    for rate in WRITES
]
#: What one program counts once; `order` is how its figures are called there.
COUNTED = [
    *(
        Measure(f"share of the dropped entries that differ, {write}", "%", ("ours",), write)
        for write in ("price", "stock", "new product")
    ),
    Measure("tags of an entry, 50 memoized calls", "", ("ours",), "tags"),
    Measure("entries that one change drops, 50 memoized calls", "", ("ours",), "drops"),
]
MEASURES = [
    *(*SERVED, HELD, *INSIDE, STAMPEDE, *EXPIRY, COMMANDS, *REMOTE, *STATEMENTS, *STORMS),
    *(START, MEMORY, REACH, GROWTH, *COUNTED),
]
#: Those in which ours is to be at most so many times the other.
COSTS = {START, MEMORY}
#: What is to be reached: a least ratio; for a cost, or where there is nobody else, a most.
BARS: dict[tuple[str, str], float] = {
    ("page hit", "raw"): 1.3,
    ("page hit", "RedisCache"): 2.5,
    ("page hit", "quiet"): 0.92,
    ("page hit behind the edge", "gthread"): 1.3,
    (HELD.name, "gthread"): 5,
    ("private page", "RedisCache"): 1.8,
    ("private page", "bare"): 1.3,
    ("page hit in-process", "RedisCache"): 33,
    ("page miss in-process", "RedisCache"): 0.45,
    ("memoize hit, 2 arguments", "RedisCache"): 33,
    ("memoize miss", "RedisCache"): 1.5,
    ("fragment hit", "SimpleCache"): 2,
    ("invalidation", "RedisCache"): 1.5,
    (COMMANDS.name, "RedisCache"): 0,
    ("reads at 5 writes a second", "without"): 3,
    ("reads at 20 writes a second", "without"): 1.1,
    (START.name, "same"): 1,
    (MEMORY.name, "same"): 1,
    (GROWTH.name, ""): 1.15,
    ("tags of an entry, 50 memoized calls", ""): 8,
    ("entries that one change drops, 50 memoized calls", ""): 1,
}


def ratios(measure: Measure, other: str, figures: Figures) -> list[float]:
    """Compare round by round: how many times better ours is, or for a cost how many times it is."""
    pairs = zip(figures[measure.name]["ours"], figures[measure.name][other], strict=True)
    upright = measure.more_is_better or measure in COSTS
    return [ours / theirs if upright else theirs / ours for ours, theirs in pairs]


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the bounds of the middle half."""
    low, _, high = statistics.quantiles(
        values * 2 if len(values) < 2 else values, method="inclusive"
    )
    return low, high


def row(measure: Measure, other: str, figures: Figures) -> tuple[str, ...]:
    """Return one row; where there is no ratio, the figure itself stands for it."""
    found = figures[measure.name]
    alone = measure is COMMANDS or not other
    at_most = measure in COSTS or alone
    compared = found["ours"] if alone else ratios(measure, other, figures)
    middle, bar, reached = statistics.median(compared), BARS.get((measure.name, other)), ""
    if bar is not None:
        reached = "yes" if (middle <= bar if at_most else middle >= bar) else "no"
    return (
        f"{measure.name}, {measure.unit}".rstrip(", "),
        number(statistics.median(found["ours"])),
        NAMES.get(other, ""),
        number(statistics.median(found[other])) if other else "",
        number(middle),
        " to ".join(map(number, quartiles(compared))),
        "" if bar is None else f"{'≤' if at_most else '≥'} {bar:g}",
        reached,
    )


def number(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"


def table(figures: Figures) -> str:
    """Write the table in Markdown."""
    head = ("measure", "ours", "beside", "theirs", "ratio", "spread", "bar", "reached")
    rows = []
    for measure in MEASURES:
        if not figures[measure.name]:
            continue  # What it needs is not here; the program says so.
        rows += [row(measure, other, figures) for other in measure.subjects[1:] or ("",)]
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )
