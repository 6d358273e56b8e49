"""What ``cache.watch`` is given: engines, sessions and metadata of whichever extension."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import scoped_session, sessionmaker


@dataclass(frozen=True, slots=True)
class Database:
    """What was given, once it is there.

    :param engines: to watch.
    :param metadatas: of the tables that lie there; empty where it is not known.
    :param sessions: the scopes of sessions that may outlive a context.
    """

    engines: tuple[Engine, ...]
    metadatas: tuple[MetaData, ...]
    sessions: tuple[Any, ...] = ()


def is_extension(source: Any) -> bool:
    """Tell whether it is an extension that makes the engines of each application."""
    return hasattr(source, "init_app") and hasattr(type(source), "engines")


def read_database(source: Any, app: Flask | None = None) -> Database | None:
    """Find what a source stands for; ``None`` while an extension does not know the application.

    :raises TypeError: for what cannot be watched, saying what can.
    :raises ValueError: for a sessionmaker without engines.
    """
    if isinstance(source, Engine):
        return Database((source,), ())
    if isinstance(source, scoped_session):
        engines = _bound_engines(source.session_factory)
        return Database(engines, (), (source,))
    if isinstance(source, sessionmaker):
        return Database(_bound_engines(source), ())
    if not is_extension(source):
        raise _refused(source)
    if app is None:
        return None
    with app.app_context():
        try:
            # It raises where the extension does not know the application yet.
            engines = tuple(source.engines.values())
        except (RuntimeError, KeyError):
            return None
    return Database(engines, metadatas_of(source))


def metadatas_of(source: Any) -> tuple[MetaData, ...]:
    """Return the metadata that something has: itself, a base class, or Flask-SQLAlchemy's."""
    if source is None:
        return ()
    if isinstance(source, MetaData):
        return (source,)
    if isinstance(source, Iterable) and not isinstance(source, type):
        return tuple(metadata for one in source for metadata in metadatas_of(one))
    if isinstance(getattr(source, "metadatas", None), dict):
        return tuple(source.metadatas.values())
    if isinstance(found := getattr(source, "metadata", None), MetaData):
        return (found,)
    return ()


def _refused(source: Any) -> TypeError:
    """Say what can be watched, and how an asynchronous engine is."""
    if type(source).__module__.startswith("sqlalchemy.ext.asyncio"):
        return TypeError(
            f"cache.watch got a {type(source).__name__}: give it the engine's sync_engine, which "
            "has the events, as in cache.watch(engine.sync_engine)."
        )
    return TypeError(
        f"cache.watch got {source!r}: give it an Engine, a sessionmaker, a scoped_session, or the "
        "extension that holds them, such as Flask-SQLAlchemy's db."
    )


def _bound_engines(factory: Any) -> tuple[Engine, ...]:
    options = getattr(factory, "kw", {})
    binds = [options.get("bind"), *(options.get("binds") or {}).values()]
    engines = dict.fromkeys(bind.engine for bind in binds if bind is not None)
    if not engines:
        raise ValueError(
            "cache.watch got a sessionmaker without an engine: give it one, as in "
            "sessionmaker(engine), or watch the engine itself."
        )
    for engine in engines:
        if not isinstance(engine, Engine):
            raise _refused(engine)
    return tuple(engines)
