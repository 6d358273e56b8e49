"""Reads through the cache in several processes while a writer commits, and counts stale reads.

A read is stale when it returns a version older than the last one whose commit was acknowledged
before the read began. The writer tells of each commit in shared memory, once it has returned.

Usage: coherence.py ours|stock BACKEND READS PAUSE [drops|kills|stops=READS]...
Commits once in PAUSE reads, and disturbs once in so many reads: keys of the server are dropped,
tracking connections are killed, or the server stops for seconds.
"""

import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from werkzeug.test import EnvironBuilder, run_wsgi_app

from dropping import Dropper
from flask_coherent_cache._near import tracking
from harness import chance, finish, processes, run_at_once, server
from killing import Killer, Stopper
from shop import ROWS, Shop, done

READERS, THREADS = 4, 2
DISTURBERS = {"drops": Dropper, "kills": Killer, "stops": Stopper}
#: The slowest machine that is waited for.
READS_PER_SECOND = 100
#: In seconds. A connection that is killed a few times a second would else be there for no reads.
tracking.RETRY_SECONDS = 0.1


class Board:
    """What the processes know of each other: acknowledged versions and counts."""

    def __init__(self, readers: int, pause: int) -> None:
        self.versions = processes.RawArray("Q", ROWS + 1)
        self.reads = processes.RawArray("Q", readers * THREADS)
        self.reading = processes.Value("i", readers * THREADS)
        self.commits = processes.RawValue("Q", 0)
        self.writing = processes.RawValue("i", 1)
        self.counted = processes.SimpleQueue()
        self.pause = pause

    def wait_for_writer(self) -> None:
        """Let the writer, which has one process only, keep its share of a busy machine."""
        while self.writing.value and sum(self.reads) > (self.commits.value + 4) * self.pause:
            time.sleep(0.0005)

    def is_due(self, times: int, every: int) -> bool:
        """Wait until something is to be done for the next time; False when nobody reads."""
        while sum(self.reads) < times * every:
            if not self.reading.value:
                return False
            time.sleep(0.0005)
        return bool(self.reading.value)


class Dependencies:
    """Every way to read: each knows what it must see at least, and what it saw."""

    def __init__(self, shop: Shop, subject: str, versions: Any) -> None:
        self.shop, self.versions = shop, versions
        self.environs = {
            path: EnvironBuilder(path).get_environ()
            for path in ["/rows", *(f"/{p}/{n}" for p in ("row", "nested") for n in rows())]
        }
        self.kinds: dict[str, Callable[[int], bool]] = {
            "page of a row": lambda n: self.page(f"/row/{n}", [n]),
            "page of all rows": lambda _: self.page("/rows", list(rows())),
            "page over a function": lambda n: self.page(f"/nested/{n}", [n]),
            "function of a key": partial(self.function, shop.version_of),
            "function of a slug": partial(self.slug, shop.version_of_slug),
            "function of the table": lambda _: self.sum(),
        }
        if subject == "stock":
            self.kinds["get and set"] = partial(self.function, shop.get_or_set)

    def page(self, path: str, numbers: list[int]) -> bool:
        least = [self.versions[n] for n in numbers]
        body, status, _ = run_wsgi_app(self.shop.app, dict(self.environs[path]), buffered=True)
        seen = b"".join(body).split()
        assert status == "200 OK", (path, status, seen)
        return all(int(version) >= low for version, low in zip(seen, least, strict=True))

    def function(self, function: Callable[[int], int], number: int) -> bool:
        least: int = self.versions[number]
        with self.shop.app.app_context():
            return least <= function(number)

    def slug(self, function: Callable[[str], int], number: int) -> bool:
        least: int = self.versions[number]
        with self.shop.app.app_context():
            return least <= function(f"product-{number}")

    def sum(self) -> bool:
        least = sum(self.versions)
        with self.shop.app.app_context():
            total: int = self.shop.sum_of_versions()
        return total >= least


def rows() -> range:
    return range(1, ROWS + 1)


def read(reads: Dependencies, board: Board, slot: int, count: int) -> None:
    """Read `count` times at random; the last to end lets the writer end."""
    draw = chance(f"reader {slot}")
    kinds = list(reads.kinds)
    read, hits, stale = Counter[str](), Counter[str](), Counter[str]()
    near = Counter[str]()
    try:
        for _ in range(count):
            board.wait_for_writer()
            kind = draw.choice(kinds)
            filled = getattr(done, "count", 0)
            copies = getattr(done, "copies", 0)
            right = reads.kinds[kind](draw.choice(rows()))
            read[kind] += 1
            hits[kind] += getattr(done, "count", 0) == filled
            near[kind] += getattr(done, "copies", 0) > copies
            stale[kind] += not right
            board.reads[slot] += 1
        board.counted.put({"reads": read, "hits": hits, "near": near, "stale": stale})
    finally:
        with board.reading.get_lock():
            board.reading.value -= 1


def write(shop: Shop, reads: Dependencies, board: Board) -> None:
    """Commit, tell, and read one's own write at once."""
    draw = chance("writer")
    stale = Counter[str]()
    try:
        while board.is_due(board.commits.value, board.pause):
            number, other = draw.sample(rows(), 2)
            numbers = draw.choice([[number], [number], [number], [number, other], list(rows())])
            if len(numbers) == ROWS:
                shop.raise_all()
            else:
                shop.raise_rows(numbers)
            for changed in numbers:
                board.versions[changed] += 1
            board.commits.value += 1
            right = draw.choice(list(reads.kinds.values()))(number)
            stale["the writer's own"] += not right
        board.counted.put({"stale": stale})
    finally:
        board.writing.value = 0


def disturb(settings: dict[str, Any], board: Board, what: str, every: int) -> None:
    """Do once in so many reads what happens to servers and connections."""
    disturber = DISTURBERS[what](settings)
    while board.is_due(disturber.tried, every):
        disturber.act()
    board.counted.put({"disturbed": disturber.done})


def reader(start: Callable[[], Shop], subject: str, board: Board, first: int, count: int) -> None:
    """Read in several threads of one process."""
    reads = Dependencies(start(), subject, board.versions)
    threads = [
        threading.Thread(target=read, args=(reads, board, first + n, count)) for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def writer(start: Callable[[], Shop], subject: str, board: Board) -> None:
    shop = start()
    write(shop, Dependencies(shop, subject, board.versions), board)


def in_one_process(start: Callable[[], Shop], subject: str, board: Board, count: int) -> None:
    """Read and write in threads of one process, as SimpleCache can."""
    shop = start()
    writing = threading.Thread(target=writer, args=(lambda: shop, subject, board))
    writing.start()
    reader(lambda: shop, subject, board, 0, count)
    writing.join()


def summary(board: Board, participants: int) -> dict[str, Any]:
    """Add up what everybody counted."""
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _ in range(participants):
        for name, counter in board.counted.get().items():
            total[name] += counter
    names = ("reads", "hits", "near", "stale")
    reads, hits, near, stale = (total[name].total() for name in names)
    return {
        "reads": reads,
        "hits": round(hits / reads, 2),
        "near": round(near / reads, 2),
        "stale": stale,
        "stale_by_kind": total["stale"],
        "commits": board.commits.value,
        "disturbed": total["disturbed"],
    }


def main(subject: str, backend: str, total: str, pause: str, *disturbances: str) -> None:
    readers = 1 if backend == "SimpleCache" else READERS
    board = Board(readers, int(pause))
    count = -(-int(total) // (readers * THREADS))
    began = time.monotonic()
    with server(backend) as settings, tempfile.TemporaryDirectory() as folder:
        start = partial(Shop, subject, settings, Path(folder) / "shop.db")
        run_at_once([lambda: start().create()])
        if readers == 1:
            in_one_process(start, subject, board, count)
        else:
            targets: list[Callable[[], None]] = [
                partial(reader, start, subject, board, n * THREADS, count) for n in range(readers)
            ]
            targets.append(partial(writer, start, subject, board))
            for what, _, every in (disturbance.partition("=") for disturbance in disturbances):
                targets.append(partial(disturb, settings, board, what, int(every)))
            run_at_once(targets, 120 + int(total) / READS_PER_SECOND)
    participants = readers * THREADS + 1 + len(disturbances)
    finish(**summary(board, participants), seconds=round(time.monotonic() - began))


if __name__ == "__main__":
    main(*sys.argv[1:])
