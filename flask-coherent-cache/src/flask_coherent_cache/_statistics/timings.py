"""How often something was done, and how long it took: the counts of a histogram."""

from bisect import bisect_left

from .._forks import new_lock

#: Upper bounds of the buckets, in seconds: from a page in the process to a time-out.
BOUNDS = (
    *(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
#: The count of each bucket, without those below it, and the seconds of all.
Read = tuple[list[int], float]


#: So many wait to be counted together: to append one takes less time than to take a lock.
_MOST_WAITING = 128


class Timings:
    """Counts in buckets, of one process."""

    __slots__ = ("_counts", "_lock", "_seconds", "_waiting")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0
        self._waiting: list[float] = []
        self._lock = new_lock()

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self._waiting.append(seconds)
        if len(self._waiting) >= _MOST_WAITING:
            self.read()

    def read(self) -> Read:
        """Return what was counted so far."""
        with self._lock:
            # What others append meanwhile comes after these.
            waiting = self._waiting[: len(self._waiting)]
            del self._waiting[: len(waiting)]
            for seconds in waiting:
                self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._seconds += sum(waiting)
            return self._counts.copy(), self._seconds


def added(reads: list[Read]) -> Read:
    """Return the sum of several counts."""
    counts = [sum(bucket) for bucket in zip(*(counts for counts, _ in reads), strict=True)]
    return counts, sum(seconds for _, seconds in reads)
