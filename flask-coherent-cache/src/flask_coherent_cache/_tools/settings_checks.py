"""The checks of settings, and of what the running processes say: they need no cache server."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._statistics.statistics import ANSWERED
from .findings import Finding
from .overview import Overview

Config = Mapping[str, Any]

#: A request that waits longer for a server that hangs is noticed.
_LONGEST_TIMEOUT_SECONDS = 1.0
#: Fewer fills say little of their shares.
_MANY_FILLS = 50
_MANY_EVICTED = 0.2
_MOST_NAMED = 3
_MOST_NEVER = 10


def check_settings(config: Config) -> Iterator[Finding]:
    """Yield what is found in the settings alone."""
    for check in (_backend, _secret_key, _pool, _waiting, _timeouts):
        yield from check(config)


def _backend(config: Config) -> Iterator[Finding]:
    kind, processes = config["CACHE_TYPE"], config.get("WEB_CONCURRENCY") or 1
    if kind == "NullCache":
        yield Finding(
            "backend", "advice", "CACHE_TYPE is NullCache: nothing is cached.",
            "RedisCache or MemcachedCache; in development SimpleCache.",
        )  # fmt: skip
    elif kind == "SimpleCache" and processes > 1:
        yield Finding(
            "backend", "problem",
            f"CACHE_TYPE is SimpleCache and WEB_CONCURRENCY is {processes}: each process keeps"
            " values of its own, and misses the others' invalidations.",
            "CACHE_TYPE=RedisCache or MemcachedCache, or WEB_CONCURRENCY=1.",
        )  # fmt: skip
    elif kind == "SimpleCache" and config.get("APP_ENV") == "production":
        yield Finding(
            "backend", "advice",
            "CACHE_TYPE is SimpleCache: a restart forgets all, and a command that writes to the"
            " database is not heard of by the server.",
            "RedisCache or MemcachedCache.",
        )  # fmt: skip
    elif "." in kind:
        yield Finding(
            "backend", "advice",
            f"CACHE_TYPE is {kind}, which does not keep every promise: the log says which at the"
            " start.",
            "RedisCache or MemcachedCache.",
        )  # fmt: skip
    else:
        yield Finding("backend", "ok", f"CACHE_TYPE is {kind}.")


def _secret_key(config: Config) -> Iterator[Finding]:
    if config["SECRET_KEY"] and not config.get("SECRET_KEY_IS_RANDOM"):
        yield Finding("secret-key", "ok", "SECRET_KEY is set.")
    elif config["CACHE_TYPE"] in ("SimpleCache", "NullCache"):
        yield Finding(
            "secret-key", "advice",
            "SECRET_KEY is not set: a random one is used, and a restart ends all sessions.",
            "Set it; `make .env` does.",
        )  # fmt: skip
    else:
        yield Finding(
            "secret-key", "problem",
            "SECRET_KEY is not set: each process draws one of its own, and none can read what"
            " another one put into the cache.",
            "Set it to the same value for all of them; `make .env` does.",
        )  # fmt: skip


def _pool(config: Config) -> Iterator[Finding]:
    size, threads = config["CACHE_POOL_SIZE"], config.get("GUNICORN_THREADS")
    if threads is None:
        return
    if size >= threads:
        yield Finding("pool", "ok", f"{size} connections for {threads} threads.")
    else:
        yield Finding(
            "pool", "problem",
            f"CACHE_POOL_SIZE is {size} and GUNICORN_THREADS is {threads}: threads wait for a"
            " connection, and take one that comes too late for a server that is away.",
            f"CACHE_POOL_SIZE={threads + 4}, or leave it out.",
        )  # fmt: skip


def _waiting(config: Config) -> Iterator[Finding]:
    wait = config["CACHE_WAIT_SECONDS"]
    bounds = ("GUNICORN_TIMEOUT_SECONDS", "GUNICORN_GRACEFUL_TIMEOUT_SECONDS")
    set_bounds = [name for name in bounds if config.get(name) is not None]
    if not set_bounds:
        return
    name = min(set_bounds, key=config.__getitem__)
    if wait < config[name]:
        yield Finding("waiting", "ok", f"A request waits {wait:g} s for another's computation.")
    else:
        yield Finding(
            "waiting", "problem",
            f"CACHE_WAIT_SECONDS is {wait:g} and {name} is {config[name]}: a request may still wait"
            " for another one's computation when its process is ended.",
            f"CACHE_WAIT_SECONDS below {config[name]}; most visitors are gone after 5.",
        )  # fmt: skip


def _timeouts(config: Config) -> Iterator[Finding]:
    for name in ("CACHE_CONNECT_TIMEOUT_SECONDS", "CACHE_SOCKET_TIMEOUT_SECONDS"):
        if config[name] > _LONGEST_TIMEOUT_SECONDS:
            yield Finding(
                "timeouts", "problem",
                f"{name} is {config[name]:g}: while the cache server hangs, each thread waits so"
                " long before it goes on without.",
                "0.25 s do on a network of one's own; what is lost is a computation.",
            )  # fmt: skip


def check_declarations(rows: Iterable[tuple[str, str, str]]) -> Iterator[Finding]:
    """Yield what is declared to need no place in a key, for a reader to judge.

    :param rows: as :meth:`Declarations.rows` gives them.
    """
    for subject, through, reason in rows:
        by = f"only through {through}" if through else "by nothing"
        yield Finding("declaration", "ok", f"{subject} reaches pages {by}: {reason}.")


def check_processes(config: Config, overview: Overview) -> Iterator[Finding]:
    """Yield what is found in what the running processes say."""
    if not overview.processes:
        yield Finding(
            "processes", "unknown",
            f"No running process of release {config['RELEASE']} answered, so computations and"
            " errors could not be looked at.",
            "Run this with the servers' own settings, while they run; or ask longer, by --wait."
            " Under uWSGI, start it with --enable-threads: without, no process can answer.",
        )  # fmt: skip
        return
    count = len(overview.processes)
    yield Finding(
        "processes", "ok", f"{count} processes answered." if count > 1 else "One process answered."
    )
    yield from _leases(config, overview)
    yield from _evicted(overview)
    yield from _errors(overview)
    yield from _different(overview)
    yield from _never_cached(overview)


def _leases(config: Config, overview: Overview) -> Iterator[Finding]:
    lease = config["CACHE_LEASE_SECONDS"]
    slowest: dict[str, float] = {}
    for one in overview.lookups:
        if one["fills"]:
            slowest[one["name"]] = one["fill_seconds"] / one["fills"]
    for entry in overview.entries.values():
        name = entry["name"]
        slowest[name] = max(slowest.get(name, 0), entry["seconds"] or 0)
    slow = sorted((name for name in slowest if slowest[name] > lease), key=lambda n: -slowest[n])
    if not slow:
        yield Finding("lease", "ok", f"No computation is known that took more than {lease:g} s.")
        return
    named = ", ".join(f"{name} ({slowest[name]:.1f} s)" for name in slow[:_MOST_NAMED])
    yield Finding(
        "lease", "problem",
        f"CACHE_LEASE_SECONDS is {lease:g}, and longer took: {named}. After it another process"
        " starts the same computation.",
        f"CACHE_LEASE_SECONDS={2 * slowest[slow[0]]:.0f}, or make it quicker.",
    )  # fmt: skip


def _evicted(overview: Overview) -> Iterator[Finding]:
    lookups = overview.lookups
    fills = sum(one["fills"] for one in lookups)
    evicted = sum(one["reasons"].get("evicted", 0) for one in lookups)
    if fills >= _MANY_FILLS and evicted / fills > _MANY_EVICTED:
        yield Finding(
            "evictions", "problem",
            f"Of {fills:,} computations {evicted:,} were of entries that the server had dropped"
            " before their time.",
            "Give the server more memory, or shorten the timeouts of what is seldom asked for.",
        )  # fmt: skip


def _errors(overview: Overview) -> Iterator[Finding]:
    counts = overview.counts
    if not counts:
        return
    named = ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))
    foreign = "unauthentic entry" in counts
    remedy = "The log says when." + (
        " Unauthentic entries: do all processes of this release have the same SECRET_KEY, and"
        " does nobody else write to the server?"
        if foreign
        else ""
    )
    yield Finding(
        "errors", "advice", f"Since they began, went wrong and was healed: {named}.", remedy
    )


def _different(overview: Overview) -> Iterator[Finding]:
    chosen, differences = overview.verified, overview.differences
    if not chosen:
        return
    compared = f"{chosen['compared']:,} hits were computed again, {chosen['set aside']:,} set aside"
    if not chosen["different"]:
        yield Finding("verification", "ok", f"{compared}, and none differed.")
        return
    named = ", ".join(f"{level} {name} ({n:,})" for (level, name), n in differences.most_common(10))
    yield Finding(
        "verification", "problem",
        f"{compared}, and {chosen['different']:,} differed from their entry: {named}.",
        "The log names the keys and the tags. Tag what they are built from, or say with"
        " may_differ=… what differs each time.",
    )  # fmt: skip


def _never_cached(overview: Overview) -> Iterator[Finding]:
    """Name what was looked up, refused, and answered by no entry."""
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for refusal, count in overview.refusals.items():
        place = f" at {refusal.place}" if refusal.place else ""
        name = refusal.level, refusal.name
        reasons.setdefault(name, Counter())[f"{refusal.reason}{place}"] += count
    for level, plural in (("page", "routes"), ("function", "functions"), ("fragment", "fragments")):
        never = [
            f"{one['name']}, because: {reasons[level, one['name']].most_common(1)[0][0]}"
            for one in overview.lookups
            if one["level"] == level
            and (level, one["name"]) in reasons
            and any(one["results"].values())
            and not one["stored"]
            and not any(one["results"].get(result) for result in ANSWERED)
        ]
        if never:
            what, verb = (plural, "are") if len(never) > 1 else (plural[:-1], "is")
            more = f"; and {len(never) - _MOST_NEVER} more" if len(never) > _MOST_NEVER else ""
            yield Finding(
                "never-cached", "advice",
                f"{len(never)} {what} {verb} never cached: {'; '.join(never[:_MOST_NEVER])}{more}.",
                "The log says what can be done about each; or leave out the decorator.",
            )  # fmt: skip
