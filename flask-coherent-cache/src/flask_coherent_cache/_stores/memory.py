"""The store inside one process: ``SimpleCache``."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._clock import monotonic, wall
from .._forks import begin_after_fork, new_lock
from .base import Facts
from .breaker import CircuitBreaker
from .tagstate import FIRST_READING, TAG_SECONDS, invalidated, is_timestamp, marked

#: What an item costs beside its key's and its value's bytes (measured on CPython 3.13).
_OVERHEAD_BYTES = 250


class MemoryStore:
    """A dictionary bounded in items and bytes that evicts the least recently used.

    Each operation costs the same however many items there are.

    :param config: ``CACHE_THRESHOLD``, how many items it holds at most; ``CACHE_MAX_BYTES``, how
        many bytes its keys and values take at most.
    """

    shared = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.breaker = CircuitBreaker(lambda: None, 1)
        # No call of it goes to a server.
        self.on_call: Callable[[float], object] = lambda seconds: None
        self.doubted = False
        self._lock = new_lock()
        self._max_entries: int = config["CACHE_THRESHOLD"]
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

    def identity(self) -> str:
        return "memory"

    def now(self) -> float:
        # At least when readings start, however wrong the host's clock is.
        return max(wall(), FIRST_READING / 1_000_000)

    def shift(self) -> int:
        return 0

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self._get(key) for key in keys]

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with self._lock:
            self._put(key, value, seconds)

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with self._lock:
            if self._get(key) is not None:
                return False
            self._put(key, value, seconds)
            return True

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        return self.add(key, value, seconds), self.get_many(keys)

    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._drop(key)

    def release(self, key: str, token: bytes) -> None:
        with self._lock:
            if self._get(key) == token:
                self._drop(key)

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        with self._lock:
            for tag in tags:
                self._put(tag, marked(self._get(tag), token, self.now(), seconds), TAG_SECONDS)

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        with self._lock:
            now = self._get(clock)
            if now is None or not is_timestamp(now, self.now()):
                return None
            reading = int(now) + 1
            self._put(clock, b"%d" % reading, None)
            for tag in tags:
                value = invalidated(self._get(tag), reading, token, self.now())
                self._put(tag, value, TAG_SECONDS)
            return reading

    def store_entry(
        self,
        key: str,
        value: bytes,
        seconds: float,
        clock: str,
        tags: Sequence[str],
        lease: tuple[str, bytes] | None = None,
    ) -> None:
        with self._lock:
            now = self._get(clock)
            for tag in tags:
                if now is not None and self._get(tag) is None:
                    self._put(tag, now, TAG_SECONDS)
            self._put(key, value, seconds)
            if lease is not None and self._get(lease[0]) == lease[1]:
                self._drop(lease[0])

    def confirm(self) -> None:
        pass

    def close(self) -> None:
        with self._lock:
            self._items.clear()
            self._bytes = 0

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


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD_BYTES
