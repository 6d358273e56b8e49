"""What `flask cache doctor` finds."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "advice", "problem", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    :param check: its name, which stays the same between versions.
    :param severity: ``advice`` is no problem; ``unknown`` could not be checked.
    :param what: what there is.
    :param remedy: what would do.
    """

    check: str
    severity: Severity
    what: str
    remedy: str = ""
