"""A store that reads and writes single values, and changes them in one step under a lock."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from .._clock import wall
from .._forks import new_lock
from .base import Lease, Store
from .tagstate import TAG_SECONDS, invalidated, is_timestamp, marked


class LockedStore(Store):
    """A store without compare-and-swap. It goes by this host's clock."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(retry_seconds)
        self._lock = new_lock()

    def now(self) -> float:
        return wall()

    def shift(self) -> int:
        return 0

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._calling():
            return [self._get(key) for key in keys]

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with self._calling():
            self._put(key, value, seconds)

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with self._changing():
            if self._get(key) is not None:
                return False
            self._put(key, value, seconds)
            return True

    def delete(self, keys: Sequence[str]) -> None:
        with self._calling():
            for key in keys:
                self._drop(key)

    def release(self, key: str, token: bytes) -> None:
        with self._changing():
            if self._get(key) == token:
                self._drop(key)

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        with self._changing():
            for tag in tags:
                value = marked(self._get(tag), token, self.now(), seconds)
                self._put_safely(tag, value, TAG_SECONDS)

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        with self._changing():
            current = self._get(clock)
            if not is_timestamp(current, self.now()):
                return None
            timestamp = int(current) + 1
            self._put_safely(clock, b"%d" % timestamp, None)
            for tag in tags:
                value = invalidated(self._get(tag), timestamp, token, self.now())
                self._put_safely(tag, value, TAG_SECONDS)
            return timestamp

    def store_entry(
        self, key: str, value: bytes, seconds: float, clock: str, tags: Sequence[str], lease: Lease
    ) -> None:
        with self._changing():
            current = self._get(clock)
            for tag in tags:
                if current is not None and self._get(tag) is None:
                    self._put(tag, current, TAG_SECONDS)
            self._put(key, value, seconds)
            if lease is not None and self._get(lease[0]) == lease[1]:
                self._drop(lease[0])

    @abstractmethod
    def _calling(self) -> AbstractContextManager[Any]:
        """Guard what needs no lock of its own."""

    @abstractmethod
    def _changing(self) -> AbstractContextManager[Any]:
        """Guard and lock what reads a value and writes another one."""

    @abstractmethod
    def _get(self, key: str) -> bytes | None: ...

    @abstractmethod
    def _put(self, key: str, value: bytes, seconds: float | None) -> None: ...

    def _put_safely(self, key: str, value: bytes, seconds: float | None) -> None:
        """Write what must not get lost."""
        self._put(key, value, seconds)

    @abstractmethod
    def _drop(self, key: str) -> None: ...
