"""Connections to Redis and Valkey that know which server answers, and what time it has."""

import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from .._clock import monotonic
from .clock import ServerClock

#: How long an open connection counts as one to the same server, if that reports when it takes over
#: another's data.
_KNOWN_SECONDS = 0.1
_CLOCK_SECONDS = 1.0
#: The identity of a server whose user may not ask; see :meth:`_Introduced.introduce`.
UNNAMED = "unnamed"

_WHO = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n"
_TIME = b"*1\r\n$4\r\nTIME\r\n"
_ROLE = re.compile(rb"^role:(\w+)", re.MULTILINE)
_REPLICATION_ID = re.compile(rb"^master_replid:(\w+)", re.MULTILINE)


class Reached:
    """The server that the connections of one store reach."""

    def __init__(self) -> None:
        self.clock = ServerClock()
        #: Of the server reached last. Connections to another one are replaced.
        self.identity = ""
        #: See :attr:`Store.doubted`.
        self.doubted = False
        #: Whether this process is told when the server is emptied, and when that was last.
        self.is_followed = False
        self.emptied_at = 0.0
        self._answers = threading.local()

    def learn(self, identity: str) -> None:
        """Note which server a connection reached."""
        if identity != self.identity:
            # The new one may not know what this process told the former one.
            self.doubted = self.doubted or bool(self.identity)
            self.identity = identity

    def answered(self, identity: str) -> None:
        self._answers.identity = identity

    def answering(self) -> str:
        """Name the server that answered this thread last; empty before the first time."""
        return getattr(self._answers, "identity", "")


def identity_in(replication: bytes) -> str:
    """Read in INFO which data a server has: its ``master_replid``.

    A ``run_id`` would name the process, but a primary that becomes a replica replaces its data in
    the same process. A server that becomes the primary draws a new ``master_replid``.

    :raises redis.ReadOnlyError: for a replica, which learns of writes too late.
    """
    role, name = _ROLE.search(replication), _REPLICATION_ID.search(replication)
    if role and role[1] != b"master":
        raise redis.ReadOnlyError("a replica is read only, and learns of writes too late")
    return name[1].decode() if name else UNNAMED


class _Introduced:
    """Mixed into redis-py's connections: asks who answers, first and again with later commands.

    That costs no round trip of its own, and nothing for most commands in a process with a near
    cache.
    """

    _sock: Any

    def __init__(self, *, reached: Reached, **options: Any) -> None:
        self._reached = reached
        self._is_introduced = self._was_introduced = False
        self._asked_at: float | None = None
        self._asks_time = False
        self._known_at = 0.0
        self.identity = ""
        super().__init__(**options)

    def introduce(self) -> None:
        """Learn which server a new connection reached.

        A server that does not say may be another one, so after each loss the generation ends.
        """
        connection: Any = self
        connection.on_connect()
        connection._sock.sendall(self._question(monotonic()))
        self._read_introduction()
        if self.identity == UNNAMED and (self._was_introduced or not self._reached.identity):
            self._reached.doubted = True
        self._reached.learn(self.identity)
        self._is_introduced = self._was_introduced = True

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._is_introduced:
            if self.identity != self._reached.identity:
                self.disconnect()
            elif not self._is_known(now := monotonic()):
                first, *rest = [command] if isinstance(command, bytes) else command
                command = [self._question(now) + first, *rest]
        super().send_packed_command(command, check_health)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        if self._is_introduced and self._asked_at is not None:
            self._read_introduction()
            self._reached.learn(self.identity)
        response = super().read_response(*args, **options)  # type: ignore[misc]
        self._reached.answered(self.identity)
        return response

    def disconnect(self, *args: Any, **options: Any) -> None:
        self._is_introduced, self._asked_at = False, None
        super().disconnect(*args, **options)  # type: ignore[misc]

    def _is_known(self, now: float) -> bool:
        reached, known_at = self._reached, self._known_at
        return reached.is_followed and reached.emptied_at < known_at > now - _KNOWN_SECONDS

    def _question(self, now: float) -> bytes:
        self._asked_at = now
        self._asks_time = now >= self._reached.clock.learned_at + _CLOCK_SECONDS
        return _WHO + _TIME if self._asks_time else _WHO

    def _read_introduction(self) -> None:
        asked_at, self._asked_at = self._asked_at or 0.0, None
        try:
            replication = self._read_permitted()
            told = self._read_permitted() if self._asks_time else None
            if told is not None:
                seconds, microseconds = map(int, told)
                self._reached.clock.learn(seconds + microseconds / 1_000_000, asked_at)
            self.identity = UNNAMED if replication is None else identity_in(replication)
        except BaseException:
            self.disconnect()
            raise
        self._known_at = asked_at

    def _read_permitted(self) -> Any:
        """Read a reply; ``None`` where the user may not ask, or there is no such command."""
        try:
            return super().read_response(disable_decoding=True)  # type: ignore[misc]
        except redis.ResponseError as error:
            if isinstance(error, NoPermissionError) or "unknown command" in str(error):
                return None
            raise


_CLASSES = {
    scheme: type(f"Introduced{base.__name__}", (_Introduced, base), {})
    for scheme, base in (
        ("redis", redis.Connection),
        ("rediss", redis.SSLConnection),
        ("unix", redis.UnixDomainSocketConnection),
    )
}


def pool(config: Mapping[str, Any], reached: Reached) -> redis.BlockingConnectionPool:
    """Make the connections that a store's settings name; they speak RESP2 unless the URL differs.

    Only tracking needs RESP3, and some servers and proxies know no ``HELLO``.
    """
    url = config.get("CACHE_REDIS_URL") or ""
    scheme = urlsplit(url).scheme if url else "rediss" if config["CACHE_REDIS_TLS"] else "redis"
    options: dict[str, Any] = {
        "connection_class": _CLASSES.get(scheme, _CLASSES["redis"]),
        "reached": reached,
        "protocol": 2,
        "socket_connect_timeout": config["CACHE_CONNECT_TIMEOUT_SECONDS"],
        "socket_timeout": config["CACHE_SOCKET_TIMEOUT_SECONDS"],
        "timeout": config["CACHE_SOCKET_TIMEOUT_SECONDS"],
        "max_connections": config["CACHE_POOL_SIZE"],
        "db": config["CACHE_REDIS_DB"],
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _Introduced.introduce,
    }
    if scheme == "rediss":
        options |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": config["CACHE_REDIS_CA_FILE"],
            "ssl_certfile": config["CACHE_REDIS_CERT_FILE"],
            "ssl_keyfile": config["CACHE_REDIS_KEY_FILE"],
        }
    if not url:
        return redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
            host=config["CACHE_REDIS_HOST"],
            port=config["CACHE_REDIS_PORT"],
            username=config.get("CACHE_REDIS_USERNAME") or None,
            password=config.get("CACHE_REDIS_PASSWORD") or None,
            **options,
        )
    try:
        # What the URL says takes precedence.
        return redis.BlockingConnectionPool.from_url(url, **options)
    except ValueError as error:
        # The URL itself may hold a password.
        raise ValueError(
            f"CACHE_REDIS_URL cannot be read: {error}. Use one such as redis://localhost:6379/0."
        ) from error
