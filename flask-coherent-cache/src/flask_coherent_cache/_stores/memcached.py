"""The store on Memcached, by pymemcache."""

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pymemcache import (
    MemcacheClientError,
    MemcacheError,
    MemcacheUnexpectedCloseError,
    PooledClient,
)
from pymemcache.client.rendezvous import RendezvousHash

from .._clock import monotonic, wall
from .._forks import begin_after_fork
from .base import Facts, Lease, ServerCall, Store
from .clock import AGREE_SECONDS
from .errors import StoreError
from .tagstate import DOUBT_SECONDS, TAG_SECONDS, invalidated, is_timestamp, marked, timestamp_in

#: Memcached's protocol: keys of at most 250 bytes without spaces and control characters.
_PLAIN_KEY = re.compile(r"[!-~]{1,250}")
#: An expiry above 30 days is taken as a date (protocol.txt, "Expiration times").
_LONGEST_EXPIRY_SECONDS = 30 * 24 * 3600
#: How often its clock is asked for.
_CLOCK_SECONDS = 60
#: How often a compare-and-swap is tried before the store counts as out of order.
_TRIES = 100


class _Call(ServerCall):
    """A call that holds one of the pool's connections.

    pymemcache's pool raises at once when it is empty; threads wait here instead.
    """

    __slots__ = ()
    _store: "MemcachedStore"

    def __enter__(self) -> None:
        self._store.breaker.check()
        if not self._store.free.acquire(timeout=self._store.timeout):
            raise StoreError("Memcached: every connection of the pool is busy", "timeout")
        self._began = time.perf_counter()

    def __exit__(self, *failure: Any) -> None:
        self._store.free.release()
        super().__exit__(*failure)


class MemcachedStore(Store):
    """A store on one or more Memcached servers, each call bounded in time and never retried.

    :param config: ``CACHE_MEMCACHED_SERVERS`` (``host:port`` each),
        ``CACHE_CONNECT_TIMEOUT_SECONDS``, ``CACHE_SOCKET_TIMEOUT_SECONDS``,
        ``CACHE_RETRY_SECONDS``, ``CACHE_POOL_SIZE``. If one of several servers is away, all
        count as away: clock and generation are on one, and most entries' tags on several.
    """

    name = "Memcached"  # One that was restarted is empty, so its identity need not say more.
    errors = (MemcacheError, OSError)
    failures = (
        ("out of memory", "full"),
        ("too large", "too large"),
        (TimeoutError, "timeout"),
        (OSError, "unreachable"),
        (MemcacheUnexpectedCloseError, "unreachable"),
    )

    def __init__(self, config: Mapping[str, Any]) -> None:
        servers = config["CACHE_MEMCACHED_SERVERS"]
        if isinstance(servers, str):
            raise ValueError(f"CACHE_MEMCACHED_SERVERS is {servers!r}: use a list, [{servers!r}].")
        super().__init__(config["CACHE_RETRY_SECONDS"])
        self._config = config
        self._probed = f"{config['CACHE_KEY_PREFIX']}:probe"
        self.timeout: float = config["CACHE_SOCKET_TIMEOUT_SECONDS"]
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
        self.free = threading.BoundedSemaphore(config["CACHE_POOL_SIZE"])

    def facts(self) -> Facts:
        with _Call(self):
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

    def now(self) -> float:
        if monotonic() >= self._clock.learned_at + _CLOCK_SECONDS:
            self._learn_time()
        return self._clock.now()

    def _learn_time(self) -> None:
        """Ask the first server for its time.

        It counts whole seconds, so where the host's clock agrees, that one is more exact: a clock
        that starts anew within the same second must not be below the timestamps before.
        """
        asked_at, here = monotonic(), wall()
        client = self._clients[min(self._clients)]
        with _Call(self):
            try:
                seconds = float(client.stats()[b"time"])
            except (MemcacheClientError, KeyError, ValueError):
                seconds = self._clock.now()  # Some proxies have no statistics.
        self._clock.learn(here if abs(seconds - here) <= AGREE_SECONDS else seconds, asked_at)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        names = [_plain(key) for key in keys]
        by_server: dict[str, list[str]] = {}
        for name in names:
            by_server.setdefault(self._servers.get_node(name), []).append(name)
        found: dict[str, bytes] = {}
        with _Call(self):
            for address, some in by_server.items():
                found |= self._clients[address].get_many(some)
        return [found.get(name) for name in names]

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        client, name = self._at(key)
        with _Call(self):
            client.set(name, value, expire=self._expiry(seconds))

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        client, name = self._at(key)
        with _Call(self):
            return bool(client.add(name, value, expire=self._expiry(seconds)))

    def delete(self, keys: Sequence[str]) -> None:
        with _Call(self):
            for key in keys:
                client, name = self._at(key)
                client.delete(name)

    def release(self, key: str, token: bytes) -> None:
        client, name = self._at(key)
        with _Call(self):
            value, cas = client.gets(name)
            if value == token:
                # An expiry in the past deletes, and only what was read.
                client.cas(name, b"", cas, expire=-1)

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        now = self.now()
        for tag in tags:
            self._change(tag, lambda value: marked(value, token, now, seconds))

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        client, name = self._at(clock)
        with _Call(self):
            try:
                timestamp = client.incr(name, 1)
            except MemcacheClientError:
                return None  # It is no number.
        now = self.now()
        if timestamp is None or not is_timestamp(b"%d" % timestamp, now):
            return None
        for tag in tags:
            self._change(tag, lambda value: invalidated(value, timestamp, token, now))
        return int(timestamp)

    def store_entry(
        self, key: str, value: bytes, seconds: float, clock: str, tags: Sequence[str], lease: Lease
    ) -> None:
        timestamp, *present = self.get_many([clock, *tags])
        for tag, found in zip(tags, present, strict=True):
            if found is None:
                self._create(tag, clock)
        self._catch_up(clock, timestamp, present)
        self.put(key, value, seconds)
        if lease is not None:
            self.release(*lease)

    def close(self) -> None:
        super().close()
        for client in self._clients.values():
            client.close()

    def _at(self, key: str) -> tuple[PooledClient, str]:
        """Return the server of a key, and the key as the server knows it."""
        name = _plain(key)
        return self._clients[self._servers.get_node(name)], name

    def _expiry(self, seconds: float | None) -> int:
        if seconds is None:
            return 0
        # It counts the ticks of its clock: what lives for one second can be gone at once.
        whole = -int(-seconds // 1) + 1
        return whole if whole <= _LONGEST_EXPIRY_SECONDS else int(self._clock.now()) + whole

    def _probe(self) -> None:
        for client in self._clients.values():
            client.set(self._probed, b"", expire=1, noreply=False)

    def _catch_up(self, clock: str, known: bytes | None, tags: Iterable[bytes | None]) -> None:
        """Advance a clock that is below the timestamps of tags, or nothing with them is valid.

        Two hosts know the server's time to a second, and one may have started the clock anew
        within the second in which the other had.
        """
        now, known = self._clock.now(), (known or b"").strip()
        latest = max((timestamp_in(tag, now) for tag in tags), default=0)
        if is_timestamp(known, now) and int(known) < latest:
            client, name = self._at(clock)
            with _Call(self):
                client.incr(name, latest - int(known))

    def _create(self, tag: str, clock: str) -> None:
        """Create a missing tag at the clock's present timestamp.

        The clock is read while a mark of our own holds the tag's place: an invalidation that
        comes before that is below the timestamp, one that comes after it replaces the mark.
        """
        token = secrets.token_hex(4)
        mark = marked(None, token, self.now())
        if not self.add(tag, mark, DOUBT_SECONDS):
            return
        client, name = self._at(tag)
        clock_client, clock_name = self._at(clock)
        with _Call(self):
            value, cas = client.gets(name)
            timestamp = clock_client.get(clock_name)
            is_created = (
                value == mark
                and is_timestamp(timestamp, self._clock.now())
                and client.cas(name, timestamp.strip(), cas, expire=self._expiry(TAG_SECONDS))
            )
        if not is_created:
            self.invalidate(clock, [tag], token)

    def _change(self, tag: str, change: Callable[[bytes | None], bytes]) -> None:
        """Change a tag's value in one step (compare-and-swap)."""
        client, name = self._at(tag)
        expiry = self._expiry(TAG_SECONDS)
        with _Call(self):
            for _ in range(_TRIES):
                value, cas = client.gets(name)
                changed = change(value)
                if (
                    client.add(name, changed, expire=expiry)
                    if cas is None
                    else client.cas(name, changed, cas, expire=expiry)
                ):
                    return
        raise StoreError(f"Memcached: {tag} changed {_TRIES} times while it was being changed")


def _plain(key: str) -> str:
    if _PLAIN_KEY.fullmatch(key):
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
