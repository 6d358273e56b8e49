"""What `flask cache doctor` finds."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "advice", "problem", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check of ``flask cache doctor``.

    :param check: the name of the check, which stays the same between versions.
    :param severity: ``ok``; ``advice`` for a warning, which leaves the exit code at 0;
        ``problem``, with which the command exits with 1; or ``unknown`` if it could not be checked.
    :param what: what was found, as a sentence.
    :param remedy: how to fix it.
    """

    check: str
    severity: Severity
    what: str
    remedy: str = ""
