"""What lies in the store under a key, and whether it is valid."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .._dependencies.dependencies import ContextState
from .._statistics.statistics import Cause
from .._stores import is_timestamp
from .entry import Entry

State = Literal["fresh", "stale", "invalid", "cleared", "unreadable", "gone"]

_EXPIRED, _UNREADABLE, _CLEARED = Cause("expired"), Cause("unreadable"), Cause("cleared")


@dataclass(slots=True, eq=False)
class Inspection:
    """What a look at the store saw.

    :param entry: what lay there; ``None`` for nothing, or something unreadable.
    :param valid: whether it may be used; it may be past its soft expiry.
    :param sealed: the bytes that lay there.
    :param cause: why it would have to be filled; ``None`` for nothing of which anything is known.
    :param doubted: whether a tag that makes it invalid is in doubt, or missing.
    :param moment: the store's generation and clock at that look; ``None`` before any.
    """

    key: str
    entry: Entry | None = None
    valid: bool = False
    sealed: bytes | None = None
    cause: Cause | None = None
    doubted: bool = False
    moment: tuple[str, int] | None = None

    @property
    def state(self) -> State:
        """In a word, what lies there."""
        if self.sealed is None:
            return "gone"
        if self.entry is None:
            return "unreadable"
        if self.valid:
            return "fresh" if self.entry.is_fresh() else "stale"
        return "invalid" if self.invalid else "cleared"

    @property
    def invalid(self) -> tuple[str, ...]:
        """The tags of an invalid entry that were bumped, or that are missing."""
        return self.cause.tags if self.cause is not None else ()

    @property
    def bytes(self) -> int:
        """What it takes in the store."""
        return len(self.sealed or b"")

    def usable(self, grace: float) -> Entry | None:
        """Return the entry if it is valid, and stale for no more than ``grace`` seconds."""
        if self.entry is None or not self.valid:
            return None
        return self.entry if time.time() < self.entry.fresh_until + grace else None

    def is_dead_on_arrival(self, before: "Inspection", state: ContextState) -> bool:
        """Tell whether a fill stored it since ``before``, and it is already invalid."""
        if self.sealed == before.sealed or self.entry is None or self.valid:
            return False
        return (self.entry.started or 0) >= (state.started or 0)

    def began_since(self, first: "Inspection") -> bool:
        """Tell whether it is of a fill that began after a first look, by the store's clock.

        Every invalidation that had returned by then is in it. One that came later made it invalid,
        and whoever looked before that may be served it all the same.
        """
        entry, moment = self.entry, first.moment
        if entry is None or moment is None or self.moment is None or self.sealed == first.sealed:
            return False
        is_of_now = entry.generation == self.moment[0] == moment[0] and entry.is_fresh()
        return is_of_now and entry.started is not None and entry.started >= moment[1]


def judge(
    key: str,
    sealed: bytes | None,
    entry: Entry | None,
    generation: str,
    values: Sequence[bytes | None],
    now: float,
) -> Inspection:
    """Judge an entry by the store's generation and its tags' values.

    A missing tag, one in doubt, or one bumped since the entry ``started`` makes it invalid.

    :param values: in the order of the tags.
    :param now: the store's time, in seconds since the epoch.
    """
    if sealed is None:
        return Inspection(key)
    if entry is None:
        return Inspection(key, None, False, sealed, _UNREADABLE)
    if entry.generation != generation:
        return Inspection(key, entry, False, sealed, _CLEARED)
    started = entry.started
    if started is None or all(is_timestamp(v, now) and int(v) <= started for v in values):
        return Inspection(key, entry, True, sealed, _EXPIRED)
    cause = why_invalid(entry.tags, values, started, now)
    doubted = not all(is_timestamp(value, now) for value in values)
    return Inspection(key, entry, False, sealed, cause, doubted)


def why_invalid(
    tags: Sequence[str], values: Sequence[bytes | None], started: int | None, now: float
) -> Cause:
    """Name the tags that make an entry invalid, with the latest of their timestamps.

    A missing tag, and one in doubt, has none.
    """
    known = [int(value) if is_timestamp(value, now) else None for value in values]
    pairs = list(zip(tags, known, strict=True))
    invalid = [(tag, time) for tag, time in pairs if time is None or time > (started or 0)]
    latest = max((time for _, time in invalid if time is not None), default=None)
    return Cause("invalidated", tuple(tag for tag, _ in invalid), latest)
