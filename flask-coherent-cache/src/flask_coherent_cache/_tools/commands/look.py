"""`flask cache stats`, `keys` and `tags`: what the running processes report."""

import fnmatch
import time
from collections import Counter
from typing import Any, NoReturn

import click

from ..._engine.engine import CacheEngine
from ..._engine.inspection import Inspection
from ..._statistics.records import Known
from ..current import cache
from ..overview import Overview
from ..report import Counts, as_dict
from ..report import ask as ask_processes
from ..text import duration, format_time, size
from .base import (
    CacheUnavailable,
    command,
    wait_option,
    write,
)
from .terminal import table, wrapped

#: So many entries are inspected at once.
_AT_ONCE = 200


def ask(engine: CacheEngine, wait: float) -> Overview:
    """Ask the running processes, and end the command where there are none."""
    reports = ask_processes(engine.reports, wait)
    if not reports:
        raise CacheUnavailable(
            f"No running process answered within {wait:g} s. Only those answer that are of this"
            f" release ({cache.settings['RELEASE']}), have this command's SECRET_KEY,"
            " CACHE_KEY_PREFIX and cache server, have answered a request, and were not started with"
            " CACHE_INSPECTOR=false."
        )
    return Overview(reports)


def source(overview: Overview) -> str:
    """Say of which processes the numbers are."""
    count = len(overview.processes)
    processes = f"{count} processes" if count > 1 else "one process"
    release = cache.settings["RELEASE"]
    return f"Of {processes} of release {release}, since {format_time(overview.since)}."


@command("stats", "nothing was looked up yet")
@wait_option
def stats(engine: CacheEngine, wait: float, json: bool) -> None:
    """Count the lookups of all running processes.

    ANSWERED is the share that an entry answered: hits, stale ones, and those that waited for
    another's computation; a bypass does not count. MS is what a computation took on average, in
    milliseconds.
    """
    overview = ask(engine, wait)
    lookups = sorted(overview.lookups, key=lambda one: (one.level, one.name))
    data = {
        "processes": [
            {name: getattr(one, name) for name in ("pid", "host", "since", "release")}
            for one in overview.reports
        ],
        "lookups": lookups,
        "counts": overview.counts,
        "leases": overview.leases,
        "verified": overview.verified,
        "refusals": [
            {**refusal._asdict(), "count": count}
            for refusal, count in overview.refusals.most_common()
        ],
    }
    texts = [source(overview)]
    if lookups:
        heading = ("WHAT", "LOOKUPS", "ANSWERED", "STALE", "MISS", "BYPASS", "ERROR", "MS", "BYTES")
        rows = [heading, *map(_lookups_row, lookups)]
        texts.append("\n" + table(rows, right="lrrrrrrrr", elastic=0))
    for title, some in (
        ("Leases", overview.leases),
        ("Hits computed again", overview.verified),
        ("Errors recovered from", overview.counts),
    ):
        if some:
            parts = ", ".join(f"{name} {count}" for name, count in sorted(some.items()))
            texts.append("\n" + wrapped("", f"{title}: {parts}."))
    write(json, data, *texts, ok=bool(lookups))


def _lookups_row(counts: Counts) -> tuple[str, ...]:
    results, mean_seconds, mean_bytes = counts.results, counts.mean_seconds, counts.mean_bytes
    return (
        f"{counts.level} {counts.name}",
        f"{results.total():,}",
        "-" if counts.ratio is None else f"{counts.ratio:.0%}",
        *(f"{results[name]:,}" for name in ("stale", "miss", "bypass", "error")),
        "-" if mean_seconds is None else f"{1000 * mean_seconds:.1f}",
        "-" if mean_bytes is None else size(mean_bytes),
    )


@command("keys", "no entry is known")
@click.argument("pattern", default="*")
@click.option("--whole", is_flag=True, help="Cut no key, however long the line.")
@wait_option
def keys(engine: CacheEngine, pattern: str, whole: bool, wait: float, json: bool) -> None:
    """List the entries that the processes know.

    The newest come first. PATTERN is as a shell's: 'page:*/products*'. A process knows what it
    stored or read itself, up to a thousand entries; LEFT is the time to an entry's expiry, and
    below 0 within its grace.
    """
    overview = ask(engine, wait)
    known = overview.entries
    chosen = [entry for key, entry in known.items() if fnmatch.fnmatchcase(key, pattern)]
    chosen.sort(key=lambda entry: entry.stored_at, reverse=True)
    names = [entry.key for entry in chosen]
    parts = [names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE)]
    inspections = [inspection for part in parts for inspection in engine.inspect(part)]
    pairs = list(zip(chosen, inspections, strict=True))
    lines = [("STATE", "AGE", "LEFT", "SIZE", "TAGS", "KEY"), *(_row(*pair) for pair in pairs)]
    _finish_list(
        json,
        overview,
        {"entries": [_entry(entry) | seen(inspection) for entry, inspection in pairs]},
        f"{len(chosen)} of {len(known)} known entries.",
        table(lines, right="lrrrrl", elastic=5, whole=whole),
    )


def _finish_list(
    json: bool, overview: Overview, rows: dict[str, list[Any]], count: str, lines: str
) -> NoReturn:
    """Write a list of what the processes know, and end the command."""
    data = {"complete": not overview.forgot_entries, "processes": len(overview.processes)}
    complete = "Complete, but for entries that no process has met since it started."
    if overview.forgot_entries:
        complete = "Not complete: a process knows so many that it has forgotten the oldest ones."
    found = any(rows.values())
    texts = [lines + "\n"] if found else []
    texts.append(wrapped("", f"{count} {source(overview)} {complete}"))
    write(json, data | rows, *texts, ok=found)


def _entry(known: Known) -> dict[str, Any]:
    cause = known.cause
    data = cause and {"reason": cause.reason, "tags": cause.tags, "reading": cause.timestamp}
    return as_dict(known) | {"cause": data}


def seen(inspection: Inspection) -> dict[str, Any]:
    """Return what lies in the store now, in the place of what a process remembers of it."""
    if inspection.entry is None:
        return {"state": inspection.state}
    fields = ("tags", "started", "stored_at", "fresh_until", "kept_until")
    return {
        "state": inspection.state,
        "invalid": inspection.invalid,
        **{name: getattr(inspection.entry, name) for name in fields},
        "bytes": inspection.bytes,
    }


def _row(known: Known, inspection: Inspection) -> tuple[str, ...]:
    now, lying = time.time(), inspection.entry
    entry = lying or known
    return (
        inspection.state,
        duration(now - entry.stored_at),
        "-" if lying is None else duration(lying.fresh_until - now),
        "-" if lying is None else size(inspection.bytes),
        str(len(entry.tags)),
        known.key,
    )


@command("tags", "no tag is known")
@click.argument("pattern", default="*")
@wait_option
def tags(engine: CacheEngine, pattern: str, wait: float, json: bool) -> None:
    """List the tags of known entries.

    With each comes how many entries depend on it: that many are dropped when a write bumps it.
    """
    overview = ask(engine, wait)
    known = overview.entries
    counts = Counter(overview.tags)
    chosen = [(tag, n) for tag, n in counts.most_common() if fnmatch.fnmatchcase(tag, pattern)]
    lines = [("ENTRIES", "TAG"), *((f"{count:,}", tag) for tag, count in chosen)]
    _finish_list(
        json,
        overview,
        {"tags": [{"tag": tag, "entries": count} for tag, count in chosen]},
        f"{len(chosen)} tags of {len(known)} known entries.",
        table(lines, right="rl", elastic=1),
    )
