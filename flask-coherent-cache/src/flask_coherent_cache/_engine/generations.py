"""A store's clock and generation: the time between two times that all entries are cleared."""

import secrets
import time

from .._clock import monotonic
from .._dependencies.dependencies import ContextState
from .._stores import Store, StoreError, is_timestamp
from .kill_switch import KillSwitch
from .leases import Lease

#: How long one process may take to start a generation before another tries.
_STARTING_SECONDS = 2


class Generations:
    """The clock and the generation of one application; each method may raise StoreError.

    :param prefix: the application's part of every key.
    :param kill_switch: learns with each timestamp whether the cache is switched off.
    """

    def __init__(self, store: Store, prefix: str, kill_switch: KillSwitch) -> None:
        self._store = store
        self._kill_switch = kill_switch
        self._starting = f"{prefix}:starting"
        self.clock = f"{prefix}:clock"
        self.generation = f"{prefix}:generation"
        self._state = [self.clock, self.generation]
        #: The keys whose values :meth:`take_timestamp` needs, in its order.
        self.keys = [*self._state, kill_switch.key]
        #: The last generation, its latest timestamp here, and when that was known.
        self._latest: tuple[bytes | None, bytes, float] = (None, b"", 0.0)

    def read_timestamp(self, state: ContextState) -> None:
        """Give a context its first timestamp, in a round trip of its own."""
        asked_at = monotonic()
        self.take_timestamp(state, asked_at, *self._store.get_many(self.keys))

    def take_timestamp(
        self,
        state: ContextState,
        asked_at: float,
        clock: bytes | None,
        generation: bytes | None,
        off: bytes | None,
    ) -> tuple[str, int]:
        """Return the generation's name and its clock, and give a context its first timestamp.

        If clock or generation are missing, or another server's, new ones are started. If the cache
        is switched off, the context bypasses it from now on.

        :param asked_at: before the store was asked, by the monotonic clock.
        """
        if self._kill_switch.learn(off, asked_at):
            state.switch_off()
        self._watch_clock(asked_at, clock, generation)
        if not self.is_current(clock, generation):
            clock, generation = self.start()
        name, timestamp = (generation or b"").decode("latin-1"), int(clock or 0)
        if state.started is None:
            state.started, state.generation = timestamp, name
        return name, timestamp

    def is_current(self, clock: bytes | None, generation: bytes | None) -> bool:
        """Tell whether clock and generation are there, and of the server that answers."""
        server = (generation or b"").partition(b"@")[2].decode("latin-1")
        if self._store.doubted or not is_timestamp(clock, self._store.now()):
            return False
        return server == self._store.identity()

    def _watch_clock(self, asked_at: float, clock: bytes | None, generation: bytes | None) -> None:
        """Doubt a server whose clock goes back: it has forgotten invalidations.

        One that was loaded with an older dump of its own has, too, under whatever name.
        """
        known, latest, known_at = self._latest
        if clock is None or generation != known or clock > latest:
            self._latest = (generation, clock or b"", monotonic())
        elif clock < latest and asked_at > known_at:
            self._store.doubted = True

    def start(self) -> tuple[bytes | None, bytes | None]:
        """Start a new generation and clock if they are missing; one process does, others wait.

        The generation comes before the clock: under the old one, entries could look younger
        than invalidations that the new clock counts.
        """
        lease = Lease(self._store, self._starting, _STARTING_SECONDS)
        first: bytes | None = None
        deadline = monotonic() + 2 * _STARTING_SECONDS
        while True:
            clock, generation = lease.take_then_read(self._state)
            if first not in (None, generation):
                # Another process has ended it since this one came to doubt the server.
                self._store.doubted = False
            first = first or generation
            if lease.held:
                if not self.is_current(clock, generation):
                    self._renew(clock)
                    clock, generation = self._store.get_many(self._state)
                lease.release()
            if self.is_current(clock, generation):
                return clock, generation
            if lease.held or monotonic() > deadline:
                lease.free()
                raise StoreError("the store does not keep the clock and the generation")
            time.sleep(0.005)

    def _renew(self, clock: bytes | None) -> None:
        doubted, self._store.doubted = self._store.doubted, False
        try:
            self._store.put(self.generation, self._new_name(), None)
        except StoreError:
            self._store.doubted |= doubted
            raise
        now = self._store.now()
        if not is_timestamp(clock, now):
            self._store.delete([self.clock])
        self._store.add(self.clock, b"%d" % (now * 1_000_000), None)

    def end(self) -> None:
        """Make every entry invalid; if a full server takes no new name, delete the clock."""
        try:
            self._store.put(self.generation, self._new_name(), None)
        except StoreError:
            if self._store.breaker.failure != "full":
                raise
            self._store.delete([self.clock])
        self._store.confirm()

    def _new_name(self) -> bytes:
        return f"{secrets.token_hex(8)}@{self._store.identity()}".encode()
