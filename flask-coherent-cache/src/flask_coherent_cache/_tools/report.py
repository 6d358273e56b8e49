"""Reports: what one process says of its cache, bounded, as JSON that other processes read."""

import json
import operator
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

from .._clock import monotonic
from .._statistics.records import ANSWERED, Cause, Fill, Invalidation, Known, Refusal, Result
from .._statistics.reports import Reports
from .._statistics.statistics import Lookups

Made = TypeVar("Made")

#: A bypass is no lookup that could have been a hit.
LOOKED_UP: frozenset[Result] = ANSWERED | {"miss", "error"}
LONGEST_SECONDS = 3.0
#: A process looks every two seconds, at most, whether it is asked.
_QUIET_SECONDS = 2.2
_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class Counts:
    """The lookups of a view, function or fragment, of one process or of several.

    :param stored_bytes: of all entries stored, as they lie in the store.
    :param timeout: seconds, of the last fill.
    """

    level: str
    name: str
    results: Counter[str] = field(default_factory=Counter)
    near_hits: int = 0
    fills: int = 0
    fill_seconds: float = 0.0
    stored: int = 0
    stored_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    timeout: float | None = None

    def add(self, other: "Counts | Lookups") -> None:
        """Add the counts of one process."""
        self.results.update(dict(other.results))
        self.reasons.update(dict(other.reasons))
        self.near_hits += other.near_hits
        self.fills += other.fills
        self.fill_seconds += other.fill_seconds
        self.stored += other.stored
        self.stored_bytes += other.stored_bytes
        self.timeout = self.timeout if other.timeout is None else other.timeout

    @property
    def answered(self) -> int:
        """The lookups that an entry answered."""
        return sum(self.results[result] for result in ANSWERED)

    @property
    def looked_up(self) -> int:
        """The lookups that an entry could have answered."""
        return sum(self.results[result] for result in LOOKED_UP)

    @property
    def ratio(self) -> float | None:
        """The share of the lookups that an entry answered; ``None`` without any."""
        return divided(self.answered, self.looked_up)

    @property
    def mean_seconds(self) -> float | None:
        """What a computation takes on average, in seconds; ``None`` without any."""
        return divided(self.fill_seconds, self.fills)

    @property
    def mean_bytes(self) -> float | None:
        """What an entry takes in the store on average; ``None`` if nothing was stored."""
        return divided(self.stored_bytes, self.stored)

    @property
    def saved_seconds(self) -> float | None:
        """What the answered lookups would have taken to compute."""
        return None if self.mean_seconds is None else self.answered * self.mean_seconds


def divided(above: float, below: float) -> float | None:
    """Divide; ``None`` where there is nothing to divide by."""
    return above / below if below else None


class Sums(NamedTuple):
    """What happened in one bucket of the history; pages are those that may be cached."""

    looked_up: float = 0
    answered: float = 0
    fills: float = 0
    fill_seconds: float = 0
    pages: float = 0
    page_seconds: float = 0

    def plus(self, other: "Sums") -> "Sums":
        """Add those of another process, or of another time."""
        return Sums(*map(operator.add, self, other))


@dataclass(slots=True)
class Report:
    """What one process says.

    :param since: when it began to count, and ``at`` when it said this, in seconds since the epoch.
    :param fills: the last ones, as the invalidations, each with a number that only grows.
    :param near: of the near cache ``bytes``, ``entries`` and ``evictions``; empty without one.
    :param failure: why the circuit breaker is open, or was.
    :param counts: what went wrong, by name.
    :param fallback: the entries that it keeps for the time without a store.
    :param refusals: what is not cached, and how often; the least frequent first.
    :param verified: the hits that were chosen to be computed again, by what became of them.
    :param differences: level and name of those that differed, and how often.
    :param history: by number of the bucket: the epoch's seconds divided by the bucket's.
    """

    host: str
    pid: int
    since: float
    at: float
    release: str
    lookups: list[Counts]
    fills: list[tuple[int, Fill]]
    invalidations: list[tuple[int, Invalidation]]
    entries: list[Known]
    forgot_entries: bool
    near: dict[str, int]
    breaker_open: bool
    failure: str | None
    counts: dict[str, int]
    leases: dict[str, int]
    invalidated: dict[str, int]
    clears: int
    fallback: int
    refusals: list[tuple[Refusal, int]]
    verified: dict[str, int]
    differences: list[tuple[tuple[str, str], int]]
    history: dict[int, Sums]


def as_json(value: Any, indent: int | None = None) -> str:
    """Write a report, or a part of one, as JSON."""
    return json.dumps(value, indent=indent, default=as_dict)


def as_dict(record: Any) -> dict[str, Any]:
    """Return the fields of a record by their names."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def from_json(message: bytes) -> Report | None:
    """Read a report; ``None`` where a message has another form, as of another version."""
    try:
        data = json.loads(message)
        read = {
            "lookups": [_counts(one) for one in data["lookups"]],
            "fills": [(number, _caused(Fill, fill)) for number, fill in data["fills"]],
            "invalidations": [(n, _made(Invalidation, one)) for n, one in data["invalidations"]],
            "entries": [_caused(Known, one) for one in data["entries"]],
            "refusals": [(Refusal(*refusal), count) for refusal, count in data["refusals"]],
            "differences": [((level, name), n) for (level, name), n in data["differences"]],
            "history": {int(number): Sums(*sums) for number, sums in data["history"].items()},
        }
        return Report(**{**data, **read})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _counts(data: Mapping[str, Any]) -> Counts:
    counters = {name: Counter(data[name]) for name in ("results", "reasons")}
    return Counts(**{**data, **counters})


def _caused(kind: type[Made], data: Mapping[str, Any]) -> Made:
    cause = data["cause"]
    return _made(kind, {**data, "cause": None if cause is None else _made(Cause, cause)})


def _made(kind: type[Made], data: Mapping[str, Any]) -> Made:
    tuples = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
    return kind(**{**data, **tuples})


def read(reports: Reports) -> list[Report]:
    """Return the reports in the store, without those of another form.

    :raises StoreError: where the store does not answer.
    """
    return [one for message in reports.read() if (one := from_json(message)) is not None]


def ask(reports: Reports, longest: float = LONGEST_SECONDS) -> list[Report]:
    """Have the processes write, and return what they wrote, the oldest process first.

    Nobody knows how many there are: it returns when no other one has answered for a while. Those
    of another release, or with another SECRET_KEY, cannot be read.

    :param longest: seconds.
    :raises StoreError: where the store does not answer.
    """
    reports.watch()
    quiet_at = deadline = monotonic() + longest
    found: dict[tuple[str, int], Report] = {}
    while True:
        before = len(found)
        found.update(((one.host, one.pid), one) for one in read(reports))
        now = monotonic()
        if len(found) > before:
            quiet_at = min(deadline, now + _QUIET_SECONDS)
        if now >= quiet_at:
            return sorted(found.values(), key=lambda one: one.since)
        time.sleep(min(_PAUSE_SECONDS, quiet_at - now))
