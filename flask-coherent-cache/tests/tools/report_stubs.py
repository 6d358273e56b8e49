"""Reports of running processes, and `flask cache`, which asks for them."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from flask import Flask

from application import cache
from flask_coherent_cache._statistics.records import Known
from flask_coherent_cache._tools.report import Counts, Report, as_json

#: As compose.yaml has it.
HEALTHY = ("--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lfu")
SETTINGS = {
    "SECRET_KEY": "k" * 40,
    "OPS_TOKEN": "t" * 40,
    "RELEASE": "v2",
    # Patient with a busy machine.
    "CACHE_CONNECT_TIMEOUT_SECONDS": 1,
    "CACHE_SOCKET_TIMEOUT_SECONDS": 1,
}


def invoke(app: Flask, *arguments: str) -> Any:
    """Run `flask cache` with arguments."""
    return app.test_cli_runner().invoke(args=["cache", *arguments])


def invoke_json(app: Flask, *arguments: str) -> tuple[int, Any]:
    """Run `flask cache … --json`; returns the exit code and what was written."""
    result = invoke(app, *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def report(pid: int, **changes: Any) -> Report:
    """What a process reports that did nothing, but for what is given."""
    now = time.time()
    plain: dict[str, Any] = {each.name: [] for each in fields(Report)} | {
        "pid": pid,
        "host": "web",
        "since": now - 60,
        "at": now,
        "release": "v2",
        "forgot_entries": False,
        "breaker_open": False,
        "failure": None,
        "clears": 0,
        "fallback": 0,
    }
    names = ("near", "counts", "leases", "invalidated", "verified", "history")
    return Report(**(plain | {name: {} for name in names} | changes))


def lookups(name: str, level: str = "page", **changes: Any) -> Counts:
    """The lookups of one name."""
    counters = {each: Counter(changes.pop(each, {})) for each in ("results", "reasons")}
    return Counts(level, name, **counters, **({"timeout": 60} | changes))


def entry(key: str, *tags: str, **changes: Any) -> Known:
    """An entry that a process knows."""
    now = time.time()
    plain = {
        "level": "function",
        "name": "numbers",
        "tags": tags,
        "started": 1,
        "stored_at": now - 10,
        "fresh_until": now + 50,
        "kept_until": now + 50,
        "bytes": 100,
        "cause": None,
        "seconds": None,
    }
    return Known(key, **(plain | changes))


def tell(make: Callable[..., Flask], *reports: Report, **settings: Any) -> None:
    """Have processes report, each from an application of its own."""
    for each in reports:
        app = make(**settings)
        with app.app_context():
            assert cache.engine.reports.write(as_json(each).encode())
