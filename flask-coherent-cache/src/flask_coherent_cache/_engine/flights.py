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
from .filling import NOTHING, Fetch, Filler, Outcome
from .inspection import Inspection
from .leases import Lease
from .lookup import Lookup

logger = logging.getLogger(__name__)

_REFILL_THREADS = 2
_WAITING_REFILLS = 64


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
        self.running: dict[str, threading.Event] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._refilling: set[str] = set()

    def close(self) -> None:
        """Let the running refills end."""
        if self._pool is not None:
            self._pool.shutdown()

    # -- with the store ------------------------------------------------------------------

    def fill(self, fetch: Fetch) -> Outcome:
        """Fill under a lease, or wait for its holder; with a stale entry nobody waits."""
        statistics, first, state = self._engine.statistics, fetch.found, fetch.state
        deadline, pause, waited = monotonic() + self._engine.wait_seconds, 0.002, False
        ignores_refusal = fetch.renew or fetch.stale is not None
        while fetch.policy.timeout > 0 and (ignores_refusal or not self._is_refused(fetch.key)):
            with self._flight(fetch.key, 0 if fetch.stale else deadline - monotonic()) as leading:
                outcome = self._try_to_fill(fetch, first, leading=leading, waited=waited)
            if outcome is not None:
                return outcome
            # Outside the flight: nobody else is to wait for a value that will be dead, too.
            is_dead = fetch.found.is_dead_on_arrival(first, state)
            if is_dead or fetch.renew or state.off or state.lost:
                break
            if not waited:
                waited = True
                statistics.lease("waited")
            if monotonic() >= deadline:
                statistics.lease("waited in vain")
                with self._engine.tolerating_failures():
                    self._engine.lease(fetch.key).free()
                break
            time.sleep(max(0.0, min(pause, deadline - monotonic())))
            pause = min(pause * 2, 0.05)
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
            found = fetch.found = self._lookup.find(fetch.key, fetch.state, lease)
            if fetch.state.off:
                return None
            is_held = lease is not None and lease.held
            stale = fetch.stale = found.usable(fetch.policy.grace)
            if stale is not None and not fetch.renew and (stale.is_fresh() or not is_held):
                return fetch.answer(stale, waited=waited or not leading)
            if is_held and not found.is_dead_on_arrival(first, fetch.state):
                self._engine.statistics.lease("taken")
                return self._filler.fill(fetch, lease)
        except StoreError as error:
            self._engine.lose(fetch.state, error)
        finally:
            self._release(lease)
        return None

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
        engine, key, dependencies = self._engine, fetch.key, fetch.dependencies
        fetch.found, fetch.stale = NOTHING, None
        if engine.uses_fallback and fetch.policy.timeout > 0 and not self._is_refused(key):
            entry = engine.fallback.find(key, dependencies)
            if entry is None:
                with self._flight(key, engine.wait_seconds) as leading:
                    entry = engine.fallback.find(key, dependencies)
                    if leading and entry is None:
                        return self._filler.fill(fetch)
            if entry is not None:
                if engine.peers:  # It may be older than what another cache's timestamp says.
                    dependencies.bypass = True
                return fetch.answer(entry)
        return self._filler.fill(fetch)

    @contextmanager
    def _flight(self, key: str, wait_seconds: float) -> Iterator[bool]:
        """Let one thread of this process go for the lease; the others wait until it is done."""
        with self._lock:
            running = self.running.get(key)
            if running is None:
                self.running[key] = threading.Event()
        if running is not None:
            running.wait(max(0.0, wait_seconds))
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                # In a child that was forked by the fill itself, it is another process's.
                if (own := self.running.pop(key, None)) is not None:
                    own.set()

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
