"""The kill switch: switches the cache off for all processes of an application, and on again."""

import re
import time
from contextlib import suppress

from .._clock import monotonic
from .._forks import new_lock
from .._stores import Store, StoreError

#: How often the store is asked while the cache is off, or a fill takes longer.
ASK_SECONDS = 1.0
_SECONDS = re.compile(rb"\d{1,12}")


class KillSwitch:
    """Whether the cache is switched off, as far as this process knows.

    It lies in the store without an expiry, so it survives a restart of the processes, but not a
    server that loses its data. To know it costs a lookup nothing: every lookup reads it in the same
    round trip, and the server tells processes with a near cache. While the cache is off, one
    request a second asks. If the store is away, what was known last holds.

    :param prefix: the application's part of every key.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self.key = f"{prefix}:off"
        self.is_off = False
        #: When the store was asked for what is known, by the monotonic clock.
        self._asked_at = 0.0
        self._next_ask = 0.0
        self._lock = new_lock()

    def learn(self, value: bytes | None, asked_at: float) -> bool:
        """Learn what lies in the store; tell whether the cache is off.

        :param asked_at: before the store was asked, by the monotonic clock; an answer that a later
            one overtook is ignored.
        """
        with self._lock:
            if asked_at >= self._asked_at:
                self._asked_at = asked_at
                self.is_off = value is not None
            return self.is_off

    def ask_again(self) -> bool:
        """Ask the store if that was long ago; tell whether the cache is off."""
        now = monotonic()
        # Threads that come here at once may ask twice, which does no harm.
        if now >= max(self._asked_at + ASK_SECONDS, self._next_ask):
            self._next_ask = now + ASK_SECONDS
            with suppress(StoreError):
                (value,) = self._store.get_many([self.key])
                self.learn(value, now)
        return self.is_off

    def since(self) -> float | None:
        """Return when the cache was switched off, in seconds since the epoch.

        ``None`` if it is on, and 0 if the value does not say when. A store that does not answer
        raises :class:`StoreError`, here and below.
        """
        now = monotonic()
        (value,) = self._store.get_many([self.key])
        return seconds_off(value) if self.learn(value, now) else None

    def switch_off(self) -> None:
        """Switch the cache off, in all processes within a second."""
        value = b"%d" % time.time()
        self._store.put(self.key, value, None)
        self._switched(value)

    def switch_on(self) -> None:
        """Switch the cache on, in all processes within a second."""
        self._store.delete([self.key])
        self._switched(None)

    def _switched(self, value: bytes | None) -> None:
        self.learn(value, monotonic())
        self._store.confirm()


def seconds_off(value: bytes | None) -> float | None:
    """Read when the cache was switched off, as :meth:`KillSwitch.since` says it."""
    if value is None:
        return None
    return float(value) if _SECONDS.fullmatch(value) else 0.0
