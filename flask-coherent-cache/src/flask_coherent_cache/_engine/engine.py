"""Lookups, fills and invalidations: what makes an entry right, whatever the store."""

import logging
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._clock import monotonic
from .._dependencies.dependencies import ContextState, Dependencies, Scope, current_dependencies
from .._dependencies.inputs import printable, report_once
from .._forks import begin_after_fork, new_lock
from .._keys.encoding import bounded, encodable
from .._statistics.reports import Board
from .._statistics.statistics import Cause, Fill, Lookups, Result, Statistics, Trace, current_origin
from .._stores import Store, StoreError, is_overdue
from .entry import Entry, Sealer, invalid_tags
from .fallback import Fallback
from .generations import Generations
from .inspection import Inspection, judge
from .key_quota import KeyQuota
from .kill_switch import KillSwitch
from .leases import free, new_token, release_foreign
from .outbox import SETTLING_SECONDS, Outbox

if TYPE_CHECKING:
    from flask import Flask

    from .._near.copies import Copy, NearCache
    from .._pages.surroundings import Surroundings
    from .._verification import Verifier

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How many keys' tags a process remembers, so that a hit costs one round trip, not two.
_REMEMBERED_KEYS = 10_000
_REFILL_THREADS = 2
_WAITING_REFILLS = 64
#: For how long nobody waits for the fill of a key that gave nothing to store, or failed.
_REFUSED_SECONDS = 10
_FAILED_SECONDS = 1
_QUIET_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Policy:
    """How long an entry lives, and what it depends on beside what its fill reads.

    :param timeout: seconds to its soft expiry; 0 is not stored.
    :param grace: seconds past it in which it may be served stale.
    :param jitter: the share of the timeout, 0 to 1, by which it is shortened at random, so that
        entries stored together do not expire together.
    :param tags: names that the entry carries in any case.
    """

    timeout: float
    grace: float = 0
    jitter: float = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fill returned.

    :param result: what the caller gets.
    :param value: its encoding; ``None`` where it must not be stored.
    :param timeout: seconds that replace the policy's.
    :param refused: in a word, why it must not be stored.
    :param looked_back: whether it may be made of what the context had read before.
    """

    result: Any
    value: bytes | None
    timeout: float | None = None
    refused: str | None = None
    looked_back: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a fetch was answered: by an entry (hit, stale) or by a computation (miss, bypass).

    :param waited: whether another fill was waited for.
    :param near: whether the entry lay in this process.
    """

    status: Literal["hit", "stale", "miss", "bypass"]
    entry: Entry | None = None
    result: Any = None
    stored: bool = False
    refused: str | None = None
    waited: bool = False
    near: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What a lookup saw: an entry or none, its bytes, whether it is valid, and why it is not.

    :param invalid: the tags that were raised or are missing, and the latest of their readings.
    """

    entry: Entry | None = None
    valid: bool = False
    sealed: bytes | None = None
    invalid: tuple[tuple[str, ...], int | None] = ((), None)

    def usable(self, grace: float) -> Entry | None:
        if self.entry is None or not self.valid:
            return None
        return self.entry if time.time() < self.entry.fresh_until + grace else None

    def is_dead_since(self, moment: ContextState) -> bool:
        """Tell whether a fill that began after the context did stored a value that is invalid."""
        if self.entry is None or self.valid:
            return False
        return (self.entry.started or 0) >= (moment.started or 0)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be fetched: the parameters of :meth:`Entries.fetch`."""

    key: str
    fill: Callable[[], Filled]
    policy: Policy
    lookups: Lookups
    renew: bool
    alone: bool


@dataclass(slots=True)
class _Lease:
    """The right to fill a key, once it is held."""

    key: str
    token: bytes
    held: bool = False


class CacheEngine:
    """The entries of one application in one store.

    :param app: the application.
    :param prefix: the application's part of every key; holds no colon.
    :param release: the deployed version's part of an entry's key. Tags, clock and generation are
        shared by the releases, or a rolling deploy would split invalidation.
    :param lease_seconds: how long a fill keeps others from filling the same key.
    :param wait_seconds: how long others wait for it.
    :param near: the copies in this process, where the store can keep them right.
    :param standby: what it goes on with while the store is away.
    :param brake: whether it is switched off.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        *,
        app: "Flask",
        prefix: str,
        release: str,
        lease_seconds: float = 10,
        wait_seconds: float = 5,
        near: "NearCache | None" = None,
        fallback: Fallback,
        kill_switch: KillSwitch,
    ) -> None:
        self.app = app
        self.store = store
        self.near = near
        self.fallback = fallback
        #: Computes hits again; ``None`` where none is to be.
        self.verifier: Verifier | None = None
        self.sealer = sealer
        self.statistics = Statistics()
        self.board = Board(store, sealer, prefix)
        self.kill_switch = kill_switch
        self.prefix = prefix
        self._release = release
        #: The other caches of the application, whose entries may be built from this one's.
        self.peers: tuple[CacheEngine, ...] = ()
        #: What carries this tag was built from this cache's entries.
        self.own_tag = f"cache:{prefix}"
        self._generations = Generations(store, prefix, self.kill_switch)
        self.outbox = Outbox(
            store,
            fallback,
            lambda tags: self._raise(tags, origin="note", lag=self.replica_lag),
            self._end_generation,
            self._failed,
        )
        self._lease_seconds = lease_seconds
        self._wait_seconds = wait_seconds
        self._tags_of: dict[str, tuple[str, ...]] = {}
        self._lock = new_lock()
        self._refused: dict[str, float] = {}
        self._reported: dict[str, float] = {}
        self._quiet_until = 0.0
        self._new_keys = KeyQuota()
        #: What went wrong and was healed, by name, since the process began.
        self.counts: Counter[str] = Counter()
        #: Of this cache, in this application.
        self.config: dict[str, Any] = {}
        #: Whether an undeclared input raises, where the cache's own settings say it.
        self.strict: bool | None = None
        #: Tells what runs around views, where pages are served before Flask.
        self.surroundings: Surroundings | None = None
        #: Called after each invalidation with its tags, and by ``clear`` with ``None``.
        self.listeners: list[Callable[[frozenset[str] | None], object]] = []
        #: Tells which mapped classes have objects in the session, and whether a fill that got
        #: objects of others can come to one of these.
        self.objects_of: Callable[[], frozenset[Any]] = frozenset
        self.can_reach: Callable[[set[Any], frozenset[Any]], bool] = lambda entities, held: False
        #: What watches the databases; ``None`` where nothing does.
        self.watcher: Any = None
        #: Tells the context what it holds beside what it read through the cache.
        self.before_fetch: Callable[[Dependencies], None] = lambda reads: None
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Know of no fill under way: the threads of the process that forked are not here."""
        self._flights: dict[str, threading.Event] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._refilling: set[str] = set()

    # -- fetching ------------------------------------------------------------------------

    def fetch_copy(self, key: str, lookups: Lookups, reads: Dependencies) -> "Copy | None":
        """Answer from a fresh copy in this process, if there is one; the context depends on it.

        :param reads: of the context.
        """
        if self.near is None:
            return None
        began = time.perf_counter() if self.statistics.traces else 0
        moment = reads.of(self)
        if moment.lost or not self._may_look(key, reads, moment):
            return None
        copy = self._copy(key, reads, moment)
        if copy is not None:
            if self.peers:  # The entry may be of a process, or of a time, without them.
                reads.tags.add(self.own_tag)
            lookups.count("hit", near=True)
            self._tally(reads, lookups, key, "hit", copy.entry, began)
        return copy

    def _tally(
        self,
        reads: Dependencies,
        lookups: Lookups,
        key: str,
        result: Result,
        entry: Entry | None,
        began: float,
    ) -> None:
        """Note a lookup with the request that it was done for."""
        reads.tally.results[result] = reads.tally.results.get(result, 0) + 1
        if self.statistics.traces:
            tags = entry.tags if entry is not None else ()
            seconds = time.perf_counter() - began
            reads.tally.keep(Trace(lookups.level, lookups.name, key, result, tags, began, seconds))

    @contextmanager
    def bypass(self, lookups: Lookups) -> Iterator[None]:
        """Count a lookup that is not done, because the caller computes in any case."""
        began = time.perf_counter()
        reads = current_dependencies()
        try:
            yield
        finally:
            if not reads.verifying:
                lookups.count("bypass")
            self._tally(reads, lookups, "", "bypass", None, began)

    def _may_look(self, key: str, reads: Dependencies, moment: ContextState) -> bool:
        """Tell whether a context may look anything up, or must go past the cache."""
        self.before_fetch(reads)
        # Not asked by a call on each hit.
        if (moment.off or self.kill_switch.is_off) and self._is_off(moment):
            return False
        past = reads.bypass or reads.uncommitted or reads.verifying
        return not (past or key in moment.filling)

    def _is_off(self, moment: ContextState) -> bool:
        """Tell whether a context goes past the cache because that is switched off."""
        if not moment.off and self.kill_switch.is_off and self.kill_switch.ask_again():
            moment.switch_off()
        return moment.off

    def _copy(self, key: str, reads: Dependencies, moment: ContextState) -> "Copy | None":
        copy = self.near.find(key, moment) if self.near is not None else None
        if copy is None or not copy.entry.is_fresh():
            return None
        reads.tags.update(copy.entry.tags)
        return copy

    def fetch(
        self,
        key: str,
        fill: Callable[[], Filled],
        policy: Policy,
        lookups: Lookups,
        *,
        renew: bool = False,
        refill: Callable[[], object] | None = None,
        is_refill: bool = False,
        alone: bool = False,
    ) -> Outcome:
        """Answer from the entry of ``key``, or fill it: one fill at a time in all processes.

        :param fill: computes the value; what it reads becomes the entry's tags.
        :param lookups: where it is counted.
        :param renew: fill in any case.
        :param refill: starts a fill in another context; where it is given, a stale entry is
            served while that runs in the background.
        :param is_refill: it runs there, for nobody: no lookup is counted, but the fill.
        :param alone: the key holds all that the fill is given; of what was read before, it depends
            only on what it gets at by itself.
        """
        began = time.perf_counter()
        reads = current_dependencies()
        # Of a computation that raises.
        outcome = Outcome("miss")
        try:
            outcome = self._fetch(_Asked(key, fill, policy, lookups, renew, alone), reads, refill)
        finally:
            if self.peers:
                reads.tags.add(self.own_tag)
            result: Result = outcome.status
            moment = reads.of(self)
            if outcome.waited and result == "hit":
                result = "wait"
            elif moment.lost and result == "bypass" and not moment.off:
                result = "error"
            elif result == "bypass" and reads.bypass | reads.uncommitted and not moment.off:
                self.refuse(lookups, "uncommitted changes")
            if not (is_refill or reads.verifying):
                lookups.count(result, near=outcome.near)
            self._tally(reads, lookups, key, result, outcome.entry, began)
        return outcome

    def _fetch(
        self, asked: _Asked, reads: Dependencies, refill: Callable[[], object] | None
    ) -> Outcome:
        key, moment = asked.key, reads.of(self)
        if not self._may_look(key, reads, moment):
            return _past(asked.fill, moment)
        if moment.lost:
            return self._go_without(asked, reads)
        if not asked.renew and (copy := self._copy(key, reads, moment)):
            return Outcome("hit", entry=copy.entry, near=True)
        try:
            found = _Found() if asked.renew else self._find(key, reads)
        except StoreError as error:
            self._lose(moment, error)
            return self._go_without(asked, reads)
        if moment.off:
            return _past(asked.fill, moment)
        entry = found.usable(asked.policy.grace)
        if entry is not None and (entry.is_fresh() or refill is not None):
            if refill is not None and not entry.is_fresh():
                self._refill_soon(key, refill)
            self.statistics.found(key, asked.lookups, entry, len(found.sealed or b""))
            return _answer(entry, reads)
        return self._fill_once(asked, reads, entry, found)

    def _fill_once(
        self, asked: _Asked, reads: Dependencies, stale: Entry | None, seen: _Found
    ) -> Outcome:
        """Fill under a lease, or wait for who holds it; with a stale entry nobody waits.

        :param seen: what the first look found: what was invalid then tells nothing of what the
            leader will store.
        """
        key, policy, renew, moment = asked.key, asked.policy, asked.renew, reads.of(self)
        deadline = monotonic() + self._wait_seconds
        pause = 0.002
        waited = False
        ignores_refusal = renew or stale is not None
        found = seen
        while policy.timeout > 0 and (ignores_refusal or not self._is_refused(key)):
            with self._flight(key, 0 if stale else deadline - monotonic()) as leading:
                lease = self._new_lease(key) if leading else None
                try:
                    found = self._find(key, reads, lease)
                    if moment.off:
                        break
                    held = lease is not None and lease.held
                    stale = found.usable(policy.grace)
                    if stale is not None and not renew and (stale.is_fresh() or not held):
                        return _answer(stale, reads, waited=waited or not leading)
                    dead_on_arrival = found.sealed != seen.sealed and found.is_dead_since(moment)
                    if held and not dead_on_arrival:
                        self.statistics.lease("taken")
                        return self._fill(asked, reads, stale, found, lease)
                except StoreError as error:
                    self._lose(moment, error)
                    break
                finally:
                    self._release_lease(lease)
            # Outside the flight: nobody else is to wait for a value that will be dead, too.
            if dead_on_arrival or renew:
                break
            if not waited:
                waited = True
                self.statistics.lease("waited")
            if monotonic() >= deadline:
                self.statistics.lease("waited in vain")
                self._free_lease(key)
                break
            time.sleep(max(0.0, min(pause, deadline - monotonic())))
            pause = min(pause * 2, 0.05)
        if moment.off:
            return _past(asked.fill, moment)
        if moment.lost:
            return self._go_without(asked, reads)
        return self._fill(asked, reads, stale, found, None)

    def _go_without(self, asked: _Asked, reads: Dependencies) -> Outcome:
        """Answer without the store; while it is away, one fill at a time in this process.

        What that computed stands in for the store, for seconds.
        """
        key = asked.key
        if self._stands_by() and asked.policy.timeout > 0 and not self._is_refused(key):
            entry = self.fallback.find(key, reads)
            if entry is None:
                with self._flight(key, self._wait_seconds) as leading:
                    entry = self.fallback.find(key, reads)
                    if leading and entry is None:
                        return self._fill(asked, reads, None, _Found(), None)
            if entry is not None:
                if self.peers:  # It may be older than what another cache's reading says.
                    reads.bypass = True
                return _answer(entry, reads)
        return self._fill(asked, reads, None, _Found(), None)

    def _stands_by(self) -> bool:
        return self.store.breaker.is_away and self.fallback.seconds > 0

    def _fill(
        self,
        asked: _Asked,
        reads: Dependencies,
        stale: Entry | None,
        found: _Found,
        lease: _Lease | None,
    ) -> Outcome:
        """Compute the value, and store it where that may be; a stale entry stands in for a failure.

        :param found: what lay in the store before.
        """
        held: frozenset[Any] = self.objects_of() if asked.alone else frozenset()
        before = reads.enter(apart=asked.alone)
        try:
            return self._compute(asked, reads, stale, found, lease, before, held)
        finally:
            reads.leave(before)

    def _compute(
        self,
        asked: _Asked,
        reads: Dependencies,
        stale: Entry | None,
        found: _Found,
        lease: _Lease | None,
        before: Scope,
        held: frozenset[Any],
    ) -> Outcome:
        key, moment = asked.key, reads.of(self)
        cause = self._cause(asked, found)
        began = time.perf_counter()
        moment.filling.append(key)
        try:
            filled = asked.fill()
        except Exception:
            self._refuse(key, _FAILED_SECONDS)
            failed = Filled(None, None, refused="failed")
            self._note_fill(asked, failed, cause, time.perf_counter() - began, None, None)
            if stale is None:
                raise
            if self._is_news(key):
                logger.warning("The fill of %s failed; serving it stale.", key, exc_info=True)
            return _answer(stale, reads)
        finally:
            moment.filling.remove(key)
        seconds = time.perf_counter() - began
        looked_back = not asked.alone or filled.looked_back
        looked_back = looked_back or self.can_reach(reads.entities, held)
        reads.settle(before, looked_back=looked_back)
        entry = self._entry(key, filled, asked.policy, reads)
        if moment.lost:
            if entry is not None and self._stands_by():
                self.fallback.keep(key, entry, reads)
            self._note_fill(asked, filled, cause, seconds, None, None)
            return Outcome("bypass", result=filled.result, refused=filled.refused)
        size = None
        if entry is not None:
            size = self._store(key, entry, reads, lease, asked.renew)
        self._note_fill(asked, filled, cause, seconds, entry, size)
        stored = size is not None
        return Outcome("miss", entry if stored else None, filled.result, stored, filled.refused)

    def _cause(self, asked: _Asked, found: _Found) -> Cause:
        """Tell why an entry has to be filled."""
        if asked.renew:
            return Cause("renewed")
        tags, reading = found.invalid
        if found.entry is None and not tags:
            unreadable = found.sealed is not None
            return Cause("unreadable" if unreadable else self.statistics.absence(asked.key))
        if found.valid:
            return Cause("expired")
        return Cause("invalidated", tags, reading) if tags else Cause("cleared")

    def _note_fill(
        self,
        asked: _Asked,
        filled: Filled,
        cause: Cause,
        seconds: float,
        entry: Entry | None,
        size: int | None,
    ) -> None:
        fill = Fill(
            time.time(), asked.lookups.level, asked.lookups.name, asked.key, seconds, size,
            filled.refused, cause,
        )  # fmt: skip
        self.statistics.filled(asked.lookups, fill, asked.policy.timeout, entry)

    def _refuse(self, key: str, seconds: float) -> None:
        """Remember that there was nothing to store: who waits for the next one waits in vain."""
        self._keep(self._refused, key, monotonic() + seconds)

    def _is_refused(self, key: str) -> bool:
        return monotonic() < self._refused.get(key, 0)

    def _is_news(self, key: str) -> bool:
        """Tell whether the log has had no failure of a key within the last minute."""
        now = monotonic()
        if now < self._reported.get(key, 0):
            return False
        self._keep(self._reported, key, now + _QUIET_SECONDS)
        return True

    def _entry(self, key: str, filled: Filled, policy: Policy, reads: Dependencies) -> Entry | None:
        """Make an entry of what a fill returned; ``None`` for what must not be stored."""
        timeout = policy.timeout if filled.timeout is None else filled.timeout
        moment = reads.of(self)
        reads.tags.update(policy.tags, [key_tag(key)], self._source())
        if filled.value is None or timeout <= 0:
            # What a HEAD leaves to the next GET is not refused to it.
            if filled.refused != "method":
                self._refuse(key, _REFUSED_SECONDS)
            return None
        self.before_fetch(reads)
        # It may have been switched off since the fill began.
        if not (reads.bypass or moment.lost) and self.kill_switch.ask_again():
            moment.switch_off()
        if moment.off or reads.bypass or reads.uncommitted:
            return None
        now = time.time()
        fresh_until = now + timeout * (1 - policy.jitter * random.random())  # noqa: S311 - spread only
        if reads.fresh_until is not None:
            fresh_until = min(fresh_until, reads.fresh_until)
        tags = tuple(sorted(reads.collected()))
        if self.store.shared and any(
            peer.own_tag in tags for peer in self.peers if not peer.store.shared
        ):
            report_once(
                f"{key}: it is built from entries of a SimpleCache, which other processes' writes "
                "do not reach, so a cache that processes share does not store it."
            )
            return None
        kept_until = max(fresh_until, now) + policy.grace
        return Entry(
            filled.value, moment.generation, moment.started, tags, now, fresh_until, kept_until
        )

    def _source(self) -> tuple[str, ...]:
        """The tag of all that comes from this cache, where others may be built from it."""
        return (self.own_tag,) if self.peers else ()

    def _store(
        self, key: str, entry: Entry, reads: Dependencies, lease: _Lease | None, renew: bool
    ) -> int | None:
        """Store an entry; returns its bytes in the store, or ``None`` where it was not taken."""
        # Without a reading it would be a plain value, which no tag can make invalid.
        if entry.started is None:
            return None
        sealed = self._seal(key, entry)
        try:
            self.store.store_entry(
                self._entry_key(key),
                sealed,
                entry.kept_until - entry.stored_at,
                self._generations.clock,
                [self._tag_key(tag) for tag in entry.tags],
                (lease.key, lease.token) if lease is not None and lease.held else None,
            )
            if renew:
                self._drop_copies(key)
        except StoreError as error:
            self._failed(error)
            return None
        if lease is not None:
            lease.held = False
        with self._lock:
            self._refused.pop(key, None)
        self._keep(self._tags_of, key, entry.tags)
        return len(sealed)

    # -- looking up ----------------------------------------------------------------------

    def _find(self, key: str, reads: Dependencies, lease: _Lease | None = None) -> _Found:
        """Read an entry and all that validates it, in one round trip where its tags are known.

        :param lease: to be taken before the look, in the same round trip.
        """
        self.outbox.join()
        known = self._tags_of.get(key, ())
        names = [*self._generations.keys, self._entry_key(key)]
        names += [self._tag_key(tag) for tag in known]
        epoch = self.near.epoch if self.near is not None else 0
        asked_at = monotonic()
        if lease is None:
            clock, generation, off, sealed, *values = self.store.get_many(names)
        else:
            # Where the answer is lost it may be held: to release what one does not hold is no harm.
            lease.held = True
            lease.held, (holder, clock, generation, off, sealed, *values) = (
                self.store.add_then_get_many(
                    lease.key, lease.token, self._lease_seconds, [lease.key, *names]
                )
            )
            if not lease.held:
                release_foreign(self.store, lease.key, holder)
        current = self._generations.take_timestamp(reads.of(self), asked_at, clock, generation, off)
        entry = self._open(key, sealed)
        # Not again by the second look, which comes with the lease.
        if entry is None and sealed is not None and lease is None:
            self.count("unauthentic entry")
        if sealed is None:
            return _Found(invalid=self._dropped(key, known, values))
        if entry is None or entry.generation != current:
            return _Found(entry, sealed=sealed)
        if entry.tags != known:
            values = self._tag_values(entry.tags)
            self._keep(self._tags_of, key, entry.tags)
        else:
            entry = replace(entry, tags=known)  # One tuple in this process, not two.
        now = self.store.now()
        tags = zip(entry.tags, values, strict=True)
        if overdue := [tag for tag, value in tags if is_overdue(value, now)]:
            self.invalidate(overdue)
        valid = entry.is_valid(current, values, now)
        if not valid:
            invalid = invalid_tags(entry.tags, values, entry.started, now)
            return _Found(entry, sealed=sealed, invalid=invalid)
        # A plain value has no beginning, so a copy of it could not be told from a later one.
        if self.near is not None and entry.started is not None:
            self.near.keep(key, entry, values, epoch)
        return _Found(entry, True, sealed)

    def _dropped(
        self, key: str, tags: Sequence[str], values: Sequence[bytes | None]
    ) -> tuple[tuple[str, ...], int | None]:
        """Tell which tags were raised of an entry that this process knew, and that is gone."""
        known = self.statistics.entries.get(key)
        if known is None or known.tags != tags:
            return (), None
        raised, reading = invalid_tags(tags, values, known.started, self.store.now())
        # Where none has a reading, the store lost them, too.
        return (raised, reading) if reading is not None else ((), None)

    def peek(self, keys: Sequence[str]) -> list[Inspection]:
        """Look at entries in two round trips, and change nothing.

        :raises StoreError: where the store does not answer.
        """
        clock, generation, _, *sealed = self.store.get_many(
            [*self._generations.keys, *(self._entry_key(key) for key in keys)]
        )
        opened = [self._open(key, value) for key, value in zip(keys, sealed, strict=True)]
        tags = list({tag for entry in opened if entry is not None for tag in entry.tags})
        values = dict(zip(tags, self._tag_values(tags), strict=True))
        # Without its clock a generation is over, and the next lookup starts another one.
        stands = self._generations.stands(clock, generation)
        name = (generation or b"").decode("latin-1") if stands else ""
        now = self.store.now()
        return [
            judge(key, value, entry, name, values, now)
            for key, value, entry in zip(keys, sealed, opened, strict=True)
        ]

    def still_holds(self, key: str, entry: Entry) -> bool:
        """Tell whether an entry that was served is still what the store has, fresh and valid."""
        try:
            found = self._find(key, Dependencies())
        except StoreError as error:
            self._failed(error)
            return False
        now = found.usable(0)
        return now is not None and (now.stored_at, now.value) == (entry.stored_at, entry.value)

    def observe(self) -> Dependencies:
        """Take the context's first reading, before it reads anything."""
        reads = current_dependencies()
        moment = reads.of(self)
        if moment.started is None and not (self._is_off(moment) or reads.bypass or moment.lost):
            if self.near is not None and self.near.observe(moment):
                return reads
            try:
                self.outbox.join()
                self._take_reading(moment)
            except StoreError as error:
                self._lose(moment, error)
        return reads

    def _take_reading(self, moment: ContextState) -> None:
        """Give a context its first reading, in a round trip of its own."""
        asked_at = monotonic()
        state = self.store.get_many(self._generations.keys)
        self._generations.take_timestamp(moment, asked_at, *state)

    def _tag_values(self, tags: Sequence[str]) -> list[bytes | None]:
        return self.store.get_many([self._tag_key(tag) for tag in tags]) if tags else []

    def _keep(self, remembered: dict[str, T], key: str, value: T) -> None:
        """Remember something of a key, and forget what was remembered longest ago."""
        with self._lock:
            remembered.pop(key, None)
            remembered[key] = value
            if len(remembered) > _REMEMBERED_KEYS:
                del remembered[next(iter(remembered))]

    # -- invalidating --------------------------------------------------------------------

    def invalidate(self, tags: Iterable[str], token: str = "", lag: float = 0) -> None:
        """Make every entry that carries one of the tags invalid, before returning.

        Where the store is away it is done later, but before this process trusts it again. The
        application's other caches follow: until the last one has, the tags are in doubt in all.

        :param lag: the seconds in which the old value may be read again, as by a replica: until
            they are over, nothing that carries a tag is valid.
        """
        dropped = frozenset(tags)
        if dropped and self.peers:
            token = token or self.mark(dropped) or ""
        if dropped:
            for entries in (self, *self.peers):
                entries._drop(dropped, token, lag)

    def _drop(self, dropped: frozenset[str], token: str, lag: float = 0) -> None:
        self.fallback.drop(dropped)
        self.outbox.deliver(partial(self._raise, dropped, token, current_origin(), lag))
        self._forget(dropped)
        self._tell(dropped)

    def _forget(self, dropped: frozenset[str] | None) -> None:
        """Have neither a copy here nor, once the server is lost, the standby bring it back."""
        if self.near is not None:
            self.near.forget(dropped)
        self.fallback.drop(dropped)

    @property
    def replica_lag(self) -> float:
        """For how long a commit may not be seen where the application reads, in seconds."""
        return float(self.config.get("CACHE_REPLICA_LAG_SECONDS", 0))

    def _raise(
        self, tags: Iterable[str], token: str = "", origin: str = "", lag: float = 0
    ) -> None:
        names = [self._tag_key(tag) for tag in sorted(tags)]
        if lag:
            # Nobody settles this doubt: whoever meets it when it is overdue bumps the tag again.
            self.store.mark(names, secrets.token_hex(8), lag)
        reading = self.store.invalidate(self._generations.clock, names, token)
        if reading is None:
            self._generations.start()
            reading = self.store.invalidate(self._generations.clock, names, token)
        if reading == 0:
            self.count("store: full")
        self.statistics.raised(tags, reading, origin)

    def mark(self, tags: Iterable[str]) -> str | None:
        """Put tags in doubt before a COMMIT; returns the token that settles them.

        ``None`` where the store does not take it: then the transaction has to note the tags.
        """
        token, marked = secrets.token_hex(8), set(tags)
        taken = [entries._mark(marked, token) for entries in (self, *self.peers)]
        return token if all(taken) else None

    def _mark(self, tags: Iterable[str], token: str) -> bool:
        names = [self._tag_key(tag) for tag in sorted(tags)]
        for _ in range(2):
            try:
                self.store.mark(names, token)
            except StoreError as error:
                self._failed(error)
                self.store.breaker.wait_until_settled(SETTLING_SECONDS)
            else:
                return True
        return False

    def refresh(self, key: str) -> None:
        """Drop an entry softly: it is stale from now on, and served so within its grace."""
        reads = Dependencies()
        try:
            found = self._find(key, reads)
            if found.entry is not None and found.valid:
                now = time.time()
                entry = replace(found.entry, fresh_until=min(now, found.entry.fresh_until))
                left = max(1, found.entry.kept_until - now)
                self.store.put(self._entry_key(key), self._seal(key, entry), left)
                self._drop_copies(key)
        except StoreError as error:
            self._failed(error)

    def _drop_copies(self, key: str) -> None:
        """Have every process look into the store again: an entry was replaced before its time."""
        if self.near is not None:
            self.store.put(encodable(f"{self.prefix}:renewed:{key}"), b"", 1)
            self.store.confirm()

    def clear(self) -> None:
        """Make every entry invalid, at the same cost however many there are."""
        built = self._source()
        token = self.mark(built) if built else None
        self.fallback.drop(None)
        self.outbox.deliver(partial(self._end_generation, current_origin()))
        self._forget(None)
        self._tell(None)
        for entries in (self, *self.peers) if built else ():
            entries._drop(frozenset(built), token or "")

    def _end_generation(self, origin: str = "") -> None:
        self._generations.end()
        self.statistics.cleared(origin)

    def _tell(self, tags: frozenset[str] | None) -> None:
        for listener in self.listeners:
            try:
                listener(tags)
            except Exception:
                logger.exception("%r failed to follow an invalidation.", listener)

    # -- plain values --------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Read a value; a fill around it depends on the key."""
        began = time.perf_counter()
        reads = current_dependencies()
        moment = reads.of(self)
        reads.tags.update([key_tag(key)], self._source())
        entry: Entry | None = None
        result: Result = "bypass"
        try:
            found = _Found() if self._is_off(moment) else self._find(key, reads)
            if not moment.off:
                entry = found.usable(0)
                result = "miss" if entry is None else "hit"
        except StoreError as error:
            self._lose(moment, error)
            result = "error"
        lookups = self.statistics.lookups("value", "cache.get")
        lookups.count(result)
        self._tally(reads, lookups, key, result, entry, began)
        if entry is not None:
            reads.tags.update(entry.tags)
        return entry.value if entry is not None else None

    def set(self, key: str, value: bytes, seconds: float) -> bool:
        """Write a value that no fill made; what depends on its key becomes invalid.

        Where it cannot be written, or the cache is switched off, the value that was there before is
        dropped.
        """
        try:
            sealed = self._plain(key, value, seconds)
            if sealed is None:
                self.delete([key])
                return False
            self.store.put(self._entry_key(key), sealed, seconds)
        except StoreError as error:
            self._failed(error)
            self.delete([key])
            return False
        # After the write, as after a commit: a fill in between reads the old value.
        self.invalidate([key_tag(key)])
        return True

    def add(self, key: str, value: bytes, seconds: float) -> bool:
        """Write a value where there is no valid one, as one step; say whether it was written."""
        try:
            found = self._find(key, Dependencies())
            if found.usable(0) is not None:
                return False
            if found.sealed is not None:
                self.store.release(self._entry_key(key), found.sealed)
            sealed = self._plain(key, value, seconds)
            if sealed is None:
                return False
            added = self.store.add(self._entry_key(key), sealed, seconds)
            if added:
                self.invalidate([key_tag(key)])
        except StoreError as error:
            self._failed(error)
            return False
        return added

    def _plain(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Make an entry of a plain value; ``None`` while the cache is switched off."""
        moment = ContextState()
        self._take_reading(moment)
        if moment.off:
            return None
        now = time.time()
        times = (now, now + seconds, now + seconds)
        return self._seal(key, Entry(value, moment.generation, None, (), *times))

    def delete(self, keys: Sequence[str]) -> bool:
        """Drop entries and make what depends on their keys invalid; say whether it is done yet."""
        if keys:
            self.outbox.deliver(partial(self.store.delete, [self._entry_key(key) for key in keys]))
            self.invalidate(key_tag(key) for key in keys)
        return not self.store.breaker.is_open

    # -- leases and flights --------------------------------------------------------------

    def _new_lease(self, key: str) -> _Lease:
        return _Lease(self._lease_key(key), new_token())

    def _release_lease(self, lease: _Lease | None) -> None:
        if lease is None or not lease.held:
            return
        try:
            self.store.release(lease.key, lease.token)
        except StoreError as error:
            # Else who comes next would wait for nobody.
            self._failed(error)
            self.outbox.postpone(partial(self.store.release, lease.key, lease.token))

    def _free_lease(self, key: str) -> None:
        try:
            free(self.store, self._lease_key(key))
        except StoreError as error:
            self._failed(error)

    @contextmanager
    def _flight(self, key: str, wait_seconds: float) -> Iterator[bool]:
        """Let one thread of this process go for the lease; the others wait for it to be done."""
        with self._lock:
            running = self._flights.get(key)
            if running is None:
                self._flights[key] = threading.Event()
        if running is not None:
            running.wait(max(0.0, wait_seconds))
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                # In a child that was forked by the fill itself, it is another process's.
                if (own := self._flights.pop(key, None)) is not None:
                    own.set()

    def _refill_soon(self, key: str, refill: Callable[[], object]) -> None:
        with self._lock:
            waiting = key in self._refilling or len(self._refilling) >= _WAITING_REFILLS
            if waiting or self._is_refused(key):
                return
            self._refilling.add(key)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_REFILL_THREADS, "cache-refill")
        self._pool.submit(self._refill, key, refill)

    def _refill(self, key: str, refill: Callable[[], object]) -> None:
        try:
            refill()
        except Exception:
            if self._is_news(key):
                logger.warning("Refilling %s failed; it stays stale.", key, exc_info=True)
        finally:
            with self._lock:
                self._refilling.discard(key)

    def close(self) -> None:
        """Let the running refills end, and drop the store's connections."""
        for peer in self.peers:
            peer.peers = tuple(other for other in peer.peers if other is not self)
        self.peers = ()
        if self._pool is not None:
            self._pool.shutdown()
        if self.near is not None:
            self.near.close()
        self.store.close()

    # -- names and states ----------------------------------------------------------------

    def _seal(self, key: str, entry: Entry) -> bytes:
        """Seal an entry, whose times lie in the store by the server's clock."""
        return self.sealer.seal(key, entry.moved(self.store.shift()))

    def _open(self, key: str, sealed: bytes | None) -> Entry | None:
        entry = self.sealer.open(key, sealed)
        return None if entry is None else entry.moved(-self.store.shift())

    def _entry_key(self, key: str) -> str:
        return encodable(f"{self.prefix}:{self._release}:entry:{key}")

    def _lease_key(self, key: str) -> str:
        return encodable(f"{self.prefix}:{self._release}:lease:{key}")

    def _tag_key(self, tag: str) -> str:
        return encodable(f"{self.prefix}:tag:{tag}")

    def may_add(self, key: str, kind: str, most: int) -> bool:
        """Tell whether a fill may be stored: of keys that this process has not seen, only so many.

        :param kind: what it is a key of, such as a route.
        :param most: the new keys of that kind in a minute; 0 is no bound.
        """
        if key in self._tags_of or self._new_keys.admit(kind, most):
            return True
        self.count("limit: new keys")
        return False

    def count(self, name: str) -> None:
        """Count something that went wrong."""
        with self._lock:
            self.counts[name] += 1

    def refuse(self, lookups: Lookups, reason: str, message: str = "", place: str = "") -> None:
        """Note that something is not cached, and why.

        :param reason: its kind in a word, and after a colon what it is about.
        :param message: for the log, which has it once for each name and reason; empty where the
            owner of what is not cached asked for that.
        :param place: who read what it is about.
        """
        if current_dependencies().verifying:
            return
        if self.statistics.refuse(lookups, reason, place) and message:
            logger.warning(printable(message))

    def _failed(self, error: StoreError) -> None:
        """Count it; the log has one line a minute, and the circuit breaker's own."""
        self.count(f"store: {error.failure}")
        if error.failure != "away" and monotonic() >= self._quiet_until:
            self._quiet_until = monotonic() + _QUIET_SECONDS
            logger.warning("The cache's store failed, and was done without: %s", error)

    def _lose(self, moment: ContextState, error: StoreError) -> None:
        self._failed(error)
        moment.lost = True


def key_tag(key: str) -> str:
    """The tag that an entry's own key is."""
    return f"key:{bounded(key)}"


def _past(fill: Callable[[], Filled], moment: ContextState) -> Outcome:
    filled = fill()
    return Outcome("bypass", result=filled.result, refused="off" if moment.off else filled.refused)


def _answer(entry: Entry, reads: Dependencies, *, waited: bool = False) -> Outcome:
    reads.tags.update(entry.tags)
    if entry.is_fresh():
        return Outcome("hit", entry=entry, waited=waited)
    reads.fresh_until = min(entry.fresh_until, reads.fresh_until or entry.fresh_until)
    return Outcome("stale", entry=entry)
