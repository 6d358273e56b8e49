"""What ``cache.watch`` is given: engines, sessions and metadata of whichever extension."""

import functools
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import scoped_session, sessionmaker

from .outbox import outbox_table
from .sqlite import hold_rollbacks
from .watcher import Database, Watcher


class Databases:
    """What one cache watches, in each application that it knows.

    :param cache: :class:`~flask_coherent_cache.Cache`.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._sources: list[tuple[Any, Any]] = []

    def add(self, source: Any, metadata: Any) -> None:
        """Watch one more source, or a list of them; see :meth:`Cache.watch`."""
        if isinstance(source, list | tuple):
            for one in source:
                self.add(one, metadata)
            return
        _read_source(source)
        for found in _metadatas_of([metadata, source]):
            outbox_table(found)
        self._sources.append((source, metadata))
        if _is_extension(source):
            _follow(source, self)
        for app in self._cache.apps:
            self.connect(app)

    def watches(self, source: object) -> bool:
        """Tell whether it was added."""
        return any(added is source for added, _ in self._sources)

    def connect(self, app: Flask) -> None:
        """Watch all that an application has by now, if the cache knows it."""
        for source, metadata in self._sources if app in self._cache.apps else ():
            database = _read_source(source, app)
            if database is None:
                continue
            database.metadatas += _metadatas_of(metadata)
            for each in database.metadatas:
                outbox_table(each)
            cache_engine = app.extensions["cache"][self._cache]
            if cache_engine is None:  # Nothing is cached.
                for engine in database.engines:
                    hold_rollbacks(engine)
                continue
            if cache_engine.watcher is None:
                cache_engine.watcher = Watcher(app, cache_engine)
            cache_engine.watcher.add(database)


_followers: WeakKeyDictionary[Any, WeakSet[Databases]] = WeakKeyDictionary()


def _follow(extension: Any, databases: Databases) -> None:
    """Watch an extension's engines in each application that it gets to know from now on."""
    followers = _followers.get(extension)
    if followers is None:
        followers = _followers[extension] = WeakSet()
        init_app = extension.init_app

        @functools.wraps(init_app)
        def init_and_connect(app: Flask, *args: Any, **kwargs: Any) -> None:
            init_app(app, *args, **kwargs)
            for each in _followers[extension]:
                each.connect(app)

        extension.init_app = init_and_connect
    followers.add(databases)


def _is_extension(source: Any) -> bool:
    """Tell whether it is an extension that makes the engines of each application."""
    return hasattr(source, "init_app") and hasattr(type(source), "engines")


def _read_source(source: Any, app: Flask | None = None) -> Database | None:
    """Find what a source stands for; ``None`` while an extension does not know the application.

    :raises TypeError: for what cannot be watched, saying what can.
    :raises ValueError: for a sessionmaker without engines.
    """
    if isinstance(source, Engine):
        return Database((source,))
    if isinstance(source, scoped_session):
        return Database(_bound_engines(source.session_factory), sessions=(source,))
    if isinstance(source, sessionmaker):
        return Database(_bound_engines(source))
    if not _is_extension(source):
        raise _refused(source)
    if app is None:
        return None
    with app.app_context():
        try:
            # It raises where the extension does not know the application yet.
            engines = tuple(source.engines.values())
        except (RuntimeError, KeyError):
            return None
    return Database(engines, _metadatas_of(source))


def _metadatas_of(source: Any) -> tuple[MetaData, ...]:
    """Return the metadata that something has: itself, a base class, or Flask-SQLAlchemy's."""
    if source is None:
        return ()
    if isinstance(source, MetaData):
        return (source,)
    if isinstance(source, Iterable) and not isinstance(source, type):
        return tuple(metadata for one in source for metadata in _metadatas_of(one))
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
