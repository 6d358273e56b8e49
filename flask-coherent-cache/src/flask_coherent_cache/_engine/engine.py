"""The cache engine: look a key up, join its flight, fill it, store it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .._dependencies.dependencies import ContextState, Dependencies, current_dependencies
from .._statistics.reports import Reports
from .._statistics.statistics import Lookups, Result
from .base import EngineBase, key_tag
from .filling import Fetch, Filled, Outcome, Policy
from .flights import Flights
from .invalidation import Invalidator
from .lookup import Lookup
from .plain_values import PlainValues

if TYPE_CHECKING:
    from .._near.copies import Copy
    from .._pages.app_hooks import AppHooks
    from .._verification import Verifier

__all__ = ["CacheEngine", "Filled", "Outcome", "Policy", "key_tag"]


class CacheEngine(EngineBase):
    """The entries of one application in one store."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reports = Reports(self.store, self.sealer, self.prefix)
        #: Computes hits again; ``None`` if none is to be.
        self.verifier: Verifier | None = None
        #: Whether an undeclared input raises, if the cache's own settings say it.
        self.strict: bool | None = None
        #: Tells what runs around views, if pages are served before Flask.
        self.app_hooks: AppHooks | None = None
        self.invalidator = Invalidator(self)
        self.lookup = Lookup(self)
        self.flights = Flights(self, self.lookup)
        # What callers ask the engine for.
        self.outbox, self.invalidate = self.invalidator.outbox, self.invalidator.invalidate
        self.mark, self.clear = self.invalidator.mark, self.invalidator.clear
        self.inspect, self.observe = self.lookup.inspect, self.lookup.observe
        self.still_holds = self.lookup.still_holds
        values = PlainValues(self, self.lookup)
        self.get, self.set, self.add = values.get, values.set, values.add
        self.delete, self.refresh = values.delete, values.refresh

    def fetch_copy(self, key: str, lookups: Lookups, dependencies: Dependencies) -> "Copy | None":
        """Answer from a fresh copy in this process, if there is one; the context depends on it.

        :param dependencies: of the context.
        """
        if self.near is None:
            return None
        began = time.perf_counter() if self.statistics.traces else 0
        state = dependencies.of(self)
        if state.lost or not self.may_look(key, dependencies, state):
            return None
        copy = self._copy(key, dependencies, state)
        if copy is not None:
            if self.peers:  # The entry may be of a process, or of a time, without them.
                dependencies.tags.add(self.own_tag)
            lookups.count_near()
            self.statistics.tally(dependencies.tally, lookups, key, "hit", copy.entry, began)
        return copy

    def _copy(self, key: str, dependencies: Dependencies, state: ContextState) -> "Copy | None":
        copy = self.near.find(key, state) if self.near is not None else None
        if copy is None or time.time() >= copy.entry.fresh_until:
            return None
        dependencies.tags.update(copy.entry.tags)
        return copy

    def fetch(
        self,
        key: str,
        fill: Callable[[], Filled],
        policy: Policy,
        lookups: Lookups,
        *,
        renew: bool = False,
        refill: Callable[[], Callable[[], object]] | None = None,
        is_refill: bool = False,
        alone: bool = False,
    ) -> Outcome:
        """Answer from the entry of ``key``, or fill it: one fill at a time in all processes.

        :param fill: computes the value; what it reads becomes the entry's tags.
        :param lookups: where it is counted.
        :param renew: fill in any case.
        :param refill: makes what starts a fill in another context; if it is given, a stale entry
            is served while that runs in the background.
        :param is_refill: it runs there, for nobody: no lookup is counted, but the fill.
        :param alone: the key holds all that the fill is given; of what was read before, it depends
            only on what it gets at by itself.
        """
        began = time.perf_counter()
        dependencies = current_dependencies()
        state = dependencies.of(self)
        fetch = Fetch(key, fill, policy, lookups, renew, alone, dependencies, state)
        outcome = Outcome("miss")  # Of a computation that raises.
        try:
            outcome = self._fetch(fetch, refill)
        finally:
            if self.peers:
                dependencies.tags.add(self.own_tag)
            result = self._result(fetch, outcome)
            if outcome.near:
                lookups.count_near()
            elif not (is_refill or dependencies.verifying):
                lookups.count(result)
            self.statistics.tally(dependencies.tally, lookups, key, result, outcome.entry, began)
        return outcome

    def _fetch(self, fetch: Fetch, refill: Callable[[], Callable[[], object]] | None) -> Outcome:
        key, dependencies, state = fetch.key, fetch.dependencies, fetch.state
        if not self.may_look(key, dependencies, state):
            return fetch.bypass()
        if state.lost:
            return self.flights.fill_without_store(fetch)
        if not fetch.renew:
            if copy := self._copy(key, dependencies, state):
                return Outcome("hit", entry=copy.entry, near=True)
            if outcome := self.flights.look(fetch):
                return outcome
            if fetch.state.lost:
                return self.flights.fill_without_store(fetch)
            if state.off:
                return fetch.bypass()
        entry = fetch.stale = fetch.found.usable(fetch.policy.grace)
        if entry is not None and (entry.is_fresh() or refill is not None):
            if refill is not None and not entry.is_fresh():
                self.flights.refill_soon(key, refill())
            self.statistics.found(key, fetch.lookups, entry, len(fetch.found.sealed or b""))
            return fetch.answer(entry)
        return self.flights.fill(fetch)

    def _result(self, fetch: Fetch, outcome: Outcome) -> Result:
        """Say how a fetch is counted; a bypass because of uncommitted changes is a refusal."""
        if outcome.status != "bypass" or fetch.state.off:
            return "wait" if outcome.waited and outcome.status == "hit" else outcome.status
        if fetch.state.lost:
            return "error"
        if fetch.dependencies.bypass or fetch.dependencies.uncommitted:
            self.refuse(fetch.lookups, "uncommitted changes")
        return "bypass"

    @contextmanager
    def bypass(self, lookups: Lookups) -> Iterator[None]:
        """Count a lookup that is not done, because the caller computes in any case."""
        began = time.perf_counter()
        dependencies = current_dependencies()
        try:
            yield
        finally:
            if not dependencies.verifying:
                lookups.count("bypass")
            self.statistics.tally(dependencies.tally, lookups, "", "bypass", None, began)

    def close(self) -> None:
        """Let the running refills end, and drop the store's connections."""
        for peer in self.peers:
            peer.peers = tuple(other for other in peer.peers if other is not self)
        self.peers = ()
        self.flights.close()
        if self.near is not None:
            self.near.close()
        self.store.close()
