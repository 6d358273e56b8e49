"""What a tag's value says, and how it changes: a reading, and the writers that hold it in doubt.

``b"1700000000000042"`` is a reading. ``b"1700000000000042 k3x:1700000060"`` is a reading in doubt:
the writer ``k3x`` is between its mark and its invalidation, until that time (seconds since the
epoch) at the latest. A writer settles its own doubt and leaves the others'. The doubt of one that
died is overdue; an invalidation settles it, whose reading is above all that may have been read
before the writer's commit.

Whoever else writes to the store may leave anything here, so what has no such form, or is of a time
that has not come, validates nothing, and the next invalidation replaces it.
"""

import math
import re
from typing import TypeGuard

_VALUE = re.compile(rb"(0|[0-9]{16})((?: [^ :]+:[0-9]{1,10})*)")

#: A tag outlives every entry that carries it; one that is missing only costs a computation.
TAG_SECONDS = 40 * 24 * 3600
#: How long a commit may take between its mark and its invalidation.
DOUBT_SECONDS = 60
#: Readings start at the server's time in microseconds (2001 and later), so that a lost clock starts
#: above the readings that it gave before, and a counter that began at zero is recognised.
FIRST_READING = 1_000_000_000_000_000
#: How far a server's clock may be set back: what is further ahead is nothing that it gave.
AHEAD_SECONDS = 24 * 3600


def is_timestamp(value: bytes | None, now: float) -> TypeGuard[bytes]:
    """Tell whether a value is a reading: present, a number, not restarted from 0, not to come.

    :param now: the server's time, as in all of this module, in seconds since the epoch.
    """
    if value is None or len(value) != 16 or not value.isdigit():
        return False
    latest = (now + AHEAD_SECONDS) * 1_000_000
    return FIRST_READING <= int(value) <= latest


def is_overdue(value: bytes | None, now: float) -> bool:
    """Tell whether only an invalidation makes a tag's value good.

    It has the doubt of a writer that died, or is nothing that a writer of ours left.
    """
    if value is None or is_timestamp(value, now):
        return False
    doubts = _parts(value, now)[1]
    return not doubts or any(_is_settled(doubt, "", now) for doubt in doubts)


def marked(value: bytes | None, token: str, now: float, seconds: float | None = None) -> bytes:
    """Add a doubt to a tag's value, of ``DOUBT_SECONDS`` unless it is said."""
    old, doubts = _parts(value, now)
    until = now + DOUBT_SECONDS if seconds is None else math.ceil(now + seconds)
    return b" ".join([old, *doubts, b"%s:%d" % (token.encode(), until)])


def invalidated(value: bytes | None, reading: int, token: str, now: float) -> bytes:
    """Raise a tag's value to a reading and settle one writer's doubt; never lower it."""
    old, doubts = _parts(value, now)
    kept = [doubt for doubt in doubts if not _is_settled(doubt, token, now)]
    return b" ".join([b"%d" % max(int(old), reading), *kept])


def reading_in(value: bytes | None, now: float) -> int:
    """Return the reading in a tag's value; 0 where there is none."""
    return int(_parts(value, now)[0])


def _parts(value: bytes | None, now: float) -> tuple[bytes, list[bytes]]:
    """Take a tag's value apart into its reading and its doubts; a foreign one has neither."""
    found = _VALUE.fullmatch(value or b"")
    if found is None or not (found[1] == b"0" or is_timestamp(found[1], now)):
        return b"0", []
    return found[1], found[2].split()


def _is_settled(doubt: bytes, token: str, now: float) -> bool:
    writer, _, until = doubt.partition(b":")
    return writer == token.encode() or not int(now) <= int(until) <= now + AHEAD_SECONDS
