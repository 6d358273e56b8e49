"""The store inside one process: ``SimpleCache``."""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from .._clock import monotonic
from .._forks import begin_after_fork
from .base import Facts
from .locked import LockedStore

#: What an item costs beside its key's and its value's bytes (measured on CPython 3.13).
_OVERHEAD_BYTES = 250


class MemoryStore(LockedStore):
    """A dictionary bounded in items and bytes that evicts the least recently used.

    Each operation costs the same however many items there are.

    :param config: ``CACHE_THRESHOLD``, how many items it holds at most, 0 is no bound;
        ``CACHE_MAX_BYTES``, how many bytes its keys and values take at most.
    """

    name = "Memory"
    shared = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(retry_seconds=1)
        self._max_entries: float = config["CACHE_THRESHOLD"] or math.inf
        self._max_bytes: int = config["CACHE_MAX_BYTES"]
        self._evictions = 0
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Be empty: what a process had before it forked, its threads may be about to invalidate."""
        self._items: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    def facts(self) -> Facts:
        with self._lock:
            return Facts(
                "SimpleCache", self._bytes, self._max_bytes, "least recently used",
                self._evictions, len(self._items), self.now(),
            )  # fmt: skip

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:  # What every hit does: without the call of _calling().
            return [self._get(key) for key in keys]

    def close(self) -> None:
        super().close()
        with self._lock:
            self.begin()

    def _calling(self) -> Lock:
        return self._lock

    _changing = _calling

    def _get(self, key: str) -> bytes | None:
        item = self._items.get(key)
        if item is None:
            return None
        value, expires = item
        if expires <= monotonic():
            self._drop(key)
            return None
        self._items.move_to_end(key)
        return value

    def _put(self, key: str, value: bytes, seconds: float | None) -> None:
        self._drop(key)
        if _size(key, value) > self._max_bytes:
            return
        self._items[key] = value, math.inf if seconds is None else monotonic() + seconds
        self._bytes += _size(key, value)
        while len(self._items) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._items)))
            self._evictions += 1

    def _drop(self, key: str) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self._bytes -= _size(key, item[0])

    def _probe(self) -> None:
        pass


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD_BYTES
