"""A limit to guessing passwords: ten attempts in 15 minutes, for each name and address.

Attempts are counted in the cache, which may lose entries: guessing becomes expensive, not
impossible. While the cache is down, each process counts for itself. Behind a proxy, set
PROXY_COUNT, or all visitors have one address.
"""

import threading
import time

from flask import request

from ..extensions import cache
from .client import client_of

MOST_FAILURES = 10
WINDOW_SECONDS = 15 * 60
_MOST_COUNTED = 10_000
#: Of this process: the ends of the attempts that count, by key.
_counted: dict[str, list[float]] = {}
_lock = threading.Lock()


def admit(name: str) -> bool:
    """Count an attempt, before the password is looked at; tell whether it may be made.

    Each takes a place that only one can take, so simultaneous attempts are all counted.
    """
    places = _places(name)
    if any(cache.add(place, True, timeout=WINDOW_SECONDS) for place in places):
        return True
    # Either all are taken, or the cache is away or off.
    return not cache.has(places[-1]) and _admit_here(places[0])


def forget(name: str) -> None:
    """Start anew after a success."""
    places = _places(name)
    cache.delete_many(*places)
    with _lock:
        _counted.pop(places[0], None)


def _admit_here(key: str) -> bool:
    now = time.monotonic()
    with _lock:
        ends = [end for end in _counted.pop(key, []) if end > now]
        admitted = len(ends) < MOST_FAILURES
        _counted[key] = [*ends, now + WINDOW_SECONDS] if admitted else ends
        if len(_counted) > _MOST_COUNTED:
            del _counted[next(iter(_counted))]
    return admitted


def _places(name: str) -> list[str]:
    # A keyed hash: names and addresses are few, so a plain one in the cache's keys would tell them.
    key = "sign-in:" + cache.digest(f"{client_of(request.remote_addr)} {name}")
    return [f"{key}:{number}" for number in range(MOST_FAILURES)]
