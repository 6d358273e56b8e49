"""The inspector's first page: numbers, charts, and the state of the store.

Numbers are formatted here, so that the page and the script that renews it write them alike.
"""

import time
from collections.abc import Callable, Mapping

from ..._keys.encoding import encodable
from ..._statistics.reports import PLACES
from ..._stores import Facts
from ..overview import Overview
from ..report import divided
from ..reporter import BUCKET_SECONDS, BUCKETS
from ..text import NOTHING, clock, counted, duration, number, share, size
from .charts import Series, area, line, round_up, series, total
from .table import Shown

_MINUTE_SECONDS = 60


def processes(overview: Overview, now: float, alone: str) -> str:
    """Say of which processes the numbers are, and since when.

    :param alone: why there are no reports of other processes; empty if there are.
    """
    count = counted(len(overview.processes), "process", "processes")
    if len(overview.processes) >= PLACES:
        count += " (there may be more, for which there is no place)"
    since = f"counted since {_day_and_time(overview.since, now)}"
    if overview.youngest - overview.since >= 1:
        since += f" (the youngest process: {_day_and_time(overview.youngest, now)})"
    return f"Figures of {count}, {since}. {alone}".rstrip()


def _day_and_time(at: float, now: float) -> str:
    then = time.localtime(at)
    day = "" if then[:3] == time.localtime(now)[:3] else time.strftime("%Y-%m-%d ", then)
    return f"{day}{clock(at)} {time.strftime('%Z', then)}".rstrip()


def entries_known(overview: Overview) -> str:
    """Say how many entries the processes know, and whether that is all."""
    known = counted(len(overview.entries), "entry", "entries")
    rest = "there are more" if overview.forgot_entries else "that is all since they began"
    return f"The processes know of {known}; {rest}."


def tiles(overview: Overview, now: float) -> Shown:
    """Show the numbers of the last minute, each with one of a longer time beneath."""
    minute = total(overview.history, now, _MINUTE_SECONDS)
    ten = total(overview.history, now, BUCKETS * BUCKET_SECONDS)
    return {
        "ratio": share(divided(minute.answered, minute.looked_up)),
        "ratio_before": f"in ten minutes {share(divided(ten.answered, ten.looked_up))}",
        "lookups": f"{minute.looked_up / _MINUTE_SECONDS:.3g} /s",
        "lookups_before": f"{number(minute.looked_up)} in the last minute",
        "fills": number(minute.fills),
        "fills_before": f"each {duration(divided(minute.fill_seconds, minute.fills))}",
        "saved": duration(sum(counts.saved_seconds or 0 for counts in overview.lookups)),
        "saved_before": "of computing, since the start",
    }


def charts(overview: Overview, now: float) -> Shown:
    """Show ten minutes of hit ratio and latency, as lines and in words."""
    ratios = series(overview.history, now, "answered", "looked_up")
    fills = series(overview.history, now, "fill_seconds", "fills")
    pages = series(overview.history, now, "page_seconds", "pages")
    highest = max((value for value in (*fills, *pages) if value is not None), default=0.0)
    top = round_up(highest)
    return {
        "ratio": line(ratios, 1),
        "ratio_area": area(ratios, 1),
        "ratio_words": _in_words("Answered from the cache", ratios, share),
        "fills": line(fills, top),
        "pages": line(pages, top),
        "top": duration(top) if highest else NOTHING,
        "seconds_words": f"{_in_words('A page', pages, duration)} "
        f"{_in_words('A computation', fills, duration)}",
    }


def _in_words(what: str, values: Series, write: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return f"{what}: nothing in the last ten minutes."
    bounds = f"lowest {write(min(known))}, highest {write(max(known))} in ten minutes"
    return f"{what}: {write(known[-1])} last; {bounds}."


def health(overview: Overview, facts: Facts | None, *, off: bool) -> Shown:
    """Show the state of the store, the near caches and the circuit breakers.

    :param facts: ``None`` where the store does not answer.
    :param off: whether the cache is switched off.
    """
    is_away = facts is None or bool(overview.open_breakers)
    state = "the store does not answer" if is_away else "the store answers"
    lines = _facts(facts) | {
        "Circuit breakers": _breakers(overview),
        "Near caches": _near(overview),
        "Kept for an outage": counted(overview.fallback, "entry", "entries"),
        "Leases": _listed(overview.leases),
        "Invalidated tags": _listed(overview.invalidated),
        "Cleared": counted(overview.clears, "time"),
        "Hits computed again": _listed(overview.verified),
        "What went wrong": _listed(overview.counts),
    }
    return {
        "state": "the cache is switched off" if off else state,
        "tone": "bad" if is_away or off else "good",
        "facts": [{"id": name, "name": name, "text": text} for name, text in lines.items()],
    }


def _facts(facts: Facts | None) -> dict[str, str]:
    if facts is None:
        return {"Store": "it does not answer"}
    most = size(facts.max_bytes) if facts.max_bytes else "no bound"
    return {
        "Store": facts.server,
        "Memory": f"{size(facts.bytes)} of {most}",
        "When full": facts.policy or NOTHING,
        "Evictions": number(facts.evictions),
        "Items": number(facts.items),
    }


def _breakers(overview: Overview) -> str:
    if not overview.open_breakers:
        return "closed"
    failures = f": {', '.join(sorted(overview.failures))}" if overview.failures else ""
    return f"open in {counted(overview.open_breakers, 'process', 'processes')}{failures}"


def _near(overview: Overview) -> str:
    near = overview.near
    if not near:
        return "none"
    copies = f"{number(near['entries'])} copies, {size(near['bytes'])}"
    evictions = counted(near["evictions"], "eviction")
    return f"{copies} in {number(len(overview.processes))} processes, {evictions}"


def _listed(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{encodable(name)} {number(count)}" for name, count in ranked[:20]) or "none"
