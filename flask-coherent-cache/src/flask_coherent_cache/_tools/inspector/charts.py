"""Charts: lines over the last ten minutes, as paths of SVG (SVG 2, 9.3)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..report import Sums, divided
from ..reporter import BUCKET_SECONDS, BUCKETS

#: The coordinates that all charts are drawn in; the page stretches them to what room there is.
WIDTH, HEIGHT = 600, 120
#: A line does not touch the upper edge, where half of its width would be cut off.
_MARGIN = 2

#: A value a bucket, the oldest first; ``None`` where nothing happened.
Series = Sequence[float | None]


def series(history: Mapping[int, Sums], now: float, above: str, below: str) -> Series:
    """Divide one of a history's sums by another, bucket by bucket, over ten minutes.

    :param above: the name of the one among the sums, and ``below`` of the other.
    :param now: in seconds since the epoch; the newest bucket is the one that is under way.
    """
    newest = int(now // BUCKET_SECONDS)
    buckets = (history.get(number, Sums()) for number in range(newest - BUCKETS + 1, newest + 1))
    return [divided(getattr(sums, above), getattr(sums, below)) for sums in buckets]


def total(history: Mapping[int, Sums], now: float, seconds: float) -> Sums:
    """Add up a history's last seconds."""
    newest = int(now // BUCKET_SECONDS)
    oldest = newest - int(seconds // BUCKET_SECONDS)
    added = Sums()
    for number, sums in history.items():
        if oldest < number <= newest:
            added = added.plus(sums)
    return added


def line(values: Series, top: float) -> str:
    """Draw values; the line goes on over gaps. One value by itself is a short line."""
    points = list(_points(values, top))
    if len(points) == 1:
        (x, y), step = points[0], WIDTH / BUCKETS
        points = [(max(0.0, x - step), y), (x, y)]
    return _path(points)


def area(values: Series, top: float) -> str:
    """Draw what lies beneath the line."""
    points = list(_points(values, top))
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    return f"{_path(points)} L{last:g},{HEIGHT} L{first:g},{HEIGHT} Z"


def _points(values: Series, top: float) -> Iterator[tuple[float, float]]:
    for number, value in enumerate(values):
        if value is not None:
            share = min(1.0, value / top) if top else 0.0
            x = WIDTH * number / (BUCKETS - 1)
            yield round(x, 1), round(HEIGHT - share * (HEIGHT - _MARGIN), 1)


def _path(points: Iterable[tuple[float, float]]) -> str:
    joined = " L".join(f"{x:g},{y:g}" for x, y in points)
    return f"M{joined}" if joined else ""


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, … of its size, for the end of an axis."""
    size = 1e-6
    while True:
        for step in (1, 2, 5):
            if value <= step * size:
                return step * size
        size *= 10
