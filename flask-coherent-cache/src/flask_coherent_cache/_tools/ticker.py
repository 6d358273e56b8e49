"""A thread in each process for what is to be done every few seconds."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .._clock import monotonic
from .._forks import begin_after_fork, new_lock

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Task:
    """What is done again and again.

    :param due: when next, by the monotonic clock.
    :param failed: whether it did the last time, which is logged once.
    """

    seconds: float
    function: Callable[[], object]
    due: float
    failed: bool = False


class Ticker:
    """Calls functions every few seconds, one after the other, from the first request on.

    :param active: whether it ever starts.
    """

    def __init__(self, active: bool = True) -> None:
        self._active = active
        self._tasks: list[_Task] = []
        self._lock = new_lock()
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Be about to start: the thread of the process that forked is not here."""
        self._is_running = False

    def every(self, seconds: float, function: Callable[[], object]) -> None:
        """Have a quick function called; to be said before the first request."""
        self._tasks.append(_Task(seconds, function, monotonic() + seconds))

    def start(self) -> None:
        """Start the thread, once."""
        if self._is_running:
            return
        with self._lock:
            if self._active and self._tasks and not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="ticker", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self.run_due())

    def run_due(self) -> float:
        """Call what is due; returns the seconds to the next call."""
        for task in self._tasks:
            if monotonic() >= task.due:
                task.due = monotonic() + task.seconds
                _run(task)
        return max(0.0, min(task.due for task in self._tasks) - monotonic())


def _run(task: _Task) -> None:
    try:
        task.function()
    except Exception:
        if not task.failed:
            log.exception("%r failed; it is tried again.", task.function)
        task.failed = True
    else:
        task.failed = False
