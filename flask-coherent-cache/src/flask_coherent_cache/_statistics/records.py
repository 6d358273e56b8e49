"""What the statistics remember: fills, invalidations, refusals, entries and single lookups."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

Level = Literal["page", "function", "fragment", "value"]
#: How a lookup was answered. ``wait``: by what another one's fill stored meanwhile. ``bypass``: by
#: a computation beside the cache. ``error``: by a computation, because the store failed.
Result = Literal["hit", "stale", "miss", "wait", "bypass", "error"]
#: Why an entry was filled. ``evicted``: this process knew it, and it was gone before its time.
Reason = Literal["new", "expired", "evicted", "invalidated", "cleared", "unreadable", "renewed"]

#: Answered by an entry.
ANSWERED: frozenset[Result] = frozenset({"hit", "stale", "wait"})

_MOST_TRACES = 200


class Refusal(NamedTuple):
    """Why something is not cached.

    :param reason: its kind, and after a colon what it is about: ``undeclared: header X-Plan``.
    :param place: file, line and function of who read that; empty if nobody did.
    """

    level: Level
    name: str
    reason: str
    place: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an entry has to be filled.

    :param tags: of an invalidated entry, those that were bumped or are gone.
    :param timestamp: the latest of their timestamps, which the invalidation has, too.
    """

    reason: Reason
    tags: tuple[str, ...] = ()
    timestamp: int | None = None


@dataclass(slots=True)
class Fill:
    """A computation that came to an end.

    :param at: when, in seconds since the epoch.
    :param bytes: of the stored entry; ``None`` if it was not stored.
    :param refused: in a word, why it was not.
    """

    at: float
    level: Level
    name: str
    key: str
    seconds: float
    bytes: int | None
    refused: str | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Invalidation:
    """An invalidation that the store has taken.

    :param at: when, in seconds since the epoch.
    :param tags: the first of them by name; empty for ``clear()``.
    :param count: how many there are; ``None`` is all that there is.
    :param timestamp: the clock's, to which the tags were bumped.
    :param origin: the request or the command that it came from.
    """

    at: float
    tags: tuple[str, ...]
    count: int | None
    timestamp: int | None
    origin: str


@dataclass(slots=True)
class Known:
    """An entry that this process stored, or read from the store.

    :param bytes: in the store.
    :param cause: why this process filled it last, if it did.
    :param seconds: how long that took.
    """

    key: str
    level: Level
    name: str
    tags: tuple[str, ...]
    started: int | None
    stored_at: float
    fresh_until: float
    kept_until: float
    bytes: int
    cause: Cause | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One lookup of one request.

    :param key: empty if it was not even looked up.
    :param began: when, in seconds of the performance counter.
    :param seconds: how long it took, with the computation if there was one.
    """

    level: Level
    name: str
    key: str
    result: Result
    tags: tuple[str, ...]
    began: float
    seconds: float


@dataclass(slots=True)
class Tally:
    """What one request's lookups came to, and each of them if they are traced."""

    results: dict[Result, int] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)

    def keep(self, trace: Trace) -> None:
        """Keep one lookup by itself."""
        if len(self.traces) >= _MOST_TRACES:
            # The last one to end is the one around the others: the page.
            self.traces.pop()
        self.traces.append(trace)

    def __str__(self) -> str:
        """Say it in words: ``3 hit, 1 miss``."""
        counted = (result for result in get_args(Result) if result in self.results)
        return ", ".join(f"{self.results[result]} {result}" for result in counted)
