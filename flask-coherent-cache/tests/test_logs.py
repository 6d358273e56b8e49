"""Lines that are written in batches: whole, in order, and by the process in which they came."""

import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_coherent_cache.logs import BatchHandler
from flask_coherent_cache.testing import wait_until

SOURCES = str(Path(__file__).parents[1] / "src")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is left as it was."""
    root = logging.getLogger()
    handlers, level, filters = root.handlers[:], root.level, root.filters[:]
    root.setLevel(logging.INFO)
    yield root
    root.handlers[:], root.filters[:] = handlers, filters
    root.setLevel(level)


@pytest.fixture
def handler() -> BatchHandler:
    return BatchHandler(io.StringIO())


def written(handler: BatchHandler) -> list[str]:
    stream: Any = handler.stream
    return stream.getvalue().splitlines()


def test_the_first_line_is_written_at_once_and_others_soon(handler: BatchHandler) -> None:
    for number in range(3):
        handler.write_line(f"{number}\n")
        assert "0" in written(handler)
    wait_until(lambda: written(handler) == ["0", "1", "2"])


def test_an_urgent_line_and_a_record_come_after_what_waits(handler: BatchHandler) -> None:
    handler.write_line("first\n")
    handler.write_line("waits\n")
    handler.write_line("urgent\n", urgent=True)
    assert written(handler) == ["first", "waits", "urgent"]
    handler.write_line("waits again\n")
    handler.handle(logging.makeLogRecord({"msg": "record"}))
    assert written(handler)[3:] == ["waits again", "record"]


def test_the_order_of_each_thread_is_kept_and_nothing_is_lost(handler: BatchHandler) -> None:
    def write(name: int) -> None:
        for number in range(2000):
            handler.write_line(f"{name} {number}\n", urgent=number % 500 == 7)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.flush()
    for name in range(4):
        lines = [line for line in written(handler) if line.startswith(f"{name} ")]
        assert lines == [f"{name} {number}" for number in range(2000)]


def test_who_reads_late_stops_nobody() -> None:
    late, read = threading.Event(), threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "waits" in text:
                late.set()
                read.wait(30)
            return super().write(text)

    handler = BatchHandler(Stream())
    handler.write_line("first\n")
    handler.write_line("waits\n")
    assert late.wait(30)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.3)  # Longer than a line may wait.
    other = threading.Thread(target=handler.write_line, args=["late\n"])
    other.start()
    other.join(10)
    is_stopped = other.is_alive()
    read.set()
    wait_until(lambda: written(handler) == ["first", "waits", "late"])
    assert not is_stopped


def test_pieces_hold_whole_lines() -> None:
    pieces: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    handler = BatchHandler(Stream())
    handler.write_line("first\n")
    for _ in range(100):
        handler.write_line("x" * 300 + "\n")
    handler.flush()
    assert all(piece.endswith("\n") and len(piece) <= 4096 for piece in pieces)
    assert len(pieces) < 12


@pytest.mark.parametrize("path", ["/dev/full", "a pipe that nobody reads"])
def test_a_stream_that_fails_harms_nobody(path: str) -> None:
    if path == "/dev/full":
        stream = open(path, "w")  # noqa: SIM115
    else:
        reader, writer = os.pipe()
        os.close(reader)
        stream = open(writer, "w")  # noqa: SIM115
    handler = BatchHandler(stream)
    for number in range(10):
        handler.write_line(f"{number}\n", urgent=number == 5)
    handler.flush()
    handler.close()
    with pytest.raises(OSError, match=r"pipe|space"):
        stream.close()


def run(program: str) -> list[str]:
    begin = (
        "import os, sys, logging, threading\nfrom flask_coherent_cache.logs import BatchHandler\n"
    )
    begin += (
        "handler = BatchHandler()\nhandler.write_line('first\\n')\nhandler.write_line('a\\n')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", begin + program],
        env=os.environ | {"PYTHONPATH": SOURCES},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return ran.stderr.splitlines()


def test_what_waits_is_written_when_the_process_ends() -> None:
    assert run("") == ["first", "a"]
    assert run("sys.exit(0)") == ["first", "a"]


def test_a_process_without_standard_error_goes_on() -> None:
    program = "handler.stream = None\nhandler.write_line('urgent\\n', urgent=True)\n"
    assert run(program) == ["first"]


def test_a_child_writes_its_own_lines_and_no_others() -> None:
    program = "pid = os.fork()\nhandler.write_line('both\\n')\nif pid: os.waitpid(pid, 0)\n"
    assert sorted(run(program)) == ["a", "both", "both", "first"]


def test_a_line_of_a_thread_that_outlives_the_main_thread_is_written() -> None:
    program = "threading.Timer(0.3, handler.write_line, ['late\\n']).start()"
    assert run(program) == ["first", "a", "late"]


def test_a_handler_that_gets_all_alone_is_known(
    root: logging.Logger, handler: BatchHandler
) -> None:
    logger = logging.getLogger("app.access")
    assert BatchHandler.alone(logger) is None  # pytest's own handlers are there
    root.handlers[:] = [handler]
    assert BatchHandler.alone(logger) is handler

    def keep(record: logging.LogRecord) -> bool:
        return True

    handler.addFilter(keep)
    assert BatchHandler.alone(logger) is None
    assert BatchHandler.alone(logger, keep) is handler


def add_handler_above(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("app"), "handlers", [logging.NullHandler()])


def add_handler_beside(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    root.addHandler(logging.NullHandler())


def add_filter(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("app.access"), "filters", [lambda record: True])


def stop_propagation(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("app"), "propagate", False)


def raise_level(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    root.handlers[0].setLevel(logging.WARNING)


def replace_factory(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Record(logging.LogRecord): ...

    monkeypatch.setattr(logging, "_logRecordFactory", Record)


def watch_records(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    call = logging.Logger.callHandlers

    def watched(self: logging.Logger, record: logging.LogRecord) -> None:
        call(self, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", watched)


@pytest.mark.parametrize(
    "change",
    [
        *(add_handler_above, add_handler_beside, add_filter, stop_propagation),
        *(raise_level, replace_factory, watch_records),
    ],
)
def test_whoever_else_gets_records_still_does(
    root: logging.Logger, handler: BatchHandler, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    root.handlers[:] = [handler]
    logger = logging.getLogger("app.access")
    assert BatchHandler.alone(logger) is handler
    change(root, monkeypatch)
    assert BatchHandler.alone(logger) is None
