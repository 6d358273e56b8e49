"""What running processes say of themselves, and `flask cache`, which asks them."""

import json
import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from application import cache

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


def report(pid: int, **changes: Any) -> dict[str, Any]:
    """What a process writes on the board."""
    plain = {
        "pid": pid,
        "host": "web",
        "since": time.time() - 60,
        "at": time.time(),
        "release": "v2",
        "lookups": [],
        "fills": [],
        "invalidations": [],
        "entries": [],
        "forgot_entries": False,
        "near": None,
        "breaker": {"open": False, "away": False, "failure": None},
        "counts": {},
        "leases": {},
        "invalidated": {},
        "clears": 0,
        "standby": 0,
        "refusals": [],
        "verified": {},
        "differences": [],
        "history": [],
    }
    return plain | changes


def lookups(name: str, level: str = "page", **changes: Any) -> dict[str, Any]:
    """The lookups of one name in a process."""
    plain = {
        "level": level,
        "name": name,
        "results": {"hit": 0, "stale": 0, "miss": 0, "wait": 0, "bypass": 0, "error": 0},
        "near_hits": 0,
        "fills": 0,
        "fill_seconds": 0.0,
        "stored": 0,
        "stored_bytes": 0,
        "reasons": {},
        "timeout": 60,
    }
    return plain | changes


def entry(key: str, *tags: str, **changes: Any) -> dict[str, Any]:
    """An entry that a process knows."""
    now = time.time()
    plain = {
        "key": key,
        "level": "function",
        "name": "numbers",
        "tags": list(tags),
        "started": 1,
        "stored_at": now - 10,
        "fresh_until": now + 50,
        "kept_until": now + 50,
        "bytes": 100,
        "cause": None,
        "seconds": None,
    }
    return plain | changes


def tell(make: Callable[..., Flask], *reports: dict[str, Any], **settings: Any) -> None:
    """Have processes write on the board, each from an application of its own."""
    for each in reports:
        app = make(**settings)
        with app.app_context():
            assert cache.engine.board.write(json.dumps(each).encode())
