"""The clock of a store, and its generation: all entries between two times that it is cleared."""

import secrets
import time

from .._clock import monotonic
from .._dependencies.dependencies import ContextState
from .._stores import Store, StoreError, is_timestamp
from .kill_switch import KillSwitch
from .leases import free, new_token, release_foreign

#: How long one process may take to start a generation before another tries.
_STARTING_SECONDS = 2


class Generations:
    """The clock and the generation of one application; each method may raise StoreError.

    :param prefix: the application's part of every key.
    :param brake: learns with each reading whether the cache is switched off.
    """

    def __init__(self, store: Store, prefix: str, kill_switch: KillSwitch) -> None:
        self._store = store
        self._brake = kill_switch
        self._starting = f"{prefix}:starting"
        self.clock = f"{prefix}:clock"
        self.generation = f"{prefix}:generation"
        self._state = [self.clock, self.generation]
        #: The keys whose values :meth:`take_reading` needs, in its order.
        self.keys = [*self._state, kill_switch.key]
        #: The last generation and the latest of its readings here, and when that was known.
        self._latest: tuple[bytes | None, bytes, float] = (None, b"", 0.0)

    def take_timestamp(
        self,
        moment: ContextState,
        asked_at: float,
        clock: bytes | None,
        generation: bytes | None,
        off: bytes | None,
    ) -> str:
        """Return the generation's name, and give a context its first reading.

        Where clock or generation are gone, or of another server, new ones are started. Where the
        cache is switched off, the context goes past it from now on.

        :param asked_at: before the store was asked, by the monotonic clock.
        """
        if self._brake.learn(off, asked_at):
            moment.switch_off()
        self._watch_clock(asked_at, clock, generation)
        if not self.stands(clock, generation):
            clock, generation = self.start()
        name = (generation or b"").decode("latin-1")
        if moment.started is None:
            moment.started, moment.generation = int(clock or 0), name
        return name

    def stands(self, clock: bytes | None, generation: bytes | None) -> bool:
        """Tell whether clock and generation are there, and of the server that answers."""
        server = (generation or b"").partition(b"@")[2].decode("latin-1")
        if self._store.doubted or not is_timestamp(clock, self._store.now()):
            return False
        return server == self._store.identity()

    def _watch_clock(self, asked_at: float, clock: bytes | None, generation: bytes | None) -> None:
        """Doubt a server whose clock goes back: it has forgotten what it was told since.

        So does one that was loaded with an older dump of its own, under whatever name.
        """
        known, latest, known_at = self._latest
        if clock is None or generation != known or clock > latest:
            self._latest = (generation, clock or b"", monotonic())
        elif clock < latest and asked_at > known_at:
            self._store.doubted = True

    def start(self) -> tuple[bytes | None, bytes | None]:
        """Start a new generation and clock where they are gone; one process does, others wait.

        The generation comes before the clock: under the old one, entries could look younger
        than invalidations that the new clock counts.
        """
        token = new_token()
        first: bytes | None = None
        deadline = monotonic() + 2 * _STARTING_SECONDS
        while True:
            leading = self._store.add(self._starting, token, _STARTING_SECONDS)
            holder, clock, generation = self._store.get_many([self._starting, *self._state])
            if not leading:
                release_foreign(self._store, self._starting, holder)
            if first not in (None, generation):
                # Another process has ended it since this one came to doubt the server.
                self._store.doubted = False
            first = first or generation
            if leading and not self.stands(clock, generation):
                self._renew(clock)
                clock, generation = self._store.get_many(self._state)
            if leading:
                self._store.release(self._starting, token)
            if self.stands(clock, generation):
                return clock, generation
            if leading or monotonic() > deadline:
                free(self._store, self._starting)
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
        """Make every entry invalid; where a full server takes no new name, the clock goes."""
        try:
            self._store.put(self.generation, self._new_name(), None)
        except StoreError:
            if self._store.breaker.failure != "full":
                raise
            self._store.delete([self.clock])
        self._store.confirm()

    def _new_name(self) -> bytes:
        return f"{secrets.token_hex(8)}@{self._store.identity()}".encode()
