"""What the parts of a cache engine share: its store and keys, its peers, and its failures."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .._dependencies.dependencies import ContextState, Dependencies, current_dependencies
from .._dependencies.inputs import printable
from .._forks import new_lock
from .._keys.encoding import bounded, encodable
from .._statistics.statistics import Lookups, Statistics
from .._stores import Known, Store, StoreError
from .bounds import KeyQuota, Pauses, Recent
from .entry import Entry, Sealer
from .fallback import Fallback
from .generations import Generations
from .kill_switch import KillSwitch
from .leases import Lease

if TYPE_CHECKING:
    from flask import Flask

    from .._near.copies import NearCache
    from .invalidation import Invalidator

logger = logging.getLogger(__name__)

#: The log has a failure of one kind once in so many seconds.
_QUIET_SECONDS = 60
#: So many bytes of an encrypted entry hold its nonce.
_BEGINNING_BYTES = 16


class Seen(NamedTuple):
    """An entry that was in the store when this process last looked, or put it there.

    :param beginning: of its bytes, which no other entry begins with.
    """

    tags: tuple[str, ...]
    started: int | None
    beginning: bytes


@dataclass(eq=False, repr=False)
class EngineBase:
    """One application's cache in one store, as all parts of the engine see it.

    :param prefix: the application's part of every key; holds no colon.
    :param release: the deployed version's part of an entry's key. Tags, clock and generation are
        shared by the releases, or a rolling deploy would split invalidation.
    :param lease_seconds: how long a fill keeps others from filling the same key.
    :param wait_seconds: how long the others wait for it.
    :param near: the copies in this process, if the store can keep them valid.
    :param fallback: serves while the store is away.
    :param kill_switch: tells whether the cache is switched off.
    """

    store: Store
    sealer: Sealer
    app: "Flask"
    prefix: str
    release: str
    lease_seconds: float
    wait_seconds: float
    near: "NearCache | None"
    fallback: Fallback
    kill_switch: KillSwitch

    def __post_init__(self) -> None:
        self.invalidator: Invalidator
        self.statistics = Statistics()
        self.generations = Generations(self.store, self.prefix, self.kill_switch)
        #: The settings of this cache in this application.
        self.config: dict[str, Any] = {}
        #: The application's other caches, whose entries may be built from this one's.
        self.peers: tuple[EngineBase, ...] = ()
        #: The tag of all that is built from this cache's entries.
        self.own_tag = f"cache:{self.prefix}"
        #: It is there while somebody may wait who looked before a late invalidation.
        self.late_key = f"{self.prefix}:late"
        #: What went wrong and was healed, by name, since the process began.
        self.counts: Counter[str] = Counter()
        #: What is known of a key's last entry, so that a hit costs one round trip, not two.
        self.seen: Recent[Seen] = Recent()
        self.new_keys = KeyQuota()
        self._reported = Pauses()
        self._lock = new_lock()
        #: Called after each invalidation with its tags, and by ``clear`` with ``None``.
        self.listeners: list[Callable[[frozenset[str] | None], object]] = []
        #: What watches the databases; ``None`` if nothing does. It sets the three hooks below.
        self.watcher: Any = None
        #: Tells the context what it holds beside what it read through the cache.
        self.before_fetch: Callable[[Dependencies], None] = lambda dependencies: None
        #: The mapped classes that have objects in the session.
        self.objects_of: Callable[[], frozenset[Any]] = frozenset
        #: Tells whether a fill that got objects of some classes can reach one of the others.
        self.can_reach: Callable[[set[Any], frozenset[Any]], bool] = lambda entities, held: False

    # -- the store -----------------------------------------------------------------------

    def entry_key(self, key: str) -> str:
        """Return an entry's key in the store."""
        return encodable(f"{self.prefix}:{self.release}:entry:{key}")

    def tag_keys(self, tags: Sequence[str]) -> list[str]:
        """Return the keys of tags in the store."""
        return [encodable(f"{self.prefix}:tag:{tag}") for tag in tags]

    def tag_values(self, tags: Sequence[str]) -> list[bytes | None]:
        """Read what the store has for tags."""
        return self.store.get_many(self.tag_keys(tags)) if tags else []

    def lease(self, key: str) -> Lease:
        """Return the lease of a key, not yet taken."""
        name = encodable(f"{self.prefix}:{self.release}:lease:{key}")
        return Lease(self.store, name, self.lease_seconds)

    def seal(self, key: str, entry: Entry) -> bytes:
        """Seal an entry, whose times lie in the store by the server's clock."""
        return self.sealer.seal(key, entry.moved(self.store.shift()))

    def open(self, key: str, sealed: bytes | None) -> Entry | None:
        """Open an entry; ``None`` for a missing or an unreadable one."""
        entry = self.sealer.open(key, sealed)
        return None if entry is None else entry.moved(-self.store.shift())

    def see(self, key: str, entry: Entry, sealed: bytes) -> None:
        """Remember an entry that is in the store."""
        seen = self.seen.get(key)
        beginning = sealed[:_BEGINNING_BYTES]
        if seen is None or seen.beginning != beginning or seen.tags != entry.tags:
            self.seen.keep(key, Seen(entry.tags, entry.started, beginning))

    def known(self, key: str) -> Known:
        """Return by what a key's last entry is told from others, and when its fill began.

        Nothing of a plain value, which no tag makes invalid.
        """
        seen = self.seen.get(key)
        return (b"", 0) if seen is None or seen.started is None else (seen.beginning, seen.started)

    def renew_copies(self, key: str) -> None:
        """Have every process read a key from the store again: its entry was replaced early."""
        if self.near is not None:
            self.store.put(encodable(f"{self.prefix}:renewed:{key}"), b"", 1)
            self.store.confirm()

    # -- what a context may do -----------------------------------------------------------

    def may_look(self, key: str, dependencies: Dependencies, state: ContextState) -> bool:
        """Tell whether a context may look anything up, or must bypass the cache."""
        self.before_fetch(dependencies)
        # Read here, to save each hit the call.
        if (state.off or self.kill_switch.is_off) and self.is_off(state):
            return False
        bypasses = dependencies.bypass or dependencies.uncommitted or dependencies.verifying
        return not (bypasses or key in state.filling)

    def is_off(self, state: ContextState) -> bool:
        """Tell whether a context bypasses the cache because it is switched off."""
        if not state.off and self.kill_switch.is_off and self.kill_switch.ask_again():
            state.switch_off()
        return state.off

    def may_add(self, key: str, kind: str, most: int) -> bool:
        """Tell whether a fill may be stored: of keys new to this process, only so many.

        :param kind: what it is a key of, such as a route.
        :param most: the new keys of that kind in a minute; 0 is no bound.
        """
        if key in self.seen or self.new_keys.admit(kind, most):
            return True
        self.count("limit: new keys")
        return False

    @property
    def source_tags(self) -> tuple[str, ...]:
        """The tag of all that comes from this cache, if peers may build on it."""
        return (self.own_tag,) if self.peers else ()

    @property
    def uses_fallback(self) -> bool:
        """Whether the store is away, and this process serves what it computed itself."""
        return self.store.breaker.is_away and self.fallback.seconds > 0

    @property
    def replica_lag(self) -> float:
        """For how many seconds the application may read data from before a commit."""
        return float(self.config.get("CACHE_REPLICA_LAG_SECONDS", 0))

    # -- what went wrong -----------------------------------------------------------------

    def count(self, name: str) -> None:
        """Count something that went wrong."""
        with self._lock:
            self.counts[name] += 1

    def failed(self, error: StoreError) -> None:
        """Count a failure of the store; the log has one line a minute, and the breaker's own."""
        self.count(f"store: {error.failure}")
        if error.failure != "away" and self.is_news("the store"):
            logger.warning("The cache's store failed, and was done without: %s", error)

    @contextmanager
    def tolerating_failures(self) -> Iterator[None]:
        """Go on after the block if the store fails in it."""
        try:
            yield
        except StoreError as error:
            self.failed(error)

    def lose(self, state: ContextState, error: StoreError) -> None:
        """Have a context ask the store nothing any more."""
        self.failed(error)
        state.lost = True

    def is_news(self, key: str) -> bool:
        """Tell whether the log has had no failure of a key within the last minute."""
        return self._reported.start_unless_running(key, _QUIET_SECONDS)

    def refuse(self, lookups: Lookups, reason: str, message: str = "", place: str = "") -> None:
        """Note that something is not cached, and why.

        :param reason: its kind in a word, and after a colon what it is about.
        :param message: for the log, which has it once for each name and reason; empty if the
            owner of what is not cached asked for that.
        :param place: who read what it is about.
        """
        if current_dependencies().verifying:
            return
        if self.statistics.refuse(lookups, reason, place) and message:
            logger.warning(printable(message))


def key_tag(key: str) -> str:
    """Return the tag that an entry's own key is."""
    return f"key:{bounded(key)}"
