"""The inspector's entries: in lists, and one by itself."""

from ..._engine.inspection import Inspection
from ..._keys.encoding import encodable
from ..._statistics.records import Known
from ..overview import Overview
from ..text import NOTHING, STATES, clock, distance, duration, size
from .feed import because, entry_link, events, tag_link
from .table import Shown, short

#: Within so many seconds a process reports what it did.
_TOLD_SECONDS = 5
#: Of an entry in a list so many tags.
_FEW_TAGS = 5


def row(entry: Known, inspection: Inspection | None, now: float) -> Shown:
    """Show an entry in a list, with what lies in the store under its key, if that was asked."""
    state = inspection.state if inspection else "unknown"
    left = entry.fresh_until - now
    # That it depends on its own key and on those of what is in it goes without saying here.
    telling = [tag for tag in entry.tags if not tag.startswith(("key:", "fn:"))][:_FEW_TAGS]
    rest = len(entry.tags) - len(telling)
    return entry_link(entry.key) | {
        "name": short(entry.name),
        "level": entry.level,
        "age": duration(max(0.0, now - entry.stored_at)),
        "fresh": f"for {duration(left)}" if left > 0 else distance(left),
        "bytes": size((inspection and inspection.bytes) or entry.bytes),
        "state": state,
        "tone": STATES[state][1],
        "tags": [tag_link(tag, entry.tags) for tag in telling],
        "more": f"and {rest} more" if rest else "",
    }


def facts(
    overview: Overview, key: str, known: Known | None, inspection: Inspection | None, now: float
) -> Shown:
    """Show one entry: of the store's word where it answers, else of what a process knows."""
    state, tone = STATES[inspection.state if inspection else "unknown"]
    entry = (inspection and inspection.entry) or known
    tags = entry.tags if entry is not None else ()
    number_of_bytes = (inspection and inspection.bytes) or (known.bytes if known else None)
    stored_at, fresh_until, kept_until = (
        (entry.stored_at, entry.fresh_until, entry.kept_until) if entry else (None, None, None)
    )
    # What a process remembers of its last fill, if that is what lies there.
    filled = known if known is not None and known.stored_at == stored_at else None
    if filled is not None and filled.cause is not None:
        why = because(overview, filled.cause, filled.stored_at)
    elif now - (stored_at or 0) < _TOLD_SECONDS:
        why = "not reported yet by the process that just computed it; ask again in a few seconds"
    else:
        why = "not known: no process that answered has computed it, or remembers why"
    return {
        "key": encodable(key),
        "what": f"{known.level} {short(known.name)}" if known is not None else NOTHING,
        "state": state,
        "tone": tone,
        "invalid": [tag_link(tag) for tag in (inspection.invalid if inspection else ())],
        "stored": _time(stored_at, now),
        "fresh": _time(fresh_until, now),
        "kept": _time(kept_until, now),
        "size": size(number_of_bytes),
        "seconds": duration(filled.seconds if filled is not None else None),
        "why": why,
        "tags": [tag_link(tag, tags) for tag in tags],
        "events": events(overview, key),
    }


def _time(at: float | None, now: float) -> str:
    return NOTHING if at is None else f"{clock(at)} ({distance(at - now)})"
