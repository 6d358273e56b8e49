"""Overview: the reports of all processes that answered, put together."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from .._dependencies.tags import whole
from .._statistics.records import Cause, Invalidation, Known
from .report import Counts, Report, Sums

Name = TypeVar("Name", bound=Hashable)


class Dropped(NamedTuple):
    """The keys that an invalidation made invalid, as far as the processes know.

    :param refilled: those that were computed again because of it.
    :param waiting: those that nobody has asked for since.
    """

    refilled: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class Overview:
    """The sum of several reports."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self.reports = reports
        self.processes = [f"{one.pid}@{one.host}" for one in reports]
        named = list(zip(self.processes, reports, strict=True))
        #: When the first of the processes began to count, and the last.
        self.since = min((one.since for one in reports), default=0.0)
        self.youngest = max((one.since for one in reports), default=0.0)
        #: Each with a name that no other has.
        self.fills = [(f"{n}.{name}", fill) for name, one in named for n, fill in one.fills]
        self.invalidations = [
            (f"{n}.{name}", write) for name, one in named for n, write in one.invalidations
        ]
        self.entries = _newest(entry for one in reports for entry in one.entries)
        self.forgot_entries = any(one.forgot_entries for one in reports)
        self.open_breakers = sum(one.breaker_open for one in reports)
        self.failures = {one.failure for one in reports if one.failure}
        self.clears = sum(one.clears for one in reports)
        self.fallback = sum(one.fallback for one in reports)
        self.near = _sum(one.near for one in reports)
        self.counts = _sum(one.counts for one in reports)
        self.leases = _sum(one.leases for one in reports)
        self.invalidated = _sum(one.invalidated for one in reports)
        self.verified = _sum(one.verified for one in reports)
        self.refusals = _sum(dict(one.refusals) for one in reports)
        self.differences = _sum(dict(one.differences) for one in reports)
        lookups: dict[tuple[str, str], Counts] = {}
        #: Of each bucket its sums, by number.
        self.history: defaultdict[int, Sums] = defaultdict(Sums)
        for one in reports:
            for counts in one.lookups:
                name = counts.level, counts.name
                lookups.setdefault(name, Counts(*name)).add(counts)
            for number, sums in one.history.items():
                self.history[number] = self.history[number].plus(sums)
        self.lookups = list(lookups.values())

    @cached_property
    def _writes(self) -> dict[int, Invalidation]:
        writes = (write for _, write in self.invalidations)
        return {write.timestamp: write for write in writes if write.timestamp is not None}

    def write_of(self, cause: Cause, before: float) -> Invalidation | None:
        """Find the invalidation that made a fill necessary, if it is still remembered.

        :param before: when the fill was done, in seconds since the epoch.
        """
        if cause.timestamp is not None:
            return self._writes.get(cause.timestamp)
        if cause.reason != "cleared":
            return None
        writes = (write for _, write in self.invalidations)
        clears = (write for write in writes if write.count is None and write.at <= before)
        return max(clears, key=lambda write: write.at, default=None)

    def dropped_by(self, write: Invalidation) -> Dropped:
        """List the entries that an invalidation made invalid.

        Of many tags only the first are known by name, so it may have been more.
        """
        if write.timestamp is None:
            return Dropped()
        tags = set(write.tags)
        same = (fill for _, fill in self.fills if fill.cause.timestamp == write.timestamp)
        refilled = {fill.key for fill in same}
        waiting = {
            entry.key
            for entry in self.entries.values()
            if entry.started is not None
            and entry.started < write.timestamp
            and entry.kept_until > write.at
            and not tags.isdisjoint(entry.tags)
        }
        return Dropped(tuple(sorted(refilled)), tuple(sorted(waiting - refilled)))

    @property
    def tags(self) -> Iterator[str]:
        """The tags of known entries, each as often as it stands there."""
        return (tag for entry in self.entries.values() for tag in entry.tags)

    def depends_on(self, tag: str) -> list[Known]:
        """List the known entries that the invalidation of a tag drops, the latest first."""
        tags = whole([tag])
        return _latest_first(e for e in self.entries.values() if not tags.isdisjoint(e.tags))

    def search(self, words: str) -> list[Known]:
        """List the known entries whose key or one of whose tags holds some text."""
        wanted = words.casefold()
        return _latest_first(
            entry
            for entry in self.entries.values()
            if any(wanted in text.casefold() for text in (entry.key, *entry.tags))
        )


def _latest_first(entries: Iterable[Known]) -> list[Known]:
    return sorted(entries, key=lambda entry: -entry.stored_at)


def _newest(entries: Iterable[Known]) -> dict[str, Known]:
    """Keep of each key what was stored last; and rather by who filled it, which knows why."""
    ranked = sorted(entries, key=lambda entry: (entry.stored_at, entry.cause is not None))
    return {entry.key: entry for entry in ranked}


def _sum(counts: Iterable[Mapping[Name, int]]) -> Counter[Name]:
    added: Counter[Name] = Counter()
    for one in counts:
        added.update(one)
    return added
