"""What a process must not share with the one from which it forked.

A thread of the parent may hold any lock when another thread forks, and does not exist in the child.
So locks are made by :func:`new_lock`, and objects with threads, connections or running fills
register with :func:`begin_after_fork`.
"""

import os
import threading
from typing import Any, Protocol
from weakref import WeakSet


class _Begins(Protocol):
    def begin(self) -> None:
        """Start anew: share nothing with the process from which this one forked."""


_locks: WeakSet[Any] = WeakSet()
_owners: WeakSet[_Begins] = WeakSet()


def new_lock() -> threading.Lock:
    """Make a lock that is free in a child, even if it was held in the parent."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def begin_after_fork(owner: _Begins) -> None:
    """Call an object's ``begin`` in each child, as long as the object lives."""
    _owners.add(owner)


def _begin_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # As logging and concurrent.futures do with theirs.
    for owner in list(_owners):
        owner.begin()


def _begin_all_in_uwsgi() -> None:
    """Have uWSGI call it, too: it forks in C, where Python's hooks do not run by default."""
    try:
        from uwsgidecorators import postfork  # type: ignore[import-untyped]  # noqa: PLC0415
    except Exception:  # It raises bare ones where it has no master process.
        return
    postfork(_begin_all)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)
    _begin_all_in_uwsgi()
