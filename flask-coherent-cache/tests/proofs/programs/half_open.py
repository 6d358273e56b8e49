"""Freezes a tracking connection that stays open, and counts stale reads behind it.

All links to the server go through a relay, which from some moment on hands nothing more over on the
reader's tracking connection; the writer has none. No read may be stale that began later than the
link was trusted; until then they are, for nothing tells the reader, and that they are shows that
the link is frozen.

Nothing is to happen within a time of its own, however busy the machine is: the link is frozen once
the near cache answers, and that is done again while no stale read came of it.

Usage: half_open.py [--trusting]
--trusting has the reader trust its link for ever: then reads are stale.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from counting import Server
from flask_coherent_cache._near import tracking
from flask_coherent_cache.testing import free_port, wait_until
from harness import finish, processes, run_at_once, server
from relay import Relay
from shop import Shop, done

#: How long a near cache trusts a link from which nothing comes.
TRUST_SECONDS = 2.5
FOR_EVER = 3600.0
#: So many reads are made, at least, before the link is frozen, and after it was trusted.
LEAST_READS = 200
#: How often the link is frozen, at most, until a read is stale while it is trusted.
MOST_ROUNDS = 20
WRITE_SECONDS = 0.02
#: How long the slowest machine is waited for.
PATIENCE = 60


class Board:
    """What the processes know of each other."""

    def __init__(self) -> None:
        self.version = processes.RawValue("Q", 0)
        #: Whether the link is to be frozen, and the moment from which it is; 0 before it.
        self.freezing = processes.RawValue("i", 0)
        self.frozen = processes.RawValue("d", 0.0)
        #: Whether the writer is to wait, and whether it does.
        self.pausing = processes.RawValue("i", 0)
        self.paused = processes.RawValue("i", 0)
        self.running = processes.RawValue("i", 1)
        self.counted = processes.SimpleQueue()

    def period(self) -> str:
        """Say what a read falls into that begins now."""
        if not self.frozen.value:
            return "before"
        age = time.monotonic() - self.frozen.value
        return "while trusted" if age <= TRUST_SECONDS else "afterwards"


def relay(board: Board, port: int, target: int) -> None:
    """Serve, and freeze the tracking link when told to."""
    link = Relay(port, target)
    while board.running.value:
        link.serve()
        if board.freezing.value and link.freeze():
            board.frozen.value = time.monotonic()
            board.freezing.value = 0


def write(board: Board, start: Any, settings: dict[str, Any]) -> None:
    """Commit again and again, and tell."""
    shop = start(settings)
    while board.running.value:
        board.paused.value = board.pausing.value
        if not board.paused.value:
            shop.raise_rows([1])
            board.version.value += 1
        time.sleep(WRITE_SECONDS)


class Reader:
    """Reads, and counts reads, copies that answered, and what was stale, by when a read began."""

    def __init__(self, board: Board, shop: Shop) -> None:
        self.board, self.shop = board, shop
        self.reads, self.copies, self.stale = Counter[str](), Counter[str](), Counter[str]()

    def read(self) -> None:
        when, copies = self.board.period(), getattr(done, "copies", 0)
        least = self.board.version.value
        with self.shop.app.app_context():
            version = self.shop.version_of(1)
        self.reads[when] += 1
        self.copies[when] += getattr(done, "copies", 0) > copies
        self.stale[when] += version < least

    def read_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                sys.exit(f"it did not come to it: {self.reads} reads, {self.copies} of copies")
            self.read()

    def read_more(self, when: str) -> None:
        """Read often, and until a copy has answered, too."""
        reads, copies = self.reads[when] + LEAST_READS, self.copies[when]
        self.read_until(lambda: self.reads[when] >= reads and self.copies[when] > copies)

    def freeze(self) -> None:
        """Read while somebody writes, freeze the link when copies answer, and read on."""
        board = self.board
        board.frozen.value = 0.0
        self.read_more("before")
        board.pausing.value = 1
        self.read_until(lambda: board.paused.value)
        copies = self.copies["before"]
        self.read_until(lambda: self.copies["before"] > copies)
        board.freezing.value = 1
        self.read_until(lambda: board.frozen.value)
        board.pausing.value = 0
        self.read_until(lambda: board.period() == "afterwards")
        # What was frozen is not trusted; a copy answers again once there is another link.
        self.read_more("afterwards")


def read(board: Board, start: Any, settings: dict[str, Any], asked: Server, trusting: bool) -> None:
    """Freeze the link until it is seen that it was, and then see the near cache back in use."""
    if trusting:
        tracking.TRUST_SECONDS = FOR_EVER
    reader = Reader(board, start(settings))
    try:
        for _ in range(MOST_ROUNDS):
            reader.freeze()
            if reader.stale["while trusted"] or reader.stale["afterwards"]:
                break
        board.pausing.value = 1
        reader.read_until(lambda: board.paused.value)
        wait_until(lambda: asks_nothing(reader, asked), PATIENCE)
    finally:
        board.running.value = 0
    board.counted.put({"reads": reader.reads, "copies": reader.copies, "stale": reader.stale})


def asks_nothing(reader: Reader, asked: Server) -> bool:
    """Say whether hits ask the server nothing, as they do once nobody writes."""
    before = asked.asked()
    for _ in range(20):
        reader.read()
    return bool(asked.asked() == before)


def main(*options: str) -> None:
    board, port = Board(), free_port()
    with server("RedisCache") as settings, tempfile.TemporaryDirectory() as folder:
        asked = Server(settings["CACHE_REDIS_URL"])
        relayed = {**settings, "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/0"}

        def start(settings: dict[str, Any], **more: Any) -> Shop:
            return Shop("ours", settings, Path(folder) / "shop.db", **more)

        run_at_once([lambda: start(settings).create()])
        targets = [partial(relay, board, port, asked.port)]
        # By the same way as the reader, or it could have its answer before the relay had its turn.
        targets += [partial(write, board, partial(start, CACHE_NEAR_BYTES=0), relayed)]
        targets += [partial(read, board, start, relayed, asked, "--trusting" in options)]
        run_at_once(targets, 1200)
    finish(**board.counted.get())


if __name__ == "__main__":
    main(*sys.argv[1:])
