"""What a tag's value says, and how it changes: a reading, and the writers that hold it in doubt.

``b"1700000000000042"`` is a reading. ``b"1700000000000042 k3x:1700000060"`` is a reading in doubt:
the writer ``k3x`` is between its mark and its invalidation, until that time (seconds since the
epoch) at the latest. A writer settles its own doubt and leaves the others'. The doubt of one that
died is overdue; an invalidation settles it, whose reading is above all that may have been read
before the writer's commit.
"""

#: A tag outlives every entry that carries it; one that is missing only costs a computation.
TAG_SECONDS = 40 * 24 * 3600
#: How long a commit may take between its mark and its invalidation.
DOUBT_SECONDS = 60
#: Readings start at the wall clock in microseconds (2001 and later), so that a lost clock starts
#: above the readings that it gave before, and a counter that began at zero is recognised.
FIRST_READING = 1_000_000_000_000_000


def is_reading(value: bytes | None) -> bool:
    """Tell whether a clock's value is a reading: present, a number, and not restarted from 0."""
    return value is not None and value.isdigit() and int(value) >= FIRST_READING


def is_overdue(value: bytes | None, now: float) -> bool:
    """Tell whether a tag's value has the doubt of a writer that died."""
    return value is not None and any(_is_settled(doubt, "", now) for doubt in value.split(b" ")[1:])


def marked(value: bytes | None, token: str, now: float) -> bytes:
    """Add a writer's doubt to a tag's value."""
    return b"%s %s:%d" % (value or b"0", token.encode(), now + DOUBT_SECONDS)


def invalidated(value: bytes | None, reading: int, token: str, now: float) -> bytes:
    """Raise a tag's value to a reading and settle one writer's doubt; never lower it."""
    old, *doubts = (value or b"0").split()
    kept = [doubt for doubt in doubts if not _is_settled(doubt, token, now)]
    return b" ".join([b"%d" % max(int(old), reading), *kept])


def _is_settled(doubt: bytes, token: str, now: float) -> bool:
    writer, _, until = doubt.partition(b":")
    return writer == token.encode() or int(until) < int(now)
