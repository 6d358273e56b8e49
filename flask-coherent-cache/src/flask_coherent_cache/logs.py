"""A log handler that writes access lines in batches, so that a line costs less than a cached page.

A thread that writes lets another thread run, and waits to run again. Under load that costs many
times what the line does. Records are written at once, as by any handler of `logging`.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from typing import Any, TextIO

from ._clock import monotonic
from ._forks import begin_after_fork

__all__ = ["BatchHandler"]

#: How late a line may come, and how many wait at most.
_LATE_SECONDS = 0.1
_MOST_WAITING = 10_000
#: What a pipe takes in one piece (PIPE_BUF): lines of several processes do not mix.
_PIECE_CHARACTERS = 4096
#: A factory that replaces it adds something to each record.
_RECORD_FACTORY = logging.LogRecord


class BatchHandler(logging.StreamHandler[TextIO]):
    """Writes records at once, and lines that are formatted already within a tenth of a second.

    The order is that in which they came. What waits is written when the process ends; a process
    that is killed loses the lines of its last tenth of a second. If the stream fails, lines are
    dropped.

    :param stream: where to write; standard error by default.

    Example::

        handler = BatchHandler()
        logging.getLogger().addHandler(handler)
        if BatchHandler.alone(access_logger) is handler:
            handler.write_line("GET / 200\\n")
        else:
            access_logger.info("GET / 200")
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Start anew: what waits is written by the process in which it came."""
        self._lines: deque[str] = deque()
        self._woken = threading.Event()
        self._is_awake = False
        self._written_at = float("-inf")
        self._thread: threading.Thread | None = None

    @staticmethod
    def alone(logger: logging.Logger, *filters: Any) -> "BatchHandler | None":
        """Return the one handler that gets a logger's records; ``None`` if anything else does.

        :param logger: the logger; its filters, other handlers and tools that look at each record
            make it ``None``.
        :param filters: those of the handler that change nothing in the lines that you write.
        """
        if logger.filters or not _is_plain(logger):
            return None
        above: logging.Logger | None = logger
        while above is not None and not above.handlers and above.propagate:
            above = above.parent
        if above is None or above.parent is not None or len(above.handlers) != 1:
            return None
        (handler,) = above.handlers
        if type(handler) is not BatchHandler or handler.level > logging.INFO:
            return None
        return handler if handler.filters == [*filters] else None

    def write_line(self, line: str, urgent: bool = False) -> None:
        """Write a line soon; at once if none was written lately.

        :param line: formatted, and with its line break.
        :param urgent: write it now, and all that wait.
        """
        self._lines.append(line)
        if self._is_awake and not urgent:
            if len(self._lines) > _MOST_WAITING:
                self.flush()  # As slow as whoever reads them.
        elif urgent or monotonic() - self._written_at > _LATE_SECONDS:
            self.flush()
        else:
            self._is_awake = True
            self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # The process ends, or has no room for another thread.
                self._is_awake = False
                self.flush()
                return
            self._thread = thread
        self._woken.set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the lines that came before it."""
        self._write_lines()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits; `logging` calls it when the process ends, too."""
        self.acquire()
        try:
            self._write_lines()
            super().flush()
        except (OSError, ValueError):
            pass  # Nobody reads the stream, and a request must not fail for that.
        finally:
            self.release()

    def _run(self) -> None:
        while True:
            self._woken.wait()
            self._woken.clear()
            time.sleep(_LATE_SECONDS)
            self.flush()
            # Not before: whoever reads the stream may keep this thread waiting, and no other.
            self._is_awake = False
            if self._lines:
                self._is_awake = True
                self._woken.set()

    def _write_lines(self) -> None:
        piece, size = list[str](), 0
        while self._lines:
            line = self._lines.popleft()
            if size and size + len(line) > _PIECE_CHARACTERS:
                self._write("".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            self._write("".join(piece))

    def _write(self, text: str) -> None:
        self._written_at = monotonic()
        # There may be no standard error: then Python names None.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.stream.write(text)
            self.stream.flush()


def _is_plain(logger: logging.Logger) -> bool:
    """Tell whether nothing is put in between, as tools do that watch for errors."""
    return (
        type(logger) is logging.Logger
        and logging.getLogRecordFactory() is _RECORD_FACTORY
        and getattr(logging.Logger.callHandlers, "__globals__", None) is vars(logging)
    )
