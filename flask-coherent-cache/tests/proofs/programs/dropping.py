"""Drops keys of a cache server at random, as a full or failing server does."""

import socket
from collections import Counter
from typing import Any
from urllib.parse import unquote

import redis
from pymemcache import Client

from harness import chance

#: How often each kind of key is dropped.
WEIGHTS = {"tag": 60, "entry": 20, "lease": 5, "clock": 6, "generation": 6, "everything": 3}
#: One in so many keys of a kind goes at once.
SHARE = 4


class Dropper:
    """Drops keys of one server.

    :param settings: the settings that lead to it.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.redis = self.memcached = None
        if url := settings.get("CACHE_REDIS_URL"):
            self.redis = redis.Redis.from_url(url)
        else:
            (self.address,) = settings["CACHE_MEMCACHED_SERVERS"]
            self.memcached = Client(self.address)
        self.chance = chance("dropper")
        self.done: Counter[str] = Counter()
        self.tried = 0

    def act(self) -> None:
        """Drop a few keys of a kind, or everything."""
        self.tried += 1
        (kind,) = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if kind == "everything":
            self.flush()
        elif keys := [key for key in self.keys() if kind in key.split(":")[1:3]]:
            for key in self.chance.sample(keys, -(-len(keys) // SHARE)):
                self.delete(key)
        else:
            return
        self.done[kind] += 1

    def keys(self) -> list[str]:
        """All keys of the server."""
        if self.redis is not None:
            return sorted(key.decode() for key in self.redis.scan_iter(count=10_000))
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(b"lru_crawler metadump all\r\n")
            told = b""
            while not told.endswith((b"END\r\n", b"ERROR\r\n")):
                told += connection.recv(65536)
        lines = told.decode().splitlines()
        return sorted(unquote(line[4:].split(" ")[0]) for line in lines if line.startswith("key="))

    def delete(self, key: str) -> None:
        if self.redis is not None:
            self.redis.delete(key)
        elif self.memcached is not None:
            self.memcached.delete(key)

    def flush(self) -> None:
        if self.redis is not None:
            self.redis.flushall()
        elif self.memcached is not None:
            self.memcached.flush_all()
