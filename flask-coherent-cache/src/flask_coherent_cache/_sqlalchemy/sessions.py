"""The events of all sessions and mapped classes: what the current context holds.

SQLAlchemy's classes themselves are listened to, so it does not matter which base, registry or
session a class or an object belongs to.
"""

import functools
from typing import Any
from weakref import WeakSet, ref

from flask import has_app_context
from flask.globals import app_ctx
from sqlalchemy import Dialect, event
from sqlalchemy import inspect as inspect_state
from sqlalchemy.orm import Mapper, Session

from .._dependencies.dependencies import Dependencies, current_dependencies, is_collecting

#: Where the ``info`` of a session keeps what the context that used it last has read. ``None``: it
#: was used where nothing is collected, so nobody knows.
_READS = "caching.reads"
#: Where an application context keeps its sessions.
_SESSIONS = "caching.sessions"

#: Of the engines that are watched.
watched_dialects: WeakSet[Dialect] = WeakSet()


def _is_watched(session: Session) -> bool:
    """Tell whether a session may use a watched engine; where each class has its own, it may."""
    bind = session.bind
    return bind is None or bind.dialect in watched_dialects


def known_sessions() -> list[Session]:
    """The sessions that the current application context has begun, or the fill outside of it."""
    kept = _kept_sessions()
    return [session for reference in kept if (session := reference()) is not None]


def _kept_sessions() -> list[Any]:
    if not has_app_context():
        return current_dependencies().sessions
    state: dict[str, Any] = app_ctx._get_current_object().__dict__  # type: ignore[attr-defined]
    kept: list[Any] = state.setdefault(_SESSIONS, [])
    return kept


def follow(session: Session, reads: Dependencies) -> None:
    """Depend on what was read when the session got what it holds, in an earlier context, too.

    :param reads: of the current context, which uses the session from now on.
    """
    earlier: Dependencies | None = session.info.get(_READS, reads)
    if earlier is reads:
        return
    if _holds(session):
        if earlier is None:
            reads.bypass = True
        else:
            reads.follow(earlier)
    _use(session, reads)


def _use(session: Session, reads: Dependencies) -> None:
    session.info[_READS] = reads
    known = _kept_sessions()
    if all(reference() is not session for reference in known):
        known.append(ref(session))


def _holds(session: Session) -> bool:
    """Tell whether a session has anything that was read before."""
    return session.in_transaction() or any(
        not state.expired for state in session.identity_map.all_states()
    )


def _join(session: Session) -> None:
    if not _is_watched(session):
        return
    if is_collecting():
        reads = current_dependencies()
        if session.info.get(_READS, session) is not reads:
            follow(session, reads)
            _use(session, reads)
    else:
        session.info[_READS] = None


def _began(session: Session, transaction: Any) -> None:
    if transaction.parent is None:
        _join(session)


def _attached(session: Session, instance: Any) -> None:
    """Store nothing that is made from an object of an unknown age."""
    state = inspect_state(instance)
    if state.dict.keys() & state.mapper.columns.keys():
        _doubt(session)


def _doubt(session: Session) -> None:
    if not _is_watched(session):
        return
    current_dependencies().bypass = True
    if not is_collecting():
        session.info[_READS] = None


def _row_loaded(target: Any, context: Any, *_: Any) -> None:
    """Note who got what a session holds; a merge has no context."""
    if context is not None and context.session is not None:
        _join(context.session)


def _watch_identity_lookups() -> None:
    """Note what is found in a session without SQL, which SQLAlchemy lets subclasses override."""
    look_up = Session._identity_lookup

    @functools.wraps(look_up)
    def noting(self: Any, mapper: Any, *args: Any, **kwargs: Any) -> Any:
        reads = current_dependencies()
        reads.entities.add(mapper)
        if _is_watched(self):
            if is_collecting():
                follow(self, reads)
            else:
                self.info[_READS] = None
        return look_up(self, mapper, *args, **kwargs)

    Session._identity_lookup = noting  # type: ignore[method-assign]


def _watch_merges() -> None:
    """Note what is merged without a load: the values are of an unknown age, and no event tells."""
    merge: Any = Session._merge

    @functools.wraps(merge)
    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs["load"]:
            _doubt(self)
        return merge(self, *args, **kwargs)

    Session._merge = noting  # type: ignore[method-assign]


@functools.cache
def watch_sessions() -> None:
    """Begin to listen, once in a process."""
    event.listen(Session, "after_transaction_create", _began)
    event.listen(Session, "detached_to_persistent", _attached)
    event.listen(Mapper, "load", _row_loaded)
    event.listen(Mapper, "refresh", _row_loaded)
    _watch_identity_lookups()
    _watch_merges()
