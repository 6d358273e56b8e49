"""What ``CACHE_TYPE`` may be: Flask-Caching's names, and those of classes and functions."""

import difflib
import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

_KINDS = ("NullCache", "SimpleCache", "RedisCache", "MemcachedCache")
#: Flask-Caching's other backends that a store can use, by a name without "Cache".
_ADAPTED = {
    "filesystem": "flask_caching.backends.FileSystemCache",
    "uwsgi": "flask_caching.contrib.uwsgicache.UWSGICache",
}
_UNPICKLES = (
    "its client unpickles what it reads, and anyone who can write to the server runs code here",
    "MemcachedCache on a private network",
)
#: Those that break a promise even within one process, why, and what to use.
REFUSED = {
    "RedisSentinelCache": (
        "it reads from replicas, which learn of an invalidation later",
        "RedisCache at an address that leads to the primary, such as a proxy's",
    ),
    "RedisClusterCache": (
        "an entry and its tags are on several nodes, which nothing changes in one step",
        "RedisCache on a server that is not in cluster mode",
    ),
    "SASLMemcachedCache": _UNPICKLES,
    "SpreadSASLMemcachedCache": _UNPICKLES,
    "GoogleCloudStorageCache": (
        "each lookup is a request to another service",
        "RedisCache or MemcachedCache",
    ),
}
#: What ``CACHE_OPTIONS`` says to Flask-Caching's backends, and the settings of our own.
_OPTIONS = {
    "default_timeout": "CACHE_DEFAULT_TIMEOUT",
    "threshold": "CACHE_THRESHOLD",
    "key_prefix": "CACHE_KEY_PREFIX",
    "servers": "CACHE_MEMCACHED_SERVERS",
    **{
        name: f"CACHE_REDIS_{name.upper()}"
        for name in ("host", "port", "db", "username", "password")
    },
    "ssl": "CACHE_REDIS_TLS",
    "ssl_ca_certs": "CACHE_REDIS_CA_FILE",
    "ssl_certfile": "CACHE_REDIS_CERT_FILE",
    "ssl_keyfile": "CACHE_REDIS_KEY_FILE",
    "socket_connect_timeout": "CACHE_CONNECT_TIMEOUT_SECONDS",
    "socket_timeout": "CACHE_SOCKET_TIMEOUT_SECONDS",
    "max_connections": "CACHE_POOL_SIZE",
}


def _word(name: str) -> str:
    return name.lower().removesuffix("cache")


_BY_WORD = {_word(kind): kind for kind in _KINDS} | {_word("memcache"): "MemcachedCache"}
_REFUSED_BY_WORD = {_word(name): name for name in REFUSED}


def kind_of(name: Any) -> str:
    """Return the name of one of the library's stores, or where to import another backend from.

    Short and dotted names of Flask-Caching mean the same: ``redis``, ``RedisCache``,
    ``flask_caching.backends.rediscache.RedisCache``.

    :raises ValueError: for a name that is nothing, and for a backend that cannot be used.
    """
    if not isinstance(name, str):
        raise ValueError(
            f"CACHE_TYPE is {name!r}: use a name, such as {', '.join(_KINDS)}, or "
            "'package.module.Class' for a backend of your own."
        )
    package, _, last = name.rpartition(".")
    if package and package.partition(".")[0] not in ("flask_caching", "cachelib"):
        return name
    word = _word(last)
    if word in _BY_WORD and not package.startswith("cachelib"):
        return _BY_WORD[word]
    if word in _REFUSED_BY_WORD:
        raise refusal(_REFUSED_BY_WORD[word])
    if package.startswith("cachelib"):
        return name
    if word in _ADAPTED:
        return _ADAPTED[word]
    near = difflib.get_close_matches(word, [*_BY_WORD, *_ADAPTED], 1)
    hint = f" Did you mean {_BY_WORD.get(near[0], near[0])}?" if near else ""
    raise ValueError(
        f"CACHE_TYPE is {name!r}, which is no backend: use {', '.join(_KINDS)}, or "
        f"'package.module.Class' for one of your own.{hint}"
    )


def options_as_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``CACHE_OPTIONS`` says to one of our stores, as settings; log what is ignored.

    Another backend gets ``CACHE_ARGS`` and ``CACHE_OPTIONS`` as they are.
    """
    if config["CACHE_TYPE"] not in _KINDS:
        return {}
    options = config.get("CACHE_OPTIONS") or {}
    ignored = ["CACHE_ARGS"] if config.get("CACHE_ARGS") else []
    ignored += [f"CACHE_OPTIONS[{name!r}]" for name in options if name not in _OPTIONS]
    if ignored:
        logger.warning("%s changes nothing: see the library's settings.", ", ".join(ignored))
    return {_OPTIONS[name]: value for name, value in options.items() if name in _OPTIONS}


def refusal(name: str) -> ValueError:
    """Say why a backend of Flask-Caching cannot be used, and what to use."""
    why, instead = REFUSED[name]
    return ValueError(f"CACHE_TYPE is {name}, which is not supported: {why}. Use {instead}.")
