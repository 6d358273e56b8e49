"""Several caches of one application: what is built from one of them can lie in another."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .engine import CacheEngine

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared only


def connect_peers(caches: Mapping[Any, CacheEngine | None]) -> None:
    """Let the caches of an application know of each other.

    :raises ValueError: if two of them would use the same keys of one server.
    """
    places: dict[tuple[Any, ...], CacheEngine] = {}
    found = [engine for engine in caches.values() if engine is not None]
    for number, engine in enumerate(found):
        # Nobody else reaches what lies in the process.
        place = _place(engine.config) if engine.store.shared else (number,)
        place = (engine.prefix, *place)
        if place in places:
            raise ValueError(
                f"Two caches of this application have the CACHE_KEY_PREFIX {engine.prefix!r} on "
                "one server, and would take each other's entries for their own: give one of them "
                "another prefix, such as Cache(config={'CACHE_KEY_PREFIX': 'app2'})."
            )
        places[place] = engine
    for place, engine in places.items():
        engine.peers = tuple(peer for peer in found if peer is not engine)
        name = hashlib.blake2b(repr(place[1:]).encode(), digest_size=6).hexdigest()
        engine.own_tag = f"cache:{engine.prefix}:{name}"


def _place(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Name the server, and its database, as far as the settings tell."""
    if config["CACHE_TYPE"] == "MemcachedCache":
        servers = config["CACHE_MEMCACHED_SERVERS"]
        return (
            "memcached",
            *sorted(map(_host, [servers] if isinstance(servers, str) else servers)),
        )
    if not config.get("CACHE_REDIS_URL"):
        address = f"{config['CACHE_REDIS_HOST']}:{config['CACHE_REDIS_PORT']}"
        return ("redis", _host(address), str(config["CACHE_REDIS_DB"]))
    url = urlsplit(config["CACHE_REDIS_URL"])
    in_path = "" if url.scheme == "unix" else url.path.strip("/")
    database = parse_qs(url.query).get("db", [in_path or "0"])[0]
    if url.scheme == "unix":
        return ("redis", url.path, database)
    return ("redis", _host(f"{url.hostname or 'localhost'}:{url.port or 6379}"), database)


def _host(address: Any) -> str:
    host, _, port = str(address).rpartition(":")
    return f"{'localhost' if host.strip('[]') in _LOOPBACK else host.lower()}:{port}"
