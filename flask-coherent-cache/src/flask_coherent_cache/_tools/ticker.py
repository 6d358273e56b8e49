"""A thread in each process for what is to be done every few seconds."""

import logging
import threading
import time
from collections.abc import Callable

from .._clock import monotonic
from .._forks import begin_after_fork, new_lock

log = logging.getLogger(__name__)

Task = Callable[[], object]


class Ticker:
    """Calls functions every few seconds, one after the other, from the first request on.

    :param active: whether it ever starts.
    """

    def __init__(self, active: bool = True) -> None:
        self._active = active
        self._seconds: dict[Task, float] = {}
        #: When each is called next, by the monotonic clock.
        self._due: dict[Task, float] = {}
        #: Those that failed the last time, which is logged once.
        self._failing: set[Task] = set()
        self._lock = new_lock()
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Be about to start: the thread of the process that forked is not here."""
        self.has_started = False

    def every(self, seconds: float, task: Task) -> None:
        """Have a quick function called; to be said before the first request."""
        self._seconds[task] = seconds
        self._due[task] = monotonic() + seconds

    def start(self) -> None:
        """Start the thread, once."""
        with self._lock:
            if self._active and self._seconds and not self.has_started:
                threading.Thread(target=self._run, name="ticker", daemon=True).start()
            self.has_started = True

    def _run(self) -> None:
        while True:
            time.sleep(self.run_due())

    def run_due(self) -> float:
        """Call what is due; returns the seconds to the next call."""
        for task, seconds in self._seconds.items():
            if monotonic() >= self._due[task]:
                self._due[task] = monotonic() + seconds
                self._call(task)
        return max(0.0, min(self._due.values()) - monotonic())

    def _call(self, task: Task) -> None:
        try:
            task()
            self._failing.discard(task)
        except Exception:
            if task not in self._failing:
                log.exception("%r failed; it is tried again.", task)
            self._failing.add(task)
