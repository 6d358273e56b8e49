"""Text for a terminal: aligned columns, and nothing in them that a visitor could steer it by."""

import shutil
import textwrap
import time
from collections.abc import Sequence

#: Columns of characters: narrower is not tried, and wider is not read.
_WIDTHS = (80, 120)
_LEAST = 12
_GAP = "  "
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def printable(text: str) -> str:
    """Write what is no character to be seen as an escape: controls, and what turns text round."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def width() -> int:
    """Tell how wide a line may be, in characters."""
    least, most = _WIDTHS
    return max(least, min(most, shutil.get_terminal_size((most, 24)).columns))


def table(rows: Sequence[Sequence[str]], *, right: str, elastic: int, whole: bool = False) -> str:
    """Align rows, the first of which is the heading.

    :param right: a letter for each column, of which ``r`` is one of numbers.
    :param elastic: the column that is cut where the line would be too long.
    :param whole: cut nothing.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if not whole:
        others = sum(widths) - widths[elastic] + len(_GAP) * (len(widths) - 1)
        widths[elastic] = min(widths[elastic], max(_LEAST, width() - others))
    lines = []
    for row in cells:
        row[elastic] = cut(row[elastic], widths[elastic])
        columns = zip(row, widths, right, strict=True)
        padded = [cell.rjust(size) if r == "r" else cell.ljust(size) for cell, size, r in columns]
        lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def cut(text: str, longest: int) -> str:
    """Shorten a text, visibly."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def wrapped(label: str, text: str, indent: int) -> str:
    """Write a text beside its label, the lines below each other."""
    return textwrap.fill(
        printable(text),
        width(),
        initial_indent=label.ljust(indent),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def span(seconds: float) -> str:
    """Write a duration in its largest unit: ``42 s``, ``3 h``; a past one with a minus."""
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    for size, unit in _UNITS:
        if left >= 2 * size:
            return f"{sign}{left / size:.0f} {unit}"
    return f"{sign}{left:.0f} s"


def distance(seconds: float) -> str:
    """Write how far from now something is: ``in 5 min``, ``42 s ago``."""
    return f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"


def moment(at: float) -> str:
    """Write a time, in seconds since the epoch, by this machine's clock and zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def size(count: int) -> str:
    """Write bytes as people read them: ``900 B``, ``12 KiB``, ``64 MiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
