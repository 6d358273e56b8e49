"""A fill: the value is computed, what it depends on is collected, and the entry is stored."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .._dependencies.dependencies import ContextState, Dependencies, Scope
from .._dependencies.inputs import report_once
from .._statistics.statistics import Cause, Fill, Lookups
from .._stores import StoreError
from .base import EngineBase, key_tag
from .bounds import Pauses
from .entry import Entry
from .inspection import Inspection
from .leases import Lease

logger = logging.getLogger(__name__)

#: For how long nobody waits for the fill of a key that gave nothing to store, or failed.
_REFUSED_SECONDS = 10
_FAILED_SECONDS = 1
#: What was found before any look.
NOTHING = Inspection("")


@dataclass(slots=True)
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


@dataclass(slots=True)
class Filled:
    """What a fill returned.

    :param result: what the caller gets.
    :param value: its encoding; ``None`` if it must not be stored.
    :param timeout: seconds that replace the policy's.
    :param refused: in a word, why it must not be stored.
    :param looked_back: whether it may be made of what the context had read before.
    :param tags: names that the entry carries beside those of the policy.
    """

    result: Any
    value: bytes | None
    timeout: float | None = None
    refused: str | None = None
    looked_back: bool = True
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
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


@dataclass(slots=True)
class Fetch:
    """One fetch on its way: what is asked for, by whom, and what was found so far.

    :param fill: computes the value.
    :param renew: fill in any case.
    :param alone: the key holds all that the fill is given.
    :param dependencies: of the context, whose ``state`` is the one in this cache.
    :param found: what the last look at the store saw.
    :param stale: what was found and may be served if a fill fails.
    :param made: what a fill made while the store was away.
    """

    key: str
    fill: Callable[[], Filled]
    policy: Policy
    lookups: Lookups
    renew: bool
    alone: bool
    dependencies: Dependencies
    state: ContextState
    found: Inspection = NOTHING
    stale: Entry | None = None
    made: Entry | None = None

    def bypass(self) -> Outcome:
        """Compute without the cache."""
        filled = self.fill()
        refused = "off" if self.state.off else filled.refused
        return Outcome("bypass", result=filled.result, refused=refused)

    def answer(self, entry: Entry, *, waited: bool = False) -> Outcome:
        """Answer with an entry; the context depends on it."""
        dependencies = self.dependencies
        dependencies.tags.update(entry.tags)
        if entry.is_fresh():
            return Outcome("hit", entry=entry, waited=waited)
        until = dependencies.fresh_until or entry.fresh_until
        dependencies.fresh_until = min(entry.fresh_until, until)
        return Outcome("stale", entry=entry)


class Filler:
    """Fills keys."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine
        #: Keys whose last fill gave nothing to store: nobody waits for the next one.
        self.refused = Pauses()

    def fill(self, fetch: Fetch, lease: Lease | None = None) -> Outcome:
        """Compute the value, and store it if it may be; a stale entry stands in for a failure."""
        dependencies = fetch.dependencies
        held: frozenset[Any] = self._engine.objects_of() if fetch.alone else frozenset()
        before = dependencies.enter(apart=fetch.alone)
        try:
            return self._fill(fetch, lease, before, held)
        finally:
            dependencies.leave(before)

    def _fill(
        self, fetch: Fetch, lease: Lease | None, before: Scope, held: frozenset[Any]
    ) -> Outcome:
        engine, key, state = self._engine, fetch.key, fetch.state
        cause = Cause("renewed") if fetch.renew else fetch.found.cause
        cause = cause or Cause(engine.statistics.absence(key))
        began = time.perf_counter()
        state.filling.append(key)
        try:
            filled = fetch.fill()
        except Exception:
            self.refused.start(key, _FAILED_SECONDS)
            self._note(fetch, cause, time.perf_counter() - began, "failed")
            if fetch.stale is None:
                raise
            if engine.is_news(key):
                logger.warning("The fill of %s failed; serving it stale.", key, exc_info=True)
            return fetch.answer(fetch.stale)
        finally:
            state.filling.remove(key)
        seconds = time.perf_counter() - began
        self._settle(fetch, filled, before, held)
        entry = self._entry(fetch, filled)
        size = None
        if entry is not None and not state.lost:
            size = self._store(fetch, entry, lease)
        elif entry is not None and engine.uses_fallback:
            fetch.made = entry
            engine.fallback.keep(key, entry, fetch.dependencies)
        self._note(fetch, cause, seconds, filled.refused, entry, size)
        stored = entry if size is not None else None
        status: Literal["bypass", "miss"] = "bypass" if state.lost else "miss"
        return Outcome(status, stored, filled.result, stored is not None, filled.refused)

    def _settle(self, fetch: Fetch, filled: Filled, before: Scope, held: frozenset[Any]) -> None:
        """Depend on what went into the fill.

        :param held: the mapped classes that had objects in the session before it.
        """
        dependencies = fetch.dependencies
        looked_back = not fetch.alone or filled.looked_back
        looked_back = looked_back or self._engine.can_reach(dependencies.entities, held)
        dependencies.settle(before, looked_back=looked_back)
        engine = self._engine
        dependencies.tags.update(fetch.policy.tags, filled.tags, engine.source_tags)
        dependencies.tags.add(key_tag(fetch.key))

    def _entry(self, fetch: Fetch, filled: Filled) -> Entry | None:
        """Make an entry of what a fill returned; ``None`` for what must not be stored."""
        engine, policy, dependencies = self._engine, fetch.policy, fetch.dependencies
        timeout = policy.timeout if filled.timeout is None else filled.timeout
        if filled.value is None or timeout <= 0:
            # What a HEAD leaves to the next GET is not refused to it.
            if filled.refused != "method":
                self.refused.start(fetch.key, _REFUSED_SECONDS)
            return None
        state = fetch.state
        engine.before_fetch(dependencies)
        # It may have been switched off since the fill began.
        if not (dependencies.bypass or state.lost) and engine.kill_switch.ask_again():
            state.switch_off()
        if state.off or dependencies.bypass or dependencies.uncommitted:
            return None
        now = time.time()
        fresh_until = now + timeout * (1 - policy.jitter * random.random())  # noqa: S311 - spread only
        if dependencies.fresh_until is not None:
            fresh_until = min(fresh_until, dependencies.fresh_until)
        tags = tuple(sorted(dependencies.collected()))
        if self._is_built_from_local(tags):
            report_once(
                f"{fetch.key}: it is built from entries of a SimpleCache, which other processes' "
                "writes do not reach, so a cache that processes share does not store it."
            )
            return None
        kept_until = max(fresh_until, now) + policy.grace
        return Entry(
            filled.value, state.generation, state.started, tags, now, fresh_until, kept_until
        )

    def _is_built_from_local(self, tags: tuple[str, ...]) -> bool:
        """Tell whether a shared entry would be built from one that only this process knows."""
        engine = self._engine
        local = [peer for peer in engine.peers if engine.store.shared and not peer.store.shared]
        return any(peer.own_tag in tags for peer in local)

    def _store(self, fetch: Fetch, entry: Entry, lease: Lease | None) -> int | None:
        """Store an entry; returns its bytes in the store, or ``None`` if it was not taken."""
        # Without a timestamp it would be a plain value, which no tag can make invalid.
        if entry.started is None:
            return None
        engine, key = self._engine, fetch.key
        sealed = engine.seal(key, entry)
        try:
            engine.store.store_entry(
                engine.entry_key(key),
                sealed,
                entry.kept_until - entry.stored_at,
                engine.generations.clock,
                engine.tag_keys(entry.tags),
                (lease.name, lease.token) if lease is not None and lease.held else None,
            )
            if fetch.renew:
                engine.renew_copies(key)
        except StoreError as error:
            engine.failed(error)
            return None
        if lease is not None:
            lease.held = False
        self.refused.forget(key)
        engine.see(key, entry, sealed)
        return len(sealed)

    def _note(
        self,
        fetch: Fetch,
        cause: Cause,
        seconds: float,
        refused: str | None,
        entry: Entry | None = None,
        size: int | None = None,
    ) -> None:
        level, name = fetch.lookups.level, fetch.lookups.name
        fill = Fill(time.time(), level, name, fetch.key, seconds, size, refused, cause)
        self._engine.statistics.filled(fetch.lookups, fill, fetch.policy.timeout, entry)
