"""The near cache: copies of entries in this process, kept right by what the server tells.

Not entries are tracked but the tags, the clock and the generation: an entry whose tags stand is
right wherever it lies. One connection of each process is told by the server which of them are
written (Redis, client-side caching in broadcasting mode). Before each lookup, what lies in that
connection is read and applied; without a sign of life from the server for ``TRUST_SECONDS``,
or while the connection is being made anew, no copy is used.
"""

import logging
import os
import select
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from weakref import WeakSet, WeakValueDictionary

from hiredis import PushNotification

from .entries import Entry
from .keys import encodable
from .reads import Reads
from .stores import StoreError, is_reading

logger = logging.getLogger(__name__)

#: Windows has neither, and no gunicorn.
is_supported = hasattr(select, "poll") and hasattr(os, "register_at_fork")

PING_SECONDS = 1.0
#: Counted from when the ping was sent that was answered.
TRUST_SECONDS = 2.5
_TICK_SECONDS = 0.1
_RETRY_SECONDS = 0.2
#: After so many bytes at once there may be more on their way than the link held.
_BACKLOG_BYTES = 65_536
#: What a copy takes beside its value, its key and its tags, as measured.
_COPY_BYTES = 700
_TAG_BYTES = 48
_ALIAS_BYTES = 500
#: More requests than these for one page, as by made-up parameters, are answered through Flask.
_MOST_ALIASES = 8


class Subscription(Protocol):
    """A connection on which a server tells which keys were written."""

    server: str

    def fileno(self) -> int:
        """Return the descriptor to poll."""

    def send(self, *command: str) -> None:
        """Send a command, without waiting for its reply."""

    def receive(self) -> tuple[int, list[Any]]:
        """Return the number of bytes that were there, and the complete messages in them.

        :raises OSError: when the connection is lost, or the server refuses a command.
        """

    def close(self) -> None:
        """Drop the connection."""


class Subscribable(Protocol):
    """A store whose server tells what is written."""

    def server(self) -> str:
        """Name the server that the store's connections reached last."""

    def subscribe(self, name: str, prefixes: Sequence[str]) -> Subscription:
        """Open a connection that is told of each write to keys with these prefixes.

        :raises StoreError: when that cannot be.
        """


class _Name:
    """A tag, and its reading as far as it is known."""

    __slots__ = ("__weakref__", "reading", "tag")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.reading: int | None = None


@dataclass(slots=True)
class Copy:
    """An entry in this process.

    :param key: of the entry.
    :param bytes: the memory that it takes, about.
    :param epoch: the epoch of the near cache in which it was last checked against its tags.
    :param aliases: the requests that it answers.
    :param decoded: what its readers made of the value and share, if anything.
    """

    key: str
    entry: Entry
    names: tuple[_Name, ...]
    bytes: int
    epoch: int
    aliases: list[tuple[object, ...]] = field(default_factory=list)
    decoded: Any = None


class NearCache:
    """A bounded dictionary of copies, least recently used ones out first.

    :param prefix: the application's part of every key.
    :param max_bytes: the most that all copies may take, in bytes.
    :param max_entries: the most copies.
    """

    def __init__(
        self, store: Subscribable, *, prefix: str, max_bytes: int, max_entries: int
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._state_keys = (f"{prefix}:clock", f"{prefix}:generation")
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._begin()
        _near_caches.add(self)

    def _begin(self) -> None:
        """Be as new: nothing of it may be shared with the process from which this one forked."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._subscription: Subscription | None = None
        #: Of the lookups, which hold the lock, and of the thread that waits without it.
        self._poll: Any = None
        self._waiting: Any = None
        self._copies: OrderedDict[str, Copy] = OrderedDict()
        self._aliases: dict[tuple[object, ...], Copy] = {}
        self._names: WeakValueDictionary[str, _Name] = WeakValueDictionary()
        self.bytes = 0
        self.epoch = 0
        self._forget()

    def _forget(self) -> None:
        """Trust nothing until the server has told clock and generation again."""
        self._remove_all()
        self.epoch += 1
        self._trusted_until = self._doubted_at = 0.0
        #: All invalidations up to this reading have been applied.
        self._applied = 0
        #: The clock's present reading; None from a push that changed it until it is known again.
        self._clock: int | None = None
        self._generation: str | None = None
        self._replies: deque[Callable[[Any], None]] = deque()
        self._asking = self._outdated = False
        self._pinged_at = 0.0

    # -- lookups -------------------------------------------------------------------------

    def find(self, key: str, reads: Reads) -> Copy | None:
        """Return a copy that is valid now; it may be past its soft expiry.

        :param reads: the context that uses it; it takes its first reading here if it has none.
        """
        with self._lock:
            if not self._is_current():
                return None
            copy = self._copies.get(key)
            if copy is None or not self._stands(copy) or not self._observe(reads):
                return None
            self._copies.move_to_end(key)
            return copy

    def find_alias(self, alias: tuple[object, ...]) -> Copy | None:
        """Return the copy that answers a request, for somebody who builds nothing of it."""
        if alias not in self._aliases:
            return None
        with self._lock:
            if not self._is_current():
                return None
            copy = self._aliases.get(alias)
            if copy is None or not self._stands(copy):
                return None
            self._copies.move_to_end(copy.key)
            return copy

    def add_alias(self, alias: tuple[object, ...], key: str) -> None:
        """Remember which copy answers a request."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None or alias in self._aliases:
                return
            if len(copy.aliases) >= _MOST_ALIASES:
                del self._aliases[copy.aliases.pop(0)]
                self._grow(copy, -_ALIAS_BYTES)
            copy.aliases.append(alias)
            self._aliases[alias] = copy
            self._grow(copy, _ALIAS_BYTES)

    def observe(self, reads: Reads) -> bool:
        """Give a context its first reading; say whether it could be given."""
        with self._lock:
            return self._is_current() and self._observe(reads)

    def _observe(self, reads: Reads) -> bool:
        """Tell whether the copies are as new as the context's reading, which they may set.

        A context that took its reading elsewhere may be ahead: of an invalidation whose message
        is on its way, it would store the old value under the new reading.
        """
        if reads.started is None:
            if self._clock is None or self._generation is None:
                return False
            reads.started, reads.generation = self._clock, self._generation
        return reads.started <= self._applied and reads.generation == self._generation

    def _stands(self, copy: Copy) -> bool:
        if copy.epoch == self.epoch:
            return True
        entry = copy.entry
        if entry.generation != self._generation:
            return False
        for name in copy.names:
            if name.reading is None or name.reading > entry.started:  # type: ignore[operator]
                return False
        copy.epoch = self.epoch
        return True

    def keep(self, key: str, entry: Entry, values: Sequence[bytes | None], epoch: int) -> None:
        """Keep a copy of a valid entry that was read from the store.

        :param values: the readings of its tags, which were read with it.
        :param epoch: what ``epoch`` was before: if something was written since, nothing is kept.
        """
        size = _COPY_BYTES + len(key) + len(entry.value)
        size += sum(_TAG_BYTES + len(tag) for tag in entry.tags)
        if size > self._max_bytes // 4:
            return
        with self._lock:
            if epoch != self.epoch or entry.generation != self._generation:
                return
            names = tuple(self._name(encodable(tag)) for tag in entry.tags)
            for name, value in zip(names, values, strict=True):
                name.reading = int(value or 0)
            # Equal tags of many entries are one string here.
            entry = replace(entry, tags=tuple(name.tag for name in names))
            copy = Copy(key, entry, names, 0, epoch)
            if former := self._copies.get(key):
                self._remove(key)
                copy.aliases = former.aliases
                self._aliases.update(dict.fromkeys(copy.aliases, copy))
                size += _ALIAS_BYTES * len(copy.aliases)
            self._copies[key] = copy
            self._grow(copy, size)

    def grow(self, copy: Copy, size: int) -> None:
        """Count bytes that a copy has come to take beside its entry."""
        with self._lock:
            if self._copies.get(copy.key) is copy:
                self._grow(copy, size)

    def _grow(self, copy: Copy, size: int) -> None:
        copy.bytes += size
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._copies) > self._max_entries:
            self._remove(next(iter(self._copies)))

    def _name(self, tag: str) -> _Name:
        name = self._names.get(tag)
        if name is None:
            name = self._names[tag] = _Name(tag)
        return name

    def _remove(self, key: str) -> None:
        if copy := self._copies.pop(key, None):
            self.bytes -= copy.bytes
            for alias in copy.aliases:
                del self._aliases[alias]

    def _remove_all(self) -> None:
        self._copies.clear()
        self._aliases.clear()
        self._names.clear()
        self.bytes = 0

    # -- what the server tells -----------------------------------------------------------

    def _is_current(self) -> bool:
        """Apply what the server has told, and say whether the copies may be used."""
        if self._subscription is None:
            self._start()
            return False
        try:
            self.drain()
        except OSError as error:
            self._lose(error)
            return False
        return time.monotonic() < self._trusted_until

    def drain(self) -> None:
        """Read and apply what lies in the connection, without waiting."""
        if self._poll.poll(0):
            size, messages = self._subscription.receive()  # type: ignore[union-attr]
            if size > _BACKLOG_BYTES:
                self._trusted_until, self._doubted_at = 0.0, time.monotonic()
                self._ping()
            for message in messages:
                self._apply(message)

    def _apply(self, message: Any) -> None:
        if not isinstance(message, PushNotification):
            self._replies.popleft()(message)
            return
        kind, *rest = message
        if kind != b"invalidate":
            return
        names = rest[0]
        if names is None:  # The server was emptied.
            self._remove_all()
            names = [key.encode() for key in self._state_keys]
        for name in names:
            self._written(name.decode("utf-8", "replace"))
        self.epoch += 1

    def _written(self, key: str) -> None:
        if key in self._state_keys:
            self._clock, self._outdated = None, True
            if key == self._state_keys[1]:
                self._generation = None
            if not self._asking:
                self._ask()
            return
        kind, _, name = key[len(self._prefix) + 1 :].partition(":")
        if kind == "renewed":
            self._remove(name)
        elif known := self._names.get(name):
            known.reading = None

    def _ask(self) -> None:
        """Ask for clock and generation, and for a sign that the messages before came through.

        The messages of what was written before the answer can follow it, but not the reply to a
        command that was sent after it.
        """
        self._asking, self._outdated = True, False

        def answered(state: Any) -> None:
            self._send(lambda _: told(*state), "PING")

        def told(clock: bytes | None, generation: bytes | None) -> None:
            self._asking = False
            if is_reading(clock) and generation is not None:
                self._applied = int(clock or 0)
                if not self._outdated:
                    self._clock, self._generation = self._applied, generation.decode("latin-1")
            if self._outdated:
                self._ask()

        self._send(answered, "MGET", *self._state_keys)

    def _ping(self) -> None:
        sent = self._pinged_at = time.monotonic()

        def ponged(_: Any) -> None:
            if sent >= self._doubted_at:
                self._trusted_until = sent + TRUST_SECONDS

        self._send(ponged, "PING")

    def _send(self, then: Callable[[Any], None], *command: str) -> None:
        self._subscription.send(*command)  # type: ignore[union-attr]
        self._replies.append(then)

    # -- the connection ------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="cache-near", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        """Make the connection, and drain it when no lookup does."""
        while not self._closed.is_set():
            subscription = self._subscription
            if subscription is None:
                self._subscribe()
                continue
            self._waiting.poll(_TICK_SECONDS * 1000)
            with self._lock:
                if self._subscription is subscription:
                    self._attend()

    def _attend(self) -> None:
        try:
            self.drain()
            now = time.monotonic()
            if self._store.server() != self._subscription.server:  # type: ignore[union-attr]
                raise OSError("the store has reached another server")
            if now > max(self._trusted_until, self._doubted_at) + TRUST_SECONDS:
                raise OSError("the server does not answer")
            if now >= self._pinged_at + PING_SECONDS:
                self._ping()
        except OSError as error:
            self._lose(error)

    def _subscribe(self) -> None:
        kinds = ("clock", "generation", "tag:", "renewed:")
        prefixes = [f"{self._prefix}:{kind}" for kind in kinds]
        try:
            subscription = self._store.subscribe(f"{self._prefix}-near", prefixes)
        except StoreError as error:
            logger.debug("The near cache cannot follow the server: %s", error)
            self._closed.wait(_RETRY_SECONDS)
            return
        with self._lock:
            if self._closed.is_set():
                subscription.close()
                return
            self._forget()
            self._subscription = subscription
            self._poll, self._waiting = _poll(subscription), _poll(subscription)
            self._doubted_at = time.monotonic()
            try:
                self._ask()
                self._ping()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        logger.info("The near cache lost its connection, and makes it anew: %s", error)
        if self._subscription is not None:
            self._subscription.close()
        self._subscription = None
        self._forget()

    def close(self) -> None:
        """Drop the connection and all copies, for good."""
        self._closed.set()
        with self._lock:
            if self._subscription is not None:
                self._lose(OSError("closed"))


def _poll(subscription: Subscription) -> Any:
    """Make what tells whether something lies in a connection; two threads cannot share one."""
    poll = select.poll()
    poll.register(subscription.fileno(), select.POLLIN)
    return poll


_near_caches: WeakSet[NearCache] = WeakSet()


def _begin_all() -> None:
    for near in _near_caches:
        near._begin()


if is_supported:
    os.register_at_fork(after_in_child=_begin_all)
