"""What the running processes say of themselves: asked by the board, and put together."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import TypedDict

from ..caching.board import Board

LONGEST_SECONDS = 3.0
#: A process looks every two seconds, at most, whether it is asked.
_QUIET_SECONDS = 2.2
_PAUSE_SECONDS = 0.05


class CauseReport(TypedDict):
    """Why an entry was filled last."""

    reason: str
    tags: list[str]
    reading: int | None


class EntryReport(TypedDict):
    """An entry that a process knows; times in seconds since the epoch."""

    key: str
    level: str
    name: str
    tags: list[str]
    started: int | None
    stored_at: float
    fresh_until: float
    kept_until: float
    bytes: int
    cause: CauseReport | None
    seconds: float | None


class LookupsReport(TypedDict):
    """The lookups of one view, function or fragment."""

    level: str
    name: str
    results: dict[str, int]
    near_hits: int
    fills: int
    fill_seconds: float
    stored: int
    stored_bytes: int
    reasons: dict[str, int]
    timeout: float | None


class Report(TypedDict):
    """What one process says; ``since`` in seconds since the epoch."""

    pid: int
    host: str
    since: float
    release: str
    lookups: list[LookupsReport]
    entries: list[EntryReport]
    forgot_entries: bool
    counts: dict[str, int]
    leases: dict[str, int]


def ask(board: Board, longest: float = LONGEST_SECONDS) -> list[Report]:
    """Have the processes write, and return what they wrote, the oldest process first.

    Nobody knows how many there are: it ends when for a while no other one has turned up. Those of
    another release, or with another SECRET_KEY, are not heard.

    :param longest: seconds.
    :raises StoreError: where the store does not answer.
    """
    board.watch()
    deadline = time.monotonic() + longest
    found: dict[tuple[str, int], Report] = {}
    quiet_at = deadline
    while True:
        before = len(found)
        for report in filter(None, map(_report, board.read())):
            found[report["host"], report["pid"]] = report
        now = time.monotonic()
        if len(found) > before:
            quiet_at = min(deadline, now + _QUIET_SECONDS)
        if now >= quiet_at:
            return sorted(found.values(), key=lambda report: report["since"])
        time.sleep(min(_PAUSE_SECONDS, quiet_at - now))


def _report(message: bytes) -> Report | None:
    """Read a process's message; ``None`` for one of another form."""
    try:
        report: Report = json.loads(message)
    except ValueError:
        return None
    is_report = isinstance(report, dict) and report.keys() >= Report.__annotations__.keys()
    return report if is_report else None


def all_lookups(reports: Iterable[Report]) -> list[LookupsReport]:
    """Add up the lookups of all processes, by level and name."""
    sums: dict[tuple[str, str], LookupsReport] = {}
    for report in reports:
        for one in report["lookups"]:
            key = one["level"], one["name"]
            sums[key] = _sum(sums[key], one) if key in sums else one
    return [sums[key] for key in sorted(sums)]


def _sum(one: LookupsReport, other: LookupsReport) -> LookupsReport:
    return {
        "level": one["level"],
        "name": one["name"],
        "results": added([one["results"], other["results"]]),
        "near_hits": one["near_hits"] + other["near_hits"],
        "fills": one["fills"] + other["fills"],
        "fill_seconds": one["fill_seconds"] + other["fill_seconds"],
        "stored": one["stored"] + other["stored"],
        "stored_bytes": one["stored_bytes"] + other["stored_bytes"],
        "reasons": added([one["reasons"], other["reasons"]]),
        "timeout": one["timeout"] if other["timeout"] is None else other["timeout"],
    }


def added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add up counts by name."""
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return dict(total)


def all_entries(reports: Iterable[Report]) -> dict[str, EntryReport]:
    """Return each known entry once, as the process tells it that stored or read it last."""
    known: dict[str, EntryReport] = {}
    for report in reports:
        for entry in report["entries"]:
            other = known.get(entry["key"])
            # Of the same one, the process that filled it knows why.
            if other is None or (entry["stored_at"], entry["cause"] is not None) > (
                other["stored_at"],
                other["cause"] is not None,
            ):
                known[entry["key"]] = entry
    return known
