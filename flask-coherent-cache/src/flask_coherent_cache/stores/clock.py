"""A server's clock, which every host goes by."""

from ..clock import host_time, monotonic, wall

#: Clocks that are no further apart count as one. Memcached's counts whole seconds.
_AGREE_SECONDS = 2.5


class ServerClock:
    """A server's clock, as far as this process knows it."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._shift = 0
        self.learned_at = float("-inf")

    def learn(self, seconds: float, asked_at: float) -> None:
        """Note what time the server had.

        :param seconds: since the epoch.
        :param asked_at: when it was asked, by :func:`~flask_coherent_cache.clock.monotonic`.
        """
        self._ahead, self.learned_at = seconds - asked_at, asked_at

    @property
    def is_known(self) -> bool:
        return self._ahead is not None

    def now(self) -> float:
        """Return the server's time in seconds since the epoch; this host's while it is unknown."""
        return wall() if self._ahead is None else self._ahead + monotonic()

    def shift(self) -> int:
        """Return by how many seconds the server is ahead of this host, whatever a test froze.

        0 where they agree; it changes only when they have come apart by more than seconds count,
        so that a time that is translated there and back stays what it was.
        """
        apart = self.now() - host_time()
        if abs(apart - self._shift) > _AGREE_SECONDS:
            self._shift = round(apart) if abs(apart) > _AGREE_SECONDS else 0
        return self._shift
