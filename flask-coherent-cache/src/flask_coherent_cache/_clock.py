"""Clocks that keep running in a test that freezes time.

Freshness follows ``time.time``, so that a test can move it. Safety does not: time-outs, leases and
trust are measured by :func:`monotonic`, and the store's timestamps by :func:`wall`. freezegun
replaces the functions of ``time`` in each module that holds them by name; time-machine replaces the
wall clock itself.
"""

import time
from functools import partial

#: Seconds of the monotonic clock; in a ``partial``, where freezegun does not find it.
monotonic = partial(time.monotonic)

if hasattr(time, "clock_gettime"):  # Also right if imported while time is frozen.
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)

#: Seconds since the epoch as this host has them, right or not.
host_time = partial(time.time)
#: A machine without a clock begins in 1970; timestamps need a time that is plausible.
_LEAST = 1_000_000_000.0
_ahead = max(host_time(), _LEAST) - monotonic()


def wall() -> float:
    """Return the seconds since the epoch; they never advance less than the monotonic clock.

    A clock that is set forward counts; one that is set back, or frozen, does not.
    """
    return max(host_time(), monotonic() + _ahead)
