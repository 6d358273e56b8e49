"""A cache that watches databases: it marks, settles and notes what commits touch.

:mod:`.engines` listens to engines, :mod:`.sessions` to sessions and mapped classes. What a
statement reads is in :mod:`.statements`, what it writes in :mod:`.writes`.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask, has_request_context
from sqlalchemy import Dialect, Engine
from sqlalchemy.orm import Session

from .._dependencies.dependencies import Dependencies
from .._dependencies.inputs import report_once
from .._engine.engine import CacheEngine
from .databases import Database, is_extension, metadatas_of, read_database
from .engines import hold_rollbacks, watch_engine
from .outbox import NAME, OutboxTable, outbox_table
from .sessions import follow, known_sessions, watch_sessions
from .texts import text_does


class Watcher:
    """What one cache of an application watches."""

    def __init__(self, app: Flask, entries: CacheEngine) -> None:
        self._app = app
        self._entries = entries
        self._engines: dict[Engine, None] = {}
        self._notes = OutboxTable((), entries.prefix)
        self._scopes: list[Any] = []
        entries.before_fetch = self.before_fetch
        entries.objects_of, entries.can_reach = self.objects_of, _can_reach
        watch_sessions()

    def add(self, database: Database) -> None:
        """Watch a database, too; a second time it changes nothing."""
        self._scopes += [scope for scope in database.sessions if scope not in self._scopes]
        self._engines |= dict.fromkeys(database.engines)
        for engine in database.engines:
            watched = watch_engine(engine)
            watched.watchers.add(self)
            watched.metadatas.update(database.metadatas)
        self._notes = OutboxTable(self._engines, self._entries.prefix)
        if self._entries.store.shared:
            self._entries.outbox.notes = self._notes
            if not database.metadatas:
                report_once(
                    f"cache.watch got an engine without its tables: name them, as in "
                    f"cache.watch(engine, metadata=Base.metadata), so that the table {NAME} is "
                    "created with yours. It keeps what the cache's server cannot take."
                )

    # -- for the entries

    def before_fetch(self, reads: Dependencies) -> None:
        """Learn what the current sessions hold: changes of their own, and objects read before.

        A session can be older than the context, where an application context is kept open.
        """
        for session in self._sessions():
            if session.new or session.deleted or session.dirty:
                reads.uncommitted = True
            follow(session, reads)

    def objects_of(self) -> frozenset[Any]:
        """Return the mappers of the objects that are in the sessions."""
        return frozenset(
            state.mapper
            for session in self._sessions()
            for state in session.identity_map.all_states()
        )

    def _sessions(self) -> list[Session]:
        sessions = known_sessions()
        for scope in self._scopes:
            if scope.registry.has() and scope() not in sessions:
                sessions.append(scope())
        return sessions

    # -- for the engines

    def reading(self) -> tuple["Watcher", int | None, str]:
        """Take a reading of the cache's clock, at the beginning of a transaction."""
        moment = self._entries.observe().of(self._entries)
        return self, moment.started, moment.generation

    def begin_no_later(
        self, reads: Dependencies, began: float, started: int | None, generation: str
    ) -> None:
        """Have a context begin no later than a transaction that it reads in."""
        reads.began = min(reads.began, began)
        moment = reads.of(self._entries)
        if started is None:
            moment.lost = True
        elif moment.started is None or started < moment.started:
            moment.started, moment.generation = started, generation

    def mark(
        self,
        tags: Iterable[str],
        connection: Any,
        dialect: Dialect | None,
        *,
        in_transaction: bool = True,
    ) -> str:
        """Put tags in doubt, or note them where the store does not take that.

        Returns the doubt's token, which is empty without a doubt.
        """
        tags = set(tags)
        alone = not self._entries.store.shared and not self._app.testing
        if not tags:
            return ""
        if alone and not has_request_context():
            report_once(
                "This process wrote to the database; a server that runs beside it on SimpleCache "
                "does not hear of it: restart it, or set CACHE_TYPE=RedisCache."
            )
        token = self._entries.mark(tags)
        if token is None and dialect is not None:
            self._notes.add(connection, dialect, tags, in_transaction=in_transaction)
        return token or ""

    def settle(self, tags: Iterable[str], token: str) -> None:
        """Bump tags after a commit, also one that failed."""
        self._entries.invalidate(tags, token, self._entries.replica_lag)

    def clear(self) -> None:
        """Make everything invalid, where nobody knows what was written."""
        self._entries.clear()

    def note_text(self, sql: str, reads: Dependencies, options: Mapping[str, Any]) -> None:
        """Say that raw SQL cannot be seen into; after a write nothing of the context is stored."""
        does = text_does(sql)
        if does == "writes":
            reads.bypass = True
            known = "cache_writes" in options
            remedy = "say what it writes with cache.invalidate(…) after the commit"
        elif does == "reads" and reads.filling:
            known = "cache_reads" in options
            remedy = "say what it reads with cache.tag(…)"
        else:
            return
        if not known and (self._app.debug or self._app.testing):
            report_once(f"The cache cannot see into raw SQL: {remedy}. {sql[:200]}")


def _can_reach(entities: set[Any], held: frozenset[Any]) -> bool:
    """Tell whether objects of some mappers lead to one of others, by relationships."""
    found, waiting = set(entities), list(entities)
    while waiting and held.isdisjoint(found):
        mapper = waiting.pop()
        near = {relation.mapper for relation in mapper.relationships}
        near |= {*mapper.self_and_descendants, *mapper.iterate_to_root()}
        waiting += near - found
        found |= near
    return not held.isdisjoint(found)


def watch(app: Flask, entries: CacheEngine | None, database: Database) -> None:
    """Have the entries of an application watch a database; without entries, only prepare it.

    :param entries: ``None`` where nothing is cached.
    """
    for metadata in database.metadatas:
        outbox_table(metadata)
    if entries is None:
        for engine in database.engines:
            hold_rollbacks(engine)
        return
    if entries.watcher is None:
        entries.watcher = Watcher(app, entries)
    entries.watcher.add(database)


def track(app: Flask, entries: CacheEngine | None, db: Any) -> None:
    """Watch Flask-SQLAlchemy's ``db``; ``cache.watch(db)`` does it in any order."""
    if (database := read_database(db, app)) is not None:
        watch(app, entries, database)


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
        read_database(source)
        for found in metadatas_of([metadata, source]):
            outbox_table(found)
        self._sources.append((source, metadata))
        if is_extension(source):
            _follow(source, self)
        for app in self._cache.apps:
            self.connect(app)

    def connect_if_known(self, app: Flask) -> None:
        """Watch an application's databases, if the cache knows it."""
        if app in self._cache.apps:
            self.connect(app)

    def connect(self, app: Flask) -> None:
        """Watch all that an application has by now."""
        for source, metadata in self._sources:
            database = read_database(source, app)
            if database is not None:
                metadatas = (*database.metadatas, *metadatas_of(metadata))
                entries = app.extensions["cache"][self._cache]
                watch(app, entries, replace(database, metadatas=metadatas))


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
                each.connect_if_known(app)

        extension.init_app = init_and_connect
    followers.add(databases)
