"""Checks of the cache server: they ask it, and write and delete a few keys of their own."""

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..._engine.kill_switch import KillSwitch
from ..._stores import Facts, StoreError, connect
from ..text import duration, format_time
from . import refusals
from .finding import Finding
from .refusals import not_tracked, refused

_ROUND_TRIPS = 9
#: A time-out has to be so many times what a call takes, for there are slower ones.
_LEAST_TIMES = 3
#: In seconds. Memcached counts whole ones.
_MOST_APART = {"RedisCache": 1.0, "MemcachedCache": 2.5}
_NEARLY_FULL = 0.9
_PROBE_SECONDS = 10
_TIMEOUTS = ("CACHE_CONNECT_TIMEOUT_SECONDS", "CACHE_SOCKET_TIMEOUT_SECONDS")
#: Policies that evict what is in use.
_POOR_POLICIES = {
    "allkeys-random": "whatever comes: the clock of all entries, too, and every entry with it",
    "volatile-random": "whatever comes, however often it is requested",
    "volatile-ttl": "what expires first: a page of a minute before one of a day that nobody reads",
}


@dataclass(slots=True)
class Server:
    """A cache server.

    :param seconds: a round trip, the median.
    :param facts: ``None`` where it refuses to say them.
    :param info: what INFO says, of Redis and Valkey.
    """

    config: Mapping[str, Any]
    store: Any
    seconds: float = 0
    facts: Facts | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def measure(self) -> None:
        """Measure a round trip.

        :raises StoreError: where the server does not answer.
        """
        key, taken = f"{self.config['CACHE_KEY_PREFIX']}:clock", []
        self.store.get_many([key])
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            self.store.get_many([key])
            taken.append(time.perf_counter() - began)
        self.seconds = median(taken)

    @property
    def used(self) -> float:
        """The share of its memory that is in use."""
        return (self.facts.bytes or 0) / (self.facts.max_bytes or 1) if self.facts else 0


def connect_patiently(config: Mapping[str, Any]) -> Any:
    """Connect to the cache server, with time-outs that a slow one keeps, too."""
    patient = {name: max(config[name], refusals.PATIENCE_SECONDS) for name in _TIMEOUTS}
    return connect({**config, **patient})


def permissions(server: Server) -> Iterator[Finding]:
    """Ask what the server says of itself, for the checks below as well."""
    try:
        server.facts = server.store.facts()
        server.info = server.store.info() if hasattr(server.store, "info") else {}
    except StoreError as error:
        yield Finding(
            "permissions", "problem",
            f"The server does not tell its state and identity: {error}. Whenever a process starts"
            " or loses a connection, the cache starts empty; and a failover that leaves connections"
            " open may go unnoticed.",
            "Let the application's user ask, by +info; or rename the command back.",
        )  # fmt: skip


def switch(server: Server) -> Iterator[Finding]:
    """Say whether the cache is switched off."""
    try:
        since = KillSwitch(server.store, server.config["CACHE_KEY_PREFIX"]).since()
    except StoreError as error:
        yield Finding("switch", "unknown", f"Whether the cache is switched off: {error}.")
        return
    if since is None:
        yield Finding("switch", "ok", "The cache is switched on.")
        return
    when = f" since {format_time(since)}" if since else ""
    yield Finding(
        "switch", "advice",
        f"The cache is switched off{when}: every lookup bypasses it, and nothing is stored.",
        "`flask cache on` when the reason for it is gone.",
    )  # fmt: skip


def timeouts(server: Server) -> Iterator[Finding]:
    short = [name for name in _TIMEOUTS if server.config[name] < _LEAST_TIMES * server.seconds]
    for name in short:
        yield Finding(
            "timeouts", "problem",
            f"{name} is {server.config[name]:g}, and a call takes {server.seconds:.3f} s: many fail"
            " although the server is there.",
            f"At least {10 * server.seconds:.2g} s; or a server that is nearer.",
        )  # fmt: skip
    if not short:
        yield Finding("timeouts", "ok", "A call takes a small part of the time-outs.")


def writes(server: Server) -> Iterator[Finding]:
    """Do all that the cache does, with keys that are nobody's; name each failure once."""
    store = server.store
    own = f"{server.config['CACHE_KEY_PREFIX']}:doctor:{secrets.token_hex(4)}"
    value, lease, clock, tag = (f"{own}:{name}" for name in ("value", "lease", "clock", "tag"))
    now = b"%d" % (time.time() * 1_000_000)
    trials: tuple[Callable[[], object], ...] = (
        lambda: store.put(clock, now, _PROBE_SECONDS),
        lambda: store.add_then_get_many(lease, b"token", _PROBE_SECONDS, [value, clock]),
        lambda: store.store_entry(value, b"", _PROBE_SECONDS, clock, [tag], (lease, b"token")),
        lambda: store.mark([tag], "token"),
        lambda: store.invalidate(clock, [tag], "token"),
        lambda: store.release(lease, b"token"),
        lambda: store.delete([value, lease, clock, tag]),
    )
    failures: dict[str, StoreError] = {}
    for trial in trials:
        try:
            trial()
        except StoreError as error:
            if error.failure == "away":
                break
            failures.setdefault(str(error), error)
    yield from (refused(server.config, error) for error in failures.values())
    if not failures:
        yield Finding("writes", "ok", "It does all that the cache asks of it.")


def tracking(server: Server) -> Iterator[Finding]:
    """See whether it tells of writes, which near caches live by."""
    if not hasattr(server.store, "track"):
        return
    if not server.config["CACHE_NEAR_BYTES"]:
        yield Finding(
            "tracking", "advice", "CACHE_NEAR_BYTES is 0: each hit asks the server.",
            "Leave it out, unless memory is short.",
        )  # fmt: skip
        return
    try:
        server.store.track("doctor", [f"{server.config['CACHE_KEY_PREFIX']}:doctor:"]).close()
    except StoreError as error:
        yield not_tracked(server.config, error)
    else:
        yield Finding("tracking", "ok", "It tells of writes: a hit need not ask it.")


def eviction(server: Server) -> Iterator[Finding]:
    facts, info = server.facts, server.info
    if facts is None or facts.policy is None:
        return
    policy, remedy = facts.policy, "maxmemory-policy allkeys-lfu."
    databases = (part for part in info.values() if isinstance(part, dict))
    expiring = sum(part.get("expires", 0) for part in databases)
    lasting = (facts.items or 0) - expiring if info else 0
    if not facts.max_bytes:
        what = "maxmemory is 0: the server grows until the machine has no memory left."
        remedy = f"maxmemory and {remedy}"
    elif policy == "noeviction":
        what = (
            f"maxmemory-policy is noeviction, and {server.used:.0%} of memory is used: a full"
            " server takes no writes, and nothing more is cached."
        )
    elif policy in _POOR_POLICIES:
        what = f"maxmemory-policy is {policy}: it evicts {_POOR_POLICIES[policy]}."
    elif policy.startswith("volatile") and lasting > expiring:
        what = (
            f"maxmemory-policy is {policy}, and {lasting:,} of {facts.items:,} keys never expire:"
            " they leave entries little room, and when they fill it, no writes are taken."
        )
        remedy = "A server of its own for the cache, with allkeys-lfu."
    else:
        yield Finding("eviction", "ok", f"It makes room when it is full: {policy}.")
        return
    yield Finding("eviction", "problem", what, remedy)


def memory(server: Server) -> Iterator[Finding]:
    """Judge evictions by how long a key stays: to be full is as it should be."""
    facts, timeout = server.facts, server.config["CACHE_DEFAULT_TIMEOUT"]
    if facts is None or not facts.max_bytes:
        return
    evictions, items, uptime = facts.evictions or 0, facts.items or 0, facts.uptime or 0
    # Seconds in which as many keys are evicted as there are.
    stay = items * uptime / evictions if evictions else float("inf")
    used = f"{server.used:.0%} of memory is used"
    if server.used >= _NEARLY_FULL and stay < timeout:
        yield Finding(
            "memory", "problem",
            f"{used}, and {evictions:,} keys were evicted in {uptime:,.0f} s, of {items:,} at a"
            f" time: entries are gone after about {stay:.0f} s, before their {timeout} s are over.",
            "More memory; or shorter timeouts, or no caching, of what is seldom requested.",
        )  # fmt: skip
    else:
        yield Finding("memory", "ok", f"{used}, and {evictions:,} keys were evicted so far.")


def clock(server: Server) -> Iterator[Finding]:
    try:
        began = time.time()
        server_time = server.store.facts().time
        ended = time.time()
    except StoreError:
        return
    if server_time is None:
        return
    apart = max(server_time - ended, began - server_time, 0)
    if apart > _MOST_APART[server.config["CACHE_TYPE"]]:
        which = "ahead of" if server_time > ended else "behind"
        yield Finding(
            "clock", "problem",
            f"The server's clock is {duration(apart)} {which} that of this host,"
            f" {socket.gethostname()}. The cache uses the server's clock; cookies, tokens and"
            " browsers' caches use this host's.",
            "Have both set by NTP.",
        )  # fmt: skip
    else:
        yield Finding("clock", "ok", "The server's clock and this host's agree.")


def clients(server: Server) -> Iterator[Finding]:
    most = server.info.get("maxclients")
    processes, pool = server.config.get("WEB_CONCURRENCY") or 1, server.config["CACHE_POOL_SIZE"]
    needed = processes * (pool + 1)
    if most is not None and most < needed:
        yield Finding(
            "clients", "problem",
            f"maxclients is {most}, and {processes} processes make up to {needed} connections, on"
            " each host.",
            f"maxclients of {2 * needed} or more, or a smaller CACHE_POOL_SIZE.",
        )  # fmt: skip


def persistence(server: Server) -> Iterator[Finding]:
    info = server.info
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(
            "persistence", "problem",
            "The server's last snapshot failed; by default it then takes no writes.",
            "A cache need not save (save ''); else see its log, and the room on its disk.",
        )  # fmt: skip
    if info.get("aof_enabled"):
        yield Finding(
            "persistence", "advice",
            "The server writes each change to its disk (appendonly), but after a restart the cache"
            " starts empty all the same.",
            "appendonly no, if nothing else lies there.",
        )  # fmt: skip
