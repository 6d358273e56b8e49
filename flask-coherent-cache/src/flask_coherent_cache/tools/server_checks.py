"""The checks of the cache server: they ask it, and write and delete a few keys of their own."""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..brake import Brake
from ..stores import Facts, StoreError, connect
from . import tables
from .findings import Finding

Config = Mapping[str, Any]

#: Whoever does not answer within so many seconds does not answer.
_PATIENCE_SECONDS = 2.0
_ROUND_TRIPS = 9
#: A time-out has to be so many times what a call takes, for there are slower ones.
_LEAST_TIMES = 3
#: In seconds. Memcached counts whole ones.
_MOST_APART = {"RedisCache": 1.0, "MemcachedCache": 2.5}
_NEARLY_FULL = 0.9
_PROBE_SECONDS = 10
#: Redis before 7.2 does not say which command.
_IN_A_SCRIPT = "executing the script can't run"
_DENIED_COMMAND = re.compile(r"'([\w|-]+)' command")
#: What a key is, behind the application's prefix, where no release is in it.
_OF_ALL_RELEASES = re.compile(r"(clock|generation|off|starting|probe)$|(tag|board|renewed|doctor):")
_OF_A_RELEASE = re.compile(r"([A-Za-z0-9._-]+):(entry|lease):")
_SHOWN = 3

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
    patient = {name: max(config[name], _PATIENCE_SECONDS) for name in names}
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
        yield _lost(server.config, where, error)
        return
    milliseconds = f"{1000 * server.seconds:.2g} ms"
    yield Finding("server", "ok", f"The server at {where} answers in {milliseconds}.")
    try:
        server.facts = server.store.facts()
        server.info = server.store.info() if hasattr(server.store, "info") else {}
    except StoreError as error:
        yield Finding(
            "server", "unknown", f"It does not say how it does: {error}.",
            "Let the application's user ask: +info.",
        )  # fmt: skip
    checks: tuple[Callable[[Server], Iterator[Finding]], ...] = (
        _switch, _timeouts, _writes, _tracking, _eviction, _memory, _clock, _clients, _persistence,
        _releases,
    )  # fmt: skip
    for check in checks:
        yield from check(server)


def _switch(server: Server) -> Iterator[Finding]:
    """Say whether the cache is switched off."""
    brake = Brake(server.store, server.config["CACHE_KEY_PREFIX"])
    try:
        since = brake.since()
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


def address(config: Config) -> str:
    """Say where the server is, without its password."""
    if config["CACHE_TYPE"] == "MemcachedCache":
        return ", ".join(config["CACHE_MEMCACHED_SERVERS"])
    if config["CACHE_TYPE"] != "RedisCache":
        return str(config["CACHE_TYPE"])
    if url := config["CACHE_REDIS_URL"]:
        parts = urlsplit(url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    return f"{config['CACHE_REDIS_HOST']}:{config['CACHE_REDIS_PORT']}"


def _round_trip(server: Server) -> float:
    taken = []
    server.store.get_many([f"{server.config['CACHE_KEY_PREFIX']}:clock"])
    for _ in range(_ROUND_TRIPS):
        began = time.perf_counter()
        server.store.get_many([f"{server.config['CACHE_KEY_PREFIX']}:clock"])
        taken.append(time.perf_counter() - began)
    return sorted(taken)[_ROUND_TRIPS // 2]


def _lost(config: Config, where: str, error: StoreError) -> Finding:
    """Say why a server cannot be used at all."""
    setting = (
        "CACHE_MEMCACHED_SERVERS"
        if config["CACHE_TYPE"] == "MemcachedCache"
        else "CACHE_REDIS_URL, or CACHE_REDIS_HOST and _PORT"
    )
    if error.failure == "forbidden":
        return Finding(
            "credentials", "problem", f"The server at {where} does not let us in: {error}.",
            "Correct CACHE_REDIS_USERNAME and CACHE_REDIS_PASSWORD, or what CACHE_REDIS_URL has of"
            " them; or the user, on the server.",
        )  # fmt: skip
    if error.failure == "unreachable":
        return Finding(
            "server", "problem", f"There is no server to be reached at {where}: {error}.",
            f"Start it, or correct {setting}; with TLS, look at its certificate.",
        )  # fmt: skip
    if error.failure == "timeout":
        return Finding(
            "server", "problem",
            f"The server at {where} does not answer within {_PATIENCE_SECONDS:g} s.",
            "It hangs, or something between drops what is sent: see its log, its load, its disk.",
        )  # fmt: skip
    if _is_denial(error):
        return _denied(error)
    return Finding("server", "problem", f"The server at {where} refuses: {error}.", "See its log.")


def _is_denial(error: StoreError) -> bool:
    # redis-py leaves out the code that says it, NOPERM; of a script the words are others.
    return "permission" in str(error) or _IN_A_SCRIPT in str(error)


def _denied(error: StoreError) -> Finding:
    command = _DENIED_COMMAND.search(str(error))
    if command:
        remedy = f"Allow it, by +{command[1]}; compose.yaml has all that the user needs."
    elif _IN_A_SCRIPT in str(error):
        remedy = "Allow what the scripts do: +get +set +del +incr +time."
    else:
        remedy = "Let it reach the application's keys: ~ and CACHE_KEY_PREFIX and :*."
    return Finding("permissions", "problem", f"The server's user may not do it: {error}.", remedy)


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
        yield _refused(server, error)
    if not failures:
        yield Finding("writes", "ok", "It does all that the cache asks of it.")


def _refused(server: Server, error: StoreError) -> Finding:
    if _is_denial(error):
        return _denied(error)
    if error.failure == "full":
        return Finding(
            "writes", "problem", f"The server is full and takes no writes: {error}.",
            "maxmemory-policy allkeys-lfu, so that it makes room; or more memory.",
        )  # fmt: skip
    if error.failure == "read-only":
        replica = server.info.get("role") == "slave"
        return Finding(
            "writes", "problem",
            f"The server takes no writes: {error}.",
            "It is a replica: name the primary's address."
            if replica
            else "It cannot save to its disk: see its log, or let a cache save nothing (save '').",
        )  # fmt: skip
    return Finding("writes", "problem", f"A call of the cache fails: {error}.", "See its log.")


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
        yield Finding(
            "tracking", "problem",
            f"The server does not tell of writes, so that each hit asks it: {error}.",
            "Redis from 6 on or Valkey does, where the user may (+client|tracking) and no proxy in"
            " between forbids it. Without: CACHE_NEAR_BYTES=0.",
        )  # fmt: skip
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
            f"The server's clock is {apart:.1f} s {which} this machine's: ages and expiries are"
            " wrong by as much, on one machine or the other.",
            "Have both set by NTP.",
        )  # fmt: skip
    else:
        yield Finding("clock", "ok", "The server's clock and this machine's agree.")


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


def _releases(server: Server) -> Iterator[Finding]:
    prefix, release = server.config["CACHE_KEY_PREFIX"], server.config["RELEASE"]
    if not hasattr(server.store, "scan"):
        yield Finding("releases", "unknown", "Memcached lists no keys, so older ones are not seen.")
        return
    try:
        keys, complete = server.store.scan(f"{prefix}:")
    except StoreError as error:
        yield Finding(
            "releases", "unknown", f"Whether older keys lie there could not be seen: {error}.",
            f"An administrator can: redis-cli --scan --pattern '{prefix}:*'. Entries expire.",
        )  # fmt: skip
        return
    older, strays = _sorted_out(keys, prefix, release)
    partly = "" if complete else ", of the first 100,000 that the server holds"
    if strays:
        shown = ", ".join(strays[:_SHOWN])
        yield Finding(
            "releases", "problem",
            f"{len(strays):,} keys{partly} begin as this application's and are none of its own, but"
            f" of stock Flask-Caching, or of another application: {shown}.",
            "A CACHE_KEY_PREFIX of its own for each application; redis-cli unlink for the rest.",
        )  # fmt: skip
    if older:
        shown = ", ".join(f"{name} ({count:,})" for name, count in older.most_common(_SHOWN))
        yield Finding(
            "releases", "advice", f"Entries of other releases lie there{partly}: {shown}.",
            "None, as they expire; if one of these should be running, it is.",
        )  # fmt: skip
    if not strays and not older:
        yield Finding("releases", "ok", f"No keys of other releases{partly}.")


def _sorted_out(keys: list[str], prefix: str, release: str) -> tuple[Counter[str], list[str]]:
    """Count the keys of other releases, and list those of no known form."""
    older: Counter[str] = Counter()
    strays = []
    for key in keys:
        rest = key.removeprefix(f"{prefix}:")
        if _OF_ALL_RELEASES.match(rest):
            continue
        found = _OF_A_RELEASE.match(rest)
        if found is None:
            strays.append(key)
        elif found[1] != release:
            older[found[1]] += 1
    return older, strays
