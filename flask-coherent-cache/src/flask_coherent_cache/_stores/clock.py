"""A server's clock, which every host follows."""

import math

from .._clock import host_time, monotonic, wall

#: Clocks that are no further apart count as one. Memcached's counts whole seconds.
AGREE_SECONDS = 2.5
_APART_SECONDS = 60.0


class ServerClock:
    """A server's clock, as far as this process knows it."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._shift: int | None = None
        self._apart_since = math.inf
        self.learned_at = float("-inf")

    def learn(self, seconds: float, asked_at: float) -> None:
        """Note what time the server had.

        :param seconds: since the epoch.
        :param asked_at: when it was asked, by :func:`~flask_coherent_cache._clock.monotonic`.
        """
        self._ahead, self.learned_at = seconds - asked_at, asked_at

    def now(self) -> float:
        """Return the server's time in seconds since the epoch; this host's while it is unknown."""
        return wall() if self._ahead is None else self._ahead + monotonic()

    def shift(self) -> int:
        """Return by how many seconds the server is ahead of this host, 0 where they agree.

        It changes only if they have differed for longer, so that a time that is translated there
        and back stays the same, and a test that moves the clock moves Python's time.
        """
        if self._ahead is None:
            return 0
        apart = self.now() - host_time()
        if self._shift is not None and abs(apart - self._shift) <= AGREE_SECONDS:
            self._apart_since = math.inf
            return self._shift
        now = monotonic()
        self._apart_since = min(self._apart_since, now)
        if self._shift is None or now - self._apart_since > _APART_SECONDS:
            self._shift = round(apart) if abs(apart) > AGREE_SECONDS else 0
            self._apart_since = math.inf
        return self._shift
