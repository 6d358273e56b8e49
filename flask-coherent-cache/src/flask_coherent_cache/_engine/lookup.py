"""The lookup: an entry, all that validates it, and whether it is valid."""

from collections.abc import Sequence
from dataclasses import replace

from .._clock import monotonic
from .._dependencies.dependencies import ContextState, Dependencies, current_dependencies
from .._statistics.statistics import Cause
from .._stores import StoreError, is_overdue
from .base import EngineBase
from .entry import Entry
from .inspection import Inspection, judge, why_invalid
from .leases import Lease


class Lookup:
    """Reads entries of the store, and judges them."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine

    def find(
        self, key: str, state: ContextState, lease: Lease | None = None, *, again: bool = False
    ) -> Inspection:
        """Read an entry and all that validates it, in one round trip if its tags are known.

        :param lease: is taken in the same round trip, if there is certainly nothing valid.
        :param again: this is the second look, before which the lease is taken in any case.
        """
        engine, store = self._engine, self._engine.store
        engine.invalidator.outbox.join()
        seen = engine.seen.get(key)
        known = seen.tags if seen is not None else ()
        names = [*engine.generations.keys, engine.entry_key(key), *engine.tag_keys(known)]
        epoch = engine.near.epoch if engine.near is not None else 0
        asked_at = monotonic()
        if lease is None:
            answer = store.get_many(names)
        elif again:
            answer = lease.take_then_read(names)
        else:
            answer = lease.look(names, len(engine.generations.keys), engine.known(key))
        clock, generation, off, sealed, *values = answer
        moment = engine.generations.take_timestamp(state, asked_at, clock, generation, off)
        current = moment[0]
        if sealed is None:
            return Inspection(key, cause=self._why_dropped(key, known, values), moment=moment)
        entry = engine.open(key, sealed)
        if entry is None and not again:
            engine.count("unauthentic entry")
        now = store.now()
        if entry is not None and entry.generation == current:
            if entry.tags != known:
                values = engine.tag_values(entry.tags)
            else:
                entry = replace(entry, tags=known)  # One tuple in this process, not two.
            engine.see(key, entry, sealed)
            pairs = zip(entry.tags, values, strict=True)
            # Nobody settles these doubts any more.
            if overdue := [tag for tag, value in pairs if is_overdue(value, now)]:
                engine.invalidator.invalidate(overdue)
        found = judge(key, sealed, entry, current, values, now)
        found.moment = moment
        near = engine.near if found.valid else None
        # A plain value has no beginning, so a copy of it could not be told from a later one.
        if near is not None and entry is not None and entry.started is not None:
            near.keep(key, entry, values, epoch)
        return found

    def _why_dropped(
        self, key: str, tags: Sequence[str], values: Sequence[bytes | None]
    ) -> Cause | None:
        """Tell which tags were bumped of an entry that this process knew, and that is gone."""
        known = self._engine.statistics.entries.get(key)
        if known is None or known.tags != tags:
            return None
        cause = why_invalid(tags, values, known.started, self._engine.store.now())
        # If none has a timestamp, the store lost them, too.
        return cause if cause.timestamp is not None else None

    def still_holds(self, key: str, entry: Entry) -> bool:
        """Tell whether an entry that was served is still what the store has, fresh and valid."""
        now: Entry | None = None
        with self._engine.tolerating_failures():
            now = self.find(key, ContextState()).usable(0)
        return now is not None and (now.stored_at, now.value) == (entry.stored_at, entry.value)

    def observe(self) -> Dependencies:
        """Take the context's first timestamp, before it reads anything."""
        engine, dependencies = self._engine, current_dependencies()
        state = dependencies.of(engine)
        if state.started is not None or engine.is_off(state) or dependencies.bypass or state.lost:
            return dependencies
        if engine.near is not None and engine.near.observe(state):
            return dependencies
        try:
            engine.invalidator.outbox.join()
            engine.generations.read_timestamp(state)
        except StoreError as error:
            engine.lose(state, error)
        return dependencies

    def inspect(self, keys: Sequence[str]) -> list[Inspection]:
        """Look at entries in two round trips, and change nothing.

        :raises StoreError: if the store does not answer.
        """
        engine = self._engine
        clock, generation, _, *sealed = engine.store.get_many(
            [*engine.generations.keys, *map(engine.entry_key, keys)]
        )
        opened = [engine.open(key, value) for key, value in zip(keys, sealed, strict=True)]
        tags = list({tag for entry in opened if entry is not None for tag in entry.tags})
        values = dict(zip(tags, engine.tag_values(tags), strict=True))
        # Without its clock a generation is over, and the next lookup starts another one.
        stands = engine.generations.is_current(clock, generation)
        current = (generation or b"").decode("latin-1") if stands else ""
        now, found = engine.store.now(), []
        for key, value, entry in zip(keys, sealed, opened, strict=True):
            of_entry = [values[tag] for tag in entry.tags] if entry is not None else []
            found.append(judge(key, value, entry, current, of_entry, now))
        return found
