"""Overview: the figures of all processes that answered, put together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .._statistics.statistics import Refusal
from .figures import (
    BreakerFigures,
    CauseFigures,
    Counts,
    EntryFigures,
    FillFigures,
    InvalidationFigures,
    NearFigures,
    RefusalFigures,
    Snapshot,
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What an invalidation made invalid, as far as the processes know.

    :param refilled: the keys that were computed again because of it.
    :param waiting: those that nobody has asked for since.
    """

    refilled: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass
class Overview:
    """The sum of several snapshots.

    :param since: when the first of the processes began to count, and ``youngest`` the last.
    :param history: of each bucket its sums, by number.
    :param entries: by key, each as it was stored last.
    """

    processes: list[str] = field(default_factory=list)
    since: float = 0.0
    youngest: float = 0.0
    lookups: list[Counts] = field(default_factory=list)
    fills: list[tuple[str, FillFigures]] = field(default_factory=list)
    invalidations: list[tuple[str, InvalidationFigures]] = field(default_factory=list)
    entries: dict[str, EntryFigures] = field(default_factory=dict)
    forgot_entries: bool = False
    nears: list[NearFigures] = field(default_factory=list)
    breakers: list[BreakerFigures] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    leases: Counter[str] = field(default_factory=Counter)
    invalidated: Counter[str] = field(default_factory=Counter)
    clears: int = 0
    fallback: int = 0
    refusals: Counter[Refusal] = field(default_factory=Counter)
    verified: Counter[str] = field(default_factory=Counter)
    differences: Counter[tuple[str, str]] = field(default_factory=Counter)
    history: dict[int, list[float]] = field(default_factory=dict)

    @cached_property
    def _writes(self) -> dict[int, InvalidationFigures]:
        found = (event for _, event in self.invalidations)
        return {event["reading"]: event for event in found if event["reading"] is not None}

    def write_of(self, cause: CauseFigures, before: float) -> InvalidationFigures | None:
        """Find the invalidation that made a fill necessary, if it is still remembered.

        :param before: when the fill was done, in seconds since the epoch.
        """
        if cause["reading"] is not None:
            return self._writes.get(cause["reading"])
        clears = (event for _, event in self.invalidations if event["count"] is None)
        if cause["reason"] != "cleared":
            return None
        return max(
            (event for event in clears if event["at"] <= before),
            key=lambda event: event["at"],
            default=None,
        )

    def dropped_by(self, invalidation: InvalidationFigures) -> Dropped:
        """List the entries that an invalidation made invalid.

        Of many tags only the first are known by name, so it may have been more.
        """
        reading, tags = invalidation["reading"], set(invalidation["tags"])
        if reading is None:
            return Dropped()
        refilled = {fill["key"] for _, fill in self.fills if fill["cause"]["reading"] == reading}
        waiting = (
            entry["key"]
            for entry in self.entries.values()
            if entry["started"] is not None
            and entry["started"] < reading
            and entry["kept_until"] > invalidation["at"]
            and not tags.isdisjoint(entry["tags"])
        )
        return Dropped(tuple(sorted(refilled)), tuple(sorted(set(waiting) - refilled)))

    def depends_on(self, tag: str) -> list[EntryFigures]:
        """List the known entries that carry a tag, the latest first."""
        found = (entry for entry in self.entries.values() if tag in entry["tags"])
        return sorted(found, key=lambda entry: -entry["stored_at"])

    def search(self, words: str) -> list[EntryFigures]:
        """List the known entries whose key or one of whose tags holds some text."""
        wanted = words.casefold()
        found = (
            entry
            for entry in self.entries.values()
            if any(wanted in text.casefold() for text in (entry["key"], *entry["tags"]))
        )
        return sorted(found, key=lambda entry: -entry["stored_at"])


def merge(snapshots: Sequence[Snapshot]) -> Overview:
    """Add up what several processes tell."""
    merged = Overview()
    merged.since = min((one["since"] for one in snapshots), default=0.0)
    merged.youngest = max((one["since"] for one in snapshots), default=0.0)
    for one in snapshots:
        process = f"{one['pid']}@{one['host']}"
        merged.processes.append(process)
        merged.fills += [(process, fill) for fill in one["fills"]]
        merged.invalidations += [(process, event) for event in one["invalidations"]]
        merged.forgot_entries |= one["forgot_entries"]
        merged.nears += [] if one["near"] is None else [one["near"]]
        merged.breakers.append(one["breaker"])
        merged.counts.update(one["counts"])
        merged.leases.update(one["leases"])
        merged.invalidated.update(one["invalidated"])
        merged.clears += one["clears"]
        merged.fallback += one["standby"]
        merged.verified.update(one["verified"])
        for refusal in one["refusals"]:
            merged.refusals[_refusal(refusal)] += refusal["count"]
        for difference in one["differences"]:
            name = difference["level"], difference["name"]
            merged.differences[name] += difference["count"]
        for number, *sums in one["history"]:
            known = merged.history.get(int(number), [0.0] * len(sums))
            merged.history[int(number)] = [a + b for a, b in zip(known, sums, strict=True)]
    merged.lookups = _add_up(counts for one in snapshots for counts in one["lookups"])
    merged.entries = _newest(entry for one in snapshots for entry in one["entries"])
    return merged


def _refusal(told: RefusalFigures) -> Refusal:
    return Refusal(told["level"], told["name"], told["reason"], told["place"])  # type: ignore[arg-type]


def _add_up(all_counts: Iterable[Counts]) -> list[Counts]:
    added: dict[tuple[str, str], Counts] = {}
    for counts in all_counts:
        name = counts["level"], counts["name"]
        before = added.get(name)
        added[name] = counts if before is None else _sum(before, counts)
    return list(added.values())


def _sum(one: Counts, other: Counts) -> Counts:
    return {
        "level": one["level"],
        "name": one["name"],
        "results": _added(one["results"], other["results"]),
        "near_hits": one["near_hits"] + other["near_hits"],
        "fills": one["fills"] + other["fills"],
        "fill_seconds": one["fill_seconds"] + other["fill_seconds"],
        "stored": one["stored"] + other["stored"],
        "stored_bytes": one["stored_bytes"] + other["stored_bytes"],
        "reasons": _added(one["reasons"], other["reasons"]),
        "timeout": one["timeout"] if other["timeout"] is None else other["timeout"],
    }


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}


def _newest(entries: Iterable[EntryFigures]) -> dict[str, EntryFigures]:
    """Keep of each key what was stored last, and rather by who filled it, which knows why."""
    known: dict[str, EntryFigures] = {}
    for entry in entries:
        before = known.get(entry["key"])
        if before is None or _knowledge(entry) > _knowledge(before):
            known[entry["key"]] = entry
    return known


def _knowledge(entry: EntryFigures) -> tuple[float, bool]:
    return entry["stored_at"], entry["cause"] is not None
