"""What the tests of pages share: what views have counted, and what an answer says of the cache."""

from collections import Counter
from typing import Any

#: How often a view was called, by a name of the test's own; empty when a test begins.
seen: Counter[str] = Counter()


def status_of(response: Any) -> str:
    """What the cache says that it did."""
    return str(response.headers["Cache-Status"])
