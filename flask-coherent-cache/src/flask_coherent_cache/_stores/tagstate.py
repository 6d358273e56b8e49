"""The value of a tag, and how it changes: a timestamp, and the writers that hold it in doubt.

``b"1700000000000042"`` is a timestamp. ``b"1700000000000042 k3x:1700000060"`` is one in doubt:
the writer ``k3x`` is between its mark and its invalidation, until that time (seconds since the
epoch) at the latest. A writer settles its own doubt and leaves the others'. The doubt of a writer
that died becomes overdue; the next invalidation settles it, with a timestamp above all that may
have been read before that writer's commit.

Others can write to the store, too. A value that does not have this form, or whose time is in the
future, makes no entry valid, and the next invalidation replaces it.
"""

import math
import re
from typing import TypeGuard

_VALUE = re.compile(rb"(0|[0-9]{16})((?: [^ :]+:[0-9]{1,10})*)")

#: A tag outlives every entry that carries it; a missing one only costs a computation.
TAG_SECONDS = 40 * 24 * 3600
#: How long a commit may take between its mark and its invalidation.
DOUBT_SECONDS = 60
#: Timestamps start at the server's time in microseconds (2001 and later), so that a lost clock
#: starts above those that it gave before, and a counter that began at zero is recognised.
FIRST_TIMESTAMP = 1_000_000_000_000_000
#: How far a server's clock may be set back: what is further ahead, it never gave.
AHEAD_SECONDS = 24 * 3600


def is_timestamp(value: bytes | None, now: float) -> TypeGuard[bytes]:
    """Tell whether a value is a timestamp: a number, not restarted from 0, not in the future.

    :param now: the server's time, as in all of this module, in seconds since the epoch.
    """
    if value is None or len(value) != 16 or not value.isdigit():
        return False
    latest = (now + AHEAD_SECONDS) * 1_000_000
    return FIRST_TIMESTAMP <= int(value) <= latest


def is_overdue(value: bytes | None, now: float) -> bool:
    """Tell whether a tag needs an invalidation: a doubt is overdue, or it is no value of ours."""
    if value is None or is_timestamp(value, now):
        return False
    doubts = _parts(value, now)[1]
    return not doubts or any(_is_settled(doubt, "", now) for doubt in doubts)


def marked(value: bytes | None, token: str, now: float, seconds: float | None = None) -> bytes:
    """Add a doubt to a tag's value, by default for ``DOUBT_SECONDS``."""
    timestamp, doubts = _parts(value, now)
    until = now + DOUBT_SECONDS if seconds is None else math.ceil(now + seconds)
    return b" ".join([timestamp, *doubts, b"%s:%d" % (token.encode(), until)])


def invalidated(value: bytes | None, timestamp: int, token: str, now: float) -> bytes:
    """Bump a tag's value to a timestamp and settle one writer's doubt; never lower it."""
    old, doubts = _parts(value, now)
    kept = [doubt for doubt in doubts if not _is_settled(doubt, token, now)]
    return b" ".join([b"%d" % max(int(old), timestamp), *kept])


def timestamp_in(value: bytes | None, now: float) -> int:
    """Return the timestamp in a tag's value; 0 where there is none."""
    return int(_parts(value, now)[0])


def _parts(value: bytes | None, now: float) -> tuple[bytes, list[bytes]]:
    """Split a tag's value into its timestamp and its doubts; a foreign value has neither."""
    found = _VALUE.fullmatch(value or b"")
    if found is None or not (found[1] == b"0" or is_timestamp(found[1], now)):
        return b"0", []
    return found[1], found[2].split()


def _is_settled(doubt: bytes, token: str, now: float) -> bool:
    writer, _, until = doubt.partition(b":")
    return writer == token.encode() or not int(now) <= int(until) <= now + AHEAD_SECONDS
