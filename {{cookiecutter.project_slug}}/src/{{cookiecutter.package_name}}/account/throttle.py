"""A bound on guessing passwords: so many failures in so many minutes, for a name and an address.

Counted in the cache, which may forget: a bound on what is cheap to try, not a lock. Behind a
proxy it needs PROXY_COUNT, or all visitors have one address.
"""

from flask import request

from ..extensions import cache
from .client import client_of

MOST_FAILURES = 10
WINDOW_SECONDS = 15 * 60


def is_exhausted(name: str) -> bool:
    """Tell whether a name has failed too often from this request's address."""
    return (cache.get(_key(name)) or 0) >= MOST_FAILURES


def note_failure(name: str) -> None:
    """Count a failure; two at the same moment may count as one."""
    cache.set(_key(name), (cache.get(_key(name)) or 0) + 1, timeout=WINDOW_SECONDS)


def forget(name: str) -> None:
    """Start anew after a success."""
    # By key: for a value that was set by hand and that no function or page stands for.
    cache.delete(_key(name))


def _key(name: str) -> str:
    # A keyed hash: names and addresses are few, so a plain one in the cache's keys would tell them.
    return "sign-in:" + cache.digest(f"{client_of(request.remote_addr)} {name}")
