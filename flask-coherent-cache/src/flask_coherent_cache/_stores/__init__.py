"""The store: where entries, tags, leases, the clock and the generation are kept.

Every backend offers the same few operations with the same meaning, so what holds in
development on ``SimpleCache`` holds in production on Redis, Valkey or Memcached.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flask import Flask, current_app

from .base import Facts, Known, Store
from .errors import ServerRefusedError, StoreError
from .names import kind_of
from .tagstate import is_overdue, is_timestamp

__all__ = [
    "Facts", "Known", "ServerRefusedError", "Store", "StoreError", "connect", "is_overdue",
    "is_timestamp", "kind_of", "missing_extra",
]  # fmt: skip

#: Module, class and extra. A store's client library is imported only where the store is used.
_STORES = {
    "SimpleCache": (".memory", "MemoryStore", ""),
    "RedisCache": (".redis", "RedisStore", "redis"),
    "MemcachedCache": (".memcached", "MemcachedStore", "memcached"),
}


def connect(config: Mapping[str, Any], app: Flask | None = None) -> Store | None:
    """Build the store that ``CACHE_TYPE`` names, in the form of :func:`kind_of`.

    :param app: for a backend of your own; the current one by default.
    :return: ``None`` for ``NullCache``.
    :raises ValueError: naming the setting, the value and what to use.
    """
    kind = config["CACHE_TYPE"]
    if kind == "NullCache":
        return None
    if kind not in _STORES:
        from .adapted import AdaptedStore  # noqa: PLC0415 - seldom used

        return AdaptedStore(kind, config, app or current_app)
    module, name, _ = _STORES[kind]
    try:
        store: Store = getattr(import_module(module, __name__), name)(config)
    except ModuleNotFoundError as error:
        raise missing_extra(kind, error) from error
    return store


def missing_extra(kind: str, error: ModuleNotFoundError) -> ValueError:
    """Say what to install for a store whose module is missing.

    :param kind: the store, as ``CACHE_TYPE`` names it.
    """
    extra = _STORES[kind][2] if kind in _STORES else "redis"
    missing = (error.name or "").partition(".")[0]
    return ValueError(
        f"CACHE_TYPE is {kind}, which needs the library's extra [{extra}] ({missing} is not"
        f" installed). Install the wheel again, as in:"
        f" pip install 'PATH/flask_coherent_cache-VERSION-py3-none-any.whl[{extra}]'."
    )
