"""The near cache: copies of entries in this process, as right as the store itself.

Not the entries are tracked but what validates them: an entry whose tags stand is right wherever it
lies. So a copy is checked against its tags once after each word of the server (see tracking.py).
"""

from collections import OrderedDict
from collections.abc import Sequence
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

#: What a copy, a tag of it, a tag as such, and an alias take beside their texts, as measured.
_COPY_BYTES = 800
_POINTER_BYTES = 16
_TAG_BYTES = 300
_ALIAS_BYTES = 500
#: More requests than these for one page, as by made-up parameters, are answered through Flask.
_MOST_ALIASES = 8
#: One value takes no more than this share of the bytes, or it would push out all others.
_LARGEST_SHARE = 4


@dataclass(slots=True)
class _Name:
    """A tag, its reading as far as it is known, and how many copies carry it."""

    tag: str
    reading: int | None = None
    copies: int = 0


@dataclass(slots=True)
class Copy:
    """An entry in this process.

    :param key: of the entry.
    :param bytes: the memory that it takes, about.
    :param epoch: the tracker's epoch in which it was last checked against its tags.
    :param aliases: the requests that it answers.
    :param lookups: where the requests are counted that it answers.
    :param decoded: what its readers made of the value and share, if anything.
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
    """A bounded dictionary of copies, least recently used ones out first.

    :param prefix: the application's part of every key.
    :param max_bytes: the most that all copies may take, in bytes.
    :param max_entries: the most copies.
    :param standby: gets the copies when the server is lost.
    :param brake: learns from the server whether the cache is switched off.
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
        self._standby = fallback
        self._brake = kill_switch
        self._tracker = Tracker(
            store, prefix, self._remove_all, self._written, self._hand_over, kill_switch
        )

    def __len__(self) -> int:
        """Return the number of copies."""
        return len(self._copies)

    @property
    def epoch(self) -> int:
        """What changes with all that the server tells: to be read before the store is."""
        with self._tracker.lock:
            self._tracker.is_current()
        return self._tracker.epoch

    def close(self) -> None:
        """Drop the connection and all copies, for good."""
        self._tracker.close()

    # -- lookups -------------------------------------------------------------------------

    def find(self, key: str, moment: ContextState) -> Copy | None:
        """Return a copy that is valid now; it may be past its soft expiry.

        :param moment: the context that uses it; it takes its first reading here if it has none.
        """
        tracker = self._tracker
        with tracker.lock:
            if not tracker.is_current():
                return None
            copy = self._copies.get(key)
            if copy is None or not self._stands(copy) or not tracker.observe(moment):
                return None
            self._copies.move_to_end(key)
            return copy

    def find_alias(self, alias: Alias) -> Copy | None:
        """Return the copy that answers a request, for somebody who builds nothing of it.

        While the cache is switched off, nothing does.
        """
        if self._brake.is_off or alias not in self._aliases:
            return None
        with self._tracker.lock:
            if not self._tracker.is_current():
                return None
            copy = self._aliases.get(alias)
            if copy is None or not self._stands(copy):
                return None
            self._copies.move_to_end(copy.key)
            return copy

    def observe(self, moment: ContextState) -> bool:
        """Give a context its first reading; say whether it could be given."""
        with self._tracker.lock:
            return self._tracker.is_current() and self._tracker.observe(moment)

    def _stands(self, copy: Copy) -> bool:
        if copy.epoch == self._tracker.epoch:
            return True
        entry = copy.entry
        if entry.started is None or entry.generation != self._tracker.generation:
            return False
        for name in copy.names:
            if name.reading is None or name.reading > entry.started:
                return False
        copy.epoch = self._tracker.epoch
        return True

    # -- keeping -------------------------------------------------------------------------

    def keep(self, key: str, entry: Entry, values: Sequence[bytes | None], epoch: int) -> None:
        """Keep a copy of a valid entry that was read from the store.

        :param values: the readings of its tags, which were read with it.
        :param epoch: what ``epoch`` was before: if something was written since, nothing is kept.
        """
        size = _COPY_BYTES + len(key) + len(entry.value)
        if size > self._max_bytes // _LARGEST_SHARE:
            return
        with self._tracker.lock:
            if epoch != self._tracker.epoch or entry.generation != self._tracker.generation:
                return
            former = self._copies.get(key)
            self._remove(key)
            names = tuple(self._name(encodable(tag)) for tag in entry.tags)
            for name, value in zip(names, values, strict=True):
                name.reading = int(value or 0)
            # Equal tags of many entries are one string here.
            entry = replace(entry, tags=tuple(name.tag for name in names))
            copy = self._copies[key] = Copy(key, entry, names, 0, epoch)
            if former is not None:
                copy.aliases, copy.lookups = former.aliases, former.lookups
                self._aliases.update(dict.fromkeys(copy.aliases, copy))
            size += _POINTER_BYTES * len(names) + _ALIAS_BYTES * len(copy.aliases)
            self._grow(copy, size)

    def add_alias(self, alias: Alias, key: str, lookups: Lookups) -> None:
        """Remember which copy answers a request, and where that is counted."""
        with self._tracker.lock:
            copy = self._copies.get(key)
            if copy is None or alias in self._aliases:
                return
            if len(copy.aliases) >= _MOST_ALIASES:
                del self._aliases[copy.aliases.pop(0)]
                self._grow(copy, -_ALIAS_BYTES)
            copy.aliases.append(alias)
            copy.lookups = lookups
            self._aliases[alias] = copy
            self._grow(copy, _ALIAS_BYTES)

    def grow(self, copy: Copy, size: int) -> None:
        """Count bytes that a copy has come to take beside its entry."""
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
        """Believe no copy that carries one of these tags, before the server tells of their change.

        It may be lost first, and then nothing of it comes. ``None`` is all copies.
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
            known.reading = None

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

    def _hand_over(self, right_at: float) -> None:
        """Leave what was right a moment ago to the process, for the time without the server."""
        entries = [(copy.key, copy.entry) for copy in self._copies.values() if self._stands(copy)]
        self._standby.take_over(entries, right_at + self._standby.seconds)

    def _remove_all(self) -> None:
        self._copies.clear()
        self._aliases.clear()
        self._names.clear()
        self.bytes = 0
