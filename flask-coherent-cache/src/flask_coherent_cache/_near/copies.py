"""The near cache: copies of entries in this process, which are never staler than the store.

It tracks tags, not entries: an entry with valid tags is valid in every process. So a copy is
checked against its tags once after each message of the server (see tracking.py).
"""

from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .._dependencies.dependencies import ContextState
from .._engine.entry import Entry
from .._engine.fallback import Fallback
from .._engine.kill_switch import KillSwitch
from .._keys.encoding import encodable
from .._statistics.statistics import Lookups
from .tracking import Tracker

if TYPE_CHECKING:
    from .._stores.redis import RedisStore

Alias = tuple[object, ...]

#: What a copy, a tag of it, a tag as such, and an alias take beside their texts: by so much the
#: process was measured to grow, with what it remembers of copies that it dropped.
_COPY_BYTES = 1400
_POINTER_BYTES = 16
_TAG_BYTES = 300
_ALIAS_BYTES = 500
#: More spellings of one page's URL, such as made-up parameters, are answered through Flask.
_MOST_ALIASES = 8
#: One value may take a quarter of the bytes: a larger one would push out all others.
_LARGEST_SHARE = 4


@dataclass(slots=True)
class _Name:
    """A tag, its timestamp if it is known, and the number of copies that carry it."""

    tag: str
    timestamp: int | None = None
    copies: int = 0


@dataclass(slots=True)
class Copy:
    """An entry in this process.

    :param key: of the entry.
    :param bytes: the memory that it takes, estimated.
    :param epoch: the tracker's epoch when it was last checked against its tags.
    :param aliases: the requests that it answers.
    :param lookups: where these requests are counted.
    :param decoded: what its readers made of the value.
    """

    key: str
    entry: Entry
    names: tuple[_Name, ...]
    bytes: int
    epoch: int
    aliases: list[Alias] = field(default_factory=list)
    lookups: Lookups | None = None
    decoded: Any = None


class NearCache:
    """A bounded dictionary of copies, which evicts the least recently used ones.

    :param prefix: the application's part of every key.
    :param max_bytes: the most memory for all copies.
    :param max_entries: the most copies.
    :param fallback: gets the copies when the connection to the server is lost.
    :param kill_switch: learns from the server whether the cache is switched off.
    """

    def __init__(
        self,
        store: "RedisStore",
        *,
        prefix: str,
        max_bytes: int,
        max_entries: int,
        fallback: Fallback,
        kill_switch: KillSwitch,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._copies: OrderedDict[str, Copy] = OrderedDict()
        self._aliases: dict[Alias, Copy] = {}
        self._names: dict[str, _Name] = {}
        self.bytes = 0
        self.evictions = 0
        self._fallback = fallback
        self._kill_switch = kill_switch
        self._tracker = Tracker(
            store, prefix, self._remove_all, self._written, self._hand_over, kill_switch
        )

    def __len__(self) -> int:
        """Return the number of copies."""
        return len(self._copies)

    @property
    def epoch(self) -> int:
        """A number that changes with each message of the server: read it before the store."""
        with self._tracker.lock:
            self._tracker.is_current()
        return self._tracker.epoch

    def close(self) -> None:
        """Drop the connection and all copies, for good."""
        self._tracker.close()

    # -- lookups -------------------------------------------------------------------------

    def find(self, key: str, state: ContextState) -> Copy | None:
        """Return a copy that is valid now; it may be past its soft expiry.

        :param state: of the context that uses it; it takes its first timestamp here if it has none.
        """
        tracker = self._tracker
        with tracker.lock:
            if not tracker.is_current():
                return None
            copy = self._copies.get(key)
            if copy is None or not (copy.epoch == tracker.epoch or self._is_valid(copy)):
                return None
            if not tracker.observe(state):
                return None
            self._copies.move_to_end(key)
            return copy

    def find_alias(self, alias: Alias) -> Copy | None:
        """Return the copy that answers a request, for a caller that builds nothing from it.

        While the cache is switched off, there is none.
        """
        copy = self._aliases.get(alias)
        if copy is None or self._kill_switch.is_off:
            return None
        tracker = self._tracker
        with tracker.lock:
            # The messages that arrive only now may drop or replace it.
            if not tracker.is_current() or self._copies.get(copy.key) is not copy:
                return None
            if not (copy.epoch == tracker.epoch or self._is_valid(copy)):
                return None
            self._copies.move_to_end(copy.key)
            return copy

    def observe(self, state: ContextState) -> bool:
        """Give a context its first timestamp; tell whether that was possible."""
        with self._tracker.lock:
            return self._tracker.is_current() and self._tracker.observe(state)

    def _is_valid(self, copy: Copy) -> bool:
        if copy.epoch == self._tracker.epoch:
            return True
        entry = copy.entry
        if entry.started is None or entry.generation != self._tracker.generation:
            return False
        for name in copy.names:
            if name.timestamp is None or name.timestamp > entry.started:
                return False
        copy.epoch = self._tracker.epoch
        return True

    # -- keeping -------------------------------------------------------------------------

    def keep(self, key: str, entry: Entry, values: Sequence[bytes | None], epoch: int) -> None:
        """Keep a copy of a valid entry that was read from the store.

        :param values: the timestamps of its tags, which were read with it.
        :param epoch: what ``epoch`` was before that: nothing is kept if a write came since.
        """
        size = _COPY_BYTES + len(key) + len(entry.value)
        if size > self._max_bytes // _LARGEST_SHARE:
            return
        with self._tracker.lock:
            if epoch != self._tracker.epoch or entry.generation != self._tracker.generation:
                return
            # With its aliases: what guards read may not be among the tags of this entry.
            self._remove(key)
            names = tuple(self._name(encodable(tag)) for tag in entry.tags)
            for name, value in zip(names, values, strict=True):
                name.timestamp = int(value or 0)
            # The copies share one string for each tag.
            entry = replace(entry, tags=tuple(name.tag for name in names))
            copy = self._copies[key] = Copy(key, entry, names, 0, epoch)
            self._grow(copy, size + _POINTER_BYTES * len(names))

    def add_alias(self, alias: Alias, key: str, lookups: Lookups, tags: AbstractSet[str]) -> None:
        """Remember which copy answers a request, and where such requests are counted.

        :param tags: that the copy has to carry; another may have taken its place meanwhile.
        """
        with self._tracker.lock:
            copy = self._copies.get(key)
            if copy is None or alias in self._aliases:
                return
            if not set(map(encodable, tags)) <= {*copy.entry.tags}:
                return
            if len(copy.aliases) >= _MOST_ALIASES:
                del self._aliases[copy.aliases.pop(0)]
                self._grow(copy, -_ALIAS_BYTES)
            copy.aliases.append(alias)
            copy.lookups = lookups
            self._aliases[alias] = copy
            self._grow(copy, _ALIAS_BYTES)

    def grow(self, copy: Copy, size: int) -> None:
        """Count the bytes that a copy now takes beside its entry."""
        with self._tracker.lock:
            if self._copies.get(copy.key) is copy:
                self._grow(copy, size)

    def _grow(self, copy: Copy, size: int) -> None:
        copy.bytes += size
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._copies) > self._max_entries:
            self._remove(next(iter(self._copies)))
            self.evictions += 1

    def _name(self, tag: str) -> _Name:
        name = self._names.get(tag)
        if name is None:
            name = self._names[tag] = _Name(tag)
            self.bytes += _TAG_BYTES + len(tag)
        name.copies += 1
        return name

    # -- dropping ------------------------------------------------------------------------

    def forget(self, tags: frozenset[str] | None) -> None:
        """Distrust the copies with one of these tags, without waiting for the server's message.

        If the connection is lost first, that never comes. ``None`` means all copies.
        """
        with self._tracker.lock:
            self._tracker.epoch += 1
            if tags is None:
                self._remove_all()
                return
            for tag in tags:
                self._written("tag", encodable(tag))

    def _written(self, kind: str, name: str) -> None:
        if kind == "renewed":
            self._remove(name)
        elif known := self._names.get(name):
            known.timestamp = None

    def _remove(self, key: str) -> None:
        if copy := self._copies.pop(key, None):
            self.bytes -= copy.bytes
            for alias in copy.aliases:
                del self._aliases[alias]
            for name in copy.names:
                name.copies -= 1
                if not name.copies:
                    del self._names[name.tag]
                    self.bytes -= _TAG_BYTES + len(name.tag)

    def _hand_over(self, valid_at: float) -> None:
        """Give the copies that were valid at that time to the fallback."""
        entries = [(copy.key, copy.entry) for copy in self._copies.values() if self._is_valid(copy)]
        self._fallback.take_over(entries, valid_at + self._fallback.seconds)

    def _remove_all(self) -> None:
        self._copies.clear()
        self._aliases.clear()
        self._names.clear()
        self.bytes = 0
