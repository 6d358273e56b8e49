"""Numbers, sizes, times and states as people read them, in the inspector and in a terminal."""

import time

NOTHING = "\N{EN DASH}"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

#: The states of an entry in the store, and the tone in which the inspector shows them.
STATES = {
    "fresh": ("fresh", "good"),
    "stale": ("stale: it may be served within its grace, while it is computed again", "warn"),
    "invalid": ("invalid: one of its tags was bumped since, or is missing", "warn"),
    "cleared": ("cleared: everything was cleared since, or the server lost its clock", "warn"),
    "unreadable": ("unreadable: from another release or SECRET_KEY, or tampered with", "bad"),
    "gone": ("not in the store: never stored, expired or evicted", "plain"),
    "unknown": ("unknown: the store was not asked, or does not respond", "plain"),
}


def share(value: float | None) -> str:
    """Write a share; only 1 itself is written as 100 %."""
    if value is None:
        return NOTHING
    return f"{min(value, 0.999) * 100 if value < 1 else 100:.3g} %"


def duration(seconds: float | None) -> str:
    """Write a time in the unit that suits it; a negative one with a minus."""
    if seconds is None:
        return NOTHING
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 0.001:
        return f"{seconds * 1_000_000:.0f} µs" if seconds else "0 ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    size, unit = next(pair for pair in _UNITS if seconds >= 2 * pair[0])
    return f"{seconds / size:.0f} {unit}"


def distance(seconds: float) -> str:
    """Write how far from now something is: ``in 5 min``, ``42 s ago``."""
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def size(number_of_bytes: float | None) -> str:
    """Write an amount of bytes (IEC 80000-13's binary prefixes)."""
    if number_of_bytes is None:
        return NOTHING
    amount = float(number_of_bytes)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            decimals = ".0f" if unit == "B" or amount >= 100 else ".3g"
            return f"{amount:{decimals}} {unit}"
        amount /= 1024
    return f"{amount:.3g} GiB"


def number(value: float | None) -> str:
    """Write a count, with a narrow space between the thousands."""
    return NOTHING if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def clock(at: float) -> str:
    """Write the time of day, by this machine's clock and zone."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def format_time(at: float) -> str:
    """Write date and time, by this machine's clock and zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
