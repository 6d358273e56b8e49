"""What keys may cost: what a process remembers of them, and how many new ones it stores."""

import logging
from collections import Counter
from typing import TypeVar

from .._clock import monotonic
from .._forks import new_lock

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_KEYS = 10_000


class Recent(dict[str, T]):
    """The keys that something was kept for last; the oldest are forgotten.

    :param most: the number of keys.
    """

    def __init__(self, most: int = _MOST_KEYS) -> None:
        super().__init__()
        self._most = most
        #: Whether there were more.
        self.has_forgotten = False
        self._lock = new_lock()

    def keep(self, key: str, value: T) -> None:
        """Remember something for a key."""
        with self._lock:
            self.pop(key, None)
            self[key] = value
            if len(self) > self._most:
                del self[next(iter(self))]
                self.has_forgotten = True

    def forget(self, key: str) -> None:
        """Remember nothing for a key."""
        with self._lock:
            self.pop(key, None)


class Pauses(Recent[float]):
    """Keys for which something is not done again for a while."""

    def start(self, key: str, seconds: float) -> None:
        """Begin a pause now."""
        self.keep(key, monotonic() + seconds)

    def is_running(self, key: str) -> bool:
        """Tell whether a key has a pause now."""
        return monotonic() < self.get(key, 0)

    def start_unless_running(self, key: str, seconds: float) -> bool:
        """Begin a pause if there is none; return whether there was none."""
        is_new = not self.is_running(key)
        if is_new:
            self.start(key, seconds)
        return is_new


class KeyQuota:
    """Bounds new keys: whoever makes up addresses is answered, and cannot fill the store.

    It counts the keys that were new to this process within a window, by what they are keys of. It
    remembers none, so it takes the same memory whatever is asked for.

    :param seconds: the length of a window.
    """

    def __init__(self, seconds: float = 60) -> None:
        self._seconds = seconds
        self._lock = new_lock()
        self._counts: Counter[str] = Counter()
        self._end = 0.0

    def admit(self, kind: str, most: int) -> bool:
        """Count one more of a kind; say whether it is among the first ``most``. 0 is no bound."""
        if not most:
            return True
        with self._lock:
            now = monotonic()
            if now >= self._end:
                self._counts.clear()
                self._end = now + self._seconds
            self._counts[kind] += 1
            count = self._counts[kind]
        if count == most + 1:
            logger.warning(
                "More than %d new keys of %s within %g seconds: the others are computed, and not "
                "stored. CACHE_NEW_PAGES_PER_MINUTE and CACHE_NEW_VALUES_PER_MINUTE bound it.",
                most,
                kind,
                self._seconds,
            )
        return count <= most
