"""A bound on new keys: whoever makes up addresses is answered, and cannot fill the store."""

import logging
from collections import Counter

from .._clock import monotonic
from .._forks import new_lock

logger = logging.getLogger(__name__)


class KeyQuota:
    """Counts the keys that were new to this process within a window, by what they are keys of.

    It remembers no key, so it takes the same memory whatever is asked for.

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
