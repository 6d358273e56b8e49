"""Display: what the inspector shows, as texts, for the page and for the script that renews it.

Every number is written here, so that the page and the script do not each have a way of their own.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from flask import current_app, url_for

from .._engine.inspection import Inspection
from .._keys.encoding import encodable
from .._statistics.reports import PLACES
from .._stores import Facts
from .advice import advise, answered, fill_seconds, ratio, saved_seconds
from .charts import round_up, series, total
from .figures import (
    BUCKET_SECONDS,
    BUCKETS,
    CauseFigures,
    Counts,
    EntryFigures,
    FillFigures,
    InvalidationFigures,
)
from .overview import Dropped, Overview

Shown = dict[str, Any]
Event = TypeVar("Event", FillFigures, InvalidationFigures)

NOTHING = "\N{EN DASH}"
MINUTE_SECONDS = 60
#: What a process did is told to the others within so many seconds.
_TOLD_SECONDS = 5
#: So many fills and as many invalidations are shown at most, so that neither hides the other.
EVENTS = 25
ENTRIES = 25
REFUSALS = 50
#: Of an event so many tags and entries, and of an entry in a list so many tags.
_NAMES = 10
_FEW_TAGS = 5
#: The places of a history's sums; see `figures.History`.
_LOOKED_UP, _ANSWERED, _FILLS, _FILL_SECONDS, _PAGES, _PAGE_SECONDS = range(6)
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

REASONS = {
    "new": "it had not been asked for before, as far as the processes remember",
    "expired": "its time was over",
    "evicted": "the store had dropped it before its time",
    "invalidated": "a tag was invalidated",
    "cleared": "everything was cleared",
    "unreadable": "what lay in the store could not be read",
    "renewed": "the code asked for it to be computed anew",
}
#: The states of an entry in the store, and how they look.
STATES = {
    "fresh": ("fresh", "good"),
    "stale": ("stale: its time is over, and within its grace it may still be served", "warn"),
    "invalid": ("invalid: it is computed anew when it is next asked for", "warn"),
    "cleared": ("cleared: it is computed anew when it is next asked for", "warn"),
    "unreadable": ("unreadable: another release or another key, or it was tampered with", "bad"),
    "gone": ("not in the store any more", "plain"),
    "unknown": ("unknown: the store was not asked, or does not answer", "plain"),
}


def short(name: str) -> str:
    """Write a function's name without the application's own, which all have in common."""
    return encodable(name).removeprefix(f"{current_app.import_name}.")


# -- numbers -----------------------------------------------------------------------------


def share(value: float | None) -> str:
    """Write a share; only what is whole is written as 100 %."""
    if value is None:
        return NOTHING
    return f"{min(value, 0.999) * 100 if value < 1 else 100:.3g} %"


def duration(seconds: float | None) -> str:
    """Write a time in the unit that suits it."""
    if seconds is None:
        return NOTHING
    if seconds < 0.001:
        return f"{seconds * 1_000_000:.0f} µs" if seconds else "0 ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    for size, unit in _UNITS:
        if seconds >= 2 * size or size == 1:
            return f"{seconds / size:.0f} {unit}"
    return NOTHING


def amount(number_of_bytes: float | None) -> str:
    """Write an amount of bytes (IEC 80000-13's binary prefixes)."""
    if number_of_bytes is None:
        return NOTHING
    size = float(number_of_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def number(value: float | None) -> str:
    """Write a count, with a narrow space between the thousands."""
    return NOTHING if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with what it is of."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def clock(at: float) -> str:
    """Write the server's time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def machine_time(at: float) -> str:
    """Write a time for programs (HTML, 4.5.14)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


# -- the page ----------------------------------------------------------------------------


def page(overview: Overview, now: float) -> Shown:
    """Show what needs no more than what all processes told."""
    return {
        "tiles": _tiles(overview, now),
        "charts": _charts(overview, now),
        "events": events(overview),
        "entries_known": _entries_known(overview),
    }


def _entries_known(overview: Overview) -> str:
    known = counted(len(overview.entries), "entry", "entries")
    rest = "there are more" if overview.forgot_entries else "that is all since they began"
    return f"The processes know of {known}; {rest}."


def processes(overview: Overview, now: float, alone: str | None) -> str:
    """Say whose figures they are, and since when.

    :param alone: why the other processes are not heard; ``None`` where they are.
    """
    count = counted(len(overview.processes), "process", "processes")
    if len(overview.processes) >= PLACES:
        count += " (there may be more, for which there is no place)"
    since = f"counted since {_day_and_time(overview.since, now)}"
    if overview.youngest - overview.since >= 1:
        since += f" (the youngest process: {_day_and_time(overview.youngest, now)})"
    return f"Figures of {count}, {since}." + (f" {alone}" if alone else "")


def _day_and_time(at: float, now: float) -> str:
    same_day = time.localtime(at)[:3] == time.localtime(now)[:3]
    day = "" if same_day else time.strftime("%Y-%m-%d ", time.localtime(at))
    return f"{day}{clock(at)} {time.strftime('%Z', time.localtime(at))}".rstrip()


def _tiles(overview: Overview, now: float) -> Shown:
    history = overview.history
    minute = [total(history, now, MINUTE_SECONDS, place) for place in range(6)]
    ten = [total(history, now, BUCKETS * BUCKET_SECONDS, place) for place in range(6)]
    saved = sum(saved_seconds(counts) or 0 for counts in overview.lookups)
    return {
        "ratio": share(_divided(minute[_ANSWERED], minute[_LOOKED_UP])),
        "ratio_before": f"in ten minutes {share(_divided(ten[_ANSWERED], ten[_LOOKED_UP]))}",
        "lookups": f"{minute[_LOOKED_UP] / MINUTE_SECONDS:.3g} /s",
        "lookups_before": f"{number(minute[_LOOKED_UP])} in the last minute",
        "fills": number(minute[_FILLS]),
        "fills_before": f"each {duration(_divided(minute[_FILL_SECONDS], minute[_FILLS]))}",
        "saved": duration(saved),
        "saved_before": "of computing, since the start",
    }


def _divided(above: float, below: float) -> float | None:
    return above / below if below else None


def _charts(overview: Overview, now: float) -> Shown:
    ratios = series(overview.history, now, _ANSWERED, _LOOKED_UP)
    fills = series(overview.history, now, _FILL_SECONDS, _FILLS)
    pages = series(overview.history, now, _PAGE_SECONDS, _PAGES)
    highest = max((*fills.known, *pages.known), default=0.0)
    top = round_up(highest)
    return {
        "ratio": ratios.line(1),
        "ratio_area": ratios.area(1),
        "ratio_words": _in_words("Answered from the cache", ratios.known, share),
        "fills": fills.line(top),
        "pages": pages.line(top),
        "top": duration(top) if highest else NOTHING,
        "seconds_words": f"{_in_words('A page', pages.known, duration)} "
        f"{_in_words('A computation', fills.known, duration)}",
    }


def _in_words(what: str, values: Sequence[float], write: Callable[[float], str]) -> str:
    if not values:
        return f"{what}: nothing in the last ten minutes."
    bounds = f"lowest {write(min(values))}, highest {write(max(values))} in ten minutes"
    return f"{what}: {write(values[-1])} last; {bounds}."


# -- the table ---------------------------------------------------------------------------

#: What an advice of each tone is worth in the order of the table.
_URGENCY = {"bad": 3, "warn": 2, "good": 1, "plain": 0}

#: The columns that sort, by what a row's counts are worth in them; a text sorts from A to Z.
COLUMNS: Mapping[str, tuple[str, Callable[[Counts], float | str | None]]] = {
    "name": ("Name", lambda counts: f"{counts['level']} {counts['name']}"),
    "lookups": ("Lookups", lambda counts: sum(counts["results"].values())),
    "ratio": ("Hit ratio", ratio),
    "stale": ("Stale", lambda counts: counts["results"].get("stale", 0)),
    "fill": ("Fill time", fill_seconds),
    "saved": ("Time saved", saved_seconds),
    "bytes": ("Size", lambda counts: _divided(counts["stored_bytes"], counts["stored"])),
    "timeout": ("Timeout", lambda counts: counts["timeout"]),
    "advice": ("Advice", lambda counts: _URGENCY[advise(counts).tone]),
}
DEFAULT_SORT = "-lookups"


def columns(sort: str) -> list[Shown]:
    """Show the headers: each with the order that it is sorted in, and the next one."""
    by, descending = sort.removeprefix("-"), sort.startswith("-")
    shown = []
    for name, (title, _) in COLUMNS.items():
        first = name if name == "name" else f"-{name}"
        other = name if first.startswith("-") else f"-{name}"
        order = ("descending" if descending else "ascending") if name == by else "none"
        following = other if sort == first else first
        shown.append({"id": name, "title": title, "order": order, "next": following})
    return shown


def rows(overview: Overview, sort: str) -> list[Shown]:
    """Show the lookups by view, function and fragment."""
    _, worth = COLUMNS[sort.removeprefix("-")]
    ranked = [(worth(counts), counts) for counts in overview.lookups]
    known = [pair for pair in ranked if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=sort.startswith("-"))  # type: ignore[arg-type, return-value]
    # What has no value is last in either order.
    return [_row(counts) for _, counts in [*known, *(pair for pair in ranked if pair[0] is None)]]


def _row(counts: Counts) -> Shown:
    advice = advise(counts)
    return {
        "id": f"{counts['level']} {encodable(counts['name'])}",
        "name": short(counts["name"]),
        "level": counts["level"],
        "lookups": number(sum(counts["results"].values())),
        "ratio": share(ratio(counts)),
        "near": f"{number(counts['near_hits'])} of {number(answered(counts))} in the process",
        "stale": number(counts["results"].get("stale", 0)),
        "fill": duration(fill_seconds(counts)),
        "saved": duration(saved_seconds(counts)),
        "bytes": amount(_divided(counts["stored_bytes"], counts["stored"])),
        "timeout": duration(counts["timeout"]),
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
        for refusal, count in overview.refusals.most_common(REFUSALS)
    ]


def declarations(rows: Iterable[tuple[str, str, str]]) -> list[Shown]:
    """Show which hooks are declared to reach pages through known names only."""
    return [
        {"subject": subject, "through": through or "nothing", "reason": reason}
        for subject, through, reason in rows
    ]


# -- the feed ----------------------------------------------------------------------------


def events(overview: Overview, key: str | None = None) -> list[Shown]:
    """Show the last fills and invalidations, the newest first.

    :param key: shows only the fills of this key.
    """
    fills = [pair for pair in overview.fills if key is None or pair[1]["key"] == key]
    invalidations = overview.invalidations if key is None else []
    shown = [_fill(overview, process, fill) for process, fill in _newest(fills)]
    shown += [_invalidation(overview, process, event) for process, event in _newest(invalidations)]
    return sorted(shown, key=lambda event: (-event["at"], event["id"]))


def _newest(told: Iterable[tuple[str, Event]]) -> list[tuple[str, Event]]:
    return sorted(told, key=lambda pair: -pair[1]["at"])[:EVENTS]


def _event(process: str, event: FillFigures | InvalidationFigures) -> Shown:
    return {
        "id": f"{event['number']}.{process}",
        "at": event["at"],
        "time": clock(event["at"]),
        "datetime": machine_time(event["at"]),
        "process": process,
    }


def _fill(overview: Overview, process: str, fill: FillFigures) -> Shown:
    stored = amount(fill["bytes"]) if fill["bytes"] is not None else _not_stored(fill["refused"])
    return _event(process, fill) | {
        "kind": "fill",
        "tone": "plain",
        "title": f"Filled {short(fill['name'])}",
        "detail": f"{duration(fill['seconds'])}, {stored}",
        "why": f"because {because(overview, fill['cause'], fill['at'])}",
        "tags": [],
        "entries": [entry_link(fill["key"])],
        "more": "",
    }


def _not_stored(refused: str | None) -> str:
    return f"not stored ({refused})" if refused else "not stored"


def _invalidation(overview: Overview, process: str, event: InvalidationFigures) -> Shown:
    dropped = overview.dropped_by(event)
    keys = [*dropped.waiting, *dropped.refilled]
    everything = event["count"] is None
    more = [(event["count"] or 0) - len(event["tags"][:_NAMES]), len(keys) - _NAMES]
    rest = [counted(more[0], "more tag")] if more[0] > 0 else []
    rest += [f"{counted(more[1], 'more entry', 'more entries')}"] if more[1] > 0 else []
    return _event(process, event) | {
        "kind": "invalidation",
        "tone": "warn",
        "title": "Cleared everything"
        if everything
        else f"Invalidated {counted(event['count'] or 0, 'tag')}",
        "detail": "" if everything else _dropped(dropped),
        "why": f"by {origin(event)}",
        "tags": [tag_link(tag) for tag in event["tags"][:_NAMES]],
        "entries": [entry_link(key) for key in keys[:_NAMES]],
        "more": f"and {' and '.join(rest)}" if rest else "",
    }


def _dropped(dropped: Dropped) -> str:
    count = len(dropped.waiting) + len(dropped.refilled)
    if not count:
        return "dropped nothing that is known"
    again = number(len(dropped.refilled)) if dropped.refilled else "none"
    if not dropped.waiting:
        again = "all" if count > 1 else "which was"
    return f"dropped {counted(count, 'entry', 'entries')}, {again} computed again since"


def origin(event: InvalidationFigures) -> str:
    """Name the request or the command that an invalidation came from."""
    if event["origin"] == "note":
        return "a write that was noted while the store was away"
    return encodable(event["origin"]) or "something beside requests and commands"


def because(overview: Overview, cause: CauseFigures, at: float) -> str:
    """Say why an entry was filled: by which tags and which write, where that is known."""
    words = REASONS.get(cause["reason"], cause["reason"])
    if cause["reason"] == "invalidated" and cause["tags"]:
        tags = ", ".join(encodable(tag) for tag in cause["tags"][:_NAMES])
        more = len(cause["tags"]) - _NAMES
        rest = f" and {number(more)} more" if more > 0 else ""
        was = "was" if len(cause["tags"]) == 1 else "were"
        happened = "invalidated" if cause["reading"] is not None else "gone from the store"
        words = f"{tags}{rest} {was} {happened}"
    if write := overview.write_of(cause, at):
        words += f" by {origin(write)} at {clock(write['at'])}"
    return words


def tag_link(tag: str) -> Shown:
    """Show a tag that leads to what depends on it."""
    text = encodable(tag)
    return {"id": text, "text": text, "href": url_for("cache_inspector.tag", tag=text)}


def entry_link(key: str) -> Shown:
    """Show a key that leads to its entry."""
    text = encodable(key)
    return {"id": text, "text": text, "href": url_for("cache_inspector.entry", key=text)}


# -- entries -----------------------------------------------------------------------------

State = Literal["fresh", "stale", "invalid", "cleared", "unreadable", "gone", "unknown"]


def entry_rows(
    overview: Overview, entries: Sequence[EntryFigures], peeks: Mapping[str, Inspection], now: float
) -> list[Shown]:
    """Show entries, with what lies in the store under their keys."""
    return [_entry_row(overview, entry, peeks.get(entry["key"]), now) for entry in entries]


def _entry_row(
    overview: Overview, entry: EntryFigures, peek: Inspection | None, now: float
) -> Shown:
    state: State = peek.state if peek is not None else "unknown"
    _, tone = STATES[state]
    left = entry["fresh_until"] - now
    # That it depends on its own key and on those of what is in it goes without saying here.
    telling = [tag for tag in entry["tags"] if not tag.startswith(("key:", "fn:"))][:_FEW_TAGS]
    rest = len(entry["tags"]) - len(telling)
    return entry_link(entry["key"]) | {
        "name": short(entry["name"]),
        "level": entry["level"],
        "age": duration(max(0.0, now - entry["stored_at"])),
        "fresh": f"for {duration(left)}" if left > 0 else f"{duration(-left)} ago",
        "bytes": amount(peek.bytes if peek is not None and peek.bytes else entry["bytes"]),
        "state": state,
        "tone": tone,
        "tags": [tag_link(tag) for tag in telling],
        "more": f"and {rest} more" if rest else "",
    }


def entry_facts(
    overview: Overview, key: str, known: EntryFigures | None, peek: Inspection | None, now: float
) -> Shown:
    """Show one entry: of the store's word where it answers, else of what a process knows."""
    state, tone = STATES[peek.state if peek is not None else "unknown"]
    lying = peek.entry if peek is not None else None
    tags = lying.tags if lying is not None else tuple(known["tags"]) if known else ()
    stored_at = lying.stored_at if lying is not None else known["stored_at"] if known else None
    fresh_until = lying.fresh_until if lying else known["fresh_until"] if known else None
    kept_until = lying.kept_until if lying else known["kept_until"] if known else None
    is_known = known is not None and (lying is None or lying.stored_at == known["stored_at"])
    cause = known["cause"] if known is not None and is_known else None
    return {
        "key": encodable(key),
        "what": f"{known['level']} {short(known['name'])}" if known else NOTHING,
        "state": state,
        "tone": tone,
        "invalid": [tag_link(tag) for tag in (peek.invalid if peek is not None else ())],
        "stored": _moment(stored_at, now),
        "fresh": _moment(fresh_until, now),
        "kept": _moment(kept_until, now),
        "size": amount(peek.bytes if peek and peek.bytes else known["bytes"] if known else None),
        "seconds": duration(known["seconds"]) if known is not None and is_known else NOTHING,
        "why": because(overview, cause, stored_at or now)
        if cause is not None
        else _unknown_cause(now - (stored_at or 0)),
        "tags": [tag_link(tag) for tag in tags],
        "events": events(overview, key),
    }


def _unknown_cause(age: float) -> str:
    if age < _TOLD_SECONDS:
        return "not told yet by the process that has just computed it; ask again in a few seconds"
    return "not known: no process that answered has computed it, or remembers why"


def _moment(at: float | None, now: float) -> str:
    if at is None:
        return NOTHING
    away = f"{duration(now - at)} ago" if at <= now else f"in {duration(at - now)}"
    return f"{clock(at)} ({away})"


# -- the store ---------------------------------------------------------------------------


def health(overview: Overview, facts: Facts | None, failure: str | None, *, off: bool) -> Shown:
    """Show the state of the store, the near caches and the breakers.

    :param off: whether the cache is switched off.
    """
    open_breakers = sum(breaker["open"] for breaker in overview.breakers)
    nears = overview.nears
    away = open_breakers or failure is not None
    state = "the store does not answer" if away else "the store answers"
    return {
        "state": "the cache is switched off" if off else state,
        "tone": "bad" if away or off else "good",
        "facts": [{"id": name, "name": name, "text": text} for name, text in _facts(facts)]
        + [
            {"id": name, "name": name, "text": text}
            for name, text in (
                ("Circuit breakers", _breakers(overview, open_breakers)),
                ("Near caches", _nears(nears, len(overview.processes))),
                ("Kept for an outage", counted(overview.fallback, "entry", "entries")),
                ("Leases", _listed(overview.leases)),
                ("Invalidated tags", _listed(overview.invalidated)),
                ("Cleared", counted(overview.clears, "time")),
                ("Hits computed again", _listed(overview.verified)),
                ("What went wrong", _listed(overview.counts)),
            )
        ],
    }


def _facts(facts: Facts | None) -> list[tuple[str, str]]:
    if facts is None:
        return [("Store", "it does not answer")]
    most = "no bound" if not facts.max_bytes else amount(facts.max_bytes)
    return [
        ("Store", facts.server),
        ("Memory", f"{amount(facts.bytes)} of {most}"),
        ("When full", facts.policy or NOTHING),
        ("Evictions", number(facts.evictions)),
        ("Items", number(facts.items)),
    ]


def _breakers(overview: Overview, count: int) -> str:
    if not count:
        return "closed"
    failures = sorted({one["failure"] for one in overview.breakers if one["failure"]})
    told = f": {', '.join(failures)}" if failures else ""
    return f"open in {counted(count, 'process', 'processes')}{told}"


def _nears(nears: Sequence[Any], processes: int) -> str:
    if not nears:
        return "none"
    copies = sum(near["entries"] for near in nears)
    evictions = counted(sum(near["evictions"] for near in nears), "eviction")
    size = amount(sum(near["bytes"] for near in nears))
    return f"{number(copies)} copies, {size} in {number(processes)} processes, {evictions}"


def _listed(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{encodable(name)} {number(count)}" for name, count in ranked[:20]) or "none"
