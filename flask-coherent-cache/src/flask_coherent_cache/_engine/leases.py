"""Leases: keys that one process at a time holds, by a token that only it knows, for seconds."""

import re
import secrets
from collections.abc import Sequence

from .._stores import Known, Store

_TOKEN = re.compile(rb"[0-9a-f]{16}")


class Lease:
    """The right of one process to do something, once it is held.

    :param name: the key in the store.
    :param seconds: when it expires, if nobody releases it.
    """

    __slots__ = ("_seconds", "_store", "held", "name", "token")

    def __init__(self, store: Store, name: str, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self.name = name
        self.token = secrets.token_hex(8).encode()
        self.held = False

    def take_then_read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Take it if it is free, then read keys, in one round trip where that can be."""
        # If the answer is lost it may be held. To release what is not held does no harm.
        self.held = True
        self.held, (holder, *values) = self._store.add_then_get_many(
            self.name, self.token, self._seconds, [self.name, *keys]
        )
        if not self.held:
            self._release_foreign(holder)
        return values

    def look(self, keys: Sequence[str], place: int, known: Known) -> list[bytes | None]:
        """Read keys, and take it as :meth:`Store.look` does, in the same round trip."""
        self.held = True  # As above.
        holder, *values = self._store.look(self.name, self.token, self._seconds, keys, place, known)
        self.held = holder == self.token
        return values

    def release(self) -> None:
        """Release it, if it is still this one's."""
        self._store.release(self.name, self.token)

    def free(self) -> None:
        """Delete what was waited for in vain, if it is no lease of ours: it may never expire."""
        (holder,) = self._store.get_many([self.name])
        if holder is None:
            self._store.delete([self.name])
        self._release_foreign(holder)

    def _release_foreign(self, holder: bytes | None) -> None:
        """Delete a value that is no lease: nobody would release it."""
        if holder is not None and not _TOKEN.fullmatch(holder):
            self._store.release(self.name, holder)
