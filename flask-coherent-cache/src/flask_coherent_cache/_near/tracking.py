"""Client tracking: the server tells each process which tags were bumped.

One connection of each process gets a message for each write to the keys of tags, clock, generation
and kill switch (``CLIENT TRACKING`` in broadcasting mode). A lookup first applies the messages that
have arrived, without waiting; a thread does so when no lookup does. If the server has not answered
for ``TRUST_SECONDS``, or while the connection is made anew, nothing that was learned before counts.
"""

import logging
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hiredis import PushNotification

from .._clock import monotonic
from .._dependencies.dependencies import ContextState
from .._engine.kill_switch import KillSwitch
from .._forks import begin_after_fork
from .._stores import ServerRefusedError, StoreError, is_timestamp

if TYPE_CHECKING:
    from .._stores.follower import Follower
    from .._stores.redis import RedisStore

logger = logging.getLogger(__name__)

#: Windows has no ``poll``.
is_supported = hasattr(select, "poll")

PING_SECONDS = 1.0
#: Counted from the sending of the last ping that was answered.
TRUST_SECONDS = 2.5
_TICK_SECONDS = 0.1
#: For how long after a write of this process the thread leaves messages to lookups.
_OWN_SECONDS = 0.005
#: From one attempt to connect to the next, whether or not the first succeeded.
RETRY_SECONDS = 1.0
#: The server writes 64 KiB to a connection and then serves others, which may include the writer:
#: after so many bytes, messages may be missing about writes that it has already confirmed.
_BACKLOG_BYTES = 32_768


class Tracker:
    """Follows a server; ``lock`` guards it, and all that depends on its messages.

    :param prefix: the application's part of every key.
    :param forget: called with the lock when nothing that was learned before counts any more.
    :param written: called with the lock, with the kind and the name of what was written.
    :param lost: called with the lock when the server is lost, before ``forget``; with the time when
        it last answered, or up to a ping later, by the monotonic clock.
    :param kill_switch: learns whether the cache is switched off.
    """

    def __init__(
        self,
        store: "RedisStore",
        prefix: str,
        forget: Callable[[], None],
        written: Callable[[str, str], None],
        lost: Callable[[float], None],
        kill_switch: KillSwitch,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._state_keys = (f"{prefix}:clock", f"{prefix}:generation", kill_switch.key)
        self._kill_switch = kill_switch
        self._forget, self._written, self._lost = forget, written, lost
        self.begin()
        begin_after_fork(self)

    def begin(self) -> None:
        """Start anew: share nothing with the process from which this one forked."""
        # Reentrant, because a log handler or a destructor may look something up.
        self.lock = threading.RLock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Follower | None = None
        #: One for lookups, which hold the lock, and one for the thread, which waits without it.
        self._poll: Any = None
        self._waiting: Any = None
        self._attempted_at = float("-inf")
        #: Whether the server is followed, as far as the log says; at first it says nothing.
        self._is_following = True
        #: Rises with each message of the server, and with each new connection.
        self.epoch = 0
        self._reset()

    def _reset(self) -> None:
        self._forget()
        self.epoch += 1
        self._store.note_followed(False)
        self._trusted_until = self._doubted_at = self._pinged_at = self._answered_at = 0.0
        self._received = 0
        #: All invalidations up to this timestamp have been applied.
        self._applied = 0
        #: The current ones; None after a message that they changed, until they are known again.
        self._clock: int | None = None
        self.generation: str | None = None
        self._replies: deque[Callable[[Any], None]] = deque()
        self._asking = self._outdated = False

    # -- lookups, with the lock ----------------------------------------------------------

    def is_current(self) -> bool:
        """Apply the messages of the server, and tell whether what was learned from it counts."""
        if self._connection is None:
            self._start()
            return False
        try:
            # The one system call of a hit: what the connection was not asked for is not known.
            if self._poll.poll(0):
                self._receive()
        except OSError as error:
            self._lose(error)
            return False
        return monotonic() < self._trusted_until

    def observe(self, state: ContextState) -> bool:
        """Give a context its first timestamp; tell whether all up to it has been applied.

        A context that took its timestamp elsewhere may be ahead. While the message of an
        invalidation is on its way, it would store the old value under the new timestamp.
        """
        if state.started is None:
            if self._clock is None or self.generation is None:
                return False
            state.started, state.generation = self._clock, self.generation
        return state.started <= self._applied and state.generation == self.generation

    def drain(self) -> None:
        """Read and apply the messages that have arrived, without waiting."""
        if self._poll.poll(0):
            self._receive()

    def _receive(self) -> None:
        size, messages, is_whole = self._connection.receive()  # type: ignore[union-attr]
        self._received += size
        for message in messages:
            self._apply(message)
        if self._received > _BACKLOG_BYTES or not is_whole:
            self._distrust()

    def _distrust(self) -> None:
        """Trust nothing until the server has answered once more."""
        self._trusted_until, self._doubted_at = 0.0, monotonic()
        self._ping()

    # -- messages ------------------------------------------------------------------------

    def _apply(self, message: Any) -> None:
        if isinstance(message, ServerRefusedError):
            raise message
        if not isinstance(message, PushNotification):
            if not self._replies:
                raise OSError(f"the server replied without a command: {message!r}")
            self._replies.popleft()(message)
        elif message[0] == b"invalidate":
            if message[1] is None:  # The server was flushed, perhaps to become a replica.
                self._forget()
                self._store.note_emptied()
                self._distrust()
            for key in message[1] or [key.encode() for key in self._state_keys]:
                self._apply_write(key.decode("utf-8", "replace"))
            self.epoch += 1

    def _apply_write(self, key: str) -> None:
        if key not in self._state_keys:
            kind, _, name = key[len(self._prefix) + 1 :].partition(":")
            self._written(kind, name)
            return
        self._clock, self._outdated = None, True
        if key == self._state_keys[1]:
            self.generation = None
        if not self._asking:
            self._ask()

    def _ask(self) -> None:
        """Ask for the current state, and make sure that all messages before it have arrived.

        Messages about writes before the answer can follow the answer, but not the reply to a
        command that was sent after it.
        """
        self._asking, self._outdated = True, False
        asked_at = monotonic()

        def answered(state: Any) -> None:
            self._send(lambda _: told(*state), "PING")

        def told(clock: bytes | None, generation: bytes | None, off: bytes | None) -> None:
            self._asking = False
            self._kill_switch.learn(off, asked_at)
            server = (generation or b"").partition(b"@")[2].decode("latin-1")
            if is_timestamp(clock, self._store.now()) and server == self._connection.server:  # type: ignore[union-attr]
                self._applied = int(clock)
                if not self._outdated:
                    self._clock = self._applied
                    self.generation = (generation or b"").decode("latin-1")
            if self._outdated:
                self._ask()
            elif not self._is_following:
                self._is_following = True
                logger.warning("The near cache follows the server again.")

        self._send(answered, "MGET", *self._state_keys)

    def _ping(self) -> None:
        sent = self._pinged_at = monotonic()
        self._received = 0

        def ponged(reply: Any) -> None:
            self._connection.check(reply)  # type: ignore[union-attr]
            self._answered_at = sent
            self._store.note_followed(True)
            if sent >= self._doubted_at:
                self._trusted_until = sent + TRUST_SECONDS

        self._send(ponged, *self._connection.ask())  # type: ignore[union-attr]

    def _send(self, then: Callable[[Any], None], *command: str) -> None:
        self._connection.send(*command)  # type: ignore[union-attr]
        self._replies.append(then)

    # -- the connection ------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._watch, name="cache-near", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        """Connect, and drain the connection when no lookup does."""
        while not self._closed.is_set():
            connection = self._connection
            if connection is None:
                self._connect()
                continue
            is_told = self._waiting.poll(_TICK_SECONDS * 1000)
            # Each write of this process is told to it, too, and the next lookup applies that. The
            # writer, which waits for the server, would have to share the interpreter with a thread.
            wrote = monotonic() < self._store.wrote_at + _OWN_SECONDS
            if is_told and wrote and not self._replies:
                self._closed.wait(_OWN_SECONDS)
            with self.lock:
                if self._connection is connection:
                    self._attend(connection)

    def _attend(self, connection: "Follower") -> None:
        try:
            self.drain()
            now = monotonic()
            if self._store.server() != connection.server:
                raise OSError("the store has reached another server")
            if now > max(self._trusted_until, self._doubted_at) + TRUST_SECONDS:
                raise OSError("the server does not answer")
            if now >= self._pinged_at + PING_SECONDS:
                self._ping()
        except OSError as error:
            self._lose(error)

    def _connect(self) -> None:
        kinds = ("clock", "generation", "off", "tag:", "renewed:")
        prefixes = [f"{self._prefix}:{kind}" for kind in kinds]
        if self._closed.wait(self._attempted_at + RETRY_SECONDS - monotonic()):
            return
        self._attempted_at = monotonic()
        try:
            connection = self._store.track(f"{self._prefix}-near", prefixes)
        except StoreError as error:
            self._note_lost(error)
            return
        with self.lock:
            self._reset()
            self._connection = connection
            self._poll, self._waiting = _poll(connection), _poll(connection)
            self._doubted_at = monotonic()
            try:
                self._ask()
                self._ping()
            except OSError as error:
                self._lose(error)
            if self._closed.is_set():
                self._lose(OSError("closed"))

    def _lose(self, error: OSError) -> None:
        if not self._closed.is_set():
            self._note_lost(error)
            if not isinstance(error, ServerRefusedError):
                # Before each request finds out by waiting.
                self._store.breaker.open()
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._lost(self._answered_at + PING_SECONDS)
        self._reset()

    def _note_lost(self, error: Exception) -> None:
        """Log it once until the server is followed again."""
        if self._is_following:
            self._is_following = False
            logger.warning(
                "The near cache cannot follow the server, and each hit asks it: %s", error
            )

    def close(self) -> None:
        """Drop the connection, for good."""
        self._closed.set()
        with self.lock:
            if self._connection is not None:
                self._lose(OSError("closed"))


def _poll(connection: "Follower") -> Any:
    """Make an object that tells whether data has arrived; two threads cannot share one."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return poll
