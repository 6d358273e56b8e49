"""The store on a backend of Flask-Caching, of cachelib, or of the application's owner.

Such a backend knows no compare-and-swap, so what changes a value in one step is done under a lock:
of this process's threads, and for files of the host's processes.
"""

import hashlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cachelib import FileSystemCache, SimpleCache
from cachelib.serializers import BaseSerializer
from flask import Flask
from flask_caching.backends.base import BaseCache
from werkzeug.utils import import_string

from .base import Facts, ServerCall
from .errors import StoreError
from .locked import LockedStore
from .names import REFUSED, refusal

try:
    from fcntl import LOCK_EX, flock
except ModuleNotFoundError:  # Not on Windows.
    flock = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

#: Not "for ever": FileSystemCache drops that first when it is full.
_YEARS_SECONDS = 10 * 365 * 24 * 3600
_UNSAFE = (
    "CACHE_TYPE is %s, which serializes values in its own way: if it unpickles them, anyone who "
    "can write to it runs code here."
)
_LOST_BETWEEN_HOSTS = "between hosts an invalidation can be lost, and no call is bounded in time"
_LOST_IN_PROCESSES = "each process has its own values, and misses the others' invalidations"
_LOST_BETWEEN_PROCESSES = (
    "between processes an invalidation can be lost and a value computed twice, and no call is "
    "bounded in time"
)


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


class AdaptedStore(LockedStore):
    """A store on the backend that a class or function makes, as Flask-Caching would call it.

    :param kind: where that is imported from.
    :param config: the settings, with ``CACHE_ARGS`` and ``CACHE_OPTIONS``.
    :param app: the application, for a function that it defines.
    """

    name = "Adapted"
    errors = (Exception,)
    failures = ((TimeoutError, "timeout"), (Exception, "unreachable"))

    def __init__(self, kind: str, config: Mapping[str, Any], app: Flask) -> None:
        super().__init__(config["CACHE_RETRY_SECONDS"])
        self.backend = _made(kind, config, app)
        self.shared = not isinstance(self.backend, SimpleCache)
        self._probed = f"{config['CACHE_KEY_PREFIX']}:probe"
        self._lock_file: str | None = None
        lost = _LOST_BETWEEN_PROCESSES if self.shared else _LOST_IN_PROCESSES
        if isinstance(self.backend, FileSystemCache) and flock is not None:
            # FileSystemCache leaves files of this ending alone.
            self._lock_file = os.path.join(self.backend._path, "lock.__wz_cache")
            lost = _LOST_BETWEEN_HOSTS
        if hasattr(self.backend, "serializer"):
            self.backend.serializer = _Bytes()
        else:
            logger.warning(_UNSAFE, kind)
        logger.warning(
            "CACHE_TYPE is %s: %s. RedisCache and MemcachedCache keep these promises.", kind, lost
        )

    def facts(self) -> Facts:
        return Facts(type(self.backend).__name__)

    def _calling(self) -> ServerCall:
        return ServerCall(self)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with ServerCall(self), self._lock:
            if self._lock_file is None:
                yield
                return
            # Opened each time: a child would share an open file's lock with its parent.
            with open(self._lock_file, "ab") as file:
                flock(file, LOCK_EX)
                yield

    def _get(self, key: str) -> bytes | None:
        value = self.backend.get(key)
        return value if isinstance(value, bytes) else None

    def _put(self, key: str, value: bytes, seconds: float | None) -> None:
        whole = _YEARS_SECONDS if seconds is None else max(1, math.ceil(seconds))
        self.backend.set(key, value, timeout=whole)

    def _put_safely(self, key: str, value: bytes, seconds: float | None) -> None:
        self._put(key, value, seconds)
        if self._get(key) != value:  # Not every backend reports a failed write.
            raise StoreError(f"{type(self.backend).__name__}: {key} was not written", "full")

    def _drop(self, key: str) -> None:
        self.backend.delete(key)

    def _probe(self) -> None:
        self._put_safely(self._probed, b"1", 1)


def _made(kind: str, config: Mapping[str, Any], app: Flask) -> Any:
    """Make a backend as Flask-Caching does.

    :raises ValueError: for what cannot be imported, breaks a promise, or is no cache.
    """
    try:
        make: Any = import_string(kind)
    except ImportError as error:
        raise ValueError(f"CACHE_TYPE is {kind!r}, which cannot be imported: {error}") from error
    if not callable(make):
        raise ValueError(f"CACHE_TYPE is {kind!r}, which is neither a class nor a function.")
    for base in getattr(make, "__mro__", ()):
        if base.__name__ in REFUSED:
            raise refusal(base.__name__)
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
