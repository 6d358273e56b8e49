"""Text for a terminal: aligned columns, without control characters that visitors may have sent."""

import shutil
import textwrap
from collections.abc import Sequence

#: Characters in a line: at least, and at most.
_WIDTHS = (80, 120)
_LEAST = 12
_GAP = "  "


def printable(text: str) -> str:
    """Escape characters that cannot be printed: controls, and those that turn text round."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _width() -> int:
    least, most = _WIDTHS
    return max(least, min(most, shutil.get_terminal_size((most, 24)).columns))


def table(rows: Sequence[Sequence[str]], *, right: str, elastic: int, whole: bool = False) -> str:
    """Align rows, the first of which is the heading.

    :param right: a letter for each column; ``r`` aligns it to the right.
    :param elastic: the column that is cut where the line would be too long.
    :param whole: cut nothing.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if not whole:
        others = sum(widths) - widths[elastic] + len(_GAP) * (len(widths) - 1)
        widths[elastic] = min(widths[elastic], max(_LEAST, _width() - others))
    lines = []
    for row in cells:
        if len(row[elastic]) > widths[elastic]:
            row[elastic] = row[elastic][: widths[elastic] - 3] + "..."
        columns = zip(row, widths, right, strict=True)
        padded = [cell.rjust(size) if r == "r" else cell.ljust(size) for cell, size, r in columns]
        lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def wrapped(label: str, text: str, indent: int = 0) -> str:
    """Write a text beside its label, in as many lines as it takes."""
    return textwrap.fill(
        printable(text),
        _width(),
        initial_indent=label.ljust(indent),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
