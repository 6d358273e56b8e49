"""The store on a backend of Flask-Caching's or cachelib's make, or the owner's: keys and values.

It knows no compare-and-swap, so what changes a value in one step is done under a lock: of this
process's threads, and for files of the host's processes.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cachelib import FileSystemCache, SimpleCache
from cachelib.serializers import BaseSerializer
from flask import Flask
from flask_caching.backends.base import BaseCache

from .._clock import wall
from .._forks import new_lock
from .base import Facts, StoreError
from .breaker import CircuitBreaker
from .names import imported
from .tagstate import TAG_SECONDS, invalidated, is_timestamp, marked

try:
    from fcntl import LOCK_EX, flock
except ModuleNotFoundError:  # Not on Windows.
    flock = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

#: Not "for ever": FileSystemCache drops that first when it is full.
_YEARS_SECONDS = 10 * 365 * 24 * 3600


class _Bytes(BaseSerializer):
    """Writes bytes as they are, and the counter of FileSystemCache: nothing is unpickled."""

    def dumps(self, value: Any, protocol: int = 0) -> bytes:
        return b"b" + value if isinstance(value, bytes) else b"i%d" % value

    def loads(self, bvalue: bytes) -> Any:
        if bvalue[:1] == b"i" and bvalue[1:].isdigit():
            return int(bvalue[1:])
        return bvalue[1:] if bvalue[:1] == b"b" else None

    def dump(self, value: Any, f: Any, protocol: int = 0) -> None:
        f.write(self.dumps(value))

    def load(self, f: Any) -> Any:
        return self.loads(f.read())


class AdaptedStore:
    """A store on the backend that a class or function makes, as Flask-Caching would call it.

    :param kind: where that is imported from.
    :param config: the settings, with ``CACHE_ARGS`` and ``CACHE_OPTIONS``.
    :param app: the application, for a function of its owner's.
    """

    def __init__(self, kind: str, config: Mapping[str, Any], app: Flask) -> None:
        self.backend = _made(kind, config, app)
        self.shared = not isinstance(self.backend, SimpleCache)
        self.breaker = CircuitBreaker(self._probe, config["CACHE_RETRY_SECONDS"])
        self.on_call: Callable[[float], object] = lambda seconds: None
        self._probed = f"{config['CACHE_KEY_PREFIX']}:probe"
        self.doubted = False
        self._lock = new_lock()
        #: It leaves files of this ending alone.
        self._lock_file = (
            os.path.join(self.backend._path, "lock.__wz_cache")
            if isinstance(self.backend, FileSystemCache)
            else None
        )
        if hasattr(self.backend, "serializer"):
            self.backend.serializer = _Bytes()
        else:
            logger.warning(
                "CACHE_TYPE is %s, which writes and reads values in a way of its own: if it "
                "unpickles them, whoever can write to it runs code here.", kind,
            )  # fmt: skip
        self._say_what_is_lost(kind)

    def _say_what_is_lost(self, kind: str) -> None:
        if self._lock_file is not None and flock is not None:
            lost = "between hosts an invalidation can be lost, and no call is bounded in time"
        elif not self.shared:
            lost = "each process has values of its own, and misses the others' invalidations"
        else:
            lost = (
                "between processes an invalidation can be lost and a value computed twice, and no "
                "call is bounded in time"
            )
        logger.warning(
            "CACHE_TYPE is %s: %s. RedisCache and MemcachedCache keep these promises.", kind, lost
        )

    def facts(self) -> Facts:
        return Facts(type(self.backend).__name__)

    def identity(self) -> str:
        return "adapted"

    def now(self) -> float:
        return wall()

    def shift(self) -> int:
        return 0

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._guarded():
            return [self._get(key) for key in keys]

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with self._guarded():
            self._put(key, value, seconds)

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with self._changing():
            if self._get(key) is not None:
                return False
            self._put(key, value, seconds)
            return True

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        return self.add(key, value, seconds), self.get_many(keys)

    def delete(self, keys: Sequence[str]) -> None:
        with self._guarded():
            for key in keys:
                self.backend.delete(key)

    def release(self, key: str, token: bytes) -> None:
        with self._changing():
            if self._get(key) == token:
                self.backend.delete(key)

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        with self._changing():
            for tag in tags:
                self._write(tag, marked(self._get(tag), token, self.now(), seconds), TAG_SECONDS)

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        with self._changing():
            now = self._get(clock)
            if not is_timestamp(now, self.now()):
                return None
            reading = int(now) + 1
            self._write(clock, b"%d" % reading, None)
            for tag in tags:
                value = invalidated(self._get(tag), reading, token, self.now())
                self._write(tag, value, TAG_SECONDS)
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
        with self._changing():
            now = self._get(clock)
            for tag in tags:
                if now is not None and self._get(tag) is None:
                    self._put(tag, now, TAG_SECONDS)
            self._put(key, value, seconds)
            if lease is not None and self._get(lease[0]) == lease[1]:
                self.backend.delete(lease[0])

    def confirm(self) -> None:
        pass

    def close(self) -> None:
        self.breaker.close()

    def _get(self, key: str) -> bytes | None:
        value = self.backend.get(key)
        return value if isinstance(value, bytes) else None

    def _put(self, key: str, value: bytes, seconds: float | None) -> None:
        whole = _YEARS_SECONDS if seconds is None else max(1, math.ceil(seconds))
        self.backend.set(key, value, timeout=whole)

    def _write(self, key: str, value: bytes, seconds: float | None) -> None:
        """Write what must not get lost: not every backend says that it did not."""
        self._put(key, value, seconds)
        if self._get(key) != value:
            raise StoreError(f"{type(self.backend).__name__}: {key} was not written", "full")

    def _probe(self) -> None:
        try:
            self._write(self._probed, b"1", 1)
        except Exception as error:
            raise _store_error(error) from error

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self.breaker.check()
        began = time.perf_counter()
        try:
            yield
        except Exception as error:
            raise self.breaker.failed(_store_error(error)) from error
        finally:
            self.on_call(time.perf_counter() - began)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._guarded(), self._lock, self._locked_file():
            yield

    @contextmanager
    def _locked_file(self) -> Iterator[None]:
        if self._lock_file is None or flock is None:
            yield
            return
        # Opened each time: a child would share an open file's lock with its parent.
        with open(self._lock_file, "ab") as file:
            flock(file, LOCK_EX)
            yield


def _made(kind: str, config: Mapping[str, Any], app: Flask) -> Any:
    """Make a backend as Flask-Caching does.

    :raises ValueError: for what cannot be imported, or is no cache.
    """
    make: Any = imported(kind)
    arguments = list(config.get("CACHE_ARGS") or ())
    options = {
        "default_timeout": config["CACHE_DEFAULT_TIMEOUT"],
        "ignore_delete_many_errors": config.get("CACHE_IGNORE_ERRORS", False),
        **(config.get("CACHE_OPTIONS") or {}),
    }
    if isinstance(make, type) and issubclass(make, BaseCache):
        make = make.factory
    settings = {"CACHE_DIR": None, "CACHE_FILE_HASH_METHOD": hashlib.sha256, **app.config, **config}
    if kind.endswith("backends.FileSystemCache") and not settings["CACHE_DIR"]:
        raise ValueError(f"CACHE_TYPE is {kind}: set CACHE_DIR to a folder of its own.")
    try:
        if "cachelib" in kind:
            backend = make(*arguments, **options)
        else:
            backend = make(app, settings, arguments, options)
    except Exception as error:
        raise ValueError(f"CACHE_TYPE is {kind}, and making it failed: {error}") from error
    if not all(callable(getattr(backend, name, None)) for name in ("get", "set", "delete")):
        raise ValueError(f"CACHE_TYPE is {kind!r}, which made no cache: {backend!r}.")
    return backend


def _store_error(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(f"{error!r}", "timeout" if isinstance(error, TimeoutError) else "unreachable")
