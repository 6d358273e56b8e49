"""The store: where entries, tags, leases, the clock and the generation lie.

Every backend offers the same few operations with the same meaning, so what holds in
development on ``SimpleCache`` holds in production on Redis, Valkey or Memcached.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .base import Facts, Store, StoreError
from .tagstate import is_overdue, is_reading

__all__ = ["Facts", "Store", "StoreError", "connect", "is_overdue", "is_reading"]

#: A store's client library is imported only where the store is used.
_STORES = {
    "SimpleCache": (".memory", "MemoryStore"),
    "RedisCache": (".redis", "RedisStore"),
    "MemcachedCache": (".memcached", "MemcachedStore"),
}


def connect(config: Mapping[str, Any]) -> Store | None:
    """Build the store that ``CACHE_TYPE`` names; ``None`` is ``NullCache``.

    :raises ValueError: naming the setting, the value and what would do.
    """
    kind = config["CACHE_TYPE"]
    if kind == "NullCache":
        return None
    if kind not in _STORES:
        raise ValueError(f"CACHE_TYPE is {kind!r}: use {', '.join(_STORES)} or NullCache.")
    module, name = _STORES[kind]
    store: Store = getattr(import_module(module, __name__), name)(config)
    return store
