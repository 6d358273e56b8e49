"""The clocks that a test which freezes time does not stop.

Freshness follows ``time.time``, so that a test may move it. What protects the cache does not:
time-outs, leases and trust are measured by :func:`monotonic`, and the store's readings by
:func:`wall`. freezegun replaces the functions of ``time`` wherever a module holds them by name, and
time-machine those of the wall clock themselves.
"""

import time
from functools import partial

#: Seconds of the monotonic clock; held in a way that freezegun does not find.
monotonic = partial(time.monotonic)

if hasattr(time, "clock_gettime"):  # Right even where this is imported while time is frozen.
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)

#: Seconds since the epoch as this host has them, right or not.
host_time = partial(time.time)
#: A machine without a clock begins in 1970; readings need a time that is plausible.
_LEAST = 1_000_000_000.0
_ahead = max(host_time(), _LEAST) - monotonic()


def wall() -> float:
    """Return the seconds since the epoch, and never less than have passed since the start.

    A clock that is set forward counts; one that is set back, or frozen, does not.
    """
    return max(host_time(), monotonic() + _ahead)
