"""Judges what the load wrote down: statuses, stale reads, waits."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: What each kind of request may be answered with when nothing fails. Other kinds: 200 alone.
EXPECTED = {"missing": {404}, "ready": {200, 503}}
#: What shows prices, or is not whole.
PRICED = {"home", "list", "product", "api"}


@dataclass(frozen=True)
class Record:
    """A request that has ended; see load.py."""

    due: float
    sent: float
    end: float
    status: int
    error: str
    method: str
    path: str
    kind: str
    id: str = ""
    failed: dict[str, str] = field(default_factory=dict)
    cache_status: str = ""
    retry_after: str = ""
    shows: dict[str, int] = field(default_factory=dict)
    prices: int = 0
    price: int = 0
    slug: str = ""

    @property
    def seconds(self) -> float:
        """How long the user waited, from when the request was due."""
        return self.end - self.due

    @property
    def is_lost(self) -> bool:
        """Whether no whole answer came."""
        return self.status == 0

    @property
    def is_retried(self) -> bool:
        """Whether a proxy had to ask again, and not for a connection that it had kept too long."""
        return not self.is_lost and any(not why.startswith("idle") for why in self.failed.values())

    @property
    def is_clear_refusal(self) -> bool:
        """Whether it is a 503 that says when to come again."""
        return self.is_server_error and self.status == 503 and self.retry_after.isdecimal()

    @property
    def is_right(self) -> bool:
        """Whether it is the answer that there is when nothing fails."""
        whole = self.kind not in PRICED or self.status != 200 or self.prices > 0
        return whole and self.status in EXPECTED.get(self.kind, {200})

    @property
    def is_server_error(self) -> bool:
        """Whether a user was told that the server failed; a probe is no user."""
        return self.status >= 500 and self.kind != "ready"

    @property
    def by_the_cache(self) -> str:
        """Say in a word what the page cache did: hit, stale, or why it passed the request on."""
        if "hit" in self.cache_status:
            return "stale" if "detail=stale" in self.cache_status else "hit"
        return self.cache_status.partition("fwd=")[2].partition(";")[0]


@dataclass(frozen=True)
class Stale:
    """A read that shows an older price than one whose write was acknowledged before it began."""

    path: str
    sent: float
    #: Seconds from the end of the first write that it should have shown to its own beginning.
    late: float
    shown: int
    newest: int


@dataclass(frozen=True)
class Window:
    """The time of a fault, all on the clock of `time.monotonic()`."""

    begin: float
    #: When the server was back.
    returned: float
    #: When all answered as before.
    recovered: float
    #: What is around it without a fault.
    before: float = 0.0
    after: float = math.inf

    def holds(self, moment: float) -> bool:
        """Tell whether a moment is in the fault, or within the second after the recovery."""
        return self.begin <= moment <= self.recovered + 1

    def spans(self, moment: float) -> bool:
        """Tell whether it is in the fault or around it."""
        return self.before <= moment <= self.after


def read_records(path: Path) -> list[Record]:
    """Read what the load has written so far; the last line may be half written."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [Record(**record) for record in found if "settled" not in record]


@dataclass
class _Write:
    """A write, and from when on no read may show what was before it."""

    record: Record
    known_from: float


def stale_reads(records: Iterable[Record]) -> list[Stale]:
    """Return the reads that show an older price than they had to.

    A write that was acknowledged counts from the end of its answer. One that failed counts from
    the first read after it that shows it, and never if none does: either price is right until
    then. One that had no answer may take effect at any time, so to show it is never out of date.
    """
    records = sorted(records, key=lambda record: record.end)
    writes: dict[str, dict[int, _Write]] = defaultdict(dict)
    for record in records:
        if record.price:
            known_from = record.end if record.status == 200 else math.inf
            writes[record.slug][record.price] = _Write(record, known_from)
    for record in records:
        for slug, price in record.shows.items():
            seen = writes[slug].get(price)
            if seen is not None and seen.record.status != 200:
                seen.known_from = min(seen.known_from, max(seen.record.end, record.end))
    return [
        stale
        for record in records
        for slug, price in record.shows.items()
        if (stale := _stale(record, price, writes[slug])) is not None
    ]


def _stale(read: Record, price: int, writes: dict[int, _Write]) -> Stale | None:
    shown = writes.get(price)
    if shown is not None and shown.record.is_lost:
        return None
    newer = [w for p, w in writes.items() if p > price and w.known_from <= read.sent]
    if not newer:
        return None
    late = read.sent - min(write.known_from for write in newer)
    return Stale(read.path, read.sent, late, price, max(w.record.price for w in newer))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all does not exceed; 0 of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


@dataclass(frozen=True)
class Row:
    """What users saw of a fault, from its begin until a second after all was well again."""

    subject: str
    fault: str
    requests: int
    #: Reads and writes that were answered by a 5xx, a clear refusal among them.
    server_errors: int
    #: Of these, by a 503 with Retry-After.
    refused: int
    #: Had no whole answer, or none in time.
    lost: int
    #: Had to be sent to the other replica.
    retried: int
    #: Were answered otherwise than they should be, and not by a 5xx.
    wrong: int
    #: Reads that were out of date, in the fault and out of it, and the worst, in seconds.
    stale: int
    stale_outside: int
    latest: float
    p50: float
    p99: float
    longest: float
    #: The load's own delay: above some hundredths, the machine was too busy to tell.
    lag_p99: float
    times_null: float
    recovery: float
    #: What the page cache did until the server was back.
    by_the_cache: dict[str, int]
    statuses: dict[str, int]
    failures: dict[str, int]
    #: Attempts that the application had begun with, and that had no answer.
    dropped: int = 0

    def as_json(self) -> str:
        return json.dumps(asdict(self))


COLUMNS = (
    *("subject", "fault", "requests", "5xx (clear 503)", "lost", "retried", "dropped", "wrong"),
    *("stale (outside)", "latest, s", "p50, s", "p99, s", "longest, s", "p99 / NullCache"),
    *("load's lag, s", "recovery, s"),
)


def as_markdown(rows: Iterable[Row]) -> str:
    """Write a table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Row) -> list[str]:
    return [
        row.subject,
        row.fault,
        str(row.requests),
        f"{row.server_errors} ({row.refused})",
        str(row.lost),
        str(row.retried),
        str(row.dropped),
        str(row.wrong),
        f"{row.stale} ({row.stale_outside})",
        f"{row.latest:.2f}",
        f"{row.p50:.3f}",
        f"{row.p99:.3f}",
        f"{row.longest:.2f}",
        f"{row.times_null:.1f}",
        f"{row.lag_p99:.3f}",
        f"{row.recovery:.1f}",
    ]


def judge(
    subject: str, fault: str, window: Window, records: Collection[Record], null_p99: float
) -> Row:
    """Sum up what the load saw of a fault, from a while before it to a while after it."""
    some = [record for record in records if window.begin <= record.due <= window.after]
    spanned = [read for read in stale_reads(records) if window.spans(read.sent)]
    stale = [read for read in spanned if window.holds(read.sent)]
    waits = [record.seconds for record in some if window.holds(record.due)]
    p99 = percentile(waits, 0.99)
    return Row(
        subject=subject,
        fault=fault,
        requests=len(some),
        server_errors=sum(record.is_server_error for record in some),
        refused=sum(record.is_clear_refusal for record in some),
        lost=sum(record.is_lost for record in some),
        retried=sum(record.is_retried for record in some),
        wrong=sum(0 < record.status < 500 and not record.is_right for record in some),
        stale=len(stale),
        stale_outside=len(spanned) - len(stale),
        latest=max((read.late for read in stale), default=0.0),
        p50=percentile(waits, 0.5),
        p99=p99,
        longest=max(waits, default=0.0),
        lag_p99=percentile([r.sent - r.due for r in some if not r.failed], 0.99),
        times_null=p99 / null_p99 if null_p99 else 0.0,
        recovery=window.recovered - window.returned,
        by_the_cache=count(
            record.by_the_cache
            for record in some
            if record.cache_status and record.due <= window.returned
        ),
        statuses=count(f"{record.kind} {record.status or record.error}" for record in some),
        failures=count(why for record in some for why in record.failed.values()),
    )


def count(words: Iterable[str]) -> dict[str, int]:
    """Count each word."""
    return dict(sorted(Counter(words).items()))
