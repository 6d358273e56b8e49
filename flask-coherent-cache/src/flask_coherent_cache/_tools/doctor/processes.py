"""Checks of what the running processes report."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..overview import Overview
from ..text import duration
from .finding import Finding

#: A process's clock may be ahead of the server's by so many seconds, and its report be so old.
_MOST_AHEAD_SECONDS = 2.5
_TOLD_SECONDS = 15.0
#: Fewer fills say little of their shares.
_MANY_FILLS = 50
_MANY_EVICTED = 0.2
_MOST_NAMED = 3
_MOST_NEVER = 10


@dataclass(slots=True)
class Processes:
    """The running processes.

    :param config: the settings.
    :param now: the server's time in seconds since the epoch, after the processes reported.
    :param tables: the names of the tables that are watched.
    """

    config: Mapping[str, Any]
    overview: Overview
    now: float
    tables: frozenset[str] = frozenset()


def clocks(processes: Processes) -> Iterator[Finding]:
    """Name the hosts whose clocks are off."""
    behind = {one.host: processes.now - one.at for one in processes.overview.reports}
    for host, seconds in sorted(behind.items()):
        if not -_MOST_AHEAD_SECONDS <= seconds <= _TOLD_SECONDS:
            which = "behind" if seconds > 0 else "ahead of"
            yield Finding(
                "clock", "problem",
                f"The clock of host {host} is about {duration(abs(seconds))} {which} the server's.",
                "Have it set by NTP.",
            )  # fmt: skip


def answers(processes: Processes) -> Iterator[Finding]:
    count = len(processes.overview.reports)
    if count:
        words = f"{count} processes answered." if count > 1 else "One process answered."
        yield Finding("processes", "ok", words)
        return
    yield Finding(
        "processes", "unknown",
        f"No running process of release {processes.config['RELEASE']} answered, so computations"
        " and errors could not be checked.",
        "Run this with the servers' own settings, while they run; or wait longer, by --wait."
        " Start uWSGI with --enable-threads: without it, no process can answer.",
    )  # fmt: skip


def leases(processes: Processes) -> Iterator[Finding]:
    lease, overview = processes.config["CACHE_LEASE_SECONDS"], processes.overview
    slowest = {one.name: one.mean_seconds or 0 for one in overview.lookups}
    for entry in overview.entries.values():
        slowest[entry.name] = max(slowest.get(entry.name, 0), entry.seconds or 0)
    slow = sorted((name for name in slowest if slowest[name] > lease), key=lambda n: -slowest[n])
    if slow:
        named = ", ".join(f"{name} ({slowest[name]:.1f} s)" for name in slow[:_MOST_NAMED])
        yield Finding(
            "lease", "problem",
            f"CACHE_LEASE_SECONDS is {lease:g}, and longer took: {named}. After it another process"
            " starts the same computation.",
            f"CACHE_LEASE_SECONDS={2 * slowest[slow[0]]:.0f}, or make it quicker.",
        )  # fmt: skip
    elif processes.overview.reports:
        yield Finding("lease", "ok", f"No computation is known that took more than {lease:g} s.")


def evictions(processes: Processes) -> Iterator[Finding]:
    lookups = processes.overview.lookups
    fills = sum(one.fills for one in lookups)
    evicted = sum(one.reasons["evicted"] for one in lookups)
    if fills >= _MANY_FILLS and evicted / fills > _MANY_EVICTED:
        yield Finding(
            "evictions", "problem",
            f"Of {fills:,} computations {evicted:,} were of entries that the server had evicted.",
            "Give the server more memory, or shorten the timeouts of what is seldom requested.",
        )  # fmt: skip


def errors(processes: Processes) -> Iterator[Finding]:
    counts = processes.overview.counts
    if not counts:
        return
    named = ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))
    remedy = "The log says when."
    if "unauthentic entry" in counts:
        remedy += (
            " Unauthentic entries: do all processes of this release have the same SECRET_KEY, and"
            " does nobody else write to the server?"
        )
    yield Finding("errors", "advice", f"Errors that they recovered from: {named}.", remedy)


def verification(processes: Processes) -> Iterator[Finding]:
    chosen, differences = processes.overview.verified, processes.overview.differences
    if not chosen:
        return
    compared = f"{chosen['compared']:,} hits were computed again, {chosen['set aside']:,} set aside"
    if not chosen["different"]:
        yield Finding("verification", "ok", f"{compared}, and none differed.")
        return
    named = ", ".join(f"{level} {name} ({n:,})" for (level, name), n in differences.most_common(10))
    yield Finding(
        "verification", "problem",
        f"{compared}, and {chosen['different']:,} differed from their entry: {named}.",
        "The log names the keys and the tags. Tag what they are built from, or say with"
        " may_differ=… what differs each time.",
    )  # fmt: skip


def whole_tables(processes: Processes) -> Iterator[Finding]:
    """Name the tables on the whole of which entries depend, and what they are."""
    known, depend = processes.overview.entries.values(), Counter[str]()
    names: Counter[str] = Counter()
    for entry in known:
        found = processes.tables.intersection(entry.tags)
        depend.update(found)
        names.update([f"{entry.level} {entry.name}"] if found else [])
    if not depend:
        return
    tables = ", ".join(f"{table} ({count:,})" for table, count in depend.most_common(_MOST_NAMED))
    first = ", ".join(f"{name} ({count:,})" for name, count in names.most_common(_MOST_NAMED))
    remedy = (
        "Text in a statement, literal_column(), @compiles, a view or a partition hides what is read"
        " of a table. Write these statements with columns of the model, or leave it as it is:"
        " the entries are right, and dropped more often."
    )
    if not processes.config.get("CACHE_NARROW", True):
        remedy = "Set CACHE_NARROW=true when no process before 0.6 shares the store."
    yield Finding(
        "whole-tables", "advice",
        f"{names.total():,} of {len(known):,} known entries are dropped by every write to a table:"
        f" {tables}. Most of them: {first}.",
        remedy,
    )  # fmt: skip


def never_cached(processes: Processes) -> Iterator[Finding]:
    """Name what was looked up, refused, and answered by no entry."""
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for refusal, count in processes.overview.refusals.items():
        place = f" at {refusal.place}" if refusal.place else ""
        name = refusal.level, refusal.name
        reasons.setdefault(name, Counter())[f"{refusal.reason}{place}"] += count
    for level, plural in (("page", "routes"), ("function", "functions"), ("fragment", "fragments")):
        never = [
            f"{one.name}, because: {reasons[level, one.name].most_common(1)[0][0]}"
            for one in processes.overview.lookups
            if (level, one.name) in reasons
            and one.level == level
            and one.results.total()
            and not one.stored
            and not one.answered
        ]
        if never:
            what, verb = (plural, "are") if len(never) > 1 else (plural[:-1], "is")
            more = f"; and {len(never) - _MOST_NEVER} more" if len(never) > _MOST_NEVER else ""
            yield Finding(
                "never-cached", "advice",
                f"{len(never)} {what} {verb} never cached: {'; '.join(never[:_MOST_NEVER])}{more}.",
                "The log says what can be done about each; or leave out the decorator.",
            )  # fmt: skip
