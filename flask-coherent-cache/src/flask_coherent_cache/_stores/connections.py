"""Connections to Redis and Valkey that know which server answers, and what time it has."""

import queue
import re
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, NoScriptError
from redis.retry import Retry

from .._clock import monotonic
from .clock import ServerClock
from .scripts import Script

#: How long an open connection counts as one to the same server, if that reports when it takes over
#: another's data.
_KNOWN_SECONDS = 0.1
_CLOCK_SECONDS = 1.0
#: The identity of a server whose user may not ask; see :meth:`Connection.introduce`.
UNNAMED = "unnamed"

#: A command and its arguments: text, bytes and numbers.
Command = tuple[Any, ...]

_WHO: Command = ("INFO", "replication")
_TIME: Command = ("TIME",)
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


class Connection:
    """Mixed into redis-py's connections, which open them; commands go past redis-py.

    Its way through a client takes longer than the server does. A connection asks who answers, first
    and again with later commands. That costs no round trip of its own, and nothing for most
    commands in a process with a near cache.
    """

    _sock: Any
    _parser: Any
    connect: Callable[[], None]
    disconnect: Callable[[], None]
    can_read: Callable[[], bool]

    def __init__(self, *, reached: Reached, **options: Any) -> None:
        self._reached = reached
        self._was_introduced = False
        #: Whether all replies were read: what comes next answers the next question.
        self._is_idle = False
        self._known_at = 0.0
        self.identity = ""
        super().__init__(**options)

    def introduce(self) -> None:
        """Learn which server a new connection reached.

        A server that does not say may be another one, so after each loss the generation ends.
        """
        connection: Any = self
        connection.on_connect()
        self._reader = hiredis.Reader(redis.InvalidResponse, self._parser.parse_error)
        self._poll = None
        if hasattr(select, "poll"):  # Not on Windows, and eventlet takes it away.
            self._poll = select.poll()
            self._poll.register(self._sock.fileno(), select.POLLIN)
        self._exchange([], asks_who=True)
        if self.identity == UNNAMED and (self._was_introduced or not self._reached.identity):
            self._reached.doubted = True
        self._reached.learn(self.identity)
        self._was_introduced = True

    def prepare(self) -> None:
        """Connect, unless the connection stands and leads to the server that is reached now."""
        if self._sock is not None and not self._is_usable():
            self.disconnect()
        if self._sock is None:
            self._is_idle = False
            self.connect()

    def _is_usable(self) -> bool:
        # Whoever was interrupted may have been so again, before it could disconnect.
        is_ours = self._is_idle and self.identity == self._reached.identity
        return is_ours and not self._has_input()

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once, and return the reply to each; it may be an error.

        :raises redis.RedisError: if the server does not answer, or must not be asked; like
            :class:`OSError`, it leaves a connection of no use.
        """
        replies = self._exchange(commands, asks_who=not self._is_known())
        self._reached.answered(self.identity)
        return replies

    def _exchange(self, commands: Sequence[Command], *, asks_who: bool) -> list[Any]:
        asked_at = monotonic()
        questions: Sequence[Command] = ()
        if asks_who:
            asks_time = asked_at >= self._reached.clock.learned_at + _CLOCK_SECONDS
            questions = (_WHO, _TIME) if asks_time else (_WHO,)
        self._is_idle = False
        try:
            self._sock.sendall(b"".join(map(hiredis.pack_command, (*questions, *commands))))
            if questions:
                self._introduced(asked_at, *[self._read() for _ in questions])
            replies = [self._read() for _ in commands]
        except TimeoutError as error:
            raise redis.TimeoutError("Timeout reading from socket") from error
        self._is_idle = True
        return replies

    def _introduced(self, asked_at: float, who: Any, told: Any = None) -> None:
        who, told = _permitted(who), _permitted(told)
        if told is not None:
            seconds, microseconds = map(int, told)
            self._reached.clock.learn(seconds + microseconds / 1_000_000, asked_at)
        self.identity = UNNAMED if who is None else identity_in(text(who))
        self._known_at = asked_at
        if self._was_introduced:
            self._reached.learn(self.identity)

    def _read(self) -> Any:
        while True:
            reply = self._reader.gets()
            if reply is False:
                data = self._sock.recv(65_536)
                if not data:
                    raise redis.ConnectionError("Connection closed by server.")
                self._reader.feed(data)
            elif not isinstance(reply, hiredis.PushNotification):
                return reply

    def _has_input(self) -> bool:
        """Tell whether there is what nobody asked for: the connection's end, or a late reply."""
        if self._poll is not None:
            return bool(self._poll.poll(0))
        try:
            return self.can_read()
        except (redis.RedisError, OSError):
            return True

    def _is_known(self) -> bool:
        reached, known_at = self._reached, self._known_at
        return reached.is_followed and reached.emptied_at < known_at > monotonic() - _KNOWN_SECONDS


def text(reply: Any) -> bytes:
    """Return the bytes of a reply; in RESP3 some builds send INFO in a form that is text here."""
    return reply.encode() if isinstance(reply, str) else bytes(reply)


def _permitted(reply: Any) -> Any:
    """Return a reply; ``None`` where the user may not ask, or there is no such command."""
    if not isinstance(reply, Exception):
        return reply
    if isinstance(reply, NoPermissionError) or "unknown command" in str(reply):
        return None
    raise reply


class Pool:
    """The connections of a process: as many as ask at once, up to a number; others wait.

    redis-py's own pool only says how they are made.
    """

    def __init__(self, config: Mapping[str, Any], reached: Reached) -> None:
        self._source = _source(config, reached)
        # Not a semaphore, whose lock an exception from a signal can leave held for ever.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(self._source.max_connections):
            self._free.put(None)
        # The last one comes first. One that was lost stays here: see Connection.introduce.
        self._idle: deque[Connection] = deque()

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands at once, and return the reply to each.

        :raises redis.RedisError: for what the server refuses, or does not answer in time.
        :raises OSError: if it is lost.
        """
        try:
            self._free.get(timeout=self._source.timeout)
        except queue.Empty:
            raise redis.ConnectionError("No connection available.") from None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self.make()
            try:
                connection.prepare()
                replies = connection.ask(commands)
            except BaseException:
                connection.disconnect()
                raise
            finally:
                self._idle.append(connection)
        finally:
            self._free.put(None)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def run(self, script: Script, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script; a server that does not know it is told it."""
        command = ("EVALSHA", script.name, len(keys), *keys, *arguments)
        try:
            return self.ask(command)[0]
        except NoScriptError:
            return self.ask(("SCRIPT", "LOAD", script.text), command)[1]

    def make(self, **options: Any) -> Any:
        """Make a connection that is not open yet, and not one of the pool's."""
        source = self._source
        return source.connection_class(**{**source.connection_kwargs, **options})

    def close(self) -> None:
        """Close those that are not in use."""
        while self._idle:
            self._idle.pop().disconnect()


_CLASSES = {
    scheme: type(f"Introduced{base.__name__}", (Connection, base), {})
    for scheme, base in (
        ("redis", redis.Connection),
        ("rediss", redis.SSLConnection),
        ("unix", redis.UnixDomainSocketConnection),
    )
}


def _source(config: Mapping[str, Any], reached: Reached) -> redis.BlockingConnectionPool:
    """Make the pool of redis-py that a store's settings name; RESP2 unless the URL differs.

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
        "redis_connect_func": Connection.introduce,
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
