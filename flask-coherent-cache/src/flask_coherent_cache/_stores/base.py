"""What every store offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from .breaker import CircuitBreaker

#: Why a store did not do what it was asked.
Failure = Literal[
    "timeout", "unreachable", "loading", "forbidden", "read-only", "full", "too large",
    "wrong type", "away", "other",
]  # fmt: skip


class StoreError(Exception):
    """The store did not do what it was asked.

    :param failure: why, as it is counted: ``away`` is not asked at all while the circuit breaker
        is open.
    """

    def __init__(self, message: str, failure: Failure = "other") -> None:
        super().__init__(message)
        self.failure: Failure = failure


class ServerRefusedError(OSError):
    """The server answered, and does not do what following it needs."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store's server says of itself; ``None`` where it does not.

    :param server: its name and version.
    :param bytes: what it holds, and ``max_bytes`` what it may; 0 is no bound.
    :param policy: what it evicts when it is full, as it names that.
    :param evictions: the items that it evicted since it began.
    :param items: those that it holds, of every application.
    :param time: its clock, in seconds since the epoch.
    :param uptime: the seconds since it began.
    """

    server: str
    bytes: int | None = None
    max_bytes: int | None = None
    policy: str | None = None
    evictions: int | None = None
    items: int | None = None
    time: float | None = None
    uptime: float | None = None


class Store(Protocol):
    """A key-value store shared by the processes of an application.

    Keys are strings without spaces or control characters, values are bytes, times are seconds.
    Every method raises :class:`StoreError` when the store does not answer as it should.
    """

    #: The store's processes: ``False`` for one that lives and dies with this process.
    shared: bool
    #: Keeps calls from a server that does not answer.
    breaker: "CircuitBreaker"
    #: Called with the seconds of each call to a server, also of one that failed.
    on_call: Callable[[float], object]
    #: Whether this process has reason to think that the server has forgotten invalidations: the
    #: generation has to end before anything of it counts.
    doubted: bool

    def facts(self) -> Facts:
        """Ask the server of itself."""

    def identity(self) -> str:
        """Name the server that answered this thread: another name may hold other data."""

    def now(self) -> float:
        """Return the server's time in seconds since the epoch, or this host's where it has none."""

    def shift(self) -> int:
        """Return by how many seconds the server's clock is ahead of Python's; 0 if they agree."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read all keys at once, ``None`` for a missing one."""

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        """Write a value that expires, or with ``None`` one that does not."""

    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        """Write a value as :meth:`put` does if the key is free; say whether it was."""

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        """Do :meth:`add` and then :meth:`get_many`, in one round trip where that can be."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys; missing ones are no error."""

    def release(self, key: str, token: bytes) -> None:
        """Delete a key if it holds ``token``."""

    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        """Put each tag in doubt: it validates nothing until that is settled.

        :param seconds: for how long, if nobody settles it; as long as a commit may take, unless it
            is said.
        """

    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        """Advance the clock and raise each tag to its new reading; settle the doubt of ``token``.

        A tag is never lowered. Returns the reading; ``None`` where the clock is missing: then
        nothing was written; 0 where the server is full: then the clock was deleted, and the
        generation ends with it.
        """

    def store_entry(
        self,
        key: str,
        value: bytes,
        seconds: float,
        clock: str,
        tags: Sequence[str],
        lease: tuple[str, bytes] | None = None,
    ) -> None:
        """Write an entry, and each missing tag at the clock's present reading; end the lease.

        A tag that went missing during the fill must not come back below an invalidation that
        happened meanwhile: the present reading is never below one.
        """

    def confirm(self) -> None:
        """Wait until every process that follows the server was told of what was written."""

    def close(self) -> None:
        """Drop the connections."""
