"""The checks of the cache server: they ask it, and write and delete a few keys of their own."""

import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._engine.kill_switch import KillSwitch
from .._stores import Facts, StoreError, connect
from . import server_refusals, tables
from .figures import Snapshot
from .findings import Finding
from .release_checks import check_releases
from .server_refusals import address, not_tracked, refused

Config = Mapping[str, Any]

_ROUND_TRIPS = 9
#: A time-out has to be so many times what a call takes, for there are slower ones.
_LEAST_TIMES = 3
#: In seconds. Memcached counts whole ones.
_MOST_APART = {"RedisCache": 1.0, "MemcachedCache": 2.5}
#: What a process says of itself may be so old, in seconds.
_TOLD_SECONDS = 15.0
_HOUR = 3600
_NEARLY_FULL = 0.9
_PROBE_SECONDS = 10
#: Policies that evict what is in use.
_POOR_POLICIES = {
    "allkeys-random": "whatever comes: the clock of all entries, too, and every entry with it",
    "volatile-random": "whatever comes, however often it is asked for",
    "volatile-ttl": "what expires first: a page of a minute before one of a day that nobody reads",
}


@dataclass(slots=True)
class Server:
    """A server that answers.

    :param seconds: a round trip, the median.
    :param info: what INFO says, of Redis and Valkey.
    """

    config: Config
    store: Any
    seconds: float = 0
    facts: Facts | None = None
    info: dict[str, Any] = field(default_factory=dict)


def check_server(config: Config) -> Iterator[Finding]:
    """Yield what is found at the cache server."""
    names = ("CACHE_CONNECT_TIMEOUT_SECONDS", "CACHE_SOCKET_TIMEOUT_SECONDS")
    patient = {name: max(config[name], server_refusals.PATIENCE_SECONDS) for name in names}
    store = connect({**config, **patient})
    try:
        yield from _check(Server(config, store))
    finally:
        if store is not None:
            store.close()


def _check(server: Server) -> Iterator[Finding]:
    where = address(server.config)
    try:
        server.seconds = _round_trip(server)
    except StoreError as error:
        yield refused(server.config, where, error)
        return
    milliseconds = f"{1000 * server.seconds:.2g} ms"
    yield Finding("server", "ok", f"The server at {where} answers in {milliseconds}.")
    try:
        server.facts = server.store.facts()
        server.info = server.store.info() if hasattr(server.store, "info") else {}
    except StoreError as error:
        yield Finding(
            "permissions", "problem",
            f"The server does not say how it does, nor which server it is: {error}. Whenever a"
            " process begins or loses a connection, the cache begins anew; and where a failover"
            " leaves connections open, it may go unnoticed.",
            "Let the application's user ask, by +info; or rename the command back.",
        )  # fmt: skip
    checks: tuple[Callable[[Server], Iterator[Finding]], ...] = (
        _switch, _timeouts, _writes, _tracking, _eviction, _memory, _clock, _clients, _persistence,
        check_releases,
    )  # fmt: skip
    for check in checks:
        yield from check(server)


def _switch(server: Server) -> Iterator[Finding]:
    """Say whether the cache is switched off."""
    kill_switch = KillSwitch(server.store, server.config["CACHE_KEY_PREFIX"])
    try:
        since = kill_switch.since()
    except StoreError as error:
        yield Finding("switch", "unknown", f"Whether the cache is switched off: {error}.")
        return
    if since is None:
        yield Finding("switch", "ok", "The cache is switched on.")
        return
    when = f" since {tables.moment(since)}" if since else ""
    yield Finding(
        "switch", "advice",
        f"The cache is switched off{when}: every lookup goes past it, and nothing is stored.",
        "`flask cache on` when what it was switched off for is over.",
    )  # fmt: skip


def _round_trip(server: Server) -> float:
    taken = []
    server.store.get_many([f"{server.config['CACHE_KEY_PREFIX']}:clock"])
    for _ in range(_ROUND_TRIPS):
        began = time.perf_counter()
        server.store.get_many([f"{server.config['CACHE_KEY_PREFIX']}:clock"])
        taken.append(time.perf_counter() - began)
    return sorted(taken)[_ROUND_TRIPS // 2]


# -- what it does ------------------------------------------------------------------------


def _timeouts(server: Server) -> Iterator[Finding]:
    names = ("CACHE_CONNECT_TIMEOUT_SECONDS", "CACHE_SOCKET_TIMEOUT_SECONDS")
    short = [name for name in names if server.config[name] < _LEAST_TIMES * server.seconds]
    for name in short:
        yield Finding(
            "timeouts", "problem",
            f"{name} is {server.config[name]:g}, and a call takes {server.seconds:.3f} s: many fail"
            " although the server is there.",
            f"At least {10 * server.seconds:.2g} s; or a server that is nearer.",
        )  # fmt: skip
    if not short:
        yield Finding("timeouts", "ok", "A call takes a small part of the time-outs.")


def _writes(server: Server) -> Iterator[Finding]:
    """Do all that the cache does, with keys that are nobody's."""
    failures = list(_trials(server))
    for error in failures:
        yield refused(server.config, address(server.config), error)
    if not failures:
        yield Finding("writes", "ok", "It does all that the cache asks of it.")


def _trials(server: Server) -> Iterator[StoreError]:
    """Yield what fails, each once, and stop where everything would."""
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
    seen: set[str] = set()
    for trial in trials:
        try:
            trial()
        except StoreError as error:
            if error.failure == "away":
                return
            if str(error) not in seen:
                seen.add(str(error))
                yield error


def _tracking(server: Server) -> Iterator[Finding]:
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
        yield not_tracked(error)
    else:
        yield Finding("tracking", "ok", "It tells of writes: a hit need not ask it.")


# -- how it does -------------------------------------------------------------------------


def _eviction(server: Server) -> Iterator[Finding]:
    facts, info = server.facts, server.info
    if facts is None or facts.policy is None:
        return
    policy, bound = facts.policy, facts.max_bytes
    expiring = sum(part["expires"] for part in info.values() if _is_database(part))
    lasting = (facts.items or 0) - expiring if info else 0
    if not bound:
        yield Finding(
            "eviction", "problem",
            "maxmemory is 0: the server grows until the machine has no memory left.",
            "maxmemory and maxmemory-policy allkeys-lfu.",
        )  # fmt: skip
    elif policy == "noeviction":
        yield Finding(
            "eviction", "problem",
            f"maxmemory-policy is noeviction and {_share(facts):.0%} are used: a full server takes"
            " no writes, and nothing more is cached.",
            "maxmemory-policy allkeys-lfu.",
        )  # fmt: skip
    elif policy in _POOR_POLICIES:
        yield Finding(
            "eviction", "problem",
            f"maxmemory-policy is {policy}: it evicts {_POOR_POLICIES[policy]}.",
            "maxmemory-policy allkeys-lfu.",
        )  # fmt: skip
    elif policy.startswith("volatile") and lasting > expiring:
        yield Finding(
            "eviction", "problem",
            f"maxmemory-policy is {policy}, and {lasting:,} of {facts.items:,} keys never expire:"
            " they leave entries little room, and when they fill it, no writes are taken.",
            "A server of its own for the cache, with allkeys-lfu.",
        )  # fmt: skip
    else:
        yield Finding("eviction", "ok", f"It makes room when it is full: {policy}.")


def _is_database(part: object) -> bool:
    return isinstance(part, dict) and "expires" in part


def _share(facts: Facts) -> float:
    return (facts.bytes or 0) / (facts.max_bytes or 1)


def _memory(server: Server) -> Iterator[Finding]:
    """Judge evictions by how long a key stays: to be full is as it should be."""
    facts, timeout = server.facts, server.config["CACHE_DEFAULT_TIMEOUT"]
    if facts is None or not facts.max_bytes:
        return
    evictions, items, uptime = facts.evictions or 0, facts.items or 0, facts.uptime or 0
    # Seconds in which as many keys are evicted as there are.
    stay = items * uptime / evictions if evictions else float("inf")
    used = f"{_share(facts):.0%} of the memory are used"
    if _share(facts) >= _NEARLY_FULL and stay < timeout:
        yield Finding(
            "memory", "problem",
            f"{used}, and {evictions:,} keys were evicted in {uptime:,.0f} s, where {items:,} are:"
            f" entries are gone after about {stay:.0f} s, before their {timeout} s are over.",
            "More memory; or shorter timeouts, or no caching, of what is seldom asked for.",
        )  # fmt: skip
    else:
        yield Finding("memory", "ok", f"{used}, and {evictions:,} keys were evicted so far.")


def _clock(server: Server) -> Iterator[Finding]:
    try:
        began = time.time()
        told = server.store.facts().time
        ended = time.time()
    except StoreError:
        return
    if told is None:
        return
    apart = max(told - ended, began - told, 0)
    if apart > _MOST_APART[server.config["CACHE_TYPE"]]:
        which = "ahead of" if told > ended else "behind"
        yield Finding(
            "clock", "problem",
            f"The server's clock is {_span(apart)} {which} that of this host,"
            f" {socket.gethostname()}. The cache goes by the server's; all else on this host does"
            " not, as cookies, tokens and what browsers keep.",
            "Have both set by NTP.",
        )  # fmt: skip
    else:
        yield Finding("clock", "ok", "The server's clock and this host's agree.")


def check_clocks(processes: Iterable[Snapshot], now: float) -> Iterator[Finding]:
    """Yield the hosts of running processes whose clocks are off.

    :param now: the server's time in seconds since the epoch, after the processes had told theirs.
    """
    behind = {one["host"]: now - one["at"] for one in processes}
    for host, seconds in sorted(behind.items()):
        if not -_MOST_APART["MemcachedCache"] <= seconds <= _TOLD_SECONDS:
            which = "behind" if seconds > 0 else "ahead of"
            yield Finding(
                "clock", "problem",
                f"The clock of host {host} is about {_span(abs(seconds))} {which} the server's.",
                "Have it set by NTP.",
            )  # fmt: skip


def _span(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= _HOUR else f"{seconds:.1f} s"


def _clients(server: Server) -> Iterator[Finding]:
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


def _persistence(server: Server) -> Iterator[Finding]:
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
            "The server writes each change to its disk (appendonly), and after a restart the cache"
            " begins anew all the same.",
            "appendonly no, where nothing else lies there.",
        )  # fmt: skip
