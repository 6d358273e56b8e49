"""The store on Redis or Valkey."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis
from redis.exceptions import NoPermissionError

from .._clock import monotonic
from .._forks import begin_after_fork
from . import scripts
from .base import Facts, Known, Lease, ServerCall, Store
from .connections import Pool, Reached, text
from .follower import Follower
from .tagstate import AHEAD_SECONDS, DOUBT_SECONDS, FIRST_TIMESTAMP, TAG_SECONDS

#: How INFO names a database.
_DATABASE = re.compile(r"db\d+")
#: Lua takes so many values at once, with room to spare (LUAI_MAXCSTACK).
_MOST_UNPACKED = 4000


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
        #: When this process last wrote what followers are told of, by the monotonic clock.
        self.wrote_at = 0.0
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Make connections and locks anew: those of the process that forked are not ours."""
        self._reached = Reached()
        self._clock = self._reached.clock
        self._pool = Pool(self._config, self._reached)

    def info(self) -> dict[str, Any]:
        """Return what the server's INFO says, by name."""
        with ServerCall(self):
            lines = text(self._pool.ask(("INFO",))[0]).decode("utf-8", "replace").splitlines()
        pairs = (line.partition(":") for line in lines if line[:1] not in ("", "#"))
        return {name: _told(value) for name, _, value in pairs}

    def scan(self, prefix: str, rounds: int = 100) -> tuple[list[str], bool]:
        """List keys that begin so, and say whether these are all.

        :param prefix: without the characters that mean something in a pattern.
        :param rounds: each looks at about a thousand of the server's keys.
        """
        names: set[str] = set()
        cursor = b"0"
        for _ in range(rounds):
            with ServerCall(self):
                command = ("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", 1000)
                ((cursor, found),) = self._pool.ask(command)
            names.update(name.decode("utf-8", "backslashreplace") for name in found)
            if cursor == b"0":
                break
        return sorted(names), cursor == b"0"

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
                self._pool.ask(("PING",))
        return self._reached.answering()

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with ServerCall(self):
            return cast("list[bytes | None]", self._pool.ask(("MGET", *keys))[0])

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with ServerCall(self):
            self._pool.ask(("SET", key, value, *_expiry(seconds)))

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with ServerCall(self):
            return self._pool.ask(("SET", key, value, *_expiry(seconds), "NX"))[0] is not None

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        add = ("SET", key, value, *_expiry(seconds), "NX")
        with ServerCall(self):
            added, values = self._pool.ask(add, ("MGET", *keys))
        return added is not None, values

    def look(
        self, key: str, token: bytes, seconds: float, keys: Sequence[str], place: int, known: Known
    ) -> list[bytes | None]:
        if len(keys) >= _MOST_UNPACKED:
            return super().look(key, token, seconds, keys, place, known)
        arguments = (token, _milliseconds(seconds), place + 2, *known)
        with ServerCall(self):
            try:
                found = self._pool.run(scripts.LOOK, [key, *keys], *arguments)
            except NoPermissionError:  # A user that may only read is served hits.
                found = self._pool.ask(("MGET", key, *keys))[0]
        return cast("list[bytes | None]", found)

    def delete(self, keys: Sequence[str]) -> None:
        # A full server that evicts nothing still deletes.
        with ServerCall(self, unless="full"):
            self._pool.ask(("UNLINK", *keys))

    def release(self, key: str, token: bytes) -> None:
        with ServerCall(self):
            self._pool.run(scripts.RELEASE, [key], token)

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        doubt = DOUBT_SECONDS if seconds is None else math.ceil(seconds)
        with ServerCall(self):
            self._pool.run(scripts.MARK, tags, token, doubt, TAG_SECONDS)

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        keys, arguments = [clock, *tags], (token, TAG_SECONDS, FIRST_TIMESTAMP, AHEAD_SECONDS)
        self.wrote_at = monotonic()
        with ServerCall(self, unless="full"):
            try:
                timestamp = self._pool.run(scripts.INVALIDATE, keys, *arguments)
            except redis.OutOfMemoryError:
                self._pool.ask(("UNLINK", *keys))
                self.breaker.open("full")
                timestamp = 0
            if self._has_followers:
                self._pool.ask(("PING",))  # As confirm() does.
        return cast("int | None", timestamp)

    def store_entry(
        self, key: str, value: bytes, seconds: float, clock: str, tags: Sequence[str], lease: Lease
    ) -> None:
        # Without a lease no script reads the third key, but a restricted user must be allowed it.
        lease_key, token = lease or (key, b"")
        arguments = (value, _milliseconds(seconds), TAG_SECONDS, token)
        self.wrote_at = monotonic()
        with ServerCall(self):
            self._pool.run(scripts.STORE_ENTRY, [key, clock, lease_key, *tags], *arguments)

    def confirm(self) -> None:
        # With io-threads the reply to a command can overtake the message to the followers; the
        # reply to a command that was sent after that reply cannot. One sent with it could.
        if self._has_followers:
            with ServerCall(self, unless="full"):
                self._pool.ask(("PING",))

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
        with self._explained():
            return Follower(self._pool.make(protocol=3, client_name=name), prefixes)

    def close(self) -> None:
        super().close()
        self._pool.close()

    def _probe(self) -> None:
        self._pool.ask(("SET", self._probed, b"", *_expiry(1)))


def _expiry(seconds: float | None) -> tuple[Any, ...]:
    return () if seconds is None else ("PX", _milliseconds(seconds))


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _told(value: str) -> Any:
    """Read a value in INFO: a number, a text, or of a database numbers by name."""
    if "=" in value:
        pairs = (pair.partition("=") for pair in value.split(","))
        return {name: _told(number) for name, _, number in pairs}
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value
