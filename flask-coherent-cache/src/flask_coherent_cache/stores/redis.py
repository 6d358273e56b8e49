"""The store on Redis or Valkey."""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .base import Facts, Failure, StoreError
from .breaker import CircuitBreaker
from .tagstate import AHEAD_SECONDS, DOUBT_SECONDS, FIRST_READING, TAG_SECONDS

#: How INFO names a database.
_DATABASE = re.compile(r"db\d+")

#: What a key holds as text; of foreign data, and without it, the other one.
_TEXT = """
local function text(key, pattern, other)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and string.match(value, pattern) and value or other
end
"""

#: KEYS: tags. ARGV: token, a doubt's seconds, a tag's. The value's form is in tagstate.py.
_MARK = (
    _TEXT
    + """
local until_ = redis.call('TIME')[1] + ARGV[2]
for _, tag in ipairs(KEYS) do
  local value = text(tag, '^%d+', '0')
  redis.call('SET', tag, value .. ' ' .. ARGV[1] .. ':' .. until_, 'EX', ARGV[3])
end
"""
)

#: KEYS: clock, tags. ARGV: token, a tag's seconds, the first reading, how far ahead one may be.
#: Readings are below 2^53, so Lua's numbers hold them exactly; %d keeps them from an exponent.
_INVALIDATE = (
    _TEXT
    + """
local now = text(KEYS[1], '^%d+$', '0')
if #now ~= 16 or tonumber(now) < tonumber(ARGV[3]) then return nil end
local reading = redis.call('INCR', KEYS[1])
local seconds = tonumber(redis.call('TIME')[1])
local latest = seconds + ARGV[4]
for i = 2, #KEYS do
  local value = text(KEYS[i], '^%d+', '0')
  local kept = ''
  for token, until_ in string.gmatch(value, ' ([^ :]+):(%d+)') do
    if token ~= ARGV[1] and tonumber(until_) >= seconds and tonumber(until_) <= latest then
      kept = kept .. ' ' .. token .. ':' .. until_
    end
  end
  local old = tonumber(string.match(value, '^%d+'))
  if old > latest * 1000000 then old = 0 end
  redis.call('SET', KEYS[i], string.format('%d', math.max(old, reading)) .. kept, 'EX', ARGV[2])
end
return reading
"""
)

#: KEYS: entry, clock, lease, tags. ARGV: entry, milliseconds, a tag's seconds, the lease's token.
_STORE_ENTRY = (
    _TEXT
    + """
local now = text(KEYS[2], '^%d+$', nil)
for i = 4, #KEYS do
  if now and not text(KEYS[i], '^%d+', nil) then redis.call('SET', KEYS[i], now, 'EX', ARGV[3]) end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[4] ~= '' and text(KEYS[3], '', '') == ARGV[4] then redis.call('DEL', KEYS[3]) end
"""
)

_RELEASE = (
    _TEXT
    + """
if text(KEYS[1], '', '') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
)


class RedisStore:
    """A store on one Redis or Valkey server, each call bounded in time and never retried.

    redis-py's own retries turn a refused connection into seconds a call, so they are off,
    by URL and by host alike.

    :param config: ``CACHE_REDIS_URL``, or ``CACHE_REDIS_HOST``, ``_PORT``, ``_DB``,
        ``_USERNAME``, ``_PASSWORD`` and ``_TLS``; with TLS, ``CACHE_REDIS_CA_FILE``,
        ``_CERT_FILE`` and ``_KEY_FILE``; ``CACHE_CONNECT_TIMEOUT_SECONDS``,
        ``CACHE_SOCKET_TIMEOUT_SECONDS``, ``CACHE_RETRY_SECONDS``, ``CACHE_POOL_SIZE``.
    """

    shared = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.breaker = CircuitBreaker(self._probe, config["CACHE_RETRY_SECONDS"])
        self.on_call: Callable[[float], object] = lambda seconds: None
        self._probed = f"{config['CACHE_KEY_PREFIX']}:probe"
        self._server = ""
        self._has_followers = bool(config["CACHE_NEAR_BYTES"])
        self._client = redis.Redis(connection_pool=_pool(config, self._connected))
        self._mark = self._client.register_script(_MARK)
        self._invalidate = self._client.register_script(_INVALIDATE)
        self._store_entry = self._client.register_script(_STORE_ENTRY)
        self._release = self._client.register_script(_RELEASE)

    def info(self) -> dict[str, Any]:
        """Return what the server's INFO says, by name."""
        with self._guarded():
            return self._client.info()

    def scan(self, prefix: str, rounds: int = 100) -> tuple[list[str], bool]:
        """List keys that begin so, and say whether these are all.

        :param prefix: without the characters that mean something in a pattern.
        :param rounds: each looks at about a thousand of the server's keys.
        """
        names: set[str] = set()
        cursor = 0
        for _ in range(rounds):
            with self._guarded():
                answer: Any = self._client.scan(cursor, match=f"{prefix}*", count=1000)
            cursor, found = answer
            names.update(name.decode("utf-8", "backslashreplace") for name in found)
            if cursor == 0:
                break
        return sorted(names), cursor == 0

    def facts(self) -> Facts:
        info = self.info()
        name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
        version = info.get("valkey_version") or info.get("redis_version", "")
        microseconds = info.get("server_time_usec")
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

    def identity(self) -> str:
        if not self._server:
            with self._guarded():
                self._client.ping()
        return self._server

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._guarded():
            return cast("list[bytes | None]", self._client.mget(keys))

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with self._guarded():
            self._client.set(key, value, px=_milliseconds(seconds))

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with self._guarded():
            return bool(self._client.set(key, value, px=_milliseconds(seconds), nx=True))

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        with self._guarded(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.set(key, value, px=_milliseconds(seconds), nx=True)
            pipeline.mget(keys)
            added, values = pipeline.execute()
        return bool(added), values

    def delete(self, keys: Sequence[str]) -> None:
        # A full server that evicts nothing still deletes.
        with self._guarded(unless="full"):
            self._client.unlink(*keys)

    def release(self, key: str, token: bytes) -> None:
        with self._guarded():
            self._release(keys=[key], args=[token])

    def mark(self, tags: Sequence[str], token: str) -> None:
        with self._guarded():
            self._mark(keys=list(tags), args=[token, DOUBT_SECONDS, TAG_SECONDS])

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        keys, arguments = [clock, *tags], (token, TAG_SECONDS, FIRST_READING, AHEAD_SECONDS)
        with self._guarded(unless="full"):
            try:
                reading = cast("int | None", self._invalidate(keys=keys, args=arguments))
            except redis.OutOfMemoryError:
                self._client.unlink(*keys)
                self.breaker.open("full")
                reading = 0
            if self._has_followers:
                self._client.ping()  # As confirm() does.
        return reading

    def store_entry(
        self,
        key: str,
        value: bytes,
        seconds: float,
        clock: str,
        tags: Sequence[str],
        lease: tuple[str, bytes] | None = None,
    ) -> None:
        # Without a lease no script reads the third key, but a confined user must be let to name it.
        lease_key, token = lease or (key, b"")
        arguments: list[Any] = [value, _milliseconds(seconds), TAG_SECONDS, token]
        with self._guarded():
            self._store_entry(keys=[key, clock, lease_key, *tags], args=arguments)

    def confirm(self) -> None:
        # With io-threads a reply can overtake what the followers are told of its command; the
        # reply to one more command cannot.
        if self._has_followers:
            with self._guarded(unless="full"):
                self._client.ping()

    def server(self) -> str:
        """Name the server that was reached last; nothing before the first time."""
        return self._server

    def track(self, name: str, prefixes: Sequence[str]) -> "Tracking":
        """Open a connection that is told of each write to keys with these prefixes."""
        pool = self._client.connection_pool
        options = {**pool.connection_kwargs, "protocol": 3, "client_name": name}
        with _store_errors():
            return Tracking(pool.connection_class(**options), prefixes, self)

    def close(self) -> None:
        self.breaker.close()
        self._client.close()
        self._client.connection_pool.disconnect()

    def _probe(self) -> None:
        with _store_errors():
            self._client.set(self._probed, b"", px=1000)

    @contextmanager
    def _guarded(self, unless: Failure | None = None) -> Iterator[None]:
        self.breaker.check(unless)
        began = time.perf_counter()
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise self.breaker.failed(_store_error(error)) from error
        finally:
            self.on_call(time.perf_counter() - began)

    def _connected(self, connection: Any) -> None:
        """Learn on every new connection which server it reached.

        A server that was restarted from a snapshot, or a replica that was promoted, may have
        forgotten invalidations; its ``run_id`` is another one.
        """
        connection.on_connect()
        connection.send_command("INFO", "server")
        for line in connection.read_response().splitlines():
            if line.startswith(b"run_id:"):
                self._server = line[7:].decode()


class Tracking:
    """A connection on which the server tells which keys were written.

    It is broadcasting mode of client-side caching (``CLIENT TRACKING``) by RESP3. redis-py makes
    the connection, with TLS and user; from then on nothing but this class reads from it.
    """

    def __init__(self, connection: Any, prefixes: Sequence[str], store: RedisStore) -> None:
        connection.connect()
        self.server = store.server()
        self._connection = connection
        self._socket = connection._sock
        self._reader = hiredis.Reader()
        self.send(
            "CLIENT",
            "TRACKING",
            "ON",
            "BCAST",
            *(word for prefix in prefixes for word in ("PREFIX", prefix)),
        )
        while (reply := self._next()) is False:
            self._feed()
        if reply != b"OK":
            self.close()
            raise redis.ResponseError(f"CLIENT TRACKING: {reply}")
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return cast("int", self._socket.fileno())

    def send(self, *command: str) -> None:
        self._socket.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]

    def receive(self) -> tuple[int, list[Any], bool]:
        """Return the bytes and the messages that were there, and whether the last is complete."""
        size, messages = 0, []
        try:
            while True:
                size += self._feed()
                while (message := self._next()) is not False:
                    if isinstance(message, hiredis.ReplyError):
                        raise OSError(f"Redis: {message}")
                    messages.append(message)
        except (BlockingIOError, ssl.SSLWantReadError):
            # Where something lay there and nothing came out, it was a part of a TLS record.
            return size, messages, size > 0 and not self._reader.has_data()

    def _next(self) -> Any:
        """Return the next complete message, or ``False``."""
        try:
            return self._reader.gets()
        except hiredis.HiredisError as error:
            raise OSError(f"Redis: {error}") from error

    def _feed(self) -> int:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("Redis closed the connection")
        self._reader.feed(data)
        return len(data)

    def close(self) -> None:
        self._connection.disconnect()


def _pool(config: Mapping[str, Any], connected: Any) -> redis.BlockingConnectionPool:
    options: dict[str, Any] = {
        "socket_connect_timeout": config["CACHE_CONNECT_TIMEOUT_SECONDS"],
        "socket_timeout": config["CACHE_SOCKET_TIMEOUT_SECONDS"],
        "timeout": config["CACHE_SOCKET_TIMEOUT_SECONDS"],
        "max_connections": config["CACHE_POOL_SIZE"],
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": connected,
    }
    url = config.get("CACHE_REDIS_URL")
    if url.startswith("rediss:") if url else config["CACHE_REDIS_TLS"]:
        options |= {
            "connection_class": redis.SSLConnection,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": config["CACHE_REDIS_CA_FILE"],
            "ssl_certfile": config["CACHE_REDIS_CERT_FILE"],
            "ssl_keyfile": config["CACHE_REDIS_KEY_FILE"],
        }
    if url:
        # What the URL says comes first.
        return redis.BlockingConnectionPool.from_url(url, db=config["CACHE_REDIS_DB"], **options)
    return redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        host=config["CACHE_REDIS_HOST"],
        port=config["CACHE_REDIS_PORT"],
        db=config["CACHE_REDIS_DB"],
        username=config.get("CACHE_REDIS_USERNAME") or None,
        password=config.get("CACHE_REDIS_PASSWORD") or None,
        **options,
    )


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise _store_error(error) from error


#: The first that fits; redis-py derives some of them from others.
_FAILURES: tuple[tuple[type[Exception], Failure], ...] = (
    (redis.TimeoutError, "timeout"),
    (redis.BusyLoadingError, "loading"),
    (redis.AuthenticationError, "forbidden"),
    (redis.ConnectionError, "unreachable"),
    (redis.ReadOnlyError, "read-only"),
    (redis.OutOfMemoryError, "full"),
    (OSError, "unreachable"),
)


def _store_error(error: Exception) -> StoreError:
    failure: Failure = next((why for kind, why in _FAILURES if isinstance(error, kind)), "other")
    if str(error).startswith("WRONGTYPE"):
        failure = "wrong type"
    elif str(error).startswith("MISCONF"):
        # It could not save, and takes no writes until it can.
        failure = "read-only"
    return StoreError(f"Redis: {error}", failure)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))
