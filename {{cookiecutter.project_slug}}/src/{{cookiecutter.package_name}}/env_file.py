"""The file `.env`, which Docker Compose and the `flask` command read by rules of their own.

They differ on `$`, backslashes and quotes, so only what both read alike is accepted. Run as a
program, with the file's name, it says what is not; it needs the standard library alone.
"""

import re
import sys
from pathlib import Path

_PLAIN = r"[^\s'\"\\$`#][^'\"\\$`\n]*"
_SINGLE = r"'([^'\\$\n]|\$(?!\{)|\\(?!['\\]))*'"
_DOUBLE = r"\"[^\"\\$`\n]*\""
_SET = rf"(export\s+)?[A-Za-z_][A-Za-z0-9_]*=({_PLAIN}|{_SINGLE}|{_DOUBLE})?\s*([ \t]#.*)?"
_LINE = re.compile(rf"\s*({_SET}|#.*)?")
_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)")
#: Compose and python-dotenv disagree on a name without a value, and on spaces around "=".
REMEDY = (
    "Docker Compose and `flask` would read it differently. Write NAME=value, or NAME='value' with"
    " anything in it but ' and ${."
)


def problems(path: Path) -> list[str]:
    """Return what is wrong with a file, a line for each, without the values, which are secrets."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [
        f"{path.name}, line {number}{_named(line)}: {REMEDY}"
        for number, line in enumerate(lines, 1)
        if not _LINE.fullmatch(line)
    ]


def _named(line: str) -> str:
    name = _NAME.match(line)
    return f" ({name[1]})" if name else ""


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]))) or None)
