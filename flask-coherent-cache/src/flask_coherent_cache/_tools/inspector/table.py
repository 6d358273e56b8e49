"""The inspector's tables: lookups by name, and what is not cached."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import current_app

from ..._keys.encoding import encodable
from ..overview import Overview
from ..report import Counts
from ..text import NOTHING, duration, number, share, size
from .advice import advise

Shown = dict[str, Any]

_MOST_REFUSALS = 50
#: What an advice of each tone is worth in the order of the table.
_URGENCY = {"bad": 3, "warn": 2, "good": 1, "plain": 0}
#: The columns that sort, by what a row's counts are worth in them; a text sorts from A to Z.
COLUMNS: Mapping[str, tuple[str, Callable[[Counts], Any]]] = {
    "name": ("Name", lambda counts: f"{counts.level} {counts.name}"),
    "lookups": ("Lookups", lambda counts: counts.results.total()),
    "ratio": ("Hit ratio", lambda counts: counts.ratio),
    "stale": ("Stale", lambda counts: counts.results["stale"]),
    "fill": ("Fill time", lambda counts: counts.mean_seconds),
    "saved": ("Time saved", lambda counts: counts.saved_seconds),
    "bytes": ("Size", lambda counts: counts.mean_bytes),
    "timeout": ("Timeout", lambda counts: counts.timeout),
    "advice": ("Advice", lambda counts: _URGENCY[advise(counts).tone]),
}
DEFAULT_SORT = "-lookups"


def short(name: str) -> str:
    """Write a function's name without the application's own, which all have in common."""
    return encodable(name).removeprefix(f"{current_app.import_name}.")


def columns(sort: str) -> list[Shown]:
    """Show the headers: each with the order that it is sorted in, and the next one."""
    by, descending = sort.removeprefix("-"), sort.startswith("-")
    shown = []
    for name, (title, _) in COLUMNS.items():
        first, other = (name, f"-{name}") if name == "name" else (f"-{name}", name)
        order = ("descending" if descending else "ascending") if name == by else "none"
        following = other if sort == first else first
        shown.append({"id": name, "title": title, "order": order, "next": following})
    return shown


def rows(overview: Overview, sort: str) -> list[Shown]:
    """Show the lookups by view, function and fragment."""
    _, worth = COLUMNS[sort.removeprefix("-")]
    valued = [counts for counts in overview.lookups if worth(counts) is not None]
    valued.sort(key=worth, reverse=sort.startswith("-"))
    # What has no value is last in either order.
    rest = [counts for counts in overview.lookups if worth(counts) is None]
    return [_row(counts) for counts in valued + rest]


def _row(counts: Counts) -> Shown:
    advice = advise(counts)
    return {
        "id": f"{counts.level} {encodable(counts.name)}",
        "name": short(counts.name),
        "level": counts.level,
        "lookups": number(counts.results.total()),
        "ratio": share(counts.ratio),
        "near": f"{number(counts.near_hits)} of {number(counts.answered)} in the process",
        "stale": number(counts.results["stale"]),
        "fill": duration(counts.mean_seconds),
        "saved": duration(counts.saved_seconds),
        "bytes": size(counts.mean_bytes),
        "timeout": duration(counts.timeout),
        "advice": advice.words,
        "why": advice.why,
        "tone": advice.tone,
    }


def refusals(overview: Overview) -> list[Shown]:
    """Show what is not cached, the most frequent first."""
    return [
        {
            "id": encodable(" ".join(refusal)),
            "name": short(refusal.name),
            "level": refusal.level,
            "reason": encodable(refusal.reason),
            "place": encodable(refusal.place) or NOTHING,
            "count": number(count),
        }
        for refusal, count in overview.refusals.most_common(_MOST_REFUSALS)
    ]
