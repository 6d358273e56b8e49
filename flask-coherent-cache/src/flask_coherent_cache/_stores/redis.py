"""The store on Redis or Valkey."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from .._clock import monotonic
from .._forks import begin_after_fork
from . import scripts
from .base import Facts, Lease, ServerCall, Store
from .connections import Reached, pool
from .follower import Follower
from .tagstate import AHEAD_SECONDS, DOUBT_SECONDS, FIRST_TIMESTAMP, TAG_SECONDS

#: How INFO names a database.
_DATABASE = re.compile(r"db\d+")


class RedisStore(Store):
    """A store on one Redis or Valkey server, each call bounded in time and never retried.

    redis-py's own retries turn a refused connection into seconds a call, so they are off,
    by URL and by host alike.

    :param config: ``CACHE_REDIS_URL``, or ``CACHE_REDIS_HOST``, ``_PORT``, ``_DB``,
        ``_USERNAME``, ``_PASSWORD`` and ``_TLS``; with TLS, ``CACHE_REDIS_CA_FILE``,
        ``_CERT_FILE`` and ``_KEY_FILE``; ``CACHE_CONNECT_TIMEOUT_SECONDS``,
        ``CACHE_SOCKET_TIMEOUT_SECONDS``, ``CACHE_RETRY_SECONDS``, ``CACHE_POOL_SIZE``.
    """

    name = "Redis"
    errors = (redis.RedisError, OSError)
    failures = (
        ("WRONGTYPE", "wrong type"),
        ("MISCONF", "read-only"),  # It cannot save.
        ("NOREPLICAS", "read-only"),
        (redis.TimeoutError, "timeout"),
        (redis.BusyLoadingError, "loading"),
        (redis.AuthenticationError, "forbidden"),
        (redis.ConnectionError, "unreachable"),
        (redis.ReadOnlyError, "read-only"),
        (redis.OutOfMemoryError, "full"),
        (OSError, "unreachable"),
    )

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config["CACHE_RETRY_SECONDS"])
        self._config = config
        self._probed = f"{config['CACHE_KEY_PREFIX']}:probe"
        self._has_followers = bool(config["CACHE_NEAR_BYTES"])
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Make connections and locks anew: those of the process that forked are not ours."""
        self._reached = Reached()
        self._clock = self._reached.clock
        self._client = redis.Redis(connection_pool=pool(self._config, self._reached))
        self._mark = self._client.register_script(scripts.MARK)
        self._invalidate = self._client.register_script(scripts.INVALIDATE)
        self._store_entry = self._client.register_script(scripts.STORE_ENTRY)
        self._release = self._client.register_script(scripts.RELEASE)

    def info(self) -> dict[str, Any]:
        """Return what the server's INFO says, by name."""
        with ServerCall(self):
            return self._client.info()

    def scan(self, prefix: str, rounds: int = 100) -> tuple[list[str], bool]:
        """List keys that begin so, and say whether these are all.

        :param prefix: without the characters that mean something in a pattern.
        :param rounds: each looks at about a thousand of the server's keys.
        """
        names: set[str] = set()
        cursor = 0
        for _ in range(rounds):
            with ServerCall(self):
                answer: Any = self._client.scan(cursor, match=f"{prefix}*", count=1000)
            cursor, found = answer
            names.update(name.decode("utf-8", "backslashreplace") for name in found)
            if cursor == 0:
                break
        return sorted(names), cursor == 0

    def facts(self) -> Facts:
        info = self.info()
        name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
        microseconds = info.get("server_time_usec")
        version = info.get("valkey_version") or info.get("redis_version", "")
        return Facts(
            server=f"{name} {version}",
            bytes=info.get("used_memory"),
            max_bytes=info.get("maxmemory"),
            policy=info.get("maxmemory_policy"),
            evictions=info.get("evicted_keys"),
            items=sum(kept["keys"] for name, kept in info.items() if _DATABASE.fullmatch(name)),
            time=microseconds / 1_000_000 if microseconds else None,
            uptime=info.get("uptime_in_seconds"),
        )

    @property
    def doubted(self) -> bool:
        return self._reached.doubted

    @doubted.setter
    def doubted(self, value: bool) -> None:
        self._reached.doubted = value

    def identity(self) -> str:
        if not self._reached.answering():
            with ServerCall(self):
                self._client.ping()
        return self._reached.answering()

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with ServerCall(self):
            return cast("list[bytes | None]", self._client.mget(keys))

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with ServerCall(self):
            self._client.set(key, value, px=_milliseconds(seconds))

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with ServerCall(self):
            return bool(self._client.set(key, value, px=_milliseconds(seconds), nx=True))

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        with ServerCall(self), self._client.pipeline(transaction=False) as pipeline:
            pipeline.set(key, value, px=_milliseconds(seconds), nx=True)
            pipeline.mget(keys)
            added, values = pipeline.execute()
        return bool(added), values

    def delete(self, keys: Sequence[str]) -> None:
        # A full server that evicts nothing still deletes.
        with ServerCall(self, unless="full"):
            self._client.unlink(*keys)

    def release(self, key: str, token: bytes) -> None:
        with ServerCall(self):
            self._release(keys=[key], args=[token])

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        doubt = DOUBT_SECONDS if seconds is None else math.ceil(seconds)
        with ServerCall(self):
            self._mark(keys=list(tags), args=[token, doubt, TAG_SECONDS])

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        keys, arguments = [clock, *tags], (token, TAG_SECONDS, FIRST_TIMESTAMP, AHEAD_SECONDS)
        with ServerCall(self, unless="full"):
            try:
                timestamp = cast("int | None", self._invalidate(keys=keys, args=arguments))
            except redis.OutOfMemoryError:
                self._client.unlink(*keys)
                self.breaker.open("full")
                timestamp = 0
            if self._has_followers:
                self._client.ping()  # As confirm() does.
        return timestamp

    def store_entry(
        self, key: str, value: bytes, seconds: float, clock: str, tags: Sequence[str], lease: Lease
    ) -> None:
        # Without a lease no script reads the third key, but a restricted user must be allowed it.
        lease_key, token = lease or (key, b"")
        arguments: list[Any] = [value, _milliseconds(seconds), TAG_SECONDS, token]
        with ServerCall(self):
            self._store_entry(keys=[key, clock, lease_key, *tags], args=arguments)

    def confirm(self) -> None:
        # With io-threads the reply to a command can overtake the message to the followers; the
        # reply to another command cannot.
        if self._has_followers:
            with ServerCall(self, unless="full"):
                self._client.ping()

    def server(self) -> str:
        """Name the server that was reached last; nothing before the first time."""
        return self._reached.identity

    def note_followed(self, is_followed: bool) -> None:
        """Note whether this process is told when the server is emptied."""
        self._reached.is_followed = is_followed

    def note_emptied(self) -> None:
        """Note that the server was emptied, perhaps to take over another one's data."""
        self._reached.emptied_at = monotonic()

    def track(self, name: str, prefixes: Sequence[str]) -> Follower:
        """Open a connection that receives each write to keys with these prefixes."""
        connections = self._client.connection_pool
        options = {**connections.connection_kwargs, "protocol": 3, "client_name": name}
        with self._explained():
            return Follower(connections.connection_class(**options), prefixes)

    def close(self) -> None:
        super().close()
        self._client.close()
        self._client.connection_pool.disconnect()

    def _probe(self) -> None:
        self._client.set(self._probed, b"", px=1000)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))
