"""Flights: one fill of a key at a time, in this process and in all; the others wait for it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from .._clock import monotonic
from .._forks import begin_after_fork, new_lock
from .._stores import StoreError
from .base import EngineBase
from .entry import Entry
from .filling import NOTHING, Fetch, Filler, Outcome
from .inspection import Inspection
from .leases import Lease
from .lookup import Lookup

logger = logging.getLogger(__name__)

_REFILL_THREADS = 2
_WAITING_REFILLS = 64
#: How long to wait before the next look at another process's fill, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class Flight:
    """A fill of a key that is under way in this process.

    :param without_store: whether it is done without the store.
    :param made: what it made then.
    :param began: and when the first that went into that was read, by the monotonic clock.
    """

    __slots__ = ("began", "done", "made", "without_store")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.without_store = False
        self.made: Entry | None = None
        self.began = 0.0


class Flights:
    """Has keys filled, each by one thread of one process."""

    def __init__(self, engine: EngineBase, lookup: Lookup) -> None:
        self._engine = engine
        self._lookup = lookup
        self._filler = Filler(engine)
        self._lock = new_lock()
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Know of no fill under way: the threads of the process that forked are not here."""
        #: The fills under way in this process, by key.
        self.running: dict[str, Flight] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._refilling: set[str] = set()

    def close(self) -> None:
        """Let the running refills end."""
        if self._pool is not None:
            self._pool.shutdown()

    # -- with the store ------------------------------------------------------------------

    def look(self, fetch: Fetch) -> Outcome | None:
        """Look at the store for the first time; fill at once if that took the lease.

        One thread at a time may take it. The others look beside it, and wait in :meth:`fill`.
        """
        engine, key = self._engine, fetch.key
        # Without a near cache most looks at a known key are hits, and a script costs them more.
        is_probable = engine.near is not None or key not in engine.seen
        may_fill = is_probable and fetch.policy.timeout > 0 and not self._is_refused(key)
        with self._flight(key, 0) as (_, leading):
            lease = engine.lease(key) if leading and may_fill else None
            try:
                fetch.found = self._lookup.find(key, fetch.state, lease)
                if lease is not None and lease.held and not fetch.state.off:
                    engine.statistics.lease("taken")
                    return self._filler.fill(fetch, lease)
            except StoreError as error:
                engine.lose(fetch.state, error)
            finally:
                self._release(lease)
        return None

    def fill(self, fetch: Fetch) -> Outcome:
        """Fill under a lease, or wait for its holder; with a stale entry nobody waits."""
        statistics, first, state = self._engine.statistics, fetch.found, fetch.state
        deadline, pause, waited = monotonic() + self._engine.wait_seconds, _FIRST_PAUSE, False
        ignores_refusal = fetch.renew or fetch.stale is not None
        while fetch.policy.timeout > 0 and (ignores_refusal or not self._is_refused(fetch.key)):
            patience = 0 if fetch.stale else deadline - monotonic()
            with self._flight(fetch.key, patience) as (_, leading):
                outcome = self._try_to_fill(fetch, first, leading=leading, waited=waited)
            if outcome is not None:
                return outcome
            # Outside the flight: nobody else is to wait for a value that will be dead, too.
            is_dead = fetch.found.is_dead_on_arrival(first, state)
            # A writer settles its doubt within a moment, unless it has died.
            is_settling = fetch.found.doubted and pause < _LONGEST_PAUSE
            if (is_dead and not is_settling) or fetch.renew or state.off or state.lost:
                break
            if not waited:
                waited = True
                statistics.lease("waited")
            if monotonic() >= deadline:
                statistics.lease("waited in vain")
                with self._engine.tolerating_failures():
                    self._engine.lease(fetch.key).free()
                break
            # Whoever waited for a flight of this process has waited enough: the next one may begin.
            if leading or is_dead or fetch.stale:
                time.sleep(max(0.0, min(pause, deadline - monotonic())))
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        if state.off:
            return fetch.bypass()
        if state.lost:
            return self.fill_without_store(fetch)
        return self._filler.fill(fetch)

    def _try_to_fill(
        self, fetch: Fetch, first: Inspection, *, leading: bool, waited: bool
    ) -> Outcome | None:
        """Look once more, and fill if the lease is free; ``None`` if neither gave an answer.

        :param first: what the first look found: what was invalid then tells nothing of what the
            leader will store.
        :param leading: whether this thread may take the lease.
        """
        lease = self._engine.lease(fetch.key) if leading else None
        try:
            found = fetch.found = self._lookup.find(fetch.key, fetch.state, lease, again=True)
            if fetch.state.off:
                return None
            is_held = lease is not None and lease.held
            stale = fetch.stale = found.usable(fetch.policy.grace)
            if stale is not None and not fetch.renew and (stale.is_fresh() or not is_held):
                return fetch.answer(stale, waited=waited or not leading)
            if (taken := self._new_enough(fetch, first)) is not None:
                return fetch.answer(taken, waited=True)
            if is_held and not found.is_dead_on_arrival(first, fetch.state):
                self._engine.statistics.lease("taken")
                return self._filler.fill(fetch, lease)
        except StoreError as error:
            self._engine.lose(fetch.state, error)
        finally:
            self._release(lease)
        return None

    def _new_enough(self, fetch: Fetch, first: Inspection) -> Entry | None:
        """Return an entry that was waited for, is invalid by now, and new enough for who waited.

        Its tags make whatever is built on it invalid, too. What is in doubt is not taken, for its
        writer may have returned without the invalidation; nor while there was a late one, or where
        data lags behind a commit.
        """
        found, engine = fetch.found, self._engine
        if found.valid or found.doubted or engine.replica_lag or not found.began_since(first):
            return None
        (late,) = engine.store.get_many([engine.late_key])
        return found.entry if late is None else None

    def _is_refused(self, key: str) -> bool:
        return self._filler.refused.is_running(key)

    def _release(self, lease: Lease | None) -> None:
        if lease is None or not lease.held:
            return
        try:
            lease.release()
        except StoreError as error:
            # Otherwise the next one would wait for nobody.
            self._engine.failed(error)
            self._engine.invalidator.outbox.postpone(lease.release)

    # -- in this process -----------------------------------------------------------------

    def fill_without_store(self, fetch: Fetch) -> Outcome:
        """Answer without the store; while it is away, one fill at a time in this process.

        The fallback keeps what that computed, for seconds.
        """
        engine, key = self._engine, fetch.key
        fetch.found, fetch.stale = NOTHING, None
        if not engine.uses_fallback or fetch.policy.timeout <= 0:
            return self._filler.fill(fetch)
        fallback, deadline = engine.fallback, monotonic() + engine.wait_seconds
        moment, entry = fallback.moment(), fallback.find(key, fetch.dependencies)
        while entry is None and not self._is_refused(key):
            with self._flight(key, deadline - monotonic()) as (flight, leading):
                entry = fallback.find(key, fetch.dependencies)
                if leading and entry is None:
                    flight.without_store = True
                    outcome = self._filler.fill(fetch)
                    flight.made, flight.began = fetch.made, fetch.dependencies.began
                    return outcome
            if entry is None and flight.made is not None and flight.began > moment:
                # Invalid by now, but it began after all that this one has to see.
                entry = fallback.take(flight.made, flight.began, fetch.dependencies)
            is_in_vain = flight.without_store and flight.made is None
            if entry is None and (is_in_vain or monotonic() >= deadline):
                break
        if entry is None:
            return self._filler.fill(fetch)
        if engine.peers:  # It may be older than what another cache's timestamp says.
            fetch.dependencies.bypass = True
        return fetch.answer(entry)

    @contextmanager
    def _flight(self, key: str, wait_seconds: float) -> Iterator[tuple[Flight, bool]]:
        """Let one thread of this process go for the lease; the others wait until it is done."""
        with self._lock:
            running = self.running.get(key)
            if running is None:
                own = self.running[key] = Flight()
        if running is not None:
            running.done.wait(max(0.0, wait_seconds))
            yield running, False
            return
        try:
            yield own, True
        finally:
            with self._lock:
                # In a child that was forked by the fill itself, it is another process's.
                if (ended := self.running.pop(key, None)) is not None:
                    ended.done.set()

    # -- in the background ---------------------------------------------------------------

    def refill_soon(self, key: str, refill: Callable[[], object]) -> None:
        """Have a stale entry filled in another thread."""
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
            if self._engine.is_news(key):
                logger.warning("Refilling %s failed; it stays stale.", key, exc_info=True)
        finally:
            with self._lock:
                self._refilling.discard(key)
