"""The inspector's feed: the last fills and invalidations, and why they happened."""

import time
from collections.abc import Container, Iterable
from typing import TypeVar

from flask import url_for

from ..._dependencies.tags import describe
from ..._keys.encoding import encodable
from ..._statistics.records import Cause, Fill, Invalidation
from ..overview import Dropped, Overview
from ..text import clock, counted, duration, number, size
from .table import Shown, short

Happened = TypeVar("Happened", Fill, Invalidation)

#: So many fills and as many invalidations are shown at most, so that neither hides the other.
_MOST_EVENTS = 25
#: Of an event so many tags and entries.
_MOST_NAMES = 10

_REASONS = {
    "new": "it was not requested before, as far as the processes remember",
    "expired": "its time was over",
    "evicted": "the store had evicted it",
    "invalidated": "a tag was invalidated",
    "cleared": "everything was cleared",
    "unreadable": "what lay in the store could not be read",
    "renewed": "the code asked for it to be computed again",
}


def events(overview: Overview, key: str | None = None) -> list[Shown]:
    """Show the last fills and invalidations, the newest first.

    :param key: shows only the fills of this key.
    """
    fills = [(name, fill) for name, fill in overview.fills if key is None or fill.key == key]
    shown = [_event(name, fill.at) | _fill(overview, fill) for name, fill in _newest(fills)]
    if key is None:
        for name, write in _newest(overview.invalidations):
            shown.append(_event(name, write.at) | _invalidation(overview, write))
    return sorted(shown, key=lambda event: (-event["at"], event["id"]))


def _newest(events: Iterable[tuple[str, Happened]]) -> list[tuple[str, Happened]]:
    return sorted(events, key=lambda event: -event[1].at)[:_MOST_EVENTS]


def _event(name: str, at: float) -> Shown:
    # The second time is for programs (HTML, 4.5.14).
    utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return {"id": name, "at": at, "time": clock(at), "datetime": utc}


def _fill(overview: Overview, fill: Fill) -> Shown:
    refused = f" ({fill.refused})" if fill.refused else ""
    stored = size(fill.bytes) if fill.bytes is not None else f"not stored{refused}"
    return {
        "kind": "fill",
        "tone": "plain",
        "title": f"Filled {short(fill.name)}",
        "detail": f"{duration(fill.seconds)}, {stored}",
        "why": f"because {because(overview, fill.cause, fill.at)}",
        "tags": [],
        "entries": [entry_link(fill.key)],
        "more": "",
    }


def _invalidation(overview: Overview, write: Invalidation) -> Shown:
    dropped = overview.dropped_by(write)
    tags, keys = write.tags[:_MOST_NAMES], [*dropped.waiting, *dropped.refilled]
    rest = []
    if (more := (write.count or 0) - len(tags)) > 0:
        rest.append(counted(more, "more tag"))
    if (more := len(keys) - _MOST_NAMES) > 0:
        rest.append(counted(more, "more entry", "more entries"))
    everything = write.count is None
    return {
        "kind": "invalidation",
        "tone": "warn",
        "title": "Cleared everything"
        if everything
        else f"Invalidated {counted(write.count or 0, 'tag')}",
        "detail": "" if everything else dropped_words(dropped),
        "why": f"by {_origin(write)}",
        "tags": [tag_link(tag) for tag in tags],
        "entries": [entry_link(key) for key in keys[:_MOST_NAMES]],
        "more": f"and {' and '.join(rest)}" if rest else "",
    }


def dropped_words(dropped: Dropped) -> str:
    """Say how many entries an invalidation dropped, and how many are there again."""
    count = len(dropped.waiting) + len(dropped.refilled)
    if not count:
        return "dropped no known entry"
    again = number(len(dropped.refilled)) if dropped.refilled else "none"
    if not dropped.waiting:
        again = "all" if count > 1 else "which was"
    return f"dropped {counted(count, 'entry', 'entries')}, {again} computed again since"


def _origin(write: Invalidation) -> str:
    """Name the request or the command that an invalidation came from."""
    if write.origin == "note":
        return "a write from the outbox, made while the store was down"
    return encodable(write.origin) or "neither a request nor a command"


def because(overview: Overview, cause: Cause, at: float) -> str:
    """Say why an entry was filled: by which tags and which write, where that is known."""
    words = _REASONS.get(cause.reason, cause.reason)
    if cause.reason == "invalidated" and cause.tags:
        tags = ", ".join(map(encodable, cause.tags[:_MOST_NAMES]))
        more = len(cause.tags) - _MOST_NAMES
        rest = f" and {number(more)} more" if more > 0 else ""
        was = "was" if len(cause.tags) == 1 else "were"
        happened = "invalidated" if cause.timestamp is not None else "gone from the store"
        words = f"{tags}{rest} {was} {happened}"
    if write := overview.write_of(cause, at):
        words += f" by {_origin(write)} at {clock(write.at)}"
    return words


def tag_link(tag: str, beside: Container[str] = ()) -> Shown:
    """Show a tag that leads to what depends on it, with its words.

    :param beside: the other tags of its entry.
    """
    text, words = encodable(tag), encodable(describe(tag, beside))
    href = url_for("cache_inspector.tag", tag=text)
    return {"id": text, "text": text, "href": href, "words": words}


def entry_link(key: str) -> Shown:
    """Show a key that leads to its entry."""
    text = encodable(key)
    return {"id": text, "text": text, "href": url_for("cache_inspector.entry", key=text)}
