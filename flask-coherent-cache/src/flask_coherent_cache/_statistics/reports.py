"""Reports: what the processes of an application tell each other of themselves, by the store.

A process writes there only while somebody reads, and what it wrote expires by itself.
"""

import random
import secrets
import time

from .._clock import monotonic
from .._engine.entry import Entry, Sealer
from .._forks import begin_after_fork
from .._stores import Store

#: The number of processes that can report.
PLACES = 64
#: How long a report lasts.
_PLACE_SECONDS = 10
_WATCH_SECONDS = 10


class Reports:
    """Places in the store, one for each process, that hold its report.

    Each method raises :class:`StoreError` if the store does not answer.
    """

    def __init__(self, store: Store, sealer: Sealer, prefix: str) -> None:
        self._store = store
        self._sealer = sealer
        self._watched = f"{prefix}:board:watched"
        self._places = [f"{prefix}:board:{number}" for number in range(PLACES)]
        self._free_at = 0.0
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Have no place: the one of the process that forked is not ours."""
        self._place: str | None = None

    def watch(self) -> None:
        """Ask every process to write, for the next ten seconds."""
        self._store.put(self._watched, secrets.token_hex(4).encode(), _WATCH_SECONDS)

    def is_watched(self) -> bool:
        """Tell whether somebody reads."""
        return self._store.get_many([self._watched]) != [None]

    def write(self, message: bytes) -> bool:
        """Write into this process's place; ``False`` where all places are taken."""
        now = monotonic()
        # What it wrote there may have expired, and the place be another's.
        if self._place is None or now >= self._free_at:
            self._place = None
            taken = self._store.get_many(self._places)
            free = [place for place, value in zip(self._places, taken, strict=True) if not value]
            random.shuffle(free)
            for place in free:
                if self._store.add(place, self._sealed(place, message), _PLACE_SECONDS):
                    self._place, self._free_at = place, now + _PLACE_SECONDS
                    return True
            return False
        self._store.put(self._place, self._sealed(self._place, message), _PLACE_SECONDS)
        self._free_at = now + _PLACE_SECONDS
        return True

    def leave(self) -> None:
        """Give the place up; call it when nobody reads any more, for the report expires soon."""
        self.begin()

    def read(self) -> list[bytes]:
        """Return what the processes wrote, and nothing that is not theirs."""
        values = self._store.get_many(self._places)
        entries = map(self._sealer.open, self._places, values)
        return [entry.value for entry in entries if entry is not None]

    def _sealed(self, place: str, message: bytes) -> bytes:
        now = time.time()
        return self._sealer.seal(place, Entry(message, "", None, (), now, now, now))
