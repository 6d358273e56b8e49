"""Freezes a tracking connection that stays open, and counts stale reads behind it.

The reader's links to the server go through a relay, which from some moment on hands nothing more
over on the tracking connection. No read may be stale that began later than the link was trusted;
until then they are, for nothing tells the reader, and that they are shows that the link is frozen.

Usage: half_open.py
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from counting import Server
from flask_coherent_cache.testing import free_port
from harness import finish, processes, run_at_once, server
from relay import Relay
from shop import Shop

#: How long a near cache trusts a link from which nothing comes.
TRUST_SECONDS = 2.5
#: The link is frozen after so many reads; one that has not come after the most never will.
READS_BEFORE, MOST_READS_BEFORE = 200, 20_000
SECONDS_AFTER = 5.0
WRITE_SECONDS = 0.02
QUIET_ROUNDS = 100


class Board:
    """What the processes know of each other."""

    def __init__(self) -> None:
        self.version = processes.RawValue("Q", 0)
        self.reads = processes.RawValue("Q", 0)
        #: The moment from which the link is frozen; 0 before it.
        self.frozen = processes.RawValue("d", 0.0)
        self.writing = processes.RawValue("i", 1)
        self.relaying = processes.RawValue("i", 1)
        self.counted = processes.SimpleQueue()


def relay(board: Board, port: int, target: int) -> None:
    """Serve, freeze once the reader has read often enough, and go on."""
    link, frozen = Relay(port, target), 0
    while board.relaying.value:
        link.serve()
        least = READS_BEFORE if link.tracking else MOST_READS_BEFORE
        if board.reads.value >= least and not board.frozen.value:
            frozen = link.freeze()
            board.frozen.value = time.monotonic()
    board.counted.put({"frozen": frozen})


def write(board: Board, start: Any, settings: dict[str, Any]) -> None:
    """Commit again and again, and tell."""
    shop = start(settings)
    while board.writing.value:
        shop.raise_rows([1])
        board.version.value += 1
        time.sleep(WRITE_SECONDS)


def read(board: Board, start: Any, settings: dict[str, Any], asked: Server) -> None:
    """Read all the time, and tell reads apart by when they began."""
    shop = start(settings)
    found = dict.fromkeys(("before", "while trusted", "afterwards"), 0)
    stale = dict(found)
    try:
        while not board.frozen.value or age(board) < SECONDS_AFTER:
            when = period(board)
            least = board.version.value
            with shop.app.app_context():
                version = shop.version_of(1)
            found[when] += 1
            stale[when] += version < least
            board.reads.value += 1
        board.writing.value = 0
        board.counted.put({"reads": found, "stale": stale})
        board.counted.put({"asked_when_quiet": asked_when_quiet(shop, asked)})
    finally:
        board.writing.value = board.relaying.value = 0


def age(board: Board) -> float:
    return time.monotonic() - board.frozen.value


def period(board: Board) -> str:
    if not board.frozen.value:
        return "before"
    return "while trusted" if age(board) <= TRUST_SECONDS else "afterwards"


def asked_when_quiet(shop: Shop, asked: Server) -> int:
    """Count what hits ask the server once nobody writes: nothing, if the near cache is back."""
    for _ in range(QUIET_ROUNDS):
        before = asked.asked()
        for _ in range(20):
            with shop.app.app_context():
                shop.version_of(1)
        if (count := asked.asked() - before) == 0:
            break
        time.sleep(0.01)
    return count


def main() -> None:
    board, port = Board(), free_port()
    with server("RedisCache") as settings, tempfile.TemporaryDirectory() as folder:
        asked = Server(settings["CACHE_REDIS_URL"])
        relayed = {**settings, "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/0"}

        def start(settings: dict[str, Any]) -> Shop:
            return Shop("ours", settings, Path(folder) / "shop.db")

        run_at_once([lambda: start(settings).create()])
        targets = [partial(relay, board, port, asked.port)]
        targets += [partial(write, board, start, settings)]
        targets += [partial(read, board, start, relayed, asked)]
        run_at_once(targets)
    found: dict[str, Any] = {}
    for _ in range(3):
        found |= board.counted.get()
    finish(**found)


if __name__ == "__main__":
    main()
