"""What every store offers, and how a call to its server is guarded."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from .breaker import CircuitBreaker
from .clock import ServerClock
from .errors import Failure, StoreError

#: The key of a lease and the token that it holds; ``None`` without a lease.
Lease = tuple[str, bytes] | None
#: The bytes that an entry begins with, by which it is told from others, and when its fill began.
Known = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store's server reports about itself; ``None`` where it does not."""

    server: str  # Its name and version.
    bytes: int | None = None  # What it holds.
    max_bytes: int | None = None  # What it may hold; 0 is no limit.
    policy: str | None = None  # What it evicts when it is full, in its own words.
    evictions: int | None = None  # The items that it evicted since it started.
    items: int | None = None  # Those that it holds, of every application.
    time: float | None = None  # Its clock, in seconds since the epoch.
    uptime: float | None = None  # The seconds since it started.


class Store(ABC):
    """A key-value store shared by the processes of an application.

    Keys are strings without spaces or control characters, values are bytes, times are seconds.
    Every method raises :class:`StoreError` when the store does not answer as it should.
    """

    #: What errors call it, and its identity if it has no other.
    name: ClassVar[str]
    #: ``False`` for a store that lives and dies with this process.
    shared = True
    #: What the client library raises.
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    #: What that means, by a part of its message or by its class: the first that fits.
    failures: ClassVar[tuple[tuple[str | type[Exception], Failure], ...]] = ()
    #: Whether the server may have forgotten invalidations: then the generation has to end before
    #: anything in the store counts.
    doubted = False

    def __init__(self, retry_seconds: float) -> None:
        #: Keeps calls from a server that does not answer.
        self.breaker = CircuitBreaker(self._checked_probe, retry_seconds)
        #: Called with the seconds of each call to a server, also of one that failed.
        self.on_call: Callable[[float], object] = lambda seconds: None
        self._clock = ServerClock()

    @abstractmethod
    def facts(self) -> Facts:
        """Ask the server about itself."""

    def identity(self) -> str:
        """Name the server that answered this thread: another name may hold other data."""
        return self.name.lower()

    def now(self) -> float:
        """Return the server's time in seconds since the epoch, or this host's where it has none."""
        return self._clock.now()

    def shift(self) -> int:
        """Return by how many seconds the server's clock is ahead of Python's; 0 if they agree."""
        return self._clock.shift()

    @abstractmethod
    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read all keys at once, ``None`` for a missing one."""

    @abstractmethod
    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        """Write a value that expires, or with ``None`` one that does not."""

    @abstractmethod
    def add(self, key: str, value: bytes, seconds: float | None) -> bool:
        """Write a value as :meth:`put` does if the key is free; say whether it was."""

    def add_then_get_many(
        self, key: str, value: bytes, seconds: float, keys: Sequence[str]
    ) -> tuple[bool, list[bytes | None]]:
        """Do :meth:`add` and then :meth:`get_many`, in one round trip where that can be."""
        return self.add(key, value, seconds), self.get_many(keys)

    def look(
        self, key: str, token: bytes, seconds: float, keys: Sequence[str], place: int, known: Known
    ) -> list[bytes | None]:
        """Read keys, and take a lease if there is certainly no valid entry, in one round trip.

        That is where the entry is missing; or where it is the known one, and one of its tags is
        missing, in doubt or above its timestamp. A store that cannot do it in one step only reads.

        :param key: of the lease, which is to hold ``token`` for so many seconds.
        :param place: of the entry among ``keys``; its tags come after it.
        :return: what the lease's key holds, and what the others do.
        """
        return self.get_many([key, *keys])

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys; missing ones are no error."""

    @abstractmethod
    def release(self, key: str, token: bytes) -> None:
        """Delete a key if it holds ``token``."""

    @abstractmethod
    def mark(self, tags: Sequence[str], token: str, seconds: float | None = None) -> None:
        """Put each tag in doubt: nothing with that tag is valid until the doubt is settled.

        :param seconds: how long the doubt lasts if nobody settles it; by default as long as a
            commit may take.
        """

    @abstractmethod
    def invalidate(self, clock: str, tags: Sequence[str], token: str = "") -> int | None:
        """Advance the clock and bump each tag to its new timestamp; settle the doubt of ``token``.

        A bump never lowers a tag. Returns the timestamp; ``None`` where the clock is missing: then
        nothing was written; 0 where the server is full: then the clock was deleted, and the
        generation ends with it.
        """

    @abstractmethod
    def store_entry(
        self, key: str, value: bytes, seconds: float, clock: str, tags: Sequence[str], lease: Lease
    ) -> None:
        """Write an entry, and each missing tag at the clock's present timestamp; end the lease.

        A tag that went missing during the fill must not come back below an invalidation that
        happened meanwhile: the present timestamp is never below one.
        """

    def confirm(self) -> None:  # noqa: B027 - only servers with followers have to wait.
        """Wait until every process that follows the server knows what was written."""

    def close(self) -> None:
        """Drop the connections."""
        self.breaker.close()

    @abstractmethod
    def _probe(self) -> None:
        """Ask the server, and have it write something."""

    def _checked_probe(self) -> None:
        with self._explained():
            self._probe()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what the client library raises as a :class:`StoreError`."""
        try:
            yield
        except self.errors as error:
            raise self.explain(error) from error

    @classmethod
    def explain(cls, error: Exception) -> StoreError:
        """Say why the store did not do what it was asked."""
        if isinstance(error, StoreError):
            return error
        text = str(error)
        for sign, failure in cls.failures:
            if sign in text if isinstance(sign, str) else isinstance(error, sign):
                return StoreError(f"{cls.name}: {text or repr(error)}", failure)
        return StoreError(f"{cls.name}: {text or repr(error)}")


class ServerCall:
    """A call to a store's server: refused while the breaker is open, timed, its errors explained.

    :param unless: a reason for which the breaker may be open and the call succeeds all the same.
    """

    __slots__ = ("_began", "_store", "_unless")

    def __init__(self, store: Store, unless: Failure | None = None) -> None:
        self._store, self._unless = store, unless

    def __enter__(self) -> None:
        self._store.breaker.check(self._unless)
        self._began = time.perf_counter()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        store = self._store
        store.on_call(time.perf_counter() - self._began)
        if isinstance(error, store.errors):
            raise store.breaker.failed(store.explain(error)) from error
