"""The store on Memcached, by pymemcache."""

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymemcache import (
    MemcacheClientError,
    MemcacheError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
    PooledClient,
)
from pymemcache.client.rendezvous import RendezvousHash

from .._clock import monotonic, wall
from .._forks import begin_after_fork
from .base import Facts, Failure, StoreError
from .breaker import CircuitBreaker
from .clock import AGREE_SECONDS, ServerClock
from .tagstate import DOUBT_SECONDS, TAG_SECONDS, invalidated, is_timestamp, marked, reading_in

#: Memcached's protocol: keys of at most 250 bytes without spaces and control characters.
_PLAIN_KEY = re.compile(r"[!-~]{1,250}")
#: An expiry above 30 days is taken as a date (protocol.txt, "Expiration times").
_LONGEST_EXPIRY_SECONDS = 30 * 24 * 3600
#: How often its clock is asked for.
_CLOCK_SECONDS = 60
#: How often a compare-and-swap is tried before the store counts as out of order.
_TRIES = 100


class MemcachedStore:
    """A store on one or more Memcached servers, each call bounded in time and never retried.

    :param config: ``CACHE_MEMCACHED_SERVERS`` (``host:port`` each),
        ``CACHE_CONNECT_TIMEOUT_SECONDS``, ``CACHE_SOCKET_TIMEOUT_SECONDS``,
        ``CACHE_RETRY_SECONDS``, ``CACHE_POOL_SIZE``. Where one of several servers is away, all
        count as away: clock and generation lie on one, and most entries' tags on several.
    """

    shared = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        servers = config["CACHE_MEMCACHED_SERVERS"]
        if isinstance(servers, str):
            raise ValueError(f"CACHE_MEMCACHED_SERVERS is {servers!r}: use a list, [{servers!r}].")
        self.breaker = CircuitBreaker(self._probe, config["CACHE_RETRY_SECONDS"])
        self.on_call: Callable[[float], object] = lambda seconds: None
        self.doubted = False
        self._config = config
        self._probed = f"{config['CACHE_KEY_PREFIX']}:probe"
        self._timeout = config["CACHE_SOCKET_TIMEOUT_SECONDS"]
        self._clock = ServerClock()
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Make connections and locks anew: those of the process that forked are not ours."""
        config = self._config
        # Not pymemcache's HashClient: it moves the keys of a server that is away to another one,
        # so that old tags come back with it, and several threads at it meet a KeyError.
        self._clients = {
            address: PooledClient(
                address,
                connect_timeout=config["CACHE_CONNECT_TIMEOUT_SECONDS"],
                timeout=config["CACHE_SOCKET_TIMEOUT_SECONDS"],
                no_delay=True,
                max_pool_size=config["CACHE_POOL_SIZE"] + 1,
                default_noreply=False,
            )
            for address in config["CACHE_MEMCACHED_SERVERS"]
        }
        self._servers = RendezvousHash(list(self._clients))
        # pymemcache's pool raises at once when it is empty; threads wait here instead.
        self._free = threading.BoundedSemaphore(config["CACHE_POOL_SIZE"])

    def facts(self) -> Facts:
        with self._connection():
            found = [client.stats() for client in self._clients.values()]

        def total(name: bytes) -> int:
            return sum(int(stats[name]) for stats in found)

        return Facts(
            server="Memcached " + found[0][b"version"].decode(),
            bytes=total(b"bytes"),
            max_bytes=total(b"limit_maxbytes"),
            policy="least recently used",
            evictions=total(b"evictions"),
            items=total(b"curr_items"),
            # It counts whole seconds, so it says the time only about.
            time=float(found[0][b"time"]),
            uptime=min(float(stats[b"uptime"]) for stats in found),
        )

    def identity(self) -> str:
        """A Memcached that was restarted is empty, so its name says nothing more."""
        return "memcached"

    def now(self) -> float:
        if monotonic() >= self._clock.learned_at + _CLOCK_SECONDS:
            self._learn_time()
        return self._clock.now()

    def shift(self) -> int:
        return self._clock.shift()

    def _learn_time(self) -> None:
        """Ask the first server for its time.

        It counts whole seconds, so where the host's clock agrees, that is the more exact one: a
        reading that starts anew within the same second must not be below what was told before.
        """
        asked_at, here = monotonic(), wall()
        client = self._clients[min(self._clients)]
        with self._connection():
            try:
                seconds = float(client.stats()[b"time"])
            except (MemcacheClientError, MemcacheUnknownCommandError, KeyError, ValueError):
                seconds = self._clock.now()  # Some proxies have no statistics.
        self._clock.learn(here if abs(seconds - here) <= AGREE_SECONDS else seconds, asked_at)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        plain = [_plain(key) for key in keys]
        by_server: dict[str, list[str]] = {}
        for key in plain:
            by_server.setdefault(self._servers.get_node(key), []).append(key)
        found: dict[str, bytes] = {}
        with self._connection():
            for address, some in by_server.items():
                found |= self._clients[address].get_many(some)
        return [found.get(key) for key in plain]

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        with self._connection():
            self._of(key).set(_plain(key), value, expire=self._expiry(seconds))

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        with self._connection():
            return bool(self._of(key).add(_plain(key), value, expire=self._expiry(seconds)))

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        return self.add(key, value, seconds), self.get_many(keys)

    def delete(self, keys: Sequence[str]) -> None:
        with self._connection():
            for key in keys:
                self._of(key).delete(_plain(key))

    def release(self, key: str, token: bytes) -> None:
        with self._connection():
            value, cas = self._of(key).gets(_plain(key))
            if value == token:
                # An expiry in the past deletes, and only what was read.
                self._of(key).cas(_plain(key), b"", cas, expire=-1)

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        now = self.now()
        for tag in tags:
            self._change(tag, lambda value: marked(value, token, now, seconds))

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        with self._connection():
            try:
                reading = self._of(clock).incr(_plain(clock), 1)
            except MemcacheClientError:
                return None  # It is no number.
        now = self.now()
        if reading is None or not is_timestamp(b"%d" % reading, now):
            return None
        for tag in tags:
            self._change(tag, lambda value: invalidated(value, reading, token, now))
        return int(reading)

    def store_entry(
        self,
        key: str,
        value: bytes,
        seconds: float,
        clock: str,
        tags: Sequence[str],
        lease: tuple[str, bytes] | None = None,
    ) -> None:
        reading, *present = self.get_many([clock, *tags])
        for tag, found in zip(tags, present, strict=True):
            if found is None:
                self._create(tag, clock)
        self._catch_up(clock, reading, present)
        self.put(key, value, seconds)
        if lease is not None:
            self.release(*lease)

    def confirm(self) -> None:
        pass

    def close(self) -> None:
        self.breaker.close()
        for client in self._clients.values():
            client.close()

    def _expiry(self, seconds: float | None) -> int:
        if seconds is None:
            return 0
        # It counts the ticks of its clock: what lives for one second can be gone at once.
        whole = -int(-seconds // 1) + 1
        return whole if whole <= _LONGEST_EXPIRY_SECONDS else int(self._clock.now()) + whole

    def _of(self, key: str) -> PooledClient:
        return self._clients[self._servers.get_node(_plain(key))]

    def _probe(self) -> None:
        try:
            for client in self._clients.values():
                client.set(self._probed, b"", expire=1, noreply=False)
        except (MemcacheError, OSError) as error:
            raise _store_error(error) from error

    @contextmanager
    def _connection(self) -> Iterator[None]:
        self.breaker.check()
        if not self._free.acquire(timeout=self._timeout):
            raise StoreError("Memcached: every connection of the pool is busy", "timeout")
        began = time.perf_counter()
        try:
            yield
        except (MemcacheError, OSError) as error:
            raise self.breaker.failed(_store_error(error)) from error
        finally:
            self._free.release()
            self.on_call(time.perf_counter() - began)

    def _catch_up(self, clock: str, reading: bytes | None, tags: Iterable[bytes | None]) -> None:
        """Raise a clock that is below what tags were told: until then nothing of theirs is valid.

        Two hosts know the server's time to a second, and one may have started the clock anew
        within the second in which the other had.
        """
        now, known = self._clock.now(), (reading or b"").strip()
        latest = max((reading_in(tag, now) for tag in tags), default=0)
        if is_timestamp(known, now) and int(known) < latest:
            with self._connection():
                self._of(clock).incr(_plain(clock), latest - int(known))

    def _create(self, tag: str, clock: str) -> None:
        """Create a missing tag at the clock's present reading.

        The clock is read while a mark of our own holds the tag's place: an invalidation that
        comes before that reading is below it, one that comes after it replaces the mark.
        """
        token = secrets.token_hex(4)
        mark = marked(None, token, self.now())
        if not self.add(tag, mark, DOUBT_SECONDS):
            return
        with self._connection():
            value, cas = self._of(tag).gets(_plain(tag))
            reading = self._of(clock).get(_plain(clock))
            created = value == mark and is_timestamp(reading, self._clock.now())
            if created:
                expiry = self._expiry(TAG_SECONDS)
                created = self._of(tag).cas(_plain(tag), reading.strip(), cas, expire=expiry)
        if not created:
            self.invalidate(clock, [tag], token)

    def _change(self, tag: str, change: Callable[[bytes | None], bytes]) -> None:
        """Change a tag's value as one step (compare-and-swap)."""
        with self._connection():
            for _ in range(_TRIES):
                value, cas = self._of(tag).gets(_plain(tag))
                changed = change(value)
                expiry = self._expiry(TAG_SECONDS)
                if cas is None:
                    done = self._of(tag).add(_plain(tag), changed, expire=expiry)
                else:
                    done = self._of(tag).cas(_plain(tag), changed, cas, expire=expiry)
                if done:
                    return
        raise StoreError(f"Memcached: {tag} changed {_TRIES} times while it was being changed")


def _store_error(error: Exception) -> StoreError:
    failure: Failure = "other"
    if isinstance(error, TimeoutError):
        failure = "timeout"
    elif isinstance(error, OSError | MemcacheUnexpectedCloseError):
        failure = "unreachable"
    elif "out of memory" in str(error):
        failure = "full"
    elif "too large" in str(error):
        failure = "too large"
    return StoreError(f"Memcached: {error!r}", failure)


def _plain(key: str) -> str:
    if _PLAIN_KEY.fullmatch(key):
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
