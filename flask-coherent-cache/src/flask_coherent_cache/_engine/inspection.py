"""A look at an entry by somebody who does not use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .entry import Entry, invalid_tags

State = Literal["fresh", "stale", "invalid", "cleared", "unreadable", "gone"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What lies in the store under a key.

    :param state: ``gone`` where nothing does.
    :param entry: ``None`` where it is gone or unreadable.
    :param invalid: the tags of an invalid entry that were raised, or that are missing.
    :param bytes: what it takes in the store.
    """

    key: str
    state: State
    entry: Entry | None = None
    invalid: tuple[str, ...] = ()
    bytes: int = 0


def judge(
    key: str,
    sealed: bytes | None,
    entry: Entry | None,
    generation: str,
    values: Mapping[str, bytes | None],
    now: float,
) -> Inspection:
    """Tell the state of what lies under a key.

    :param generation: the store's.
    :param values: what lies under its tags.
    :param now: the store's time, in seconds since the epoch.
    """
    if sealed is None:
        return Inspection(key, "gone")
    if entry is None:
        return Inspection(key, "unreadable", bytes=len(sealed))
    state: State
    invalid: tuple[str, ...] = ()
    tag_values = [values[tag] for tag in entry.tags]
    if entry.generation != generation:
        state = "cleared"
    elif not entry.is_valid(generation, tag_values, now):
        state = "invalid"
        invalid, _ = invalid_tags(entry.tags, tag_values, entry.started, now)
    else:
        state = "fresh" if entry.is_fresh() else "stale"
    return Inspection(key, state, entry, invalid, len(sealed))
