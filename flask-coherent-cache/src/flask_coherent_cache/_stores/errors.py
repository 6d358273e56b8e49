"""Why a store did not do what it was asked."""

from typing import Literal

#: The reasons, as they are counted. ``away``: the circuit breaker is open, so it was not asked.
Failure = Literal[
    "timeout", "unreachable", "loading", "forbidden", "read-only", "full", "too large",
    "wrong type", "away", "other",
]  # fmt: skip


class StoreError(Exception):
    """The store did not do what it was asked."""

    def __init__(self, message: str, failure: Failure = "other") -> None:
        super().__init__(message)
        self.failure: Failure = failure


class ServerRefusedError(OSError):
    """The server answered, but refused what following it needs."""
