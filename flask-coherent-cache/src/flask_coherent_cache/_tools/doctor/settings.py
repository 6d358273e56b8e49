"""Checks of the settings: they ask nobody."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .finding import Finding, Severity

Config = Mapping[str, Any]

#: A request that waits longer for a server that hangs is noticed.
_LONGEST_TIMEOUT_SECONDS = 1.0


def backend(config: Config) -> Iterator[Finding]:
    kind, processes = config["CACHE_TYPE"], config.get("WEB_CONCURRENCY") or 1
    severity: Severity = "advice"
    remedy = "RedisCache or MemcachedCache."
    if kind == "NullCache":
        what = "CACHE_TYPE is NullCache: nothing is cached."
        remedy = "RedisCache or MemcachedCache; in development SimpleCache."
    elif kind == "SimpleCache" and processes > 1:
        severity = "problem"
        what = (
            f"CACHE_TYPE is SimpleCache and WEB_CONCURRENCY is {processes}: each process has a"
            " cache of its own, and misses the others' invalidations."
        )
        remedy = "CACHE_TYPE=RedisCache or MemcachedCache, or WEB_CONCURRENCY=1."
    elif kind == "SimpleCache" and config.get("APP_ENV") == "production":
        what = (
            "CACHE_TYPE is SimpleCache: a restart empties the cache, and commands that write to the"
            " database do not invalidate it."
        )
    elif "." in kind:
        what = f"CACHE_TYPE is {kind}, which lacks some guarantees: the log names them at start."
    else:
        severity, what, remedy = "ok", f"CACHE_TYPE is {kind}.", ""
    yield Finding("backend", severity, what, remedy)


def secret_key(config: Config) -> Iterator[Finding]:
    if config["SECRET_KEY"] and not config.get("SECRET_KEY_IS_RANDOM"):
        yield Finding("secret-key", "ok", "SECRET_KEY is set.")
    elif config["CACHE_TYPE"] in ("SimpleCache", "NullCache"):
        what = "SECRET_KEY is not set: a random one is used, and a restart ends all sessions."
        yield Finding("secret-key", "advice", what, "Set it; `make .env` does.")
    else:
        what = (
            "SECRET_KEY is not set: each process draws its own, and none can read what another one"
            " put into the cache."
        )
        remedy = "Set it to the same value for all of them; `make .env` does."
        yield Finding("secret-key", "problem", what, remedy)


def pool(config: Config) -> Iterator[Finding]:
    size, threads = config["CACHE_POOL_SIZE"], config.get("GUNICORN_THREADS")
    if threads is None:
        return
    if size >= threads:
        yield Finding("pool", "ok", f"{size} connections for {threads} threads.")
        return
    yield Finding(
        "pool", "problem",
        f"CACHE_POOL_SIZE is {size} and GUNICORN_THREADS is {threads}: threads wait for a"
        " connection, and one that comes too late counts as a server that is down.",
        f"CACHE_POOL_SIZE={threads + 4}, or leave it out.",
    )  # fmt: skip


def waiting(config: Config) -> Iterator[Finding]:
    wait = config["CACHE_WAIT_SECONDS"]
    bounds = ("GUNICORN_TIMEOUT_SECONDS", "GUNICORN_GRACEFUL_TIMEOUT_SECONDS")
    set_bounds = [name for name in bounds if config.get(name) is not None]
    if not set_bounds:
        return
    name = min(set_bounds, key=config.__getitem__)
    if wait < config[name]:
        yield Finding("waiting", "ok", f"A request waits {wait:g} s for another's computation.")
        return
    yield Finding(
        "waiting", "problem",
        f"CACHE_WAIT_SECONDS is {wait:g} and {name} is {config[name]}: a request may still wait"
        " for another one's computation when its process is ended.",
        f"CACHE_WAIT_SECONDS below {config[name]}; most visitors are gone after 5.",
    )  # fmt: skip


def timeouts(config: Config) -> Iterator[Finding]:
    for name in ("CACHE_CONNECT_TIMEOUT_SECONDS", "CACHE_SOCKET_TIMEOUT_SECONDS"):
        if config[name] > _LONGEST_TIMEOUT_SECONDS:
            yield Finding(
                "timeouts", "problem",
                f"{name} is {config[name]:g}: while the cache server hangs, each thread waits that"
                " long before it goes on without it.",
                "0.25 s is enough on a private network; a time-out costs one computation.",
            )  # fmt: skip


def declarations(rows: Iterable[tuple[str, str, str]]) -> Iterator[Finding]:
    """List what is declared to need no place in a key, so that the operator can check it.

    :param rows: as :meth:`Declarations.rows` gives them.
    """
    for subject, through, reason in rows:
        how = f"reaches pages only through {through}" if through else "does not reach pages"
        yield Finding("declaration", "ok", f"{subject} {how}: {reason}.")
