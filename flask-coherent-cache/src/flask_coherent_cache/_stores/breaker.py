"""A circuit breaker: a server that does not answer is left alone until it does (Nygard, "Release
It!", 2nd ed., section 5.2)."""

import logging
import threading
from collections.abc import Callable

from .._forks import begin_after_fork, new_lock
from .errors import Failure, StoreError

logger = logging.getLogger(__name__)

#: Failures that the next call would meet, too.
_OPENING: frozenset[Failure] = frozenset(
    {"timeout", "unreachable", "loading", "forbidden", "read-only", "full"}
)
_CLOSING_SECONDS = 2


class CircuitBreaker:
    """Closed while the server answers; open, it refuses every call at once.

    No request waits for the server to come back: a thread probes it (the breaker is half-open then,
    for that thread alone), the first time at once, so that a lost connection costs
    milliseconds. If that probe fails, too, the server ``is_away``, which is logged once.

    :param probe: asks the server, and has it write something; raises :class:`StoreError`.
    :param retry_seconds: the pause between two probes.
    :param name: of what is guarded, for the log.
    :param refusal: makes the error that :meth:`check` raises from a message.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        retry_seconds: float,
        name: str = "The cache's store",
        refusal: Callable[[str], Exception] = lambda message: StoreError(message, "away"),
    ) -> None:
        self._probe = probe
        self._name = name
        self._refusal = refusal
        self._retry_seconds = retry_seconds
        self._lock = new_lock()
        self._is_stopped = False
        self._openings = 0
        self.is_open = False
        self.is_away = False
        self.begin()
        begin_after_fork(self)
        #: Why it is open, where the server said it.
        self.failure: Failure | None = None
        #: Called by the probing thread when the server answers; if it raises, nothing is closed.
        self.before_closing: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Start without a thread: a child does not have its parent's. The next call starts one."""
        self._thread: threading.Thread | None = None
        self._stopped, self._settled = threading.Event(), threading.Event()
        if self._is_stopped:
            self._stopped.set()
        if not self.is_open or self.is_away:
            self._settled.set()

    def check(self, unless: Failure | None = None) -> None:
        """Pass while it is closed, and for the probing thread.

        :param unless: a reason for which it may be open and the call will succeed all the same.
        :raises Exception: the refusal, at once, where it is open; of a store :class:`StoreError`.
        """
        if self.is_open and unless is not None and self.failure == unless:
            return
        if self.is_open and threading.current_thread() is not (thread := self._thread):
            if thread is None or not thread.is_alive():
                self._start()
            raise self._refusal(f"{self._name} is away")

    def failed(self, error: StoreError) -> StoreError:
        """Open it if the next call would fail, too; returns the error."""
        if error.failure in _OPENING:
            self.open(error.failure)
        return error

    def open(self, failure: Failure | None = None) -> None:
        """Open it, and close it when the server answers and ``before_closing`` is done."""
        with self._lock:
            self._openings += 1
            self.failure = failure or self.failure
            if not self.is_open:
                self.is_open = True
                self._settled.clear()
        self._start()

    def wait_until_settled(self, seconds: float) -> None:
        """Wait until it is closed again or the server is known to be away."""
        if threading.current_thread() is not self._thread:
            self._settled.wait(seconds)

    def close(self) -> None:
        """Stop probing, for good; wait for a probe under way."""
        self._is_stopped = True
        self._stopped.set()
        if (thread := self._thread) is not None and thread is not threading.current_thread():
            thread.join(_CLOSING_SECONDS)

    def _start(self) -> None:
        """Start the probing thread, if there is none."""
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if self.is_open and not alive and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="cache-probe", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            openings = self._openings
            try:
                self._probe()
                self.before_closing()
            except Exception as error:
                self._note_away(error)
                pause = self._retry_seconds
            else:
                pause = 0.0
                if self._closes(openings):
                    return

    def _note_away(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            self.failure = error.failure
        if not self.is_away:
            self.is_away = True
            known = isinstance(error, StoreError)
            logger.error(
                "%s is away; going on without it: %s", self._name, error, exc_info=not known
            )
        self._settled.set()

    def _closes(self, openings: int) -> bool:
        """Close it, unless it was opened once more since the probe began."""
        with self._lock:
            if openings != self._openings:
                return False
            if self.is_away:
                logger.warning("%s is back.", self._name)
            self.is_open = self.is_away = False
            self.failure = None
            self._thread = None
            self._settled.set()
            return True
