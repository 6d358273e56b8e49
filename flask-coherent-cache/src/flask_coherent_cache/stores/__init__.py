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

#: Module, class and extra. A store's client library is imported only where the store is used.
_STORES = {
    "SimpleCache": (".memory", "MemoryStore", ""),
    "RedisCache": (".redis", "RedisStore", "redis"),
    "MemcachedCache": (".memcached", "MemcachedStore", "memcached"),
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
    module, name, extra = _STORES[kind]
    try:
        store: Store = getattr(import_module(module, __name__), name)(config)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"CACHE_TYPE is {kind}, which needs the library's extra [{extra}] ({error.name} is not"
            f" installed). Install the wheel again, as in:"
            f" pip install 'PATH/flask_coherent_cache-VERSION-py3-none-any.whl[{extra}]'."
        ) from error
    return store
