"""The events of all sessions and mapped classes: what the current context holds.

SQLAlchemy's classes themselves are listened to, so it does not matter which base, registry or
session a class or an object belongs to.
"""

import functools
from typing import Any
from weakref import WeakSet, ref

from flask.globals import _cv_app
from sqlalchemy import Dialect, event
from sqlalchemy import inspect as inspect_state
from sqlalchemy.orm import Mapper, Session

from .._dependencies.dependencies import Dependencies, current_dependencies, is_collecting

#: Where the ``info`` of a session keeps the dependencies of the context that used it last.
#: ``None``: it was used where nothing is collected, so they are not known.
_USED_BY = "caching.reads"
_UNUSED = object()
#: Where an application context keeps its sessions.
_SESSIONS = "caching.sessions"

#: Of the engines that are watched.
watched_dialects: WeakSet[Dialect] = WeakSet()


def _is_watched(session: Session) -> bool:
    """Tell whether a session may use a watched engine; if each class has its own, it may."""
    bind = session.bind
    return bind is None or bind.dialect in watched_dialects


def known_sessions() -> list[Session]:
    """Return the sessions that the current application context, or the fill outside of it, uses."""
    kept = _kept_sessions()
    return [session for reference in kept if (session := reference()) is not None] if kept else []


def _kept_sessions() -> list[Any]:
    context = _cv_app.get(None)
    if context is None:
        return current_dependencies().sessions
    kept: list[Any] = context.__dict__.setdefault(_SESSIONS, [])
    return kept


def follow(session: Session, dependencies: Dependencies) -> None:
    """Depend on what an earlier context read into the session.

    :param dependencies: those of the current context, which uses the session from now on.
    """
    earlier: Dependencies | object | None = session.info.get(_USED_BY, _UNUSED)
    if earlier is dependencies:
        return
    # One that was never used is new, and may be in its first transaction; what it holds all the
    # same, it got before anything was watched.
    if (earlier is not _UNUSED and session.in_transaction()) or any(
        not state.expired for state in session.identity_map.all_states()
    ):
        if isinstance(earlier, Dependencies):
            dependencies.follow(earlier)
        else:
            dependencies.bypass = True
    session.info[_USED_BY] = dependencies
    known = _kept_sessions()
    if all(reference() is not session for reference in known):
        known.append(ref(session))


def _join(session: Session, dependencies: Dependencies | None = None) -> None:
    """Have the current context use a session.

    :param dependencies: those of the context, if they are known already.
    """
    if not _is_watched(session):
        return
    if not is_collecting():
        session.info[_USED_BY] = None
        return
    dependencies = dependencies or current_dependencies()
    if session.info.get(_USED_BY) is not dependencies:
        follow(session, dependencies)


def _doubt(session: Session) -> None:
    """Store nothing that is made from an object of an unknown age."""
    if not _is_watched(session):
        return
    current_dependencies().bypass = True
    if not is_collecting():
        session.info[_USED_BY] = None


def _began(session: Session, transaction: Any) -> None:
    if transaction.parent is None:
        _join(session)


def _attached(session: Session, instance: Any) -> None:
    state = inspect_state(instance)
    if state.dict.keys() & state.mapper.columns.keys():
        _doubt(session)


def _row_loaded(target: Any, context: Any, *_: Any) -> None:
    """Note who got what a session holds; a merge has no context."""
    if context is not None and context.session is not None:
        _join(context.session)


@functools.cache
def watch_sessions() -> None:
    """Begin to listen, once in a process; no event precedes a look into a session, or a merge."""
    event.listen(Session, "after_transaction_create", _began)
    event.listen(Session, "detached_to_persistent", _attached)
    event.listen(Mapper, "load", _row_loaded, raw=True)
    event.listen(Mapper, "refresh", _row_loaded, raw=True)
    look_up, merge = Session._identity_lookup, Session._merge

    @functools.wraps(look_up)
    def noting_lookup(self: Any, mapper: Any, *args: Any, **kwargs: Any) -> Any:
        dependencies = current_dependencies()
        dependencies.entities.add(mapper)
        _join(self, dependencies)
        return look_up(self, mapper, *args, **kwargs)

    @functools.wraps(merge)
    def noting_merge(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs["load"]:  # The values are of an unknown age.
            _doubt(self)
        return merge(self, *args, **kwargs)

    Session._identity_lookup = noting_lookup  # type: ignore[method-assign]
    Session._merge = noting_merge  # type: ignore[method-assign]
