"""What ``CACHE_TYPE`` may be: Flask-Caching's names, and those of classes and functions."""

import difflib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.utils import import_string

logger = logging.getLogger(__name__)

#: Ours, and the words by which versions of Flask-Caching call them.
_KINDS = {
    "NullCache": ("null", "nullcache"),
    "SimpleCache": ("simple", "simplecache"),
    "RedisCache": ("redis", "rediscache"),
    "MemcachedCache": ("memcached", "memcachedcache", "memcache"),
}
#: Flask-Caching's other backends that we can stand on.
_ADAPTED = {
    "filesystem": "flask_caching.backends.FileSystemCache",
    "filesystemcache": "flask_caching.backends.FileSystemCache",
    "uwsgi": "flask_caching.contrib.uwsgicache.UWSGICache",
    "uwsgicache": "flask_caching.contrib.uwsgicache.UWSGICache",
}
#: Those that break a promise even within one process, why, and what to use.
_REFUSED = {
    "RedisSentinelCache": (
        "it reads from replicas, which know of an invalidation later",
        "RedisCache at an address that leads to the primary, such as a proxy's",
    ),
    "RedisClusterCache": (
        "an entry and its tags lie on several nodes, which nothing changes in one step",
        "RedisCache on a server that is not in cluster mode",
    ),
    "SASLMemcachedCache": (
        "its client unpickles what it reads, and whoever can write to the server runs code here",
        "MemcachedCache on a network of its own",
    ),
    "SpreadSASLMemcachedCache": (
        "its client unpickles what it reads, and whoever can write to the server runs code here",
        "MemcachedCache on a network of its own",
    ),
    "GoogleCloudStorageCache": (
        "each look-up is a request to another service",
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
#: Sizes for which ``None`` is none.
_MAY_BE_NONE = frozenset({"CACHE_NEAR_BYTES", "CACHE_COMPRESS_MIN_BYTES"})
_BY_WORD = {word: kind for kind, words in _KINDS.items() for word in words}
_REFUSED_BY_WORD = {name.lower().removesuffix("cache"): name for name in _REFUSED}


def kind_of(name: Any) -> str:
    """Return the name of one of our stores, or where to import another backend from.

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
    word = last.lower()
    if word in _BY_WORD and not package.startswith("cachelib"):
        return _BY_WORD[word]
    if word.removesuffix("cache") in _REFUSED_BY_WORD:
        raise refusal(_REFUSED_BY_WORD[word.removesuffix("cache")])
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


def imported(kind: str) -> Callable[..., Any]:
    """Import a backend's class, or a function that makes one.

    :raises ValueError: where it cannot be imported, or breaks a promise.
    """
    try:
        found: Any = import_string(kind)
    except ImportError as error:
        raise ValueError(f"CACHE_TYPE is {kind!r}, which cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"CACHE_TYPE is {kind!r}, which is neither a class nor a function.")
    for base in getattr(found, "__mro__", ()):
        if base.__name__ in _REFUSED:
            raise refusal(base.__name__)
    made: Callable[..., Any] = found
    return made


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


def numbers(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, float]:
    """Return the settings that are numbers, also those that are text, as the environment has them.

    :param defaults: of all settings: where the default is a number, the setting is one.
    :raises ValueError: for what is no number, naming the setting.
    """
    found = {}
    for name, default in defaults.items():
        value = config[name]
        if isinstance(default, bool) or not isinstance(default, int | float):
            continue
        if isinstance(value, str):
            value = _number_in(value)
        if config[name] is None and name in _MAY_BE_NONE:
            continue
        if not isinstance(value, int | float):
            raise ValueError(f"{name} is {config[name]!r}: use a number, such as {default!r}.")
        found[name] = value
    return found


def _number_in(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def refusal(name: str) -> ValueError:
    """Say why a backend of Flask-Caching cannot be used, and what to use."""
    why, instead = _REFUSED[name]
    return ValueError(f"CACHE_TYPE is {name}, which is not supported: {why}. Use {instead}.")
