"""A cache that watches databases: it begins with transactions, and marks and bumps their tags."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, has_request_context
from sqlalchemy import Dialect, Engine, MetaData
from sqlalchemy.orm import Session

from .._dependencies.dependencies import Dependencies
from .._dependencies.inputs import report_once
from .._engine.engine import CacheEngine
from .engines import watch_engine
from .outbox import NAME, OutboxTable
from .raw_sql import text_does
from .sessions import follow, known_sessions, watch_sessions


@dataclass(slots=True)
class Database:
    """What is to be watched."""

    engines: tuple[Engine, ...]
    metadatas: tuple[MetaData, ...] = ()  # Those of its tables; empty where they are not known.
    sessions: tuple[Any, ...] = ()  # The scopes of sessions that may outlive a context.


class Watcher:
    """Connects the events of engines and sessions to one cache of an application."""

    def __init__(self, app: Flask, cache_engine: CacheEngine) -> None:
        self._app = app
        self._cache_engine = cache_engine
        self._engines: dict[Engine, None] = {}
        self._outbox = OutboxTable((), cache_engine.prefix)
        self._scopes: list[Any] = []
        cache_engine.before_fetch = self.before_fetch
        cache_engine.objects_of, cache_engine.can_reach = self.objects_of, _can_reach
        watch_sessions()

    def add(self, database: Database) -> None:
        """Watch a database, too; a second time it changes nothing."""
        self._scopes += [scope for scope in database.sessions if scope not in self._scopes]
        self._engines |= dict.fromkeys(database.engines)
        for engine in database.engines:
            watch = watch_engine(engine)
            watch.watchers.add(self)
            # What one cache reads, all of them may depend on.
            watch.tables.narrow_if(all(each.narrow for each in watch.watchers))
            watch.metadatas.update(database.metadatas)
        self._outbox = OutboxTable(self._engines, self._cache_engine.prefix)
        if self._cache_engine.store.shared:
            self._cache_engine.outbox.notes = self._outbox
            if not database.metadatas:
                report_once(
                    f"cache.watch got an engine without its tables: name them, as in "
                    f"cache.watch(engine, metadata=Base.metadata), so that the table {NAME} is "
                    "created with yours. It keeps what the cache's server cannot take."
                )

    @property
    def narrow(self) -> bool:
        """Whether reads are to depend on parts of tables."""
        return bool(self._cache_engine.config.get("CACHE_NARROW", True))

    def table_names(self) -> set[str]:
        """Return the names of the tables that are known here."""
        return set().union(*(watch_engine(engine).tables.every_name() for engine in self._engines))

    # -- what the cache asks

    def before_fetch(self, dependencies: Dependencies) -> None:
        """Learn what the current sessions hold: changes of their own, and objects read before.

        A session can be older than the context, where an application context is kept open.
        """
        for session in self._sessions():
            # Not `new`, `deleted` and `dirty`, which make a set of all that is loaded.
            if not session._is_clean():
                dependencies.uncommitted = True
            follow(session, dependencies)

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

    # -- what engines report

    def present(self) -> tuple[int | None, str]:
        """Return the cache's timestamp and generation, at the beginning of a transaction."""
        state = self._cache_engine.observe().of(self._cache_engine)
        return state.started, state.generation

    def begin_no_later(
        self, dependencies: Dependencies, began: float, started: int | None, generation: str
    ) -> None:
        """Have a context begin no later than a transaction that it reads in."""
        dependencies.began = min(dependencies.began, began)
        state = dependencies.of(self._cache_engine)
        if started is None:
            state.lost = True
        elif state.started is None or started < state.started:
            state.started, state.generation = started, generation

    def mark(
        self,
        tags: set[str],
        connection: Any,
        dialect: Dialect | None,
        *,
        in_transaction: bool = True,
    ) -> str:
        """Put tags in doubt, or into the outbox where the store does not take that.

        Returns the doubt's token, which is empty without a doubt.
        """
        if not tags:
            return ""
        is_alone = not self._cache_engine.store.shared and not self._app.testing
        if is_alone and not has_request_context():
            report_once(
                "This process wrote to the database; a server that runs beside it on SimpleCache "
                "does not hear of it: restart it, or set CACHE_TYPE=RedisCache."
            )
        token = self._cache_engine.mark(tags)
        if token is None and dialect is not None:
            self._outbox.add(connection, dialect, tags, in_transaction=in_transaction)
        return token or ""

    def settle(self, tags: Iterable[str], token: str) -> None:
        """Bump tags after a commit, also one that failed."""
        self._cache_engine.invalidate(tags, token, self._cache_engine.replica_lag)

    def clear(self) -> None:
        """Make everything invalid, where it is unknown what was written."""
        self._cache_engine.clear()

    def warn_of_text(
        self, sql: str, dependencies: Dependencies, options: Mapping[str, Any]
    ) -> None:
        """Warn of raw SQL, which is hardly analysed; after a write the context stores nothing."""
        does = text_does(sql)
        if does == "writes":
            dependencies.bypass = True
            remedy = "say what it writes with cache.invalidate(…) after the commit"
        elif does == "reads" and dependencies.filling:
            remedy = "say what it reads with cache.tag(…)"
        else:
            return
        if f"cache_{does}" not in options and (self._app.debug or self._app.testing):
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
