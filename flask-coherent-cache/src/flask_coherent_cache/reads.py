"""What one context has read so far: the collector of tags."""

import time
from dataclasses import dataclass, field
from typing import Any

from flask import g, has_app_context, has_request_context
from flask.globals import request_ctx

from .statistics import Tally

#: Beyond so many rows of one table, an entry depends on the table.
MANY_ROWS = 64


@dataclass(slots=True)
class Reads:
    """What a request (or an application context without one) has read.

    A fill's tags are all of these, also those read before it began: an object that is already
    in the session's identity map issues no SQL, and still went into the value.

    :param started: the clock's reading at the first lookup or query; ``None`` before it.
    :param generation: the store's generation at that time.
    :param tags: the names of all that was read.
    :param fresh_until: the earliest soft expiry of the stale entries that were served, in
        seconds since the epoch: what is built on them expires no later.
    :param filling: the keys whose fills are running, from the outermost inwards.
    :param rows: the identities of the rows that were read by their key, by table.
    :param expected: lookups by a key whose row has not turned up: table, columns and values.
    :param uncommitted: whether it wrote what is not committed yet.
    :param bypass: whether it looks nothing up and stores nothing any more: it saw data that is
        not committed.
    :param lost: whether the store failed it, so that a reading would come too late: it asks the
        store nothing any more.
    :param tally: what its lookups came to.
    :param began: when the first that it read was read at the earliest, by the monotonic clock.
    """

    started: int | None = None
    generation: str = ""
    tags: set[str] = field(default_factory=set)
    fresh_until: float | None = None
    filling: list[str] = field(default_factory=list)
    rows: dict[str, set[str]] = field(default_factory=dict)
    expected: dict[tuple[str, tuple[str, ...], tuple[Any, ...]], None] = field(default_factory=dict)
    uncommitted: bool = False
    bypass: bool = False
    lost: bool = False
    tally: Tally = field(default_factory=Tally)
    began: float = field(default_factory=time.monotonic)

    def read_row(self, table: str, identity: str) -> None:
        """Note a row that was found by its key."""
        self.rows.setdefault(table, set()).add(identity)

    def follow(self, earlier: "Reads") -> None:
        """Take over what an earlier context read, and its beginning."""
        self.tags |= earlier.collected()
        self.bypass = self.bypass or earlier.bypass
        self.lost = self.lost or earlier.lost
        self.began = min(self.began, earlier.began)
        self.uncommitted = self.uncommitted or earlier.uncommitted
        if earlier.started is not None and earlier.started < (self.started or earlier.started + 1):
            self.started, self.generation = earlier.started, earlier.generation

    def collected(self) -> set[str]:
        """All tags: of many rows of a table the table's; of a row that was not found, too."""
        tags = set(self.tags)
        for table, identities in self.rows.items():
            if len(identities) > MANY_ROWS:
                tags.add(table)
            else:
                # What names no rows, such as a bulk UPDATE, raises "table:*".
                tags.add(f"{table}:*")
                tags.update(f"{table}:{identity}" for identity in identities)
        tags.update(table for table, _, _ in self.expected)
        return tags


_NAME = "caching.reads"
#: Where the environment of a request holds the endpoint whose page was served before Flask.
SERVED = "caching.served"


def tally_of(environ: dict[str, Any]) -> Tally | None:
    """Return what the lookups of a request came to; ``None`` where it did none in Flask."""
    reads: Reads | None = environ.get(_NAME)
    return reads.tally if reads is not None else None


def current_reads() -> Reads:
    """The collector of the current request, else of the application context, else a new one.

    A request has its own even where a test keeps an application context open around it.
    """
    if has_request_context():
        # Asked on every hit: the way by the ``request`` proxy costs more than the rest of it.
        environ: dict[str, Any] = request_ctx._get_current_object().request.environ  # type: ignore[attr-defined]
        reads: Reads | None = environ.get(_NAME)
        if reads is None:
            reads = environ[_NAME] = Reads()
        return reads
    if has_app_context():
        kept = g._get_current_object().__dict__
        collected: Reads | None = kept.get(_NAME)
        if collected is None:
            collected = kept[_NAME] = Reads()
        return collected
    return Reads()
