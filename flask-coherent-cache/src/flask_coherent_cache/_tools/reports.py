"""What the running processes say of themselves: asked and read by the board."""

import json
import time

from .._clock import monotonic
from .._statistics.reports import Board
from .figures import Snapshot

LONGEST_SECONDS = 3.0
#: A process looks every two seconds, at most, whether it is asked.
_QUIET_SECONDS = 2.2
_PAUSE_SECONDS = 0.05


def ask(board: Board, longest: float = LONGEST_SECONDS) -> list[Snapshot]:
    """Have the processes write, and return what they wrote, the oldest process first.

    Nobody knows how many there are: it ends when for a while no other one has turned up. Those of
    another release, or with another SECRET_KEY, are not heard.

    :param longest: seconds.
    :raises StoreError: where the store does not answer.
    """
    board.watch()
    deadline = monotonic() + longest
    found: dict[tuple[str, int], Snapshot] = {}
    quiet_at = deadline
    while True:
        before = len(found)
        found.update(((one["host"], one["pid"]), one) for one in read(board))
        now = monotonic()
        if len(found) > before:
            quiet_at = min(deadline, now + _QUIET_SECONDS)
        if now >= quiet_at:
            return sorted(found.values(), key=lambda one: one["since"])
        time.sleep(min(_PAUSE_SECONDS, quiet_at - now))


def read(board: Board) -> list[Snapshot]:
    """Return what the processes have written, but for what has another form.

    :raises StoreError: where the store does not answer.
    """
    return [one for message in board.read() if (one := _snapshot(message)) is not None]


def _snapshot(message: bytes) -> Snapshot | None:
    try:
        snapshot: Snapshot = json.loads(message)
    except ValueError:
        return None
    whole = isinstance(snapshot, dict) and snapshot.keys() >= Snapshot.__annotations__.keys()
    return snapshot if whole else None
