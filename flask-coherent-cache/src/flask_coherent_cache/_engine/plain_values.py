"""What is done to one entry by its key: plain values, which no fill made, and soft drops."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from .._dependencies.dependencies import ContextState, current_dependencies
from .._statistics.statistics import Result
from .._stores import StoreError
from .base import EngineBase, key_tag
from .entry import Entry
from .lookup import Lookup


class PlainValues:
    """Reads, writes and drops values by their keys."""

    def __init__(self, engine: EngineBase, lookup: Lookup) -> None:
        self._engine = engine
        self._lookup = lookup

    def get(self, key: str) -> bytes | None:
        """Read a value; a fill around it depends on the key."""
        engine, began = self._engine, time.perf_counter()
        dependencies = current_dependencies()
        state = dependencies.of(engine)
        dependencies.tags.update([key_tag(key)], engine.source_tags)
        entry: Entry | None = None
        result: Result = "bypass"
        try:
            found = None if engine.is_off(state) else self._lookup.find(key, state)
            if found is not None and not state.off:
                entry = found.usable(0)
                result = "miss" if entry is None else "hit"
        except StoreError as error:
            engine.lose(state, error)
            result = "error"
        lookups = engine.statistics.lookups("value", "cache.get")
        lookups.count(result)
        engine.statistics.tally(dependencies.tally, lookups, key, result, entry, began)
        if entry is None:
            return None
        dependencies.tags.update(entry.tags)
        return entry.value

    def set(self, key: str, value: bytes, seconds: float) -> bool:
        """Write a value; what depends on its key becomes invalid.

        If it cannot be written, or the cache is switched off, the value that was there before is
        dropped.
        """
        engine = self._engine
        with engine.tolerating_failures():
            sealed = self._sealed(key, value, seconds)
            if sealed is not None:
                engine.store.put(engine.entry_key(key), sealed, seconds)
                # After the write, as after a commit: a fill in between reads the old value.
                engine.invalidator.invalidate([key_tag(key)])
                return True
        self.delete([key])
        return False

    def add(self, key: str, value: bytes, seconds: float) -> bool:
        """Write a value if there is no valid one, as one step; say whether it was written."""
        engine = self._engine
        with engine.tolerating_failures():
            found = self._lookup.find(key, ContextState())
            if found.usable(0) is not None:
                return False
            if found.sealed is not None:
                engine.store.release(engine.entry_key(key), found.sealed)
            sealed = self._sealed(key, value, seconds)
            if sealed is not None and engine.store.add(engine.entry_key(key), sealed, seconds):
                engine.invalidator.invalidate([key_tag(key)])
                return True
        return False

    def delete(self, keys: Sequence[str]) -> bool:
        """Drop entries and make what depends on their keys invalid; say whether it is done yet."""
        engine = self._engine
        if keys:
            names = [engine.entry_key(key) for key in keys]
            engine.invalidator.outbox.deliver(partial(engine.store.delete, names))
            engine.invalidator.invalidate(map(key_tag, keys))
        return not engine.store.breaker.is_open

    def refresh(self, key: str) -> None:
        """Drop an entry softly: it is stale from now on, and served so within its grace."""
        engine = self._engine
        with engine.tolerating_failures():
            found = self._lookup.find(key, ContextState())
            if found.entry is not None and found.valid:
                now = time.time()
                entry = replace(found.entry, fresh_until=min(now, found.entry.fresh_until))
                left = max(1, found.entry.kept_until - now)
                engine.store.put(engine.entry_key(key), engine.seal(key, entry), left)
                engine.renew_copies(key)

    def _sealed(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Seal a plain value; ``None`` while the cache is switched off."""
        state = ContextState()
        self._engine.generations.read_timestamp(state)
        if state.off:
            return None
        now = time.time()
        times = (now, now + seconds, now + seconds)
        return self._engine.seal(key, Entry(value, state.generation, None, (), *times))
