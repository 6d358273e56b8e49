"""Charts: lines over the last ten minutes, as paths of SVG (SVG 2, 9.3), and in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .figures import BUCKET_SECONDS, BUCKETS

#: The coordinates that all charts are drawn in; the page stretches them to what room there is.
WIDTH, HEIGHT = 600, 120
#: A line does not touch the upper edge, where half of its width would be cut off.
_MARGIN = 2

#: A value a bucket, the oldest first; ``None`` where nothing happened.
Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """The values of the last ten minutes."""

    values: Values

    @property
    def known(self) -> list[float]:
        """The values of the buckets in which something happened."""
        return [value for value in self.values if value is not None]

    def line(self, top: float) -> str:
        """Draw it; it goes on over what has no value. One value by itself is a short line."""
        points = list(self._points(top))
        if len(points) == 1:
            (x, y), step = points[0], WIDTH / BUCKETS
            points = [(max(0.0, x - step), y), (x, y)]
        return _path(points)

    def area(self, top: float) -> str:
        """Draw what lies beneath the line."""
        points = list(self._points(top))
        if len(points) < 2:
            return ""
        first, last = points[0][0], points[-1][0]
        return f"{_path(points)} L{last:g},{HEIGHT} L{first:g},{HEIGHT} Z"

    def _points(self, top: float) -> Iterable[tuple[float, float]]:
        for number, value in enumerate(self.values):
            if value is not None:
                share = min(1.0, value / top) if top else 0.0
                x = WIDTH * number / (BUCKETS - 1)
                yield round(x, 1), round(HEIGHT - share * (HEIGHT - _MARGIN), 1)


def _path(points: Iterable[tuple[float, float]]) -> str:
    joined = " L".join(f"{x:g},{y:g}" for x, y in points)
    return f"M{joined}" if joined else ""


def series(history: Mapping[int, Sequence[float]], now: float, above: int, below: int) -> Series:
    """Divide one of a history's sums by another, bucket by bucket.

    :param above: the place of the one among the sums, and ``below`` of the other.
    :param now: in seconds since the epoch; the newest bucket is the one that is under way.
    """
    newest = int(now // BUCKET_SECONDS)
    sums = (history.get(number) for number in range(newest - BUCKETS + 1, newest + 1))
    return Series([one[above] / one[below] if one and one[below] else None for one in sums])


def total(history: Mapping[int, Sequence[float]], now: float, seconds: float, place: int) -> float:
    """Add up one of a history's sums over its last seconds."""
    newest = int(now // BUCKET_SECONDS)
    oldest = newest - int(seconds // BUCKET_SECONDS)
    return sum(sums[place] for number, sums in history.items() if oldest < number <= newest)


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, … of its size, for the end of an axis."""
    size = 1e-6
    while True:
        for step in (1, 2, 5):
            if value <= step * size:
                return step * size
        size *= 10
