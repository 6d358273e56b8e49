"""Lets threads of several processes read one key while it changes, and counts the fills.

Usage: storm.py ours|stock BACKEND
"""

import sys
import threading
import time
from functools import partial
from typing import Any

from harness import finish, make_app, processes, run_at_once, server

READERS = 4
WRITES = 60
FILL_SECONDS, PAUSE_SECONDS = 0.004, 0.02
PATIENCE = 60


class Board:
    """What the processes have in common."""

    def __init__(self, count: int) -> None:
        self.stock, self.written, self.fills, self.reads, self.old = (
            processes.Value("i", 0) for _ in range(5)
        )
        self.ready = processes.Barrier(count, timeout=PATIENCE)
        self.over = processes.Event()


def add(counter: Any) -> None:
    with counter.get_lock():
        counter.value += 1


def process(subject: str, settings: dict[str, Any], board: Board, writes: bool) -> None:
    app, cache = make_app(subject, settings)

    def stock() -> int:
        add(board.fills)
        found: int = board.stock.value
        time.sleep(FILL_SECONDS)
        return found

    read = cache.memoize(600, make_name=lambda name: "work.stock")(stock)

    def go_on_reading() -> None:
        while not board.over.is_set():
            known = board.written.value
            with app.app_context():
                if read() < known:
                    add(board.old)
            add(board.reads)

    board.ready.wait()
    readers = [threading.Thread(target=go_on_reading) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    if writes:
        for _ in range(WRITES):
            time.sleep(PAUSE_SECONDS)
            board.stock.value += 1
            with app.app_context():
                cache.delete_memoized(read)
            board.written.value = board.stock.value
        board.over.set()
    for reader in readers:
        reader.join()


def main(subject: str, backend: str) -> None:
    count = 1 if backend == "SimpleCache" else 3
    board = Board(count)
    with server(backend) as settings:
        run_at_once([partial(process, subject, settings, board, n == 0) for n in range(count)])
    finish(writes=WRITES, fills=board.fills.value, reads=board.reads.value, old=board.old.value)


if __name__ == "__main__":
    main(*sys.argv[1:])
